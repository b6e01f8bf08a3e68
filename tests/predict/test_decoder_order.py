"""The decoder's arithmetic in another order gives what segment-anything's gives, gradients included, for less."""

from collections.abc import Callable, Iterator
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from supersam.sam.model import FRAME, Masks, Prompts, Sam

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "0005-training-speed" / "decoder.py"
GENERATOR = torch.Generator().manual_seed(1)
POINTS = FRAME * torch.rand(2, 5, 3, 2, generator=GENERATOR)
BOXES = POINTS[:, :, :2].sort(dim=2).values.flatten(2)
PROMPTS = {
    "one click": Prompts(POINTS[:, :, :1], torch.ones(2, 5, 1)),
    "three clicks": Prompts(POINTS, torch.tensor([1.0, 0.0, 1.0]).expand(2, 5, 3)),
    "box": Prompts(boxes=BOXES),
    "one prompt": Prompts(POINTS[:, :1, :1], torch.ones(2, 1, 1)),
    "box with a click": Prompts(POINTS[:, :, [0, 1, 2]], torch.tensor([1.0, 2.0, 3.0]).expand(2, 5, 3)),
    "clicks and boxes": Prompts(POINTS[:, :, :1], torch.ones(2, 5, 1), BOXES),
}
WITHOUT_EFFECT = "k_proj.bias"  # a softmax does not see it: its gradient is 0 but for rounding, or None


@pytest.fixture
def as_segment_anything(script_module: Any) -> Iterator[Callable[[Sam, Tensor, Prompts], Masks]]:
    """The rival of the experiment: every image repeated for its prompts, the modules' own forward."""
    with script_module(EXPERIMENT) as script:
        yield script.as_segment_anything


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize(("size", "masked"), [((4, 4), False), ((3, 5), False), ((3, 5), True)])
def test_masks_and_gradients_are_those_of_segment_anything(
    patch_sam: Sam,
    randomise: Callable[[nn.Module], nn.Module],
    as_segment_anything: Callable[[Sam, Tensor, Prompts], Masks],
    prompts: Prompts,
    size: tuple[int, int],
    masked: bool,
) -> None:
    sam, generator = in_double_precision(randomise(patch_sam)), torch.Generator().manual_seed(2)
    embeddings = torch.randn(2, 256, *size, generator=generator).double()
    if masked:
        answers = torch.randn(2, sam._prompt_tokens(prompts).shape[1], 4 * size[0], 4 * size[1], generator=generator)
        prompts = replace(prompts, masks=answers)
    prompts = Prompts(*(None if one is None else one.double() for one in astuple(prompts)))

    expected, expected_gradients = learned(sam, as_segment_anything, embeddings, prompts)
    found, gradients = learned(sam, Sam.decode, embeddings, prompts)

    assert expected.logits.std() > 0.01
    near(found.logits, expected.logits)
    near(found.iou, expected.iou)
    for name, gradient in expected_gradients.items():
        if not name.endswith(WITHOUT_EFFECT):
            near(gradients[name], gradient)


def test_a_third_of_the_multiplications_is_saved(
    patch_sam: Sam, as_segment_anything: Callable[[Sam, Tensor, Prompts], Masks]
) -> None:
    embeddings, prompts = torch.zeros(2, 256, 16, 16), PROMPTS["one click"]

    counts = []
    for decode in (as_segment_anything, Sam.decode):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            decode(patch_sam, embeddings, prompts)
        counts.append(counter.get_total_flops())

    assert counts[1] < 2 / 3 * counts[0]


def in_double_precision(sam: nn.Module) -> Sam:
    """Return it so: in single, rounding may put a unit of a ReLU on the other side of 0, and its gradient with it."""
    assert isinstance(sam, Sam)
    sam.double()
    positions = sam.prompt_encoder.pe_layer.float()  # segment-anything's code allows nothing else
    encode = positions._pe_encoding
    positions._pe_encoding = lambda points: encode(points.float()).double()
    return sam


def learned(
    sam: Sam, decode: Callable[[Sam, Tensor, Prompts], Masks], embeddings: Tensor, prompts: Prompts
) -> tuple[Masks, dict[str, Tensor]]:
    """Return the masks and the gradient of everything that they depend on."""
    sam.zero_grad(set_to_none=True)
    embeddings = embeddings.clone().requires_grad_()
    masks = decode(sam, embeddings, prompts)
    (masks.logits.square().mean() + masks.iou.square().sum()).backward()
    gradients = {name: one.grad for name, one in sam.named_parameters()} | {"embeddings": embeddings.grad}
    masks = Masks(masks.logits.detach(), masks.iou.detach())
    return masks, {name: gradient for name, gradient in gradients.items() if gradient is not None}


def near(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))
