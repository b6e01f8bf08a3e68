"""Count the operations of published networks, as ``supersam.space.ops`` defines them.

    python experiments/0009-estimated-devices/count.py          # write features.csv (minutes)
    python experiments/0009-estimated-devices/count.py NAME...  # print these networks

Networks are built by timm on the meta device, where tensors have shapes and no content, and run once on one image. What
is counted is seen below the modules, at PyTorch's own operators, so it does not depend on how a network is written:
convolutions and matrix products give MACs; these, norms, softmax, resizing, pooling and joins are kernels, and every
kernel's inputs, outputs and weights are traffic. BatchNorm, activations, additions and reshapes count nothing: runtimes
fuse them. Attention is counted as two products and a softmax, fused or not.
"""

import argparse
import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import torchvision
from timm.layers import LayerNorm2d, set_fused_attn
from timm.utils.model import reparameterize_model
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

HERE = Path(__file__).resolve().parent
FEATURES = HERE / "features.csv"
aten = torch.ops.aten

PRODUCTS = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm}
OTHER_KERNELS = {
    aten.native_layer_norm,
    aten.native_group_norm,
    aten._softmax,
    aten.upsample_nearest2d,
    aten.upsample_bilinear2d,
    aten.upsample_bicubic2d,
    aten.cat,
    aten.mean,
    aten.max_pool2d_with_indices,
    aten.avg_pool2d,
    aten._adaptive_avg_pool2d,
}


class Count(NamedTuple):
    """Operations of one network for one image."""

    kernels: int
    dense_gmac: float
    depthwise_gmac: float
    traffic_m: float  # million elements read and written
    params_m: float


