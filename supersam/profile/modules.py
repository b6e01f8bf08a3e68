"""The part of an encoder behind a key of the latency tables, as a module of its own in its deployed form."""

import torch
from timm.models.repvit import ConvNorm, RepVitStem
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

from supersam.blocks import BLOCKS
from supersam.space import AnyArchitecture, Layer, Part, Stage
from supersam.space.ops import EMBEDDING
from supersam.supernet.encoder import ConditionalPosition, FusingNeck, build_encoder, build_sam_layer, build_sam_neck


class _Upsampled(nn.Sequential):
    """A lateral of the coarsest stage."""

    def forward(self, x: Tensor) -> Tensor:
        mapped: Tensor = super().forward(x)
        return nn.functional.interpolate(mapped, scale_factor=2.0, mode="nearest")


class _NeckFusion(nn.Module):
    """The neck behind its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.neck = FusingNeck((4, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.neck.mix(x)


def build_part(part: Part) -> tuple[nn.Module, Tensor]:
    """Return the module of a part and an input for one image."""
    torch.manual_seed(0)
    a = part.arguments
    module: nn.Module
    match part.kind:
        case "stem":
            module, shape = nn.Sequential(RepVitStem(3, a[1], nn.GELU), ConditionalPosition(a[1])), (3, a[0])
        case "downsample":
            entry = ConvNorm(a[1], a[2], 3, stride=2, pad=1)
            module, shape = nn.Sequential(entry, ConditionalPosition(a[2])), (a[1], a[0])
        case "lateral":
            convolution = nn.Conv2d(a[2], EMBEDDING, 2 if a[0] == 2 else 1, stride=2 if a[0] == 2 else 1, bias=False)
            module, shape = (_Upsampled(convolution) if a[0] == 4 else convolution), (a[2], a[1])
        case "fuse":
            module, shape = _NeckFusion(), (EMBEDDING, a[0])
        case "sam_patch":
            module, shape = nn.Conv2d(3, a[1], 16, stride=16), (3, a[0])
        case "sam_layer":
            module, shape = build_sam_layer(a[1], a[3], Layer(0, a[2], a[4], a[5]), a[0]), (a[1], a[0])
        case "sam_neck":
            module, shape = build_sam_neck(a[1]), (a[1], a[0])
        case "repvit":
            module, shape = BLOCKS["repvit"](Stage("repvit", 1, a[1], a[2], 0), 0 if a[3] else 1, 0), (a[1], a[0])
        case "vit":
            module, shape = BLOCKS["vit"](Stage("vit", 1, a[1], a[2], a[3]), 0, a[4]), (a[1], a[0])
        case _:
            head_dim = a[3] if len(a) > 3 else 0
            module, shape = BLOCKS[part.kind](Stage(part.kind, 1, a[1], a[2], 0), 0, head_dim), (a[1], a[0])
    x = torch.randn(1, shape[0], shape[1], shape[1])
    if part.kind == "sam_layer":
        x = x.permute(0, 2, 3, 1).contiguous()
    return deployed(module), x


def build_whole(architecture: AnyArchitecture) -> tuple[nn.Module, Tensor]:
    """Return a whole encoder with random weights and an input for one image."""
    torch.manual_seed(0)
    return deployed(build_encoder(architecture)), torch.randn(1, 3, architecture.resolution, architecture.resolution)


def deployed(module: nn.Module) -> nn.Module:
    """Return a module as it is deployed: RepViT's branches and BatchNorm folded into convolutions."""
    return reparameterize_model(module.eval())
