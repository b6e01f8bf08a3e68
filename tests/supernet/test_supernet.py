"""The supernet: what is active is extracted, what is inactive is left alone, and calls do not disturb each other."""

import copy
import pickle
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
import timm
import torch
from timm.layers import LayerNorm2d
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn

from supersam.errors import SearchSpaceError
from supersam.evaluate.recalibrate import batch_norm_statistics
from supersam.space import BLOCK_TYPES, AnyArchitecture, Architecture, SearchSpace, StagedSpace, ViTSpace, load_space
from supersam.supernet import supernet as supernet_module
from supersam.supernet.encoder import FusingNeck, build_encoder
from supersam.supernet.supernet import Supernet, leading

Tells = Callable[..., AbstractContextManager[None]]
Randomise = Callable[..., nn.Module]


def build(space: SearchSpace, randomise: Randomise) -> Supernet:
    torch.manual_seed(0)
    supernet = randomise(Supernet(space)).eval()
    assert isinstance(supernet, Supernet)
    return supernet


@pytest.fixture
def staged(tiny_staged: StagedSpace, randomise: Randomise) -> Supernet:
    return build(tiny_staged, randomise)


@pytest.fixture
def vit(tiny_vit: ViTSpace, randomise: Randomise) -> Supernet:
    return build(tiny_vit, randomise)


@pytest.fixture
def supernet(tiny_space: SearchSpace, randomise: Randomise) -> Supernet:
    return build(tiny_space, randomise)


def images(architecture: AnyArchitecture, batch: int = 2, seed: int = 0) -> Tensor:
    shape = (batch, 3, architecture.resolution, architecture.resolution)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def drawn(space: SearchSpace, seed: int) -> AnyArchitecture:
    """A random architecture; of four that follow each other every stage has every block type once."""
    choices = space.encode(space.sample(random.Random(seed)))
    blocks = list(BLOCK_TYPES)
    for number in range(4):
        if f"stage{number + 1}.block" in choices:
            choices[f"stage{number + 1}.block"] = blocks[(seed + number) % 4]
    return space.decode(choices)


# Active and extracted


@pytest.mark.parametrize("seed", range(24))
def test_active_computes_bit_for_bit_what_is_extracted(supernet: Supernet, seed: int) -> None:
    architecture = drawn(supernet.space, seed)
    x = images(architecture)

    with torch.no_grad():
        active, extracted = supernet(x, architecture), supernet.extract(architecture)(x)

    assert torch.equal(active, extracted)
    assert active.shape == (2, 256, architecture.resolution // 16, architecture.resolution // 16)
    assert active.isfinite().all()


def test_every_block_type_was_active_in_every_stage(tiny_staged: StagedSpace) -> None:
    found = {
        (number, stage.block) for seed in range(24) for number, stage in enumerate(drawn(tiny_staged, seed).stages)
    }

    assert len(found) == 4 * len(BLOCK_TYPES)


@pytest.mark.parametrize("seed", range(4))
def test_active_computes_what_is_extracted_while_training(supernet: Supernet, seed: int) -> None:
    architecture = drawn(supernet.space, seed)
    extracted = supernet.train().extract(architecture)

    assert extracted.training
    torch.testing.assert_close(
        supernet(images(architecture), architecture), extracted(images(architecture)), atol=1e-5, rtol=1e-5
    )


def test_architectures_compute_different_things(supernet: Supernet) -> None:
    architectures = [a for a in (drawn(supernet.space, seed) for seed in range(12)) if a.resolution == 64]
    found = [supernet(images(architecture), architecture) for architecture in architectures]

    assert len(architectures) >= 3
    for index, one in enumerate(found):
        assert not any(torch.allclose(one, other, atol=1e-3) for other in found[:index])


def test_extracted_encoder_shares_nothing_with_the_supernet(supernet: Supernet) -> None:
    largest = supernet.space.largest()
    before = copy.deepcopy(supernet.state_dict())
    extracted = supernet.extract(largest)

    with torch.no_grad():
        for tensor in extracted.state_dict().values():
            tensor.add_(1)

    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())


def test_extracted_encoder_is_a_plain_encoder(supernet: Supernet) -> None:
    architecture = drawn(supernet.space, 3)
    plain = build_encoder(architecture)

    extracted = supernet.extract(architecture)

    assert type(extracted) is type(plain)
    assert not extracted.training
    plain.load_state_dict(extracted.state_dict(), strict=True)
    assert all(tensor.is_contiguous() and tensor.is_leaf for tensor in extracted.state_dict().values())


