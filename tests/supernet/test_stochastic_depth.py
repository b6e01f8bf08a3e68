"""Stochastic depth: who is left out, how often, and that the expectation stays."""

import pytest
import torch
from torch import nn

from supersam.supernet.encoder import blocks_of, build_encoder
from supersam.supernet.stochastic_depth import drop_blocks
from supersam.supernet.supernet import Supernet


class Encoder(nn.Module):
    """Blocks that each add a power of two, so that the sum says which ones ran."""

    def __init__(self, count):
        super().__init__()
        self.blocks = nn.Sequential(*(Adds(2.0**number) for number in range(count)))

    def forward(self, x):
        return self.blocks(x)


class Adds(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return x + self.value


def test_the_rate_rises_linearly_and_the_expectation_stays():
    torch.manual_seed(0)
    encoder = Encoder(5)
    drop_blocks(encoder, 0.8)
    images = 20_000
    shares, x = [], torch.zeros(images, 1)
    for block in encoder.blocks:
        y = block(x)
        shares.append((y == x).float().mean().item())
        assert y.mean().item() == pytest.approx(block.value, rel=0.05)

    assert shares == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8], abs=0.02)


def test_images_of_a_batch_are_dropped_apart():
    torch.manual_seed(0)
    encoder = Encoder(4)
    drop_blocks(encoder, 0.9)

    assert len(encoder(torch.zeros(64, 1)).unique()) > 2


def test_one_block_alone_is_never_left_out():
    encoder = Encoder(1)
    drop_blocks(encoder, 0.9)

    assert torch.equal(encoder(torch.zeros(64, 1)), torch.ones(64, 1))


def test_the_blocks_of_an_encoder_are_all_from_image_to_neck(tiny_staged, tiny_vit):
    staged, plain = tiny_staged.largest(), tiny_vit.largest()

    assert len(blocks_of(build_encoder(staged))) == sum(stage.depth for stage in staged.stages)
    assert len(blocks_of(build_encoder(plain))) == len(plain.layers)


@pytest.fixture
def supernet(tiny_space, randomise):
    torch.manual_seed(0)
    return randomise(Supernet(tiny_space))


@pytest.fixture
def x(tiny_space):
    side = tiny_space.largest().resolution
    return torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def run(supernet, x, rate, seed):
    """Run a copy of a supernet in training at a rate."""
    other = Supernet(supernet.space)
    other.load_state_dict(supernet.state_dict())
    other.stochastic_depth = rate
    torch.manual_seed(seed)
    return other.train()(x, supernet.space.largest())


def test_rate_zero_changes_nothing(supernet, x):
    with torch.no_grad():
        plain = supernet.train()(x, supernet.space.largest())

    assert torch.equal(run(supernet, x, 0.0, 0), plain)


def test_the_seed_decides_who_is_left_out(supernet, x):
    once, again, other = (run(supernet, x, 0.7, seed) for seed in (1, 1, 2))

    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert not torch.equal(once, run(supernet, x, 0.0, 1))


def test_in_evaluation_every_block_runs(supernet, x):
    plain = supernet.eval()(x, supernet.space.largest())
    supernet.stochastic_depth = 0.9

    assert torch.equal(supernet(x, supernet.space.largest()), plain)
