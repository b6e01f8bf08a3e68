"""What the plan names, as modules in their deployed form: a part, parts in a row, a whole encoder."""

import copy

import torch
from timm.models.repvit import ConvNorm, RepVitStem
from torch import Tensor, nn

from supersam.blocks import BLOCKS
from supersam.export.graph import deployed
from supersam.profile.plan import Item
from supersam.space import AnyArchitecture, Layer, Part, Stage
from supersam.space.ops import EMBEDDING
from supersam.supernet.encoder import ConditionalPosition, FusingNeck, build_encoder, build_sam_layer, build_sam_neck

WEIGHT_STEP = 0.01  # copy number n of a part in a row has weights 1 + n * WEIGHT_STEP times as large


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


class _SamPatch(nn.Module):
    """Patches and absolute positions of SAM's ViT.

    Shape:
        - Input: (B, 3, R, R); output: (B, R/16, R/16, width)
    """

    def __init__(self, resolution: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, 16, stride=16)
        self.pos_embed = nn.Parameter(torch.zeros(1, resolution // 16, resolution // 16, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).permute(0, 2, 3, 1) + self.pos_embed


class _SamNeck(nn.Module):
    """SAM's neck behind its last layer.

    Shape:
        - Input: (B, H, W, width); output: (B, 256, H, W)
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.neck = build_sam_neck(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.neck(x.permute(0, 3, 1, 2))


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
            module, shape = _SamPatch(a[0], a[1]), (3, a[0])
        case "sam_layer":
            module, shape = build_sam_layer(a[1], a[3], Layer(0, a[2], a[4], a[5]), a[0]), (a[1], a[0])
        case "sam_neck":
            module, shape = _SamNeck(a[1]), (a[1], a[0])
        case "repvit":
            module, shape = BLOCKS["repvit"](Stage("repvit", 1, a[1], a[2], 0), 0 if a[3] else 1, 0), (a[1], a[0])
        case "vit":
            module, shape = BLOCKS["vit"](Stage("vit", 1, a[1], a[2], a[3]), 0, a[4]), (a[1], a[0])
        case _:
            head_dim = a[3] if len(a) > 3 else 0
            module, shape = BLOCKS[part.kind](Stage(part.kind, 1, a[1], a[2], 0), 0, head_dim), (a[1], a[0])
    x = torch.randn(1, shape[0], shape[1], shape[1])
    if part.kind in ("sam_layer", "sam_neck"):
        x = x.permute(0, 2, 3, 1).contiguous()
    return deployed(_stirred(module)), x


def build_row(parts: tuple[Part, ...]) -> tuple[nn.Module, Tensor]:
    """Return parts in a row, each with weights of its own, and an input of the first for one image."""
    built = {part: build_part(part) for part in dict.fromkeys(parts)}
    copies: dict[Part, int] = {}
    modules = []
    for part in parts:
        number = copies[part] = copies.get(part, -1) + 1
        modules.append(_scaled(copy.deepcopy(built[part][0]), 1 + number * WEIGHT_STEP))
    return nn.Sequential(*modules), built[parts[0]][1]


def build_whole(architecture: AnyArchitecture) -> tuple[nn.Module, Tensor]:
    """Return a whole encoder with random weights and an input for one image."""
    torch.manual_seed(0)
    encoder = _stirred(build_encoder(architecture))
    return deployed(encoder), torch.randn(1, 3, architecture.resolution, architecture.resolution)


def build_item(item: Item) -> tuple[nn.Module, Tensor]:
    """Return what an item of a plan names and an input for one image."""
    return build_row(item.parts) if item.architecture is None else build_whole(item.architecture)


def _stirred(module: nn.Module) -> nn.Module:
    """Move biases and scales off 0 and 1, as training does: exporters leave out what changes nothing."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 1 or not (parameter.is_meta or parameter.any()):
                parameter.add_(0.01 * torch.randn_like(parameter))
    return module


def _scaled(module: nn.Module, factor: float) -> nn.Module:
    """Scale the weights of convolutions and linear layers; ``onnx_files`` does the same to exported parts."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.mul_(factor)
    return module
