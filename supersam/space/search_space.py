"""Search spaces: the architectures that may be chosen, read from YAML.

Both kinds of space speak of the same thing to the search: named variables with a few choices each
(``variables``), a way from choices to an architecture (``decode``) and back (``encode``).
"""

import hashlib
import math
import random
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator, model_validator

from supersam._paths import data_dir
from supersam._yaml import load_model
from supersam.errors import MissingError, SearchSpaceError, UsageError, suggest
from supersam.space.architecture import AnyArchitecture, Architecture, Layer, Stage, ViTArchitecture
from supersam.space.block_types import BLOCK_TYPES
from supersam.space.parts import STRIDES, block_part, count

Choices = dict[str, Any]
Positive = Annotated[int, Field(gt=0)]


class _Space(BaseModel):
    """What both kinds of space share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str
    resolutions: tuple[Positive, ...] = Field(min_length=1)
    head_dim: Positive

    @field_validator("*", mode="after")
    @classmethod
    def _choices_rise(cls, value: Any) -> Any:
        _check_rising(value)
        return value

    def variables(self) -> dict[str, tuple[Any, ...]]:
        raise NotImplementedError

    def decode(self, choices: Mapping[str, Any]) -> AnyArchitecture:
        raise NotImplementedError

    def encode(self, architecture: AnyArchitecture) -> Choices:
        raise NotImplementedError

    def smallest(self) -> AnyArchitecture:
        raise NotImplementedError

    def largest(self) -> AnyArchitecture:
        raise NotImplementedError

    @property
    def size(self) -> int:
        """The number of architectures."""
        return math.prod(len(choices) for choices in self.variables().values())

    def sample(self, rng: random.Random) -> AnyArchitecture:
        """Return an architecture with every choice drawn alike."""
        return self.decode({name: rng.choice(choices) for name, choices in self.variables().items()})

    def contains(self, architecture: AnyArchitecture) -> bool:
        """Return whether every choice of the architecture is one of this space."""
        try:
            self.encode(architecture)
        except SearchSpaceError:
            return False
        return True

    def contains_space(self, other: "SearchSpace") -> bool:
        """Return whether every architecture of ``other`` is one of this space."""
        mine, theirs = self.variables(), other.variables()
        return (
            mine.keys() == theirs.keys()
            and all(set(theirs[name]) <= set(mine[name]) for name in mine)
            and all(self.contains(extreme) for extreme in (other.smallest(), other.largest()))
        )

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that decides which architectures there are; the name and the text do not."""
        content = self.model_dump_json(exclude={"name", "description"})
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def _check_choices(self, choices: Mapping[str, Any]) -> None:
        for name, allowed in self.variables().items():
            if choices[name] not in allowed:
                known = ", ".join(map(str, allowed))
                raise SearchSpaceError(f"{name} = {choices[name]} is not in the space {self.name!r} (there: {known})")


def _check_rising(value: Any) -> None:
    numbers = isinstance(value, tuple) and all(isinstance(item, int) for item in value)
    if numbers and any(left >= right for left, right in pairwise(value)):
        raise ValueError(f"choices must rise and differ, got {list(value)}")


