"""One file per block type; each builds the plain block and says how narrower blocks nest in the widest.

Blocks of ViT, RepViT and EfficientViT are timm's own classes, so an extracted block is timm's block.
"""

from collections.abc import Callable

from torch import nn

from supersam.blocks import efficientvit, repvit, rwkv, vit
from supersam.space import Stage

# name -> build(stage, index of the block in the stage, channels of an attention head)
BLOCKS: dict[str, Callable[[Stage, int, int], nn.Module]] = {
    "vit": vit.build,
    "repvit": repvit.build,
    "efficientvit": efficientvit.build,
    "rwkv": rwkv.build,
}

# A tensor whose name ends so consists of equal segments along a dimension, and each segment shrinks by itself:
# suffix -> (dimension, number of segments). Every other tensor shrinks to its leading part.
SEGMENTS: dict[str, tuple[int, int]] = {**vit.SEGMENTS, **efficientvit.SEGMENTS}
