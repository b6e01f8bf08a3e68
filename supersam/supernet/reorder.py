"""Re-ordering of MLP units and attention heads by importance, so that the leading slice of a layer matters most.

A narrower subnet uses the leading units of every layer. In weights that were not trained as a supernet, such as an
official SAM, the leading units are arbitrary ones, so all are sorted first, as the MLP units are in SuperSAM
(https://arxiv.org/abs/2501.08504). One permutation goes to the rows that make a unit and to the columns that read it:
the whole network computes what it did, and every narrower subnet becomes another one. So it is done once, before
training.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from supersam.errors import SearchSpaceError
from supersam.space import AnyArchitecture, SearchSpace, ViTSpace
from supersam.supernet.encoder import build_encoder
from supersam.supernet.supernet import Supernet

ORDERED_BLOCK = "vit"  # the block type of staged spaces whose units are sorted
Scores = dict[str, Tensor]  # group -> importance of its units, (n_units,)


@dataclass(frozen=True)
class Group:
    """Units of one layer that may change places: the hidden units of an MLP, or the heads of an attention.

    ``producer`` makes the channels of a unit (rows), ``consumer`` reads them (columns). The rows are ``segments``
    equal parts that run in parallel: queries, keys and values of a fused projection.
    """

    producer: nn.Linear
    consumer: nn.Linear
    channels: int = 1  # of a unit
    segments: int = 1

    @property
    def n_units(self) -> int:
        return self.consumer.in_features // self.channels

    @torch.no_grad()
    def score(self, made_from: Tensor | float, read_as: Tensor | float) -> Tensor:
        """Return half the sum of the absolute weights that make and that read a unit, times their input channels.

        Shape:
            - made_from: (inputs of the producer,); read_as: (inputs of the consumer,); output: (n_units,)
        """
        made = (self.producer.weight.abs() * made_from).sum(dim=1, dtype=torch.float64)
        read = (self.consumer.weight.abs() * read_as).sum(dim=0, dtype=torch.float64)
        made = made.view(self.segments, self.n_units, self.channels).sum(dim=(0, 2))
        return (made + self.by_unit(read)) / 2

    def by_unit(self, columns: Tensor) -> Tensor:
        """Sum a value of every column of the consumer to one of every unit."""
        return columns.view(self.n_units, self.channels).sum(dim=1)

    @torch.no_grad()
    def permute(self, order: Tensor) -> None:
        """Put unit ``order[i]`` at place ``i``; the layer computes what it did."""
        columns = (order[:, None] * self.channels + torch.arange(self.channels, device=order.device)).flatten()
        width = self.consumer.in_features
        rows = torch.cat([columns + segment * width for segment in range(self.segments)])
        self.producer.weight.copy_(self.producer.weight[rows])
        if self.producer.bias is not None:
            self.producer.bias.copy_(self.producer.bias[rows])
        self.consumer.weight.copy_(self.consumer.weight[:, columns])


def widest_encoder(supernet: Supernet) -> nn.Module:
    """Return the widest encoder with layers to sort, in evaluation mode; its weights **are** the supernet's.

    Raises:
        SearchSpaceError: if no block of the space has units that can be sorted.
    """
    architecture = _widest(supernet.space)
    with torch.device("meta"):
        encoder = build_encoder(architecture)
    encoder.load_state_dict(supernet.active_tensors(architecture), strict=True, assign=True)
    return encoder.eval()


def _widest(space: SearchSpace) -> AnyArchitecture:
    if isinstance(space, ViTSpace):
        return space.largest()
    sorted_stages = [number for number, stage in enumerate(space.stages, start=1) if ORDERED_BLOCK in stage.blocks]
    if not sorted_stages:
        raise SearchSpaceError(f"space {space.name!r} has no {ORDERED_BLOCK} blocks: there is nothing to re-order")
    choices = {name: allowed[-1] for name, allowed in space.variables().items()}
    return space.decode(choices | {f"stage{number}.block": ORDERED_BLOCK for number in sorted_stages})


def groups(encoder: nn.Module) -> dict[str, Group]:
    """Return the MLPs and attentions of an encoder by name."""
    found = {}
    for name, module in encoder.named_modules():
        if isinstance(getattr(module, "fc1", None), nn.Linear):
            found[name] = Group(module.fc1, module.fc2)
        elif isinstance(getattr(module, "qkv", None), nn.Linear):
            found[name] = Group(module.qkv, module.proj, channels=module.head_dim, segments=3)
    return found


def magnitude(layers: dict[str, Group]) -> Scores:
    """Score a unit by its absolute weights: the mean of those that make it and those that read it, each summed."""
    return {name: group.score(1.0, 1.0) for name, group in layers.items()}


@torch.no_grad()
def wanda(layers: dict[str, Group], encoder: nn.Module, images: Iterable[Tensor]) -> Scores:
    """Score a unit by weight times activation, summed over its weights (Wanda, https://arxiv.org/abs/2306.11695).

    The activation of an input channel is its L2 norm over all tokens of all images. As in SuperSAM the score of a
    unit is the mean of what makes it and what reads it; heads are scored likewise, over query, key and value.

    Shape:
        - images: each (B, 3, R, R), normalised
    """
    norms = {name: (_InputNorm(group.producer), _InputNorm(group.consumer)) for name, group in layers.items()}
    try:
        for batch in images:
            encoder(batch)
    finally:
        for pair in norms.values():
            for norm in pair:
                norm.hook.remove()
    return {name: group.score(*(norm.value() for norm in norms[name])) for name, group in layers.items()}


class _InputNorm:
    """The L2 norm of every input channel of a layer, over all its calls."""

    def __init__(self, layer: nn.Linear) -> None:
        self.squares = torch.zeros(layer.in_features, dtype=torch.float64, device=layer.weight.device)
        self.hook = layer.register_forward_pre_hook(self._add)

    def _add(self, layer: nn.Module, inputs: tuple[Tensor]) -> None:
        self.squares += inputs[0].flatten(0, -2).square().sum(dim=0, dtype=torch.float64)

    def value(self) -> Tensor:
        return self.squares.sqrt()


def taylor(layers: dict[str, Group], losses: Iterable[Tensor]) -> Scores:
    """Score a unit by the first-order change of the loss without it (https://arxiv.org/abs/1906.10771).

    That is the sum of weight times gradient over the weights that read the unit; its absolute value is summed over
    the losses. The ``grad`` of the weights is left alone.

    Args:
        losses: scalars, each with the graph of its own pass through the encoder.
    """
    readers = [group.consumer.weight for group in layers.values()]
    scores: Scores = {}
    for loss in losses:
        gradients = torch.autograd.grad(loss, readers)
        for (name, group), weight, gradient in zip(layers.items(), readers, gradients, strict=True):
            change = group.by_unit((weight.detach() * gradient).sum(dim=0, dtype=torch.float64))
            scores[name] = scores.get(name, torch.zeros_like(change)) + change.abs()
    return scores


def reorder(layers: dict[str, Group], scores: Scores) -> dict[str, Tensor]:
    """Sort the units of every layer, the most important first, and return the order of each: old places, (n_units,)."""
    orders = {name: scores[name].argsort(descending=True, stable=True) for name in layers}
    for name, group in layers.items():
        group.permute(orders[name])
    return orders
