"""RepViT block: re-parameterised depth-wise convolution, squeeze-and-excite in every other block, 1x1 MLP.

Paper: RepViT (https://arxiv.org/abs/2307.09283). The block is ``timm.models.repvit.RepViTBlock``.
"""

from timm.models.repvit import RepViTBlock
from torch import nn

from supersam.space import Stage
from supersam.space.parts import squeezes


def build(stage: Stage, index: int, head_dim: int) -> RepViTBlock:
    """Build one block of a stage."""
    return RepViTBlock(stage.width, stage.ratio, kernel_size=3, use_se=squeezes(index), act_layer=nn.GELU)
