"""The plain encoder of an architecture: what is extracted, exported and deployed, and what the supernet runs.

Image (B, 3, R, R), normalised -> SAM image embedding (B, 256, R/16, R/16).
"""

from functools import partial
from typing import cast

import torch.nn.functional as F
from timm.layers import LayerNorm2d
from timm.models.repvit import ConvNorm, RepVitStem
from timm.models.vision_transformer_sam import Block, VisionTransformerSAM
from torch import Tensor, nn

from supersam.blocks import BLOCKS
from supersam.space import AnyArchitecture, Architecture, Layer, Stage, ViTArchitecture
from supersam.space.ops import EMBEDDING

SamLayerNorm = partial(nn.LayerNorm, eps=1e-6)  # as in segment-anything; timm's network of the same weights has 1e-5


class ConditionalPosition(nn.Module):
    """Positions by a residual depth-wise convolution (https://arxiv.org/abs/2102.10882), free of any resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class EncoderStage(nn.Module):
    """Entry (stem or down-sampling), positions, then blocks of one type.

    Shape:
        - Input: (B, C_in, H, W)
        - Output: (B, width, H/4, W/4) for the first stage, else (B, width, H/2, W/2)
    """

    def __init__(self, stage: Stage, head_dim: int, c_in: int | None) -> None:
        super().__init__()
        self.entry = (
            RepVitStem(3, stage.width, nn.GELU) if c_in is None else ConvNorm(c_in, stage.width, 3, stride=2, pad=1)
        )
        self.position = ConditionalPosition(stage.width)
        self.blocks = nn.ModuleList(BLOCKS[stage.block](stage, index, head_dim) for index in range(stage.depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.position(self.entry(x))
        for block in self.blocks:
            x = block(x)
        return x


class FusingNeck(nn.Module):
    """Fuse strides 8, 16 and 32 into SAM's image embedding at stride 16.

    Shape:
        - Input: (B, C2, R/8, R/8), (B, C3, R/16, R/16), (B, C4, R/32, R/32)
        - Output: (B, 256, R/16, R/16)
    """

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.lateral2 = nn.Conv2d(widths[0], EMBEDDING, 2, stride=2, bias=False)
        self.lateral3 = nn.Conv2d(widths[1], EMBEDDING, 1, bias=False)
        self.lateral4 = nn.Conv2d(widths[2], EMBEDDING, 1, bias=False)
        self.norm1 = LayerNorm2d(EMBEDDING)
        self.depthwise = nn.Conv2d(EMBEDDING, EMBEDDING, 3, padding=1, groups=EMBEDDING)
        self.pointwise = nn.Conv2d(EMBEDDING, EMBEDDING, 1)
        self.norm2 = LayerNorm2d(EMBEDDING)

    def forward(self, x2: Tensor, x3: Tensor, x4: Tensor) -> Tensor:
        coarse = F.interpolate(self.lateral4(x4), scale_factor=2.0, mode="nearest")
        return self.mix(self.lateral2(x2) + self.lateral3(x3) + coarse)

    def mix(self, x: Tensor) -> Tensor:
        """Mix the sum of the three inputs."""
        x = self.norm1(x)
        return self.norm2(x + self.pointwise(F.gelu(self.depthwise(x))))


class StagedEncoder(nn.Module):
    """Four stages and a fusing neck."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = [stage.width for stage in architecture.stages]
        self.stages = nn.ModuleList(
            EncoderStage(stage, architecture.head_dim, c_in)
            for stage, c_in in zip(architecture.stages, [None, *widths[:-1]], strict=True)
        )
        self.neck = FusingNeck((widths[1], widths[2], widths[3]))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_intermediates(x)[0]

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the image embedding and the output of every stage (timm's name for it)."""
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return self.neck(*outputs[1:]), outputs


def build_sam_vit(architecture: ViTArchitecture) -> VisionTransformerSAM:
    """Build SAM's plain ViT of timm with the kept layers, each with its own heads and MLP width."""
    network = VisionTransformerSAM(
        img_size=architecture.resolution,
        patch_size=16,
        num_classes=0,
        embed_dim=architecture.width,
        depth=0,
        num_heads=architecture.width // architecture.head_dim,
        use_rel_pos=True,
        neck_chans=EMBEDDING,
        global_pool="",
        norm_layer=SamLayerNorm,
    )
    side = architecture.resolution // 16
    network.blocks = nn.Sequential(
        *(build_sam_layer(architecture.width, architecture.head_dim, layer, side) for layer in architecture.layers)
    )
    return network


def build_sam_layer(width: int, head_dim: int, layer: Layer, side: int) -> Block:
    """Build timm's SAM block with the heads and MLP width of a layer.

    Shape:
        - Input and output of the block: (B, side, side, width)
    """
    block = Block(
        width,
        num_heads=width // head_dim,
        mlp_ratio=layer.mlp_width / width,
        use_rel_pos=True,
        window_size=layer.window,
        input_size=(side, side),
        norm_layer=SamLayerNorm,
    )
    inner = layer.heads * head_dim
    if inner != width:  # timm ties the heads to the width; fewer heads of the same size need their own projections
        block.attn.num_heads = layer.heads
        block.attn.qkv = nn.Linear(width, 3 * inner)
        block.attn.proj = nn.Linear(inner, width)
    return block


def stage_ends(architecture: ViTArchitecture) -> list[int]:
    """Return where the four stages of a plain ViT end: positions among its kept layers.

    A stage is a quarter of the whole network, so it ends with the global attention of SAM's ViT-B, -L and -H. Where
    its last layers are removed it ends earlier; where all are, it repeats the end of the stage before.
    """
    indices = [layer.index for layer in architecture.layers]
    depth = indices[-1] + 1
    return [max(0, sum(4 * index < depth * stage for index in indices) - 1) for stage in (1, 2, 3, 4)]


class StageOutputs(nn.Module):
    """An encoder whose forward returns what its stages put out as well, for the distillation of features.

    A module, not a method, because ``functional_call`` runs the ``forward`` of one.

    Shape:
        - Input: (B, 3, R, R)
        - Output: the embedding (B, 256, R/16, R/16), and four maps (B, C, h, w): of strides 4, 8, 16 and 32 from a
          staged encoder, all of stride 16 from a plain ViT
    """

    def __init__(self, encoder: nn.Module, architecture: AnyArchitecture) -> None:
        super().__init__()
        self.encoder = encoder
        self.ends = stage_ends(architecture) if isinstance(architecture, ViTArchitecture) else None

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        if self.ends is None:
            return self.encoder.forward_intermediates(x)  # type: ignore[operator]
        taken = sorted(set(self.ends))
        embedding, outputs = self.encoder.forward_intermediates(x, indices=taken)  # type: ignore[operator]
        return embedding, [outputs[taken.index(end)] for end in self.ends]


def build_sam_neck(width: int) -> nn.Sequential:
    """Build SAM's own neck.

    Shape:
        - Input: (B, width, H, W); output: (B, 256, H, W)
    """
    return nn.Sequential(
        nn.Conv2d(width, EMBEDDING, 1, bias=False),
        LayerNorm2d(EMBEDDING),
        nn.Conv2d(EMBEDDING, EMBEDDING, 3, padding=1, bias=False),
        LayerNorm2d(EMBEDDING),
    )


def blocks_of(encoder: nn.Module) -> list[nn.Module]:
    """Return the blocks of an encoder from the image to the neck."""
    if isinstance(encoder, StagedEncoder):
        return [block for stage in encoder.stages for block in cast(EncoderStage, stage).blocks]
    return list(cast(nn.Sequential, encoder.blocks))


def build_encoder(architecture: AnyArchitecture) -> nn.Module:
    """Build the plain encoder with fresh weights."""
    if isinstance(architecture, ViTArchitecture):
        return build_sam_vit(architecture)
    return StagedEncoder(architecture)
