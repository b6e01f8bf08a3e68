"""Learned positions of SAM's plain ViT at another resolution, as timm and segment-anything resize them."""

import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed_nhwc
from torch import Tensor

ABSOLUTE = ("pos_embed",)
RELATIVE = ("attn.rel_pos_h", "attn.rel_pos_w")


def has_positions(name: str) -> bool:
    """Return whether a tensor of this name holds positions."""
    return name.endswith((*ABSOLUTE, *RELATIVE))


def resize_positions(positions: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Interpolate absolute positions as an image, and relative ones along their offsets.

    Shape:
        - Input and output: (1, H, W, C), or (2 * side - 1, C)
    """
    if positions.shape == shape:
        return positions
    if positions.dim() == 4:
        resized: Tensor = resample_abs_pos_embed_nhwc(positions, list(shape[1:3]))
        return resized.contiguous()
    return F.interpolate(positions.T[None], shape[0], mode="linear")[0].T.contiguous()
