"""BatchNorm statistics of a subnet: plain means over batches, and nothing else changes."""

import copy
import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from supersam.evaluate.recalibrate import batch_norm_statistics, recalibrate
from supersam.space import StagedSpace
from supersam.supernet.encoder import build_encoder
from supersam.supernet.supernet import Supernet

Randomise = Callable[..., nn.Module]


def encoder_of(space: StagedSpace, randomise: Randomise, block: str = "repvit") -> nn.Module:
    torch.manual_seed(0)
    choices = {name: allowed[0] for name, allowed in space.variables().items()}
    choices |= {f"stage{number}.block": block for number in (1, 2, 3, 4)}
    return randomise(build_encoder(space.decode(choices))).eval()


@pytest.fixture
def encoder(tiny_staged: StagedSpace, randomise: Randomise) -> nn.Module:
    return encoder_of(tiny_staged, randomise)


@pytest.fixture
def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 3, 64, 64, generator=generator) for size in (4, 4, 2)]


def test_statistics_of_the_first_norm_are_the_means_over_batches(encoder: nn.Module, batches: list[Tensor]) -> None:
    first = encoder.stages[0].entry.conv1
    with torch.no_grad():
        outputs = [first.c(batch) for batch in batches]
    mean = torch.stack([out.mean(dim=(0, 2, 3)) for out in outputs]).mean(dim=0)
    var = torch.stack([out.var(dim=(0, 2, 3), unbiased=True) for out in outputs]).mean(dim=0)

    found = recalibrate(encoder, batches)

    torch.testing.assert_close(found["stages.0.entry.conv1.bn.running_mean"], mean, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found["stages.0.entry.conv1.bn.running_var"], var, atol=1e-6, rtol=1e-5)


def test_only_statistics_change(encoder: nn.Module, batches: list[Tensor]) -> None:
    before = copy.deepcopy(encoder.state_dict())

    found = recalibrate(encoder, batches)

    after = encoder.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in after if name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert found.keys() == {name for name in after if name.endswith(("running_mean", "running_var"))}
    assert all(torch.equal(tensor, after[name]) for name, tensor in found.items())


def test_earlier_statistics_leave_no_trace(encoder: nn.Module, batches: list[Tensor], randomise: Randomise) -> None:
    other = copy.deepcopy(encoder)
    for module in other.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean += 100
            module.num_batches_tracked += 100

    found, same = recalibrate(encoder, batches), recalibrate(other, batches)

    assert all(torch.equal(tensor, same[name]) for name, tensor in found.items())


@pytest.mark.parametrize("training", [True, False])
def test_momentum_and_mode_are_left_as_they_were(encoder: nn.Module, batches: list[Tensor], training: bool) -> None:
    encoder.train(training)
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    for index, norm in enumerate(norms):
        norm.momentum = 0.1 + 0.001 * index

    recalibrate(encoder, batches)

    assert [norm.momentum for norm in norms] == [0.1 + 0.001 * index for index in range(len(norms))]
    assert all(module.training == training for module in encoder.modules())


def test_momentum_and_mode_are_left_as_they_were_when_a_batch_fails(encoder: nn.Module, batches: list[Tensor]) -> None:
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]

    with pytest.raises(RuntimeError):
        recalibrate(encoder, [batches[0], torch.zeros(1, 5, 64, 64)])

    assert all(norm.momentum == 0.1 for norm in norms)
    assert not any(module.training for module in encoder.modules())


def test_recalibrated_encoder_normalises_what_it_was_shown(encoder: nn.Module, batches: list[Tensor]) -> None:
    recalibrate(encoder, batches[:1])

    with torch.no_grad():
        out = encoder.stages[0].entry.conv1(batches[0])
    norm = encoder.stages[0].entry.conv1.bn
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), norm.bias.detach(), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(out.std(dim=(0, 2, 3)), norm.weight.detach().abs(), atol=1e-3, rtol=1e-3)


def test_nothing_runs_without_batch_norm() -> None:
    ran = []

    assert recalibrate(nn.Conv2d(3, 4, 1), (ran.append(1) for _ in range(3))) == {}  # type: ignore[misc]
    assert ran == []


def test_supernet_is_not_touched(tiny_staged: StagedSpace, randomise: Randomise, batches: list[Tensor]) -> None:
    supernet = randomise(Supernet(tiny_staged)).eval()
    architecture = tiny_staged.decode(
        tiny_staged.encode(tiny_staged.sample(random.Random(0))) | {"resolution": 64, "stage1.block": "repvit"}
    )
    before = copy.deepcopy(supernet.state_dict())
    extracted = supernet.extract(architecture)

    statistics = recalibrate(extracted, batches)

    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())
    with torch.no_grad():
        assert torch.equal(supernet(batches[0], architecture, statistics), extracted(batches[0]))


def test_statistics_are_copies(encoder: nn.Module) -> None:
    found = batch_norm_statistics(encoder)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}

    for tensor in found.values():
        tensor.zero_()

    assert len(found) > 10
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
