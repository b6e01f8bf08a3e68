"""The weight-sharing supernet: the tensors of the largest encoder of every block type, and views of their parts.

The supernet has no forward code of its own. To run a subnet it hands the subnet's active tensors to the plain
encoder of that architecture (``torch.func.functional_call``), so what is trained is by construction what is
extracted. The architecture is an argument and no state is kept between calls (docs/decisions/0002).
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from supersam.blocks import BLOCKS, SEGMENTS
from supersam.errors import SearchSpaceError
from supersam.space import AnyArchitecture, Architecture, SearchSpace, Stage, StagedSpace, ViTSpace
from supersam.supernet.encoder import StagedEncoder, StageOutputs, build_encoder, build_sam_vit
from supersam.supernet.positions import has_positions, resize_positions
from supersam.supernet.recompute import recompute_blocks
from supersam.supernet.stochastic_depth import drop_blocks

_SKELETONS_KEPT = 128


def leading(full: Tensor, shape: torch.Size, segments: tuple[int, int] | None = None) -> Tensor:
    """Return the part of ``full`` that a narrower layer uses.

    Without segments it is the leading block; with ``segments = (dim, n)`` the tensor is ``n`` equal segments
    along ``dim`` and the leading block of each is taken, as for the fused query, key and value weights.
    """
    if full.shape == shape:
        return full
    if segments is None:
        return full[tuple(slice(size) for size in shape)].contiguous()
    dim, n = segments
    apart = full.unflatten(dim, (n, -1))
    wanted = [*shape[:dim], n, shape[dim] // n, *shape[dim + 1 :]]
    return apart[tuple(slice(size) for size in wanted)].flatten(dim, dim + 1)


def _part(name: str, full: Tensor, shape: torch.Size) -> Tensor:
    return resize_positions(full, shape) if has_positions(name) else leading(full, shape, _segments(name))


def _segments(name: str) -> tuple[int, int] | None:
    return next((rule for suffix, rule in SEGMENTS.items() if name.endswith(suffix)), None)


class Supernet(nn.Module):
    """All encoders of a search space in one set of weights.

    Shape:
        - Input: (B, 3, R, R), normalised as ``supersam.data.transforms`` does; R is the architecture's resolution
        - Output: (B, 256, R/16, R/16)
    """

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space
        self.store = _staged_store(space) if isinstance(space, StagedSpace) else _vit_store(space)
        self.stochastic_depth = 0.0  # of the last block, in training
        self.recomputes = False  # activation checkpointing, in training
        self._local = threading.local()  # functional_call swaps tensors in and out: one set of skeletons a thread

    def forward(
        self, x: Tensor, architecture: AnyArchitecture, statistics: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Run a subnet; ``statistics`` are its BatchNorm statistics, if they are known."""
        tensors = {**self.active_tensors(architecture), **(statistics or {})}
        embedding: Tensor = functional_call(self._skeleton(architecture), tensors, (x,))
        return embedding

    def features(
        self, x: Tensor, architecture: AnyArchitecture, statistics: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Run a subnet and return its embedding and the outputs of its four stages (see ``StageOutputs``)."""
        tensors = {**self.active_tensors(architecture), **(statistics or {})}
        encoder = StageOutputs(self._skeleton(architecture), architecture)
        named = {f"encoder.{name}": tensor for name, tensor in tensors.items()}
        outputs: tuple[Tensor, list[Tensor]] = functional_call(encoder, named, (x,))
        return outputs

    def active_tensors(self, architecture: AnyArchitecture) -> dict[str, Tensor]:
        """Return the parameters and buffers of a subnet, by their names in the plain encoder."""
        somewhere = replace(architecture, resolution=self.space.resolutions[0])  # weights fit any resolution
        if not self.space.contains(somewhere):
            raise SearchSpaceError(
                f"architecture {architecture.digest} ({architecture.describe()}) is not in space {self.space.name!r}"
            )
        owned = {**dict(self.store.named_parameters()), **dict(self.store.named_buffers())}
        wanted = self._shapes(architecture)
        return {name: _part(name, owned[_stored_name(name, architecture)], shape) for name, shape in wanted.items()}

    def parts_of(self, larger: "Supernet") -> dict[str, Tensor]:
        """Return what this supernet uses of the weights of one whose space contains its own, by its own names.

        Raises:
            SearchSpaceError: if something is missing there or smaller than here.
        """
        theirs, found = larger.state_dict(), {}
        for name, own in self.state_dict().items():
            full = theirs.get(name)
            if full is None or any(there < here for there, here in zip(full.shape, own.shape, strict=True)):
                raise SearchSpaceError(
                    f"the space {larger.space.name!r} does not contain {self.space.name!r}: {name} is "
                    f"{'missing' if full is None else tuple(full.shape)}, needed is {tuple(own.shape)}"
                )
            found[name] = _part(name, full, own.shape)
        return found

    def extract(self, architecture: AnyArchitecture) -> nn.Module:
        """Return the plain encoder of a subnet with a copy of its weights; it shares nothing with the supernet."""
        encoder = build_encoder(architecture)
        tensors = {name: tensor.detach().clone() for name, tensor in self.active_tensors(architecture).items()}
        encoder.load_state_dict(tensors, strict=True, assign=True)
        return encoder.train(self.training)

    def _skeleton(self, architecture: AnyArchitecture) -> nn.Module:
        kept: OrderedDict[tuple[object, ...], nn.Module] = self._local.__dict__.setdefault("kept", OrderedDict())
        key = (architecture.digest, self.training, self.recomputes, self.stochastic_depth)
        if key not in kept:
            kept[key] = self._build_skeleton(architecture)
        kept.move_to_end(key)
        if len(kept) > _SKELETONS_KEPT:
            kept.popitem(last=False)
        return kept[key]

    def _build_skeleton(self, architecture: AnyArchitecture) -> nn.Module:
        with torch.device("meta"):
            skeleton = build_encoder(architecture).train(self.training)
        if self.training:
            for module in skeleton.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = 0.0  # running statistics over many subnets would be those of none
            if self.recomputes:
                recompute_blocks(skeleton)
            if self.stochastic_depth:
                drop_blocks(skeleton, self.stochastic_depth)
        return skeleton

    def _shapes(self, architecture: AnyArchitecture) -> dict[str, torch.Size]:
        return {name: tensor.shape for name, tensor in self._skeleton(architecture).state_dict().items()}

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()


def _stored_name(name: str, architecture: AnyArchitecture) -> str:
    """Translate a name of the plain encoder into one of the store, where blocks are kept by type and layer."""
    parts = name.split(".")
    if isinstance(architecture, Architecture):
        if parts[0] == "stages" and parts[2] == "blocks":
            parts[2] = architecture.stages[int(parts[1])].block
    elif parts[0] == "blocks":
        parts[1] = str(architecture.layers[int(parts[1])].index)
    return ".".join(parts)


def _staged_store(space: StagedSpace) -> nn.Module:
    """Build the widest encoder and give every stage the widest blocks of each of its types."""
    choices = {name: allowed[-1] for name, allowed in space.variables().items()}
    store = StagedEncoder(space.decode(choices))
    for stage, allowed in zip(store.stages, space.stages, strict=True):
        del stage.blocks
        for block in allowed.blocks:
            widest = Stage(block, allowed.depths[-1], allowed.widths[-1], allowed.ratios[-1], allowed.window)
            blocks = (BLOCKS[block](widest, index, space.head_dim) for index in range(widest.depth))
            stage.add_module(block, nn.ModuleList(blocks))
    return store


def _vit_store(space: ViTSpace) -> nn.Module:
    return build_sam_vit(space.largest())
