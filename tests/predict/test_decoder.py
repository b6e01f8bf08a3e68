"""SAM's decoder around our encoders, against segment-anything's own classes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import Tensor, nn

from supersam.sam.model import FRAME, Masks, Prompts, Sam, corners

Randomise = Callable[..., nn.Module]


@pytest.fixture
def sam(patch_sam: Sam, randomise: Randomise) -> Sam:
    """SAM whose every tensor is random, so that no term drops out."""
    found = randomise(patch_sam)
    assert isinstance(found, Sam)
    return found.requires_grad_(False)


def original_decoder() -> tuple[PromptEncoder, MaskDecoder]:
    """What segment_anything.build_sam builds behind the image encoder."""
    prompts = PromptEncoder(256, image_embedding_size=(64, 64), input_image_size=(1024, 1024), mask_in_chans=16)
    decoder = MaskDecoder(
        transformer_dim=256,
        transformer=TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048),
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
    )
    return prompts.eval().requires_grad_(False), decoder.eval().requires_grad_(False)


def original_masks(sam: Sam, embedding: Tensor, **prompts: Any) -> tuple[Tensor, Tensor]:
    """Decode prompts (N, ...) of one image by segment-anything's modules with the weights of ``sam``."""
    encoder, decoder = original_decoder()
    encoder.load_state_dict(sam.prompt_encoder.state_dict(), strict=True)
    decoder.load_state_dict(sam.mask_decoder.state_dict(), strict=True)
    sparse, dense = encoder(**{"points": None, "boxes": None, "masks": None, **prompts})
    common = {
        "image_embeddings": embedding,
        "image_pe": encoder.get_dense_pe(),
        "sparse_prompt_embeddings": sparse,
        "dense_prompt_embeddings": dense,
    }
    one, several = (decoder(**common, multimask_output=many) for many in (False, True))
    return torch.cat([one[0], several[0]], dim=1), torch.cat([one[1], several[1]], dim=1)


def drawn_prompts(batch: int, generator: torch.Generator) -> Prompts:
    """Three clicks, each a prompt, and two boxes for each image."""
    return Prompts(
        points=FRAME * torch.rand(batch, 3, 1, 2, generator=generator),
        labels=torch.randint(0, 2, (batch, 3, 1), generator=generator).float(),
        boxes=FRAME * torch.rand(batch, 2, 4, generator=generator),
    )


def embeddings(batch: int, side: int, generator: torch.Generator) -> Tensor:
    return torch.randn(batch, 256, side, side, generator=generator)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("clicks", [1, 3])
def test_decoding_points_equals_segment_anything(sam: Sam, generator: torch.Generator, clicks: int) -> None:
    embedding = embeddings(1, 64, generator)
    points = FRAME * torch.rand(1, 2, clicks, 2, generator=generator)
    labels = torch.randint(0, 2, (1, 2, clicks), generator=generator).float()

    found = sam.decode(embedding, Prompts(points=points, labels=labels))

    assert found.logits.shape == (1, 2, 4, 256, 256)
    expected = original_masks(sam, embedding, points=(points[0], labels[0]))
    torch.testing.assert_close(found.logits[0], expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.iou[0], expected[1], atol=1e-5, rtol=1e-5)


def test_decoding_boxes_equals_segment_anything(sam: Sam, generator: torch.Generator) -> None:
    embedding, prompts = embeddings(1, 64, generator), drawn_prompts(1, generator)

    found = sam.decode(embedding, Prompts(boxes=prompts.boxes))

    expected = original_masks(sam, embedding, boxes=prompts.boxes[0])
    torch.testing.assert_close(found.logits[0], expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.iou[0], expected[1], atol=1e-5, rtol=1e-5)


def assert_same(found: Masks, expected: Masks) -> None:
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.iou, expected.iou, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", [4, 16])
def test_points_come_before_boxes_and_do_not_see_each_other(sam: Sam, generator: torch.Generator, side: int) -> None:
    embedding, prompts = embeddings(1, side, generator), drawn_prompts(1, generator)

    both = sam.decode(embedding, prompts)
    points = sam.decode(embedding, Prompts(points=prompts.points, labels=prompts.labels))

    assert both.logits.shape == (1, 5, 4, 4 * side, 4 * side)
    assert_same(Masks(both.logits[:, :3], both.iou[:, :3]), points)


