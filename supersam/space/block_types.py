"""The block types a stage can choose from: facts only, so that this module never imports torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockType:
    """One kind of encoder block."""

    name: str  # as written in a search space file
    title: str  # as shown to people
    uses_batch_norm: bool  # True: a subnet's statistics are recalibrated before it is evaluated
    paper: str


BLOCK_TYPES: dict[str, BlockType] = {
    block.name: block
    for block in (
        BlockType("vit", "ViT (softmax attention)", False, "https://arxiv.org/abs/2010.11929"),
        BlockType("repvit", "RepViT (re-parameterised convolution)", True, "https://arxiv.org/abs/2307.09283"),
        BlockType("efficientvit", "EfficientViT (ReLU linear attention)", True, "https://arxiv.org/abs/2205.14756"),
        BlockType("rwkv", "Vision-RWKV (bidirectional WKV)", False, "https://arxiv.org/abs/2403.02308"),
    )
}