def test_largest_staged_encoder_uses_every_stored_weight_of_its_blocks(staged: Supernet) -> None:
    used = {tensor.data_ptr() for tensor in staged.active_tensors(staged.space.largest()).values()}
    blocks = {stage.block for stage in staged.space.largest().stages}
    stored = [
        tensor.data_ptr()
        for name, tensor in staged.store.state_dict().items()
        if not any(f".{block}." in name for block in set(BLOCK_TYPES) - blocks) and tensor.numel()
    ]

    assert len(blocks) == 1
    assert used == set(stored)


@pytest.mark.parametrize("kind", ["staged", "vit"])
def test_export_of_an_extracted_encoder_computes_the_same(request: pytest.FixtureRequest, kind: str) -> None:
    supernet: Supernet = request.getfixturevalue(kind)
    architecture = drawn(supernet.space, 1)
    x = images(architecture, batch=1)
    extracted = supernet.extract(architecture)

    exported = torch.export.export(extracted, (x,)).module()

    with torch.no_grad():
        torch.testing.assert_close(exported(x), extracted(x), atol=1e-5, rtol=1e-5)


# BatchNorm statistics


@pytest.mark.parametrize("block", ["repvit", "efficientvit"])
def test_statistics_given_are_those_used(staged: Supernet, block: str) -> None:
    choices = staged.space.encode(staged.space.smallest()) | {f"stage{n}.block": block for n in (1, 2, 3, 4)}
    architecture = staged.space.decode(choices)
    x = images(architecture)
    extracted = staged.extract(architecture)
    own = batch_norm_statistics(extracted)
    measured = {name: tensor + 0.5 for name, tensor in own.items()}

    with torch.no_grad():
        found = staged(x, architecture, measured)
        extracted.load_state_dict(measured, strict=False)

        assert len(own) > 8
        assert torch.equal(found, extracted(x))
        assert not torch.equal(found, staged(x, architecture))
        assert torch.equal(staged(x, architecture, own), staged(x, architecture))


def test_running_a_subnet_in_evaluation_changes_nothing(supernet: Supernet) -> None:
    before = copy.deepcopy(supernet.state_dict())

    with torch.no_grad():
        for seed in range(4):
            architecture = drawn(supernet.space, seed)
            supernet(images(architecture), architecture)

    after = supernet.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


# Gradients