class Counter(TorchDispatchMode):
    """Adds up what the operators of a forward pass do."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = 0
        self.dense = 0
        self.depthwise = 0
        self.traffic = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet is aten.convolution:
            weight, groups = args[1], args[8]
            macs = weight[0].numel() * result.numel() if not args[6] else args[0].numel() * weight[0].numel()
            if groups > 1 and groups == args[0].shape[1]:
                self.depthwise += macs
            else:
                self.dense += macs
            self._kernel(args, result)
        elif packet in PRODUCTS:
            left = args[1] if packet in (aten.addmm, aten.baddbmm) else args[0]
            self.dense += result.numel() * left.shape[-1]
            self._kernel(args, result)
        elif packet in OTHER_KERNELS:
            self._kernel(args, result)
        elif packet is aten.div and isinstance(args[1], Tensor) and result.dim() > 2:  # linear attention's normaliser
            self._kernel(args[:1], result)
        return result

    def _kernel(self, inputs: Any, outputs: Any) -> None:
        first = outputs[0] if isinstance(outputs, tuple) else outputs
        read = sum(leaf.numel() for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor))
        self.kernels += 1
        self.traffic += read + first.numel()


def count(network: nn.Module, height: int, width: int | None = None) -> Count:
    """Count a network on the meta device, for one RGB image of that many pixels."""
    network = network.to("meta").eval()
    image = torch.empty(1, 3, height, width or height, device="meta")
    with torch.no_grad(), Counter() as counter:
        network(image)
    params = sum(parameter.numel() for parameter in network.parameters())
    return Count(counter.kernels, counter.dense / 1e9, counter.depthwise / 1e9, counter.traffic / 1e6, params / 1e6)


def build(name: str, resolution: int) -> nn.Module:
    """Build a network without weights, for images of that many pixels a side.

    ``tv:`` is torchvision's, ``fused:`` has its branches merged as in use, ``sam:`` is an encoder of SAM, all others
    are timm's.
    """
    set_fused_attn(False)
    kind, _, rest = name.rpartition(":")
    if kind == "tv":
        options = {"init_weights": False} if rest == "googlenet" else {}
        network: nn.Module = torchvision.models.get_model(rest, weights=None, **options)
        return network
    if kind == "sam":
        return ENCODERS[rest](resolution)
    network = create(rest, resolution)
    return reparameterize_model(network) if kind == "fused" else network


def create(name: str, resolution: int) -> nn.Module:
    """Create a network of timm; those that are not tied to a size take any."""
    try:
        return timm.create_model(name, img_size=resolution)
    except TypeError:
        return timm.create_model(name)


def count_by_name(name: str, side: int) -> Count:
    """Count a network; it is built on the meta device where its code allows."""
    try:
        with torch.device("meta"):
            return count(build(name, side), side)
    except (NotImplementedError, RuntimeError):  # some compute constants from tensors when built
        return count(build(name, side), side)


class Encoder(nn.Module):
    """A backbone of timm with the neck that turns its last map into SAM's image embedding."""

    def __init__(self, backbone: nn.Module, neck: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck

    def forward(self, image: Tensor) -> Tensor:
        return self.neck(self.backbone.forward_features(image))


def sam_neck(width: int) -> nn.Module:
    """SAM's neck: 1x1 convolution, norm, 3x3 convolution, norm."""
    return nn.Sequential(
        nn.Conv2d(width, 256, 1, bias=False),
        LayerNorm2d(256),
        nn.Conv2d(256, 256, 3, padding=1, bias=False),
        LayerNorm2d(256),
    )


def mobile_sam(resolution: int) -> nn.Module:
    """Build MobileSAM's TinyViT: the last stage keeps its resolution (arXiv 2306.14289)."""
    backbone: Any = create("tiny_vit_5m_224", resolution)
    backbone.stages[3].downsample.conv2.conv.stride = (1, 1)
    backbone.stages[3].input_resolution = (resolution // 16, resolution // 16)
    for block in backbone.stages[3].blocks:
        block.input_resolution = (resolution // 16, resolution // 16)
    return Encoder(backbone, sam_neck(320))


def repvit_sam(resolution: int) -> nn.Module:
    """Build RepViT-SAM's encoder: the last stage keeps its resolution (arXiv 2312.05760)."""
    backbone: Any = create("repvit_m2_3", resolution)
    backbone.stages[3].downsample.spatial_downsample.c.stride = (1, 1)
    return Encoder(reparameterize_model(backbone), sam_neck(640))


def nanosam(resolution: int) -> nn.Module:
    """Build NanoSAM's encoder: ResNet-18 and three convolutions before and two after doubling the resolution."""
    neck = nn.Sequential(
        *(nn.Sequential(nn.Conv2d(width, 256, 3, padding=1), nn.GELU()) for width in (512, 256, 256)),
        nn.ConvTranspose2d(256, 256, 3, stride=2, padding=1, output_padding=1),
        nn.GELU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(256, 256, 1),
    )
    return Encoder(create("resnet18", resolution), neck)


ENCODERS: dict[str, Callable[[int], nn.Module]] = {
    "mobile_sam": mobile_sam,
    "repvit_sam": repvit_sam,
    "nanosam_resnet18": nanosam,
}


def wanted() -> list[tuple[str, str]]:
    """Return network and resolution of every row that is to be counted."""
    keys = {("sam:nanosam_resnet18", "1024x1024"), ("sam:mobile_sam", "1024x1024")}  # published for a Jetson
    with (HERE / "rows.csv").open(encoding="utf-8", newline="") as file:
        keys |= {(row["network"], row["resolution"]) for row in csv.DictReader(file)}
    return sorted((key for key in keys if not key[0].startswith("calibrated:")), reverse=True)


def counted() -> dict[tuple[str, str], list[str]]:
    """Return what features.csv holds already."""
    if not FEATURES.is_file():
        return {}
    with FEATURES.open(encoding="utf-8", newline="") as file:
        return {(line[0], line[1]): line[2:] for line in list(csv.reader(file))[1:]}


def write(found: dict[tuple[str, str], list[str]]) -> None:
    with FEATURES.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["network", "resolution", *Count._fields])
        writer.writerows([*key, *numbers] for key, numbers in sorted(found.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the operations of published networks.")
    parser.add_argument("networks", nargs="*", help="print these only (default: add what features.csv lacks)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {} if options.networks else counted()
    for name, resolution in wanted():
        if (name, resolution) in found or (options.networks and name not in options.networks):
            continue
        try:
            operations = count_by_name(name, int(resolution.split("x")[0]))
        except Exception as problem:  # a network that needs real tensors, or that this timm does not know
            print(f"{name} {resolution} is left out: {str(problem).splitlines()[0][:90]}", file=sys.stderr)
            continue
        found[name, resolution] = [str(operations.kernels), *(f"{value:.6g}" for value in operations[1:])]
        if options.networks:
            print(name, resolution, *found[name, resolution])
        else:
            write(found)


if __name__ == "__main__":
    main()
