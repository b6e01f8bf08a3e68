"""Architectures: one point of a search space, all dimensions decided.

An architecture is frozen, hashable and self-contained (it can be built without the space it came from).
Its digest, a short hash of its canonical JSON, is its id in studies, files, URLs and checkpoints.
"""

import hashlib
import json
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

from supersam.errors import SearchSpaceError
from supersam.space.block_types import BLOCK_TYPES

DIGEST_LENGTH = 10


class _Canonical:
    """What both kinds of architecture share: canonical JSON and a digest."""

    encoder: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, stages and layers as dictionaries too."""
        return {"encoder": self.encoder, **{f.name: _plain(getattr(self, f.name)) for f in fields(self)}}  # type: ignore[arg-type]

    def to_json(self) -> str:
        """Return the canonical JSON: sorted keys, no spaces, the same text for the same architecture."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @cached_property
    def digest(self) -> str:
        """Ten hexadecimal characters of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:DIGEST_LENGTH]


def _plain(value: Any) -> Any:
    """Do what ``dataclasses.asdict`` does, much faster: a run may have 100,000 candidates, each with a digest."""
    return tuple(dict(vars(one)) for one in value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Stage:
    """One stage of a staged encoder: ``depth`` blocks of one type and one width."""

    block: str  # a name of BLOCK_TYPES
    depth: int
    width: int  # channels
    ratio: int  # hidden channels of the channel mixer per channel (mlp_ratio, expand_ratio)
    window: int  # side of the attention windows of vit blocks, in tokens; 0 is global attention


@dataclass(frozen=True)
class Architecture(_Canonical):
    """An encoder of four stages at strides 4, 8, 16 and 32 with a fusing neck."""

    encoder: ClassVar[str] = "staged"

    resolution: int  # side of the square input, in pixels
    head_dim: int  # channels of an attention head
    stages: tuple[Stage, ...]

    def describe(self) -> str:
        """Return a line for people, such as ``256px vit·2×32 repvit·1×64 ...``."""
        stages = " ".join(f"{s.block}·{s.depth}×{s.width}r{s.ratio}" for s in self.stages)
        return f"{self.resolution}px {stages}"


@dataclass(frozen=True)
class Layer:
    """One kept layer of a plain SAM ViT."""

    index: int  # place in the full network, so that its weights can be found
    heads: int
    mlp_width: int
    window: int  # side of the attention windows, in tokens; 0 is global attention


@dataclass(frozen=True)
class ViTArchitecture(_Canonical):
    """SAM's plain ViT with some layers removed and some heads and MLP units left out (arXiv 2501.08504)."""

    encoder: ClassVar[str] = "sam_vit"

    resolution: int
    width: int
    head_dim: int
    layers: tuple[Layer, ...]

    def describe(self) -> str:
        """Return a line for people, such as ``1024px 12 layers, 1536-3072 MLP, 8-12 heads``."""
        mlp = [layer.mlp_width for layer in self.layers]
        heads = [layer.heads for layer in self.layers]
        return (
            f"{self.resolution}px {len(self.layers)} layers, MLP {min(mlp)}-{max(mlp)}, heads {min(heads)}-{max(heads)}"
        )


AnyArchitecture = Architecture | ViTArchitecture


def architecture_from_dict(content: Any) -> AnyArchitecture:
    """Rebuild an architecture from ``to_dict``.

    Raises:
        SearchSpaceError: if a key is missing, unknown or of the wrong type.
    """
    try:
        fields = dict(content)
        kind = fields.pop("encoder")
        if kind == Architecture.encoder:
            stages = tuple(Stage(**stage) for stage in fields.pop("stages"))
            architecture: AnyArchitecture = Architecture(stages=stages, **fields)
            _check(len(stages) == 4, f"a staged encoder has 4 stages, not {len(stages)}")
            _check_integers(architecture.resolution, architecture.head_dim)
            for stage in stages:
                _check(stage.block in BLOCK_TYPES, f"unknown block type {stage.block!r}")
                _check_integers(stage.depth, stage.width, stage.ratio, stage.window + 1)
        elif kind == ViTArchitecture.encoder:
            layers = tuple(Layer(**layer) for layer in fields.pop("layers"))
            architecture = ViTArchitecture(layers=layers, **fields)
            _check(bool(layers), "a plain ViT has at least one layer")
            _check_integers(architecture.resolution, architecture.width, architecture.head_dim)
            for layer in layers:
                _check_integers(layer.index + 1, layer.heads, layer.mlp_width, layer.window + 1)
        else:
            raise SearchSpaceError(f"unknown encoder kind {kind!r}; known: staged, sam_vit")
    except (TypeError, KeyError, ValueError) as problem:
        raise SearchSpaceError(f"this is not an architecture: {problem}") from problem
    return architecture


def _check(holds: bool, problem: str) -> None:
    if not holds:
        raise ValueError(problem)


def _check_integers(*values: Any) -> None:
    for value in values:
        _check(type(value) is int and value > 0, f"{value!r} is not a positive whole number")


def architecture_from_json(text: str) -> AnyArchitecture:
    """Rebuild an architecture from its JSON."""
    try:
        return architecture_from_dict(json.loads(text))
    except json.JSONDecodeError as problem:
        raise SearchSpaceError(f"this is not an architecture: {problem}") from problem