def active_part(name: str, full: Tensor, shape: torch.Size) -> Tensor:
    """Which elements of a stored tensor a subnet with a tensor of ``shape`` uses, by hand: True where it does."""
    axes = [torch.arange(size) < wanted for size, wanted in zip(full.shape, shape, strict=True)]
    segmented = {"attn.qkv.weight": (0, 3), "attn.qkv.bias": (0, 3), "context_module.main.proj.conv.weight": (1, 2)}
    for suffix, (dim, n) in segmented.items():
        if name.endswith(suffix):
            axes[dim] = torch.arange(full.shape[dim]) % (full.shape[dim] // n) < shape[dim] // n
    mask = torch.ones(full.shape, dtype=torch.bool)
    for dim, axis in enumerate(axes):
        mask &= axis.view([-1 if other == dim else 1 for other in range(full.dim())])
    return mask


def stored_shapes(architecture: AnyArchitecture) -> dict[str, torch.Size]:
    """The shape that a subnet uses of every stored tensor, by the name in the store."""
    with torch.device("meta"):
        plain = build_encoder(architecture).state_dict()
    found = {}
    for name, tensor in plain.items():
        words = name.split(".")
        if isinstance(architecture, Architecture) and words[0] == "stages" and words[2] == "blocks":
            words[2] = architecture.stages[int(words[1])].block
        elif not isinstance(architecture, Architecture) and words[0] == "blocks":
            words[1] = str(architecture.layers[int(words[1])].index)
        found[".".join(words)] = tensor.shape
    return found


@pytest.mark.parametrize("seed", range(8))
def test_gradient_reaches_what_is_active_and_nothing_else(supernet: Supernet, seed: int) -> None:
    choices = supernet.space.encode(drawn(supernet.space, seed))
    architecture = supernet.space.decode(choices | {"resolution": 128})  # large enough for every tap of a 5x5 kernel
    shapes = stored_shapes(architecture)
    with torch.no_grad():
        for name, parameter in supernet.named_parameters():
            if name.endswith("se.fc1.bias"):
                parameter += 5.0  # no squeezed channel is off

    # In evaluation: a norm over the batch takes the gradient from every bias before it.
    supernet(images(architecture), architecture).square().sum().backward()

    used = 0
    for name, parameter in supernet.store.named_parameters():
        if name not in shapes:
            assert parameter.grad is None, name
            continue
        active = active_part(name, parameter, shapes[name])
        used += int(active.sum())
        assert (parameter.grad[~active] == 0).all(), name
        assert (parameter.grad[active] != 0).double().mean() > 0.5, name  # some units of a ReLU are off
    assert used == sum(parameter.numel() for parameter in build_encoder(architecture).parameters())


# Calls at once


@pytest.mark.parametrize("same", [False, True], ids=["two architectures", "one architecture"])
@pytest.mark.parametrize("kind", ["staged", "vit"])
def test_forward_that_starts_and_ends_within_another_changes_nothing(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str, same: bool
) -> None:
    """Two threads meet in the middle of a forward; the one that entered first leaves first, then the other goes on."""
    supernet: Supernet = request.getfixturevalue(kind)
    architectures = [supernet.space.smallest(), supernet.space.smallest() if same else supernet.space.largest()]
    inputs = [images(architecture, seed=seed) for seed, architecture in enumerate(architectures)]
    alone = [supernet(x, architecture).detach() for x, architecture in zip(inputs, architectures, strict=True)]
    entered = [threading.Event(), threading.Event()]
    released = [threading.Event(), threading.Event()]
    here = threading.local()
    norm = LayerNorm2d.forward  # the neck of both kinds of encoder has two

    def pause(self: LayerNorm2d, x: Tensor) -> Tensor:
        entered[here.number].set()
        assert released[here.number].wait(timeout=60)
        return norm(self, x)

    def call(number: int) -> Tensor:
        here.number = number
        output: Tensor = supernet(inputs[number], architectures[number])
        return output.detach()

    monkeypatch.setattr(LayerNorm2d, "forward", pause)
    with ThreadPoolExecutor(2) as pool:
        futures = []
        for number in (0, 1):
            futures.append(pool.submit(call, number))
            assert entered[number].wait(timeout=60)
        together = []
        for number in (0, 1):
            released[number].set()
            together.append(futures[number].result(timeout=60))

    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))


def test_supernet_keeps_a_bounded_number_of_skeletons(staged: Supernet, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    original = build_encoder

    def counting(architecture: AnyArchitecture) -> nn.Module:
        built.append(architecture.digest)
        return original(architecture)

    monkeypatch.setattr(supernet_module, "build_encoder", counting)
    monkeypatch.setattr(supernet_module, "_SKELETONS_KEPT", 2)
    a, b, c = (drawn(staged.space, seed) for seed in range(3))

    for architecture in (a, b, a, b, c, b, a):  # c drops a, the one not used for longest
        staged(images(architecture, batch=1), architecture)

    assert built == [a.digest, b.digest, c.digest, a.digest]


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda supernet: pickle.loads(pickle.dumps(supernet))])
def test_copy_of_a_supernet_computes_the_same(supernet: Supernet, clone: Callable[[Any], Any]) -> None:
    architecture = drawn(supernet.space, 0)
    x = images(architecture)
    expected = supernet(x, architecture)

    assert torch.equal(clone(supernet)(x, architecture), expected)


def test_state_of_a_supernet_is_its_store(supernet: Supernet) -> None:
    before = list(supernet.state_dict())
    architecture = supernet.space.largest()
    supernet(images(architecture), architecture)

    assert list(supernet.state_dict()) == before == [f"store.{name}" for name in supernet.store.state_dict()]


def test_architecture_outside_the_space_is_refused(staged: Supernet, vit: Supernet, tells: Tells) -> None:
    starter = load_space("starter").smallest()
    for supernet, stranger in ((staged, starter), (staged, vit.space.smallest()), (vit, staged.space.largest())):
        for call in (supernet.extract, supernet.active_tensors, lambda a, s=supernet: s(images(a), a)):
            with tells(SearchSpaceError, stranger.digest, stranger.describe(), repr(supernet.space.name)):
                call(stranger)


