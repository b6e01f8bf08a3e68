"""Activation checkpointing: the blocks of an encoder keep only their inputs and run again in the backward pass.

``functional_call`` takes the weights of a skeleton away again after the forward pass, so a block takes along those it
ran with. Paper: Training Deep Nets with Sublinear Memory Cost (https://arxiv.org/abs/1604.06174).
"""

from functools import partial

from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from supersam.supernet.encoder import blocks_of


class _Plain(nn.Module):
    """A block by the forward of its class, whatever its own has become."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = type(self.block).forward(self.block, x)
        return output


def recompute_blocks(encoder: nn.Module) -> None:
    """Make every block of an encoder run again in the backward pass instead of keeping what lies inside it."""
    for block in blocks_of(encoder):
        block.forward = partial(_run, _Plain(block))


def _run(plain: _Plain, x: Tensor) -> Tensor:
    present = {**dict(plain.named_parameters()), **dict(plain.named_buffers())}
    output: Tensor = checkpoint(functional_call, plain, present, (x,), use_reentrant=False)
    return output
