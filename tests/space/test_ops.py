"""Operations counted on paper against those that torch and fvcore count on the network that is built."""

import random
from collections.abc import Iterator

import pytest
import timm.layers
import torch
from timm.models.repvit import RepViTBlock
from timm.utils.model import reparameterize_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from supersam.export.graph import deployed
from supersam.latency import space_parts
from supersam.profile.modules import build_part
from supersam.space import AnyArchitecture, Part, SearchSpace, count, load_space, parts, shipped_spaces
from supersam.space.ops import NOTHING, squeeze_width, total
from supersam.space.parts import squeezes
from supersam.supernet.encoder import build_encoder


def macs_by_torch(module: nn.Module, x: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return counter.get_total_flops() / 2


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def check_count(architecture: AnyArchitecture) -> None:
    """Check the counts of a whole encoder, which is built without memory."""
    with torch.device("meta"):
        encoder = build_encoder(architecture).eval()
        x = torch.empty(1, 3, architecture.resolution, architecture.resolution)
        found = macs_by_torch(reparameterize_model(encoder), x)
    ops = count(architecture)

    assert ops.dense_macs + ops.depthwise_macs == found
    assert ops.params == parameters(encoder)


@pytest.mark.parametrize("end", ["smallest", "largest"])
@pytest.mark.parametrize("name", shipped_spaces())
def test_counts_of_the_extremes_of_shipped_spaces_are_exact(name: str, end: str) -> None:
    check_count(getattr(load_space(name), end)())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", ["starter", "sam-1024", "supersam-vit-b"])
def test_counts_of_random_architectures_are_exact(name: str, seed: int) -> None:
    check_count(load_space(name).sample(random.Random(seed)))


@pytest.mark.parametrize("seed", range(12))
def test_counts_of_small_maps_and_padded_windows_are_exact(tiny_space: SearchSpace, seed: int) -> None:
    check_count(tiny_space.sample(random.Random(seed)))


# Parts


def smallest_parts() -> list[Part]:
    """For every kind of part, and for windows and squeezing, the one of any shipped space with the fewest reads."""
    found: dict[tuple[object, ...], Part] = {}
    for name in shipped_spaces():
        for part in space_parts(load_space(name)):
            variant = {
                "vit": lambda a: a[3] > 0,
                "repvit": lambda a: a[3],
                "lateral": lambda a: a[0],
                "sam_layer": lambda a: a[5] > 0,
            }.get(part.kind, lambda a: None)(part.arguments)
            key = (part.kind, variant)
            if key not in found or part.ops.traffic < found[key].ops.traffic:
                found[key] = part
    return list(found.values())


def test_every_kind_of_part_is_among_those_counted() -> None:
    # Windowed and global ViT blocks and SAM layers, RepViT blocks with and without squeeze, three laterals.
    assert len(smallest_parts()) == len({part.kind for part in smallest_parts()}) + 5
    assert {part.kind for part in smallest_parts()} == {
        "stem", "downsample", "vit", "repvit", "efficientvit", "rwkv",
        "lateral", "fuse", "sam_patch", "sam_layer", "sam_neck",
    }  # fmt: skip


@pytest.mark.parametrize("part", smallest_parts(), ids=lambda part: part.key)
def test_count_of_a_part_is_that_of_its_deployed_module(part: Part) -> None:
    with torch.device("meta"):
        module, x = build_part(part)
        found = macs_by_torch(module, x)

    assert part.ops.dense_macs + part.ops.depthwise_macs == found
    assert min(part.ops) >= 0
    assert part.ops.kernels > 0
    assert part.ops.traffic >= x.numel()


@pytest.mark.parametrize("seed", range(5))
def test_parts_of_an_encoder_add_up_to_it(tiny_space: SearchSpace, seed: int) -> None:
    architecture = tiny_space.sample(random.Random(seed))

    assert count(architecture) == total([part.ops for part in parts(architecture)])
    assert [sum(column) for column in zip(*(part.ops for part in parts(architecture)))] == list(count(architecture))


def test_total_of_nothing_is_nothing() -> None:
    assert total([]) == NOTHING
    assert total([NOTHING]) == NOTHING


def test_counts_of_a_convolution_are_those_done_by_hand() -> None:
    # 64 to 256 channels on 4 x 4 pixels by a 1x1 convolution without bias
    found = Part("lateral", (3, 4, 64)).ops

    assert found == (64 * 256 * 16, 0, (64 + 256) * 16 + 64 * 256, 1, 64 * 256)


@pytest.mark.parametrize(
    ("part", "dense", "depthwise"),
    [
        # 64 tokens: queries, keys and values; scores and their sums; projection; both layers of the MLP
        (Part("vit", (8, 32, 2, 0, 16)), 64 * 32 * (3 * 32) + 2 * 64 * 64 * 32 + 64 * 32 * 32 + 2 * 64 * 32 * 64, 0),
        # windows of 16 tokens: each token looks at 16 instead of 64
        (Part("vit", (8, 32, 2, 4, 16)), 64 * 32 * (3 * 32) + 2 * 64 * 16 * 32 + 64 * 32 * 32 + 2 * 64 * 32 * 64, 0),
        # 3x3 depth-wise, and both 1x1 convolutions of the MLP
        (Part("repvit", (8, 16, 2, 0)), 2 * 64 * 16 * 32, 64 * 16 * 9),
        # and squeeze-and-excite through 8 channels, on one mean pixel
        (Part("repvit", (8, 16, 2, 1)), 2 * 64 * 16 * 32 + 2 * 16 * 8, 64 * 16 * 9),
        # q, k, v; their second scale: 5x5 depth-wise, 1x1 within heads; 2 scales of 2 heads: k x (v, 1), q x that;
        # projection; MBConv: 1x1, 3x3 depth-wise, 1x1
        (
            Part("efficientvit", (8, 32, 4, 16)),
            64 * 32 * 96 + 64 * 96 * 16 + 4 * 2 * 64 * 16 * 17 + 64 * 64 * 32 + 2 * 64 * 32 * 128,
            64 * 96 * 25 + 64 * 128 * 9,
        ),
        # receptance, key, value and output of the spatial mix; key, value and receptance of the channel mix
        (Part("rwkv", (8, 32, 2)), 4 * 64 * 32 * 32 + 2 * 64 * 32 * 64 + 64 * 32 * 32, 0),
    ],
    ids=lambda value: value.key if isinstance(value, Part) else "",
)
def test_counts_of_every_block_type_are_those_done_by_hand(part: Part, dense: int, depthwise: int) -> None:
    assert (part.ops.dense_macs, part.ops.depthwise_macs) == (dense, depthwise)


def test_traffic_and_kernels_of_windows_are_those_of_the_whole_map_and_two_copies() -> None:
    whole, windowed = Part("vit", (8, 32, 2, 0, 16)).ops, Part("vit", (8, 32, 2, 4, 16)).ops
    fewer_scores = 2 * (64 * 64 - 64 * 16)  # of two heads

    assert windowed.kernels == whole.kernels + 2
    assert windowed.traffic == whole.traffic - (2 + 2) * fewer_scores + 2 * 2 * 64 * 32
    assert windowed.params == whole.params


@pytest.mark.parametrize("width", [4, 8, 12, 16, 20, 24, 36, 40, 48, 60, 64, 72, 96, 100, 128, 192, 256, 384, 512])
def test_squeeze_has_the_width_that_timm_gives_it(width: int) -> None:
    with torch.device("meta"):
        block = RepViTBlock(width, 2, kernel_size=3, use_se=True, act_layer=nn.GELU)

    assert block.se.fc1.out_channels == squeeze_width(width)


def test_every_other_block_squeezes_from_the_first() -> None:
    assert [squeezes(index) for index in range(5)] == [True, False, True, False, True]


# A second opinion


@pytest.fixture
def plain_attention() -> Iterator[None]:
    """Attention as matrix products: fvcore does not know the fused operator."""
    before = bool(timm.layers.use_fused_attn())
    timm.layers.set_fused_attn(False)
    yield
    timm.layers.set_fused_attn(before)


@pytest.mark.usefixtures("plain_attention")
@pytest.mark.filterwarnings("ignore")  # fvcore scripts and traces, which torch deprecates
def test_fvcore_counts_nearly_as_many(tiny_space: SearchSpace) -> None:
    from fvcore.nn import FlopCountAnalysis

    architecture = tiny_space.largest()
    encoder = deployed(build_encoder(architecture))
    counter = FlopCountAnalysis(encoder, torch.zeros(1, 3, architecture.resolution, architecture.resolution))
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)

    ops = count(architecture)

    assert counter.total() == pytest.approx(ops.dense_macs + ops.depthwise_macs, rel=0.05)


@pytest.mark.filterwarnings("ignore")
def test_fvcore_misses_fused_attention_and_these_counts_do_not() -> None:
    from fvcore.nn import FlopCountAnalysis

    before = bool(timm.layers.use_fused_attn())
    timm.layers.set_fused_attn(True)
    part = Part("vit", (8, 32, 2, 0, 16))
    module, x = build_part(part)
    timm.layers.set_fused_attn(before)
    norms = 2 * 5 * 64 * 32  # fvcore's own reckoning of two layer norms
    products = 2 * 64 * 64 * 32  # of 64 tokens with each other: scores, and their sums

    counter = FlopCountAnalysis(module, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)

    assert counter.total() - norms == part.ops.dense_macs - products
    # torch's counter knows the processor's fused operator since 2.15
    assert macs_by_torch(module, x) in (part.ops.dense_macs, part.ops.dense_macs - products)
