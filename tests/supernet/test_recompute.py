"""Activation checkpointing: the same gradients, and fewer bytes that wait for the backward pass."""

import random

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from supersam.supernet.supernet import Supernet


class Alive(TorchDispatchMode):
    """Counts the bytes of results that are still held by somebody."""

    def __init__(self):
        super().__init__()
        self._made = {}

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and not tensor.is_meta:
                storage = tensor.untyped_storage()
                self._made[StorageWeakRef(storage)] = storage.nbytes()
        return result

    def bytes(self):
        return sum(size for storage, size in self._made.items() if not storage.expired())


def gradients(supernet, architecture, x):
    """Return the output, the gradients by name and the bytes that the forward pass kept."""
    supernet.zero_grad(set_to_none=True)
    torch.manual_seed(7)  # of stochastic depth
    with Alive() as alive:
        output = supernet(x, architecture)
    kept = alive.bytes()
    output.square().mean().backward()
    found = {name: one.grad for name, one in supernet.named_parameters() if one.grad is not None}
    return output.detach(), found, kept


@pytest.fixture
def pair(tiny_space, randomise):
    """A supernet, and one of the same weights that recomputes."""
    supernets = []
    for recomputes in (False, True):
        torch.manual_seed(0)
        supernet = randomise(Supernet(tiny_space)).train()
        supernet.recomputes = recomputes
        supernets.append(supernet)
    return supernets


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_gradients_are_equal_and_less_is_kept(pair, rate):
    space = pair[0].space
    for supernet in pair:
        supernet.stochastic_depth = rate
    for architecture in (space.largest(), space.sample(random.Random(3))):
        x = torch.randn(3, 3, architecture.resolution, architecture.resolution)
        (output, expected, kept), (again, found, less) = (gradients(one, architecture, x) for one in pair)

        assert torch.equal(output, again)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, msg=name)
        assert less < (0.8 if rate else 0.6) * kept


def test_the_outputs_of_stages_are_recomputed_too(pair):
    architecture = pair[0].space.largest()
    x = torch.randn(1, 3, architecture.resolution, architecture.resolution)
    found = []
    for supernet in pair:
        _, stages = supernet.features(x, architecture)
        sum(stage.square().mean() for stage in stages).backward()
        found.append({name: one.grad for name, one in supernet.named_parameters() if one.grad is not None})

    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=name)


def test_in_evaluation_nothing_is_recomputed(pair):
    architecture = pair[0].space.largest()
    x = torch.randn(1, 3, architecture.resolution, architecture.resolution)

    plain, recomputing = (gradients(supernet.eval(), architecture, x) for supernet in pair)

    assert recomputing[2] == plain[2]
