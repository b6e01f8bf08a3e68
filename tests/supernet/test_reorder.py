"""Re-ordering: the whole network computes what it did, and the units that lead are the important ones."""

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from supersam.errors import SearchSpaceError
from supersam.space import Layer, StagedSpace, ViTSpace, count, load_space
from supersam.supernet.reorder import (
    Group,
    Scores,
    groups,
    magnitude,
    reorder,
    taylor,
    wanda,
    widest_encoder,
)
from supersam.supernet.supernet import Supernet

Tells = Callable[..., AbstractContextManager[None]]
Randomise = Callable[..., nn.Module]
METHODS = ("magnitude", "wanda", "taylor")


def build(space: StagedSpace | ViTSpace, randomise: Randomise) -> Supernet:
    torch.manual_seed(0)
    supernet = randomise(Supernet(space)).eval()
    assert isinstance(supernet, Supernet)
    return supernet


@pytest.fixture
def vit(tiny_vit: ViTSpace, randomise: Randomise) -> Supernet:
    return build(tiny_vit, randomise)


@pytest.fixture
def staged(tiny_staged: StagedSpace, randomise: Randomise) -> Supernet:
    return build(tiny_staged, randomise)


def images(resolution: int = 128, seed: int = 0) -> Tensor:
    return torch.randn(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(seed))


def losses(encoder: nn.Module) -> Iterator[Tensor]:
    for seed in (1, 2):
        yield encoder(images(seed=seed)).square().mean()


def scores_of(method: str, encoder: nn.Module) -> Scores:
    layers = groups(encoder)
    if method == "magnitude":
        return magnitude(layers)
    if method == "wanda":
        return wanda(layers, encoder, (images(seed=seed) for seed in (1, 2)))
    return taylor(layers, losses(encoder))


def sort(supernet: Supernet, method: str) -> dict[str, Tensor]:
    encoder = widest_encoder(supernet)
    return reorder(groups(encoder), scores_of(method, encoder))