def test_batch_of_two_images_equals_the_two_alone(sam: Sam, generator: torch.Generator) -> None:
    embedding, prompts = embeddings(2, 8, generator), drawn_prompts(2, generator)
    assert prompts.points is not None
    assert prompts.labels is not None
    assert prompts.boxes is not None

    together = sam.decode(embedding, prompts)

    for image in range(2):
        one = slice(image, image + 1)
        alone = sam.decode(embedding[one], Prompts(prompts.points[one], prompts.labels[one], prompts.boxes[one]))
        assert_same(Masks(together.logits[one], together.iou[one]), alone)
    assert not torch.allclose(together.logits[0], together.logits[1], atol=1e-2)


def test_decoding_is_differentiable_in_the_embedding(sam: Sam, generator: torch.Generator) -> None:
    embedding = embeddings(2, 4, generator).requires_grad_()

    sam.decode(embedding, drawn_prompts(2, generator)).logits.square().sum().backward()

    assert embedding.grad is not None
    assert (embedding.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_official_state_dict_loads_without_its_encoder() -> None:
    with torch.device("meta"):
        official = sam_model_registry["vit_b"]().state_dict()
        names = [name for name in official if not name.startswith("image_encoder.")]
    prompts, decoder = original_decoder()
    weights = {f"prompt_encoder.{name}": tensor for name, tensor in prompts.state_dict().items()}
    weights |= {f"mask_decoder.{name}": tensor for name, tensor in decoder.state_dict().items()}
    assert list(weights) == names
    sam = Sam(nn.Identity())

    sam.load_state_dict(weights, strict=True)

    assert all(torch.equal(tensor, weights[name]) for name, tensor in sam.state_dict().items())


def test_cross_attentions_start_by_nearness() -> None:
    torch.manual_seed(0)
    transformer = Sam(nn.Identity()).mask_decoder.transformer
    attentions = [
        module
        for name, module in transformer.named_modules()
        if "cross_attn" in name.split(".")[-1] or name == "final_attn_token_to_image"
    ]

    assert len(attentions) == 5
    for attention in attentions:
        assert torch.equal(attention.q_proj.weight, attention.k_proj.weight)
        assert attention.q_proj.bias.abs().sum() == attention.k_proj.bias.abs().sum() == 0
    assert not torch.equal(transformer.layers[0].self_attn.q_proj.weight, transformer.layers[0].self_attn.k_proj.weight)


def test_a_box_with_a_click_equals_segment_anything(sam: Sam, generator: torch.Generator) -> None:
    embedding = embeddings(1, 64, generator)
    click, boxes = FRAME * torch.rand(1, 2, 1, 2, generator=generator), FRAME * torch.rand(1, 2, 4, generator=generator)
    points, labels = corners(boxes)

    joined = Prompts(torch.cat([click, points], dim=2), torch.cat([torch.zeros(1, 2, 1), labels], dim=2))
    found = sam.decode(embedding, joined)

    expected = original_masks(sam, embedding, points=(click[0], torch.zeros(2, 1)), boxes=boxes[0])
    torch.testing.assert_close(found.logits[0], expected[0], atol=1e-5, rtol=1e-5)


def test_a_mask_prompt_equals_segment_anything(sam: Sam, generator: torch.Generator) -> None:
    embedding, prompts = embeddings(1, 64, generator), drawn_prompts(1, generator)
    masks = 4 * torch.randn(1, 2, 256, 256, generator=generator)

    found = sam.decode(embedding, Prompts(boxes=prompts.boxes, masks=masks))

    expected = original_masks(sam, embedding, boxes=prompts.boxes[0], masks=masks[0].unsqueeze(1))
    torch.testing.assert_close(found.logits[0], expected[0], atol=1e-5, rtol=1e-5)