class StageChoices(BaseModel):
    """What one stage may be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    blocks: tuple[str, ...] = Field(min_length=1)
    depths: tuple[Positive, ...] = Field(min_length=1)
    widths: tuple[Positive, ...] = Field(min_length=1)
    ratios: tuple[Positive, ...] = Field(min_length=1)
    window: int = Field(ge=0)

    @field_validator("depths", "widths", "ratios")
    @classmethod
    def _choices_rise(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        _check_rising(value)
        return value

    @field_validator("blocks")
    @classmethod
    def _blocks_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for block in value:
            if block not in BLOCK_TYPES:
                known = ", ".join(BLOCK_TYPES)
                raise ValueError(f"unknown block type {block!r} (there: {known}).{suggest(block, list(BLOCK_TYPES))}")
        if len(set(value)) < len(value):
            raise ValueError(f"a block type is listed twice: {list(value)}")
        return value


class StagedSpace(_Space):
    """Encoders of four stages at strides 4, 8, 16 and 32, each with its own block type, depth, width and ratio."""

    encoder: Literal["staged"]
    stages: tuple[StageChoices, StageChoices, StageChoices, StageChoices]

    @model_validator(mode="after")
    def _shapes_fit(self) -> "StagedSpace":
        for number, stage in enumerate(self.stages, start=1):
            for width in stage.widths:
                if width % self.head_dim:
                    raise ValueError(f"stage {number}: width {width} is not a multiple of head_dim {self.head_dim}")
                if width % 4:
                    raise ValueError(f"stage {number}: width {width} is not a multiple of 4")
            for resolution in self.resolutions:
                side, rest = divmod(resolution, STRIDES[number - 1])
                if rest:
                    stride = STRIDES[number - 1]
                    raise ValueError(f"stage {number}: {resolution}px is not a multiple of {stride}")
                if stage.window and side % min(stage.window, side):
                    raise ValueError(f"stage {number}: {resolution}px does not divide into windows of {stage.window}")
        return self

    def variables(self) -> dict[str, tuple[Any, ...]]:
        """Return every variable with its choices, such as ``stage3.block``."""
        named: dict[str, tuple[Any, ...]] = {"resolution": self.resolutions}
        for number, stage in enumerate(self.stages, start=1):
            named |= {
                f"stage{number}.block": stage.blocks,
                f"stage{number}.depth": stage.depths,
                f"stage{number}.width": stage.widths,
                f"stage{number}.ratio": stage.ratios,
            }
        return named

    def decode(self, choices: Mapping[str, Any]) -> Architecture:
        """Build the architecture of these choices.

        Raises:
            SearchSpaceError: if a choice is not one of the space.
        """
        self._check_choices(choices)
        stages = tuple(
            Stage(
                window=stage.window, **{k: choices[f"stage{number}.{k}"] for k in ("block", "depth", "width", "ratio")}
            )
            for number, stage in enumerate(self.stages, start=1)
        )
        return Architecture(resolution=choices["resolution"], head_dim=self.head_dim, stages=stages)

    def encode(self, architecture: AnyArchitecture) -> Choices:
        """Return the choices that give this architecture.

        Raises:
            SearchSpaceError: if it is not one of the space.
        """
        if not isinstance(architecture, Architecture) or architecture.head_dim != self.head_dim:
            raise SearchSpaceError(f"architecture {architecture.digest} is not of the space {self.name!r}")
        if len(architecture.stages) != len(self.stages):
            raise SearchSpaceError(f"architecture {architecture.digest} is not of the space {self.name!r}")
        choices: Choices = {"resolution": architecture.resolution}
        for number, (stage, allowed) in enumerate(zip(architecture.stages, self.stages, strict=True), start=1):
            if stage.window != allowed.window:
                raise SearchSpaceError(f"stage{number}.window = {stage.window} is not in the space {self.name!r}")
            for key in ("block", "depth", "width", "ratio"):
                choices[f"stage{number}.{key}"] = getattr(stage, key)
        self._check_choices(choices)
        return choices

    def smallest(self) -> Architecture:
        """The architecture with the fewest MACs."""
        return self._extreme(0, min)

    def largest(self) -> Architecture:
        """The architecture with the most MACs."""
        return self._extreme(-1, max)

    def _extreme(self, end: int, better: Any) -> Architecture:
        # Stages add up, so the extreme of the whole is made of the extreme of each stage.
        choices: Choices = {"resolution": self.resolutions[end]}
        for number, stage in enumerate(self.stages, start=1):
            side = choices["resolution"] // STRIDES[number - 1]

            def macs(block: str, stage: StageChoices = stage, side: int = side) -> float:
                depth, width, ratio = stage.depths[end], stage.widths[end], stage.ratios[end]
                made = Stage(block, depth, width, ratio, stage.window)
                return sum(block_part(made, index, side, self.head_dim).ops.gmacs for index in range(depth))

            choices |= {
                f"stage{number}.block": better(stage.blocks, key=macs),
                f"stage{number}.depth": stage.depths[end],
                f"stage{number}.width": stage.widths[end],
                f"stage{number}.ratio": stage.ratios[end],
            }
        return self.decode(choices)


class ViTSpace(_Space):
    """SAM's plain ViT with elastic depth and, in every layer but the first, heads and MLP width (arXiv 2501.08504)."""

    encoder: Literal["sam_vit"]
    width: Positive
    depth: Positive
    window: Positive
    global_layers: tuple[int, ...]
    removable_layers: tuple[int, ...]
    heads: tuple[Positive, ...] = Field(min_length=1)
    mlp_widths: tuple[Positive, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _layers_exist(self) -> "ViTSpace":
        for layer in (*self.global_layers, *self.removable_layers):
            if not 0 <= layer < self.depth:
                raise ValueError(f"layer {layer} does not exist (0 to {self.depth - 1})")
        for resolution in self.resolutions:
            if resolution % 16:
                raise ValueError(f"{resolution}px is not a multiple of the patch of 16")
        if 0 in self.removable_layers:
            raise ValueError("layer 0 is fixed and cannot be removable")
        if self.heads[-1] * self.head_dim != self.width:
            raise ValueError(f"{self.heads[-1]} heads of {self.head_dim} do not make width {self.width}")
        return self

    def variables(self) -> dict[str, tuple[Any, ...]]:
        """Return every variable with its choices; a removed layer is the choice ``mlp = 0``.

        Removal is a value of the MLP width, not a switch of its own, so that no two sets of choices of the
        MLP width give the same architecture (heads of a removed layer are canonicalised by ``decode``).
        """
        named: dict[str, tuple[Any, ...]] = {"resolution": self.resolutions}
        for layer in range(1, self.depth):
            removed = (0,) if layer in self.removable_layers else ()
            named[f"layer{layer}.mlp"] = (*removed, *self.mlp_widths)
            named[f"layer{layer}.heads"] = self.heads
        return named

    @property
    def size(self) -> int:
        """The number of different architectures: a removed layer has no heads to choose."""
        kept = len(self.heads) * len(self.mlp_widths)
        removable = len(set(self.removable_layers))
        return len(self.resolutions) * (kept + 1) ** removable * kept ** (self.depth - 1 - removable)

    def decode(self, choices: Mapping[str, Any]) -> ViTArchitecture:
        """Build the architecture of these choices."""
        self._check_choices(choices)
        layers = [self._layer(0, self.heads[-1], self.mlp_widths[-1])]
        for index in range(1, self.depth):
            mlp_width = choices[f"layer{index}.mlp"]
            if mlp_width:
                layers.append(self._layer(index, choices[f"layer{index}.heads"], mlp_width))
        return ViTArchitecture(choices["resolution"], self.width, self.head_dim, tuple(layers))

    def _layer(self, index: int, heads: int, mlp_width: int) -> Layer:
        return Layer(index, heads, mlp_width, 0 if index in self.global_layers else self.window)

    def encode(self, architecture: AnyArchitecture) -> Choices:
        """Return the choices that give this architecture."""
        if not isinstance(architecture, ViTArchitecture):
            raise SearchSpaceError(f"architecture {architecture.digest} is not of the space {self.name!r}")
        choices: Choices = {"resolution": architecture.resolution}
        kept = {layer.index: layer for layer in architecture.layers}
        for index in range(1, self.depth):
            layer = kept.get(index)
            choices[f"layer{index}.mlp"] = layer.mlp_width if layer else 0
            choices[f"layer{index}.heads"] = layer.heads if layer else self.heads[-1]
        if self.decode(choices) != architecture:
            raise SearchSpaceError(f"architecture {architecture.digest} is not of the space {self.name!r}")
        return choices

    def smallest(self) -> ViTArchitecture:
        """The architecture with the fewest MACs: every removable layer left out, the rest at its narrowest."""
        return self.decode({name: choices[0] for name, choices in self.variables().items()})

    def largest(self) -> ViTArchitecture:
        """The whole network."""
        return self.decode({name: choices[-1] for name, choices in self.variables().items()})


SearchSpace = StagedSpace | ViTSpace


class _AnySpace(RootModel[Annotated[SearchSpace, Field(discriminator="encoder")]]):
    """A space file: ``encoder`` says which kind it is."""


def shipped_spaces() -> list[str]:
    """Return the names of the shipped spaces."""
    return sorted(path.stem for path in data_dir("search_spaces").glob("*.yaml"))


def load_space(name_or_path: str) -> SearchSpace:
    """Load a shipped space by name, or one of your own by the path of its YAML file.

    Raises:
        UsageError: if there is no such space.
        SearchSpaceError: if the file does not describe one.
    """
    if name_or_path in shipped_spaces():
        return load_model(data_dir("search_spaces") / f"{name_or_path}.yaml", _AnySpace, SearchSpaceError).root
    if name_or_path.endswith((".yaml", ".yml")):
        if not Path(name_or_path).is_file():
            raise MissingError(f"there is no search space file {name_or_path}; shipped spaces: supersam spaces")
        return load_model(Path(name_or_path), _AnySpace, SearchSpaceError).root
    known = shipped_spaces()
    raise UsageError(
        f"unknown search space {name_or_path!r} (there: {', '.join(known)}, or a path to a .yaml file)."
        + suggest(name_or_path, known)
    )


def summary(space: SearchSpace) -> dict[str, Any]:
    """Return the size of a space and the MACs and parameters of its smallest and largest architecture."""

    def figures(architecture: AnyArchitecture) -> dict[str, Any]:
        ops = count(architecture)
        return {"digest": architecture.digest, "gmacs": round(ops.gmacs, 4), "params_m": round(ops.params / 1e6, 4)}

    return {
        "name": space.name,
        "description": space.description,
        "n_architectures": space.size,
        "smallest": figures(space.smallest()),
        "largest": figures(space.largest()),
    }
