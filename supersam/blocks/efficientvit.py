"""EfficientViT block: multi-scale ReLU linear attention, then MBConv.

Paper: EfficientViT (https://arxiv.org/abs/2205.14756). The block is ``timm.models.efficientvit_mit.EfficientVitBlock``.
"""

from timm.models.efficientvit_mit import EfficientVitBlock

from supersam.space import Stage

# The projection reads the heads of the plain scale, then those of the 5x5 scale.
SEGMENTS = {"context_module.main.proj.conv.weight": (1, 2)}


def build(stage: Stage, index: int, head_dim: int) -> EfficientVitBlock:
    """Build one block of a stage."""
    return EfficientVitBlock(stage.width, head_dim=head_dim, expand_ratio=stage.ratio)
