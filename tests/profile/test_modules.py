"""The parts of encoders as modules of their own: their shapes, and that together they are the encoder."""

import copy
import random
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from supersam.export.graph import deployed
from supersam.latency import space_parts
from supersam.profile.modules import WEIGHT_STEP, build_part, build_row, build_whole
from supersam.space import Architecture, Part, SearchSpace, StagedSpace, count, load_space, parts, shipped_spaces
from supersam.supernet.encoder import build_encoder

Shape = tuple[int, ...]
Shapes = Callable[[Part], tuple[Shape, Shape]]
RUN_BELOW = 300e6  # MACs of a part that is run here; larger ones are built without memory


def one_of_each_kind(space: SearchSpace) -> list[Part]:
    """The part of each kind with the fewest MACs."""
    found: dict[object, Part] = {}
    for part in sorted(space_parts(space), key=lambda part: part.ops.gmacs):
        found.setdefault(part.kind, part)
    return list(found.values())


@pytest.mark.parametrize("name", shipped_spaces())
def test_part_of_every_kind_has_the_shapes_its_key_says(name: str, shapes_of: Shapes) -> None:
    kinds = one_of_each_kind(load_space(name))
    assert len(kinds) >= 3

    for part in kinds:
        with torch.device("meta"), torch.no_grad():
            module, x = build_part(part)
            out = module(x)

        assert (x.shape, out.shape) == shapes_of(part)


@pytest.mark.parametrize("name", shipped_spaces())
def test_small_parts_run(name: str, shapes_of: Shapes) -> None:
    small = [part for part in one_of_each_kind(load_space(name)) if part.ops.gmacs < RUN_BELOW / 1e9]

    for part in small:
        module, x = build_part(part)
        with torch.inference_mode():
            out = module(x)

        assert out.shape == shapes_of(part)[1]
        assert out.isfinite().all()
        assert not module.training
    assert len(small) >= (0 if name == "supersam-vit-b" else 4)


def test_same_key_builds_the_same_module() -> None:
    part = Part("repvit", (8, 16, 2, 1))
    one, x = build_part(part)
    other, same = build_part(part)

    assert torch.equal(x, same)
    assert torch.equal(one(x), other(x))


@pytest.mark.parametrize("seed", range(6))
def test_parts_of_a_staged_encoder_chain(tiny_staged: StagedSpace, seed: int, shapes_of: Shapes) -> None:
    architecture = tiny_staged.sample(random.Random(seed))
    assert isinstance(architecture, Architecture)
    chain = parts(architecture)
    *body, lateral2, lateral3, lateral4, fuse = chain
    shape: Shape = (1, 3, architecture.resolution, architecture.resolution)
    ends: list[Shape] = []
    for part in body:
        before, after = shapes_of(part)
        if part.kind == "downsample":
            ends.append(shape)
        assert before == shape
        shape = after
    ends.append(shape)

    assert len(body) == sum(1 + stage.depth for stage in architecture.stages)
    for lateral, end in zip((lateral2, lateral3, lateral4), ends[1:], strict=True):
        assert shapes_of(lateral) == (end, shapes_of(fuse)[0])
    side = architecture.resolution // 16
    assert shapes_of(fuse)[1] == (1, 256, side, side)


@pytest.mark.parametrize("seed", range(6))
def test_parts_have_the_parameters_of_the_whole(tiny_space: SearchSpace, seed: int) -> None:
    architecture = tiny_space.sample(random.Random(seed))
    with torch.device("meta"):
        whole, x = build_whole(architecture)
        modules = [build_part(part)[0] for part in parts(architecture)]
    found = Counter(
        parameter.shape
        for module in modules
        for name, parameter in module.named_parameters()
        if not name.startswith("neck.lateral")  # of no use in the part "fuse"
    )
    assert found == Counter(parameter.shape for parameter in whole.parameters())
    assert x.shape == (1, 3, architecture.resolution, architecture.resolution)
    assert whole(x).shape == (1, 256, architecture.resolution // 16, architecture.resolution // 16)


@pytest.mark.parametrize("seed", range(4))
def test_deployed_encoder_computes_the_same_with_fewer_parameters(
    tiny_staged: StagedSpace, randomise: Callable[..., nn.Module], seed: int
) -> None:
    choices = tiny_staged.encode(tiny_staged.sample(random.Random(seed))) | {"stage2.block": "repvit"}
    architecture = tiny_staged.decode(choices)
    torch.manual_seed(0)
    encoder = randomise(build_encoder(architecture)).eval()
    before = copy.deepcopy(encoder.state_dict())
    x = torch.randn(1, 3, architecture.resolution, architecture.resolution)

    with torch.no_grad():
        found: Tensor = deployed(encoder)(x)

        torch.testing.assert_close(found, encoder(x), atol=1e-3, rtol=1e-3)
    assert sum(p.numel() for p in deployed(encoder).parameters()) < count(architecture).params
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_every_copy_in_a_row_has_weights_of_its_own_and_row_stays_sound() -> None:
    part = Part("vit", (8, 16, 2, 4, 8))
    row, x = build_row((part,) * 6)
    one, same = build_part(part)
    assert isinstance(row, nn.Sequential)

    first, second = (block.mlp.fc1.weight for block in (row[0], row[1]))
    assert torch.equal(x, same)
    assert torch.equal(first, one.mlp.fc1.weight)  # type: ignore[union-attr,arg-type]
    torch.testing.assert_close(second, first * (1 + WEIGHT_STEP))
    assert first.data_ptr() != second.data_ptr()
    with torch.inference_mode():
        assert row(x).isfinite().all()


@pytest.mark.parametrize("kind", ["repvit", "vit", "efficientvit", "rwkv"])
def test_no_bias_or_scale_is_left_where_an_exporter_would_drop_it(kind: str) -> None:
    arguments = {"repvit": (8, 16, 2, 0), "vit": (8, 16, 2, 0, 8), "efficientvit": (8, 16, 2, 8), "rwkv": (8, 16, 2)}
    module, _ = build_part(Part(kind, arguments[kind]))

    plain = [name for name, p in module.named_parameters() if not p.any() or (p.dim() == 1 and p.eq(1).all())]
    assert plain == []
