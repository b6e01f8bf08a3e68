"""ViT block: softmax attention in windows, then MLP.

Paper: An Image is Worth 16x16 Words (https://arxiv.org/abs/2010.11929); windows without shift as in SAM and
ViTDet (https://arxiv.org/abs/2203.16527). The block is ``timm.models.vision_transformer.Block``.
"""

from timm.models.vision_transformer import Block
from torch import Tensor

from supersam.space import Stage

# The rows of qkv are all queries, then all keys, then all values; heads lead within each.
SEGMENTS = {"attn.qkv.weight": (0, 3), "attn.qkv.bias": (0, 3)}


class ViTBlock(Block):  # type: ignore[misc]
    """timm's ViT block, applied to the windows of a feature map.

    Shape:
        - Input and output: (B, C, H, W); H and W are multiples of ``window`` unless it is 0
    """

    def __init__(self, width: int, head_dim: int, ratio: int, window: int) -> None:
        super().__init__(width, num_heads=width // head_dim, mlp_ratio=ratio, qkv_bias=True)
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        rows = min(self.window or height, height)
        columns = min(self.window or width, width)
        grid = (batch, height // rows, rows, width // columns, columns, channels)
        tokens = x.permute(0, 2, 3, 1).reshape(grid).permute(0, 1, 3, 2, 4, 5).reshape(-1, rows * columns, channels)
        tokens = super().forward(tokens)
        windows = tokens.reshape(batch, height // rows, width // columns, rows, columns, channels)
        return windows.permute(0, 1, 3, 2, 4, 5).reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def build(stage: Stage, index: int, head_dim: int) -> ViTBlock:
    """Build one block of a stage."""
    return ViTBlock(stage.width, head_dim, stage.ratio, stage.window)
