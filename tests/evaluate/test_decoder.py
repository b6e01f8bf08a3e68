"""The decoder of the evaluation gives what SAM's gives."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from supersam.evaluate.decoder import decode_image
from supersam.sam.model import FRAME, Prompts, Sam

POINTS = FRAME * torch.rand(1, 5, 3, 2, generator=torch.Generator().manual_seed(1))
BOXES = POINTS[:, :, :2].sort(dim=2).values.flatten(2)
PROMPTS = {
    "one click": Prompts(POINTS[:, :, :1], torch.ones(1, 5, 1)),
    "three clicks": Prompts(POINTS, torch.tensor([1.0, 0.0, 1.0]).expand(1, 5, 3)),
    "box": Prompts(boxes=BOXES),
    "one prompt": Prompts(POINTS[:, :1, :1], torch.ones(1, 1, 1)),
    "box with a click": Prompts(POINTS[:, :, [0, 1, 2]], torch.tensor([1.0, 2.0, 3.0]).expand(1, 5, 3)),
}


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("size", [(4, 4), (3, 5)])
def test_masks_are_those_of_sam(
    patch_sam: Sam, randomise: Callable[[nn.Module], nn.Module], prompts: Prompts, size: tuple[int, int]
) -> None:
    model = randomise(patch_sam).eval()
    embedding = torch.randn(1, 256, *size, generator=torch.Generator().manual_seed(2))

    with torch.inference_mode():
        expected = model.decode(embedding, prompts)
        found = decode_image(model, embedding, prompts)

    assert found.logits.shape == expected.logits.shape
    assert expected.logits.std() > 0.01
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-5, atol=1e-5 * float(expected.logits.abs().max()))
    torch.testing.assert_close(found.iou, expected.iou, rtol=1e-5, atol=1e-6)
