"""SAM's prompt encoder and mask decoder around any encoder.

The modules are segment-anything's own (Meta, Apache-2.0), so the tensors carry the names of the original SAM
checkpoints and official decoders load. What is added here: batches of images, any input resolution, and a cheaper
order of the decoder's arithmetic (`decoder.py`). Prompts
are given in a frame whose longest side is 1024, whatever the resolution, as the original decoder expects.
"""

from dataclasses import dataclass

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import Tensor, nn

from supersam.sam.decoder import decode
from supersam.space.ops import EMBEDDING

FRAME = 1024  # pixels of the longest side in prompt coordinates
TOP_LEFT, BOTTOM_RIGHT = 2, 3  # labels of the corners of a box
MULTIMASK = slice(1, 4)  # the decoder's three masks for an ambiguous prompt; mask 0 is for a clear one

ALIGNED_SCALE = 1.5  # sharpens the initial attention by nearness


@dataclass(frozen=True)
class Prompts:
    """Prompts for a batch of images, the same number for each.

    Points and boxes given together are different prompts, the points first. A prompt that joins them is written as
    points with the labels of ``TOP_LEFT`` and ``BOTTOM_RIGHT``, as in SAM's ONNX export.

    Shape:
        - points: (B, N, P, 2), (x, y) in the 1024 frame
        - labels: (B, N, P), 1 object, 0 background, 2 and 3 the corners of a box, -1 no point
        - boxes: (B, K, 4), (x0, y0, x1, y1) in the 1024 frame
        - masks: (B, N + K, R/4, R/4), logits of an earlier answer; those of every prompt or of none
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None


@dataclass(frozen=True)
class Masks:
    """Decoded masks, those of the point prompts first.

    Shape:
        - logits: (B, N + K, 4, R/4, R/4); above 0 is inside
        - iou: (B, N + K, 4), predicted
    """

    logits: Tensor
    iou: Tensor

    def single(self) -> "Masks":
        """Return them in single precision, which losses are given."""
        return Masks(self.logits.float(), self.iou.float())


class Sam(nn.Module):
    """An image encoder with SAM's prompt encoder and mask decoder, its tensors named as in the original SAM."""

    def __init__(self, image_encoder: nn.Module) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = PromptEncoder(
            embed_dim=EMBEDDING,
            image_embedding_size=(FRAME // 16, FRAME // 16),
            input_image_size=(FRAME, FRAME),
            mask_in_chans=16,
        )
        self.mask_decoder = MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=EMBEDDING, mlp_dim=2048, num_heads=8),
            transformer_dim=EMBEDDING,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        )
        _align_queries_and_keys(self.mask_decoder.transformer)

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return self.mask_decoder.iou_token.weight.device

    def decode(self, embeddings: Tensor, prompts: Prompts) -> Masks:
        """Decode every prompt of every image from its embedding.

        Shape:
            - embeddings: (B, 256, h, w)
        """
        batch, _, height, width = embeddings.shape
        tokens = self._prompt_tokens(prompts)  # (B, Q, T, 256)
        queries = tokens.shape[1]
        if prompts.masks is not None:
            embeddings = embeddings.repeat_interleave(queries, dim=0)
        image = embeddings + self._dense_prompt(prompts.masks)
        positions = self.prompt_encoder.pe_layer((height, width))
        logits, iou = decode(self.mask_decoder, image, positions, tokens.flatten(0, 1))
        return Masks(logits.unflatten(0, (batch, queries)), iou.unflatten(0, (batch, queries)))

    def _dense_prompt(self, masks: Tensor | None) -> Tensor:
        if masks is None:
            return self.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        return self.prompt_encoder.mask_downscaling(masks.flatten(0, 1).unsqueeze(1))

    def _prompt_tokens(self, prompts: Prompts) -> Tensor:
        encoded = []
        if prompts.points is not None and prompts.labels is not None:
            encoded.append(self.point_tokens(*_without_box_a_pad(prompts.points, prompts.labels)))
        if prompts.boxes is not None:
            encoded.append(self.point_tokens(*corners(prompts.boxes)))
        return torch.cat(encoded, dim=1)

    def point_tokens(self, points: Tensor, labels: Tensor) -> Tensor:
        """Encode points by position and label; the arithmetic of segment-anything's prompt encoder for all labels."""
        encoder = self.prompt_encoder
        positions = encoder.pe_layer.forward_with_coords(points.flatten(0, 1) + 0.5, encoder.input_image_size)
        kinds = torch.stack([encoder.not_a_point_embed.weight, *(kind.weight for kind in encoder.point_embeddings)])
        index = labels.long() + 1
        known = (index > 0).unsqueeze(-1)
        return positions.unflatten(0, points.shape[:2]) * known + kinds[:, 0][index]


def corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return boxes as points with labels.

    Shape:
        - boxes: (B, K, 4); output: (B, K, 2, 2) and (B, K, 2)
    """
    points = boxes.unflatten(-1, (2, 2))
    labels = torch.tensor([TOP_LEFT, BOTTOM_RIGHT], dtype=boxes.dtype, device=boxes.device)
    return points, labels.expand(points.shape[:-1])


def _without_box_a_pad(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Add the empty point that SAM's decoder has learned to see after the points of a prompt without a box."""
    if (labels >= TOP_LEFT).any():
        return points, labels
    pad = torch.zeros_like(points[..., :1, :])
    return torch.cat([points, pad], dim=-2), torch.cat([labels, torch.full_like(labels[..., :1], -1.0)], dim=-1)


def _align_queries_and_keys(transformer: TwoWayTransformer) -> None:
    """Start the cross attentions with equal query and key projections.

    Positions enter both as the same random Fourier features, so prompt and image tokens attend to each other by
    nearness from the first step. From independent projections a short training stays at empty masks: after 125
    steps 1-click IoU was 0.00 to 0.08, with this start 0.25 (docs/decisions/0006). Loaded weights replace it.
    """
    attentions = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        attentions += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    with torch.no_grad():
        for attention in attentions:
            attention.q_proj.weight.mul_(ALIGNED_SCALE)
            attention.k_proj.weight.copy_(attention.q_proj.weight)
            attention.q_proj.bias.zero_()
            attention.k_proj.bias.zero_()
