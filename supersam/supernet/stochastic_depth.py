"""Stochastic depth (https://arxiv.org/abs/1603.09382): in training, blocks are left out for some images of a batch."""

from collections.abc import Callable
from functools import partial

from timm.layers.drop import drop_path
from torch import Tensor, nn

from supersam.supernet.encoder import blocks_of


def drop_blocks(encoder: nn.Module, rate: float) -> None:
    """Leave blocks out with a probability that rises linearly from 0 to ``rate`` at the last one."""
    blocks = blocks_of(encoder)
    for number, block in enumerate(blocks[1:], start=1):
        block.forward = partial(_run, block.forward, rate * number / (len(blocks) - 1))


def _run(forward: Callable[[Tensor], Tensor], rate: float, x: Tensor) -> Tensor:
    # Every block is residual, so what it adds is what is left out.
    return x + drop_path(forward(x) - x, rate, training=True)