# Parts of tensors


def test_leading_part_is_the_leading_block() -> None:
    full = torch.tensor([[0, 1, 2], [10, 11, 12], [20, 21, 22]])

    assert leading(full, torch.Size([2, 1])).tolist() == [[0], [10]]
    assert leading(full, torch.Size([1, 3])).tolist() == [[0, 1, 2]]
    assert leading(full, full.shape) is full


def test_leading_part_of_segments_is_the_leading_block_of_each() -> None:
    rows = torch.arange(6)  # queries 0 1, keys 2 3, values 4 5
    full = 10 * rows[:, None] + torch.arange(4)

    assert leading(rows, torch.Size([3]), (0, 3)).tolist() == [0, 2, 4]
    assert leading(full, torch.Size([3, 2]), (0, 3)).tolist() == [[0, 1], [20, 21], [40, 41]]
    assert leading(full, torch.Size([2, 2]), (1, 2)).tolist() == [[0, 2], [10, 12]]
    assert leading(full, torch.Size([6, 2]), (0, 3)).tolist() == full[:, :2].tolist()


@pytest.mark.parametrize("segments", [None, (0, 3)])
def test_leading_part_carries_gradient_to_its_source(segments: tuple[int, int] | None) -> None:
    full = torch.zeros(6, 4, requires_grad=True)

    leading(full, torch.Size([3, 2]), segments).sum().backward()

    rows = [0, 1, 2] if segments is None else [0, 2, 4]
    assert full.grad is not None
    assert full.grad.nonzero().tolist() == [[row, column] for row in rows for column in (0, 1)]


# Encoders


def test_neck_adds_its_inputs_at_stride_16() -> None:
    neck = FusingNeck((8, 12, 16)).eval()
    x2, x3, x4 = (torch.randn(1, c, side, side) for c, side in ((8, 16), (12, 8), (16, 4)))

    whole = neck(x2, x3, x4)
    coarse = neck.lateral4(x4).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = neck.mix(neck.lateral2(x2) + neck.lateral3(x3) + coarse)

    assert whole.shape == (1, 256, 8, 8)
    torch.testing.assert_close(whole, expected)


def timm_sam(space: ViTSpace) -> VisionTransformerSAM:
    """timm's own network of the size of a space, with random weights."""
    return VisionTransformerSAM(
        img_size=space.resolutions[-1],
        patch_size=16,
        num_classes=0,
        embed_dim=space.width,
        depth=space.depth,
        num_heads=space.width // space.head_dim,
        mlp_ratio=space.mlp_widths[-1] / space.width,
        use_rel_pos=True,
        window_size=space.window,
        global_attn_indexes=space.global_layers,
        global_pool="",
    ).eval()


def test_weights_of_timms_sam_load_and_compute_the_same(
    vit: Supernet, tiny_vit: ViTSpace, randomise: Randomise
) -> None:
    original = randomise(timm_sam(tiny_vit), seed=1)
    architecture = tiny_vit.decode(tiny_vit.encode(tiny_vit.largest()) | {"resolution": 128})
    x = images(architecture)

    vit.store.load_state_dict(original.state_dict(), strict=True)

    with torch.no_grad():
        torch.testing.assert_close(vit(x, architecture), original(x), atol=1e-5, rtol=1e-5)


def test_store_of_the_shipped_vit_space_has_the_tensors_of_timms_sam() -> None:
    with torch.device("meta"):
        original = timm.create_model("samvit_base_patch16", num_classes=0).state_dict()
        store = Supernet(load_space("supersam-vit-b")).store.state_dict()

    assert {name: tensor.shape for name, tensor in store.items()} == {
        name: tensor.shape for name, tensor in original.items()
    }


def test_removed_layers_are_skipped(vit: Supernet, tiny_vit: ViTSpace) -> None:
    choices = tiny_vit.encode(tiny_vit.largest())
    architecture = tiny_vit.decode(choices | {"layer1.mlp": 0, "layer2.mlp": 0})
    x = images(architecture)
    whole = vit.extract(tiny_vit.largest())
    whole.blocks = nn.Sequential(whole.blocks[0], whole.blocks[3])

    assert torch.equal(vit(x, architecture), whole(x))