# The function


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["vit", "staged"])
def test_whole_network_computes_what_it_did(request: pytest.FixtureRequest, kind: str, method: str) -> None:
    supernet: Supernet = request.getfixturevalue(kind)
    before, x = copy.deepcopy(supernet), images()

    orders = sort(supernet, method)

    widest, old = widest_encoder(supernet), widest_encoder(before)
    moved = [name for name, order in orders.items() if not torch.equal(order, torch.arange(len(order)))]
    assert len(moved) > len(orders) / 2  # a head or two may stand where they should
    with torch.no_grad():
        torch.testing.assert_close(widest(x), old(x), atol=1e-5, rtol=1e-5)
        if kind == "vit":
            largest = supernet.space.largest()
            torch.testing.assert_close(supernet(x, largest), before(x, largest), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("removed", [(1,), (1, 2)])
def test_removed_layers_do_not_disturb_the_order_of_the_others(
    vit: Supernet, tiny_vit: ViTSpace, removed: tuple[int, ...]
) -> None:
    choices = tiny_vit.encode(tiny_vit.largest()) | {f"layer{index}.mlp": 0 for index in removed}
    architecture, before, x = tiny_vit.decode(choices), copy.deepcopy(vit), images()

    sort(vit, "wanda")

    with torch.no_grad():
        torch.testing.assert_close(vit(x, architecture), before(x, architecture), atol=1e-5, rtol=1e-5)


def test_network_of_real_width_computes_what_it_did(randomise: Randomise) -> None:
    space = load_space("supersam-vit-b")
    small = space.model_copy(update={"depth": 1, "global_layers": (0,), "removable_layers": (), "resolutions": (128,)})
    supernet, x = build(small, randomise), images()
    with torch.no_grad():
        before = supernet(x, small.largest())

        orders = sort(supernet, "wanda")

        torch.testing.assert_close(supernet(x, small.largest()), before, atol=1e-5, rtol=1e-5)
    assert {name: len(order) for name, order in orders.items()} == {"blocks.0.attn": 12, "blocks.0.mlp": 3072}


@pytest.mark.parametrize("seed", range(6))
def test_subnet_of_a_sorted_supernet_computes_what_is_extracted(vit: Supernet, tiny_vit: ViTSpace, seed: int) -> None:
    sort(vit, "wanda")
    architecture = tiny_vit.sample(random.Random(seed))
    x = images(architecture.resolution)

    with torch.no_grad():
        assert torch.equal(vit(x, architecture), vit.extract(architecture)(x))


def test_every_mlp_and_attention_is_sorted_and_nothing_else(vit: Supernet) -> None:
    before = copy.deepcopy(vit.state_dict())
    orders = sort(vit, "magnitude")

    assert set(orders) == {f"blocks.{index}.{part}" for index in range(4) for part in ("attn", "mlp")}
    changed = {name for name, tensor in vit.state_dict().items() if not torch.equal(tensor, before[name])}
    parts = ("qkv.weight", "qkv.bias", "proj.weight", "fc1.weight", "fc1.bias", "fc2.weight")
    assert changed
    assert all(name.endswith(parts) for name in changed)
    for name in changed:
        assert torch.equal(vit.state_dict()[name].flatten().sort().values, before[name].flatten().sort().values)


def test_parameters_keep_their_identity_and_their_gradients(vit: Supernet) -> None:
    before = {name: parameter.data_ptr() for name, parameter in vit.named_parameters()}

    sort(vit, "taylor")

    assert {name: parameter.data_ptr() for name, parameter in vit.named_parameters()} == before
    assert all(parameter.grad is None and parameter.requires_grad for parameter in vit.parameters())


# The importance


@pytest.mark.parametrize("method", METHODS)
def test_units_stand_in_falling_importance(vit: Supernet, method: str) -> None:
    sort(vit, method)

    for name, score in scores_of(method, widest_encoder(vit)).items():
        assert (score.diff() <= 1e-6 * score.max()).all(), name


def test_sorting_again_moves_nothing(vit: Supernet) -> None:
    sort(vit, "magnitude")

    assert all(torch.equal(order, torch.arange(len(order))) for order in sort(vit, "magnitude").values())


def two_layers() -> Group:
    """Three units of two channels, made by two segments."""
    group = Group(nn.Linear(2, 12), nn.Linear(6, 1), channels=2, segments=2)
    with torch.no_grad():
        group.producer.weight.copy_(torch.arange(12.0)[:, None] * torch.tensor([1.0, -1.0]))
        group.producer.bias.copy_(torch.arange(12.0))
        group.consumer.weight.copy_(torch.tensor([[0.0, 100.0, -200.0, 300.0, 400.0, -500.0]]))
    return group


def test_magnitude_is_the_mean_of_absolute_sums() -> None:
    group = two_layers()

    # unit 0 is made by rows 0, 1 and 6, 7, each with weights of +row and -row, and read by columns 0 and 1
    assert magnitude({"a": group})["a"].tolist() == [(28 + 100) / 2, (44 + 500) / 2, (60 + 900) / 2]


def test_magnitude_does_not_see_signs() -> None:
    group = two_layers()
    before = magnitude({"a": group})["a"]

    with torch.no_grad():
        group.producer.weight.neg_()
        group.consumer.weight[:, :3] *= -1

    assert torch.equal(magnitude({"a": group})["a"], before)


def test_order_moves_whole_units_in_every_segment() -> None:
    group = two_layers()

    group.permute(torch.tensor([2, 0, 1]))

    assert group.producer.bias.tolist() == [4, 5, 0, 1, 2, 3, 10, 11, 6, 7, 8, 9]
    assert group.producer.weight[:, 0].tolist() == group.producer.bias.tolist()
    assert group.consumer.weight.tolist() == [[400, -500, 0, 100, -200, 300]]


class TwoLayers(nn.Module):
    """An MLP that is a network."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(2, 3, bias=False), nn.Linear(3, 1, bias=False)
        with torch.no_grad():
            self.fc1.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
            self.fc2.weight.copy_(torch.tensor([[5.0, -1.0, 2.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.fc1(x)))


def test_wanda_is_weight_times_the_norm_of_the_activation() -> None:
    network = TwoLayers()
    x = torch.tensor([[[3.0, 0.0], [4.0, 0.0]], [[0.0, 12.0], [0.0, -9.0]]])  # norms 5 and 15

    found = wanda(groups(network), network, [x[:1], x[1:]])[""]

    hidden = [5.0, 12.0, 13.0]  # unit 2: (3, 4, 12, 0)
    expected = [(5 + 5 * hidden[0]) / 2, (15 + 1 * hidden[1]) / 2, (20 + 2 * hidden[2]) / 2]
    assert found.tolist() == pytest.approx(expected)


def test_wanda_does_not_depend_on_the_batches() -> None:
    network, x = TwoLayers(), torch.randn(8, 5, 2)

    one = wanda(groups(network), network, [x])
    many = wanda(groups(network), network, x.split(3))

    torch.testing.assert_close(one, many)


def test_wanda_leaves_no_hooks() -> None:
    network = TwoLayers()

    with pytest.raises(RuntimeError):
        wanda(groups(network), network, [torch.randn(1, 5)])
    wanda(groups(network), network, [torch.randn(1, 2)])

    assert not network.fc1._forward_pre_hooks
    assert not network.fc2._forward_pre_hooks


def test_taylor_is_the_change_of_the_loss_without_a_unit() -> None:
    """Exact for a loss that is linear in what the units put out."""
    network, x = TwoLayers(), torch.randn(6, 2)
    found = taylor(groups(network), (network(part).sum() for part in x.split(3)))[""]

    for unit in range(3):
        without = copy.deepcopy(network)
        with torch.no_grad():
            without.fc2.weight[:, unit] = 0
            change = sum((network(part).sum() - without(part).sum()).abs().item() for part in x.split(3))
        assert found[unit].item() == pytest.approx(change, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_narrow_subnets_of_a_sorted_network_are_closer_to_the_whole(
    vit: Supernet, tiny_vit: ViTSpace, method: str
) -> None:
    """A third of the units and one head of each layer are made to matter; which ones is random."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for group in groups(widest_encoder(vit)).values():
            strong = torch.randperm(group.n_units, generator=generator)[: max(1, group.n_units // 3)]
            gain = torch.full((group.n_units,), 0.1).index_fill(0, strong, 3.0)
            group.consumer.weight.mul_(gain.repeat_interleave(group.channels))
    narrow = [
        layer if layer.index == 0 else replace(layer, heads=2, mlp_width=96) for layer in tiny_vit.largest().layers
    ]
    architecture, x = replace(tiny_vit.largest(), layers=tuple(narrow)), images()

    with torch.no_grad():
        whole = vit(x, tiny_vit.largest())
        unsorted = (vit(x, architecture) - whole).square().mean()
    sort(vit, method)
    with torch.no_grad():
        found = (vit(x, architecture) - whole).square().mean()

    assert found < 0.5 * unsorted


# Spaces that have nothing to sort


def test_staged_space_without_the_block_is_refused(tiny_staged: StagedSpace, tells: Tells) -> None:
    stages = tuple(stage.model_copy(update={"blocks": ("repvit", "rwkv")}) for stage in tiny_staged.stages)
    space = tiny_staged.model_copy(update={"stages": stages})

    with tells(SearchSpaceError, repr(space.name), "vit"):
        widest_encoder(Supernet(space))


def test_every_vit_block_of_a_staged_space_is_sorted(staged: Supernet, tiny_staged: StagedSpace) -> None:
    orders = sort(staged, "magnitude")

    depths = [stage.depths[-1] for stage in tiny_staged.stages]
    places = [f"stages.{number}.blocks.{index}" for number, depth in enumerate(depths) for index in range(depth)]
    assert set(orders) == {f"{place}.{part}" for place in places for part in ("attn", "mlp")}


# What went wrong in the public code of the paper (docs/supersam-mode.md)


def test_fewer_heads_are_whole_heads_with_query_key_and_value(vit: Supernet, tiny_vit: ViTSpace) -> None:
    """A subnet with two heads is the network whose other heads say nothing."""
    layers = tuple(layer if layer.index == 0 else replace(layer, heads=2) for layer in tiny_vit.largest().layers)
    architecture, x = replace(tiny_vit.largest(), layers=layers), images()
    silenced = vit.extract(tiny_vit.largest())
    with torch.no_grad():
        for block in silenced.blocks[1:]:
            block.attn.proj.weight[:, 2 * tiny_vit.head_dim :] = 0

        torch.testing.assert_close(vit(x, architecture), silenced(x), atol=1e-5, rtol=1e-5)


def test_a_step_of_a_narrow_subnet_moves_its_slice_of_the_shared_weights(vit: Supernet, tiny_vit: ViTSpace) -> None:
    optimizer = torch.optim.AdamW(vit.parameters(), lr=1e-2, weight_decay=0.0)
    before = copy.deepcopy(vit.state_dict())
    smallest = tiny_vit.smallest()

    for seed in (0, 1):
        optimizer.zero_grad()
        vit(images(smallest.resolution, seed), smallest).square().mean().backward()
        optimizer.step()

    moved = vit.store.blocks[3].mlp.fc1.weight != before["store.blocks.3.mlp.fc1.weight"]
    assert moved[:96].double().mean() > 0.9
    assert not moved[96:].any()
    assert optimizer.state[vit.store.blocks[3].mlp.fc1.weight]["step"] == 2  # the moments live on


def test_samples_follow_their_seed_and_nothing_else(tiny_vit: ViTSpace) -> None:
    def drawn(seed: int) -> list[str]:
        rng = random.Random(seed)
        return [tiny_vit.sample(rng).digest for _ in range(5)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert len(set(drawn(1))) == 5


@pytest.mark.parametrize(
    ("removed", "mlp_width", "params"),
    [(True, 768, 32_941_184), (True, 2304, 47_106_176), (False, 768, 50_717_184), (False, 2304, 76_686_336)],
)
def test_subnets_of_the_paper_are_in_the_shipped_space(removed: bool, mlp_width: int, params: int) -> None:
    """The sizes are those of the public code's configurations, counted by hand from its tensors."""
    space = load_space("supersam-vit-b")
    assert isinstance(space, ViTSpace)
    kept = [index for index in range(1, 12) if not (removed and index in (1, 2, 5, 6, 9))]
    layers = [Layer(index, 12, mlp_width, 0 if index in (2, 5, 8, 11) else 14) for index in kept]
    architecture = replace(space.largest(), layers=(space.largest().layers[0], *layers))

    assert space.contains(architecture)
    assert count(architecture).params == params
