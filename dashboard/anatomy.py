"""What a subnet is made of, section by section, and which share of its latency each takes on a device."""

from collections.abc import Iterable
from dataclasses import dataclass

from supersam.space import AnyArchitecture, Architecture, Part, ViTArchitecture, parts
from supersam.space.architecture import Layer, Stage
from supersam.space.parts import neck_parts, stage_parts

from .devices import Device


@dataclass(frozen=True)
class Section:
    """A stage, a layer or the neck."""

    label: str
    block: str  # a block type, or what else it is
    depth: int
    width: int  # channels; 0 where that says nothing
    shape: str  # for people
    ms: float | None
    share: float | None  # of the whole, 0 to 1


@dataclass(frozen=True)
class _Piece:
    label: str
    block: str
    depth: int
    width: int
    shape: str
    parts: list[Part]


def sections(architecture: AnyArchitecture, device: Device) -> list[Section]:
    """Return the sections in the order in which they run; a device without a table gives no times."""
    pieces = list(_staged(architecture) if isinstance(architecture, Architecture) else _plain(architecture))
    times = [device.parts_ms(piece.parts) for piece in pieces]
    whole = sum(time for time in times if time is not None)
    return [
        Section(piece.label, piece.block, piece.depth, piece.width, piece.shape, time, time / whole if time else None)
        for piece, time in zip(pieces, times, strict=True)
    ]


def _staged(architecture: Architecture) -> Iterable[_Piece]:
    for number, stage in enumerate(architecture.stages):
        of = stage_parts(architecture, number)
        yield _Piece(f"stage {number + 1}", stage.block, stage.depth, stage.width, _stage_shape(stage), of)
    yield _Piece("neck", "neck", 1, 0, "fuses stages 2 to 4", neck_parts(architecture))


def _stage_shape(stage: Stage) -> str:
    window = f", window {stage.window}" if stage.block == "vit" and stage.window else ""
    return f"{stage.depth}×{stage.width}, ratio {stage.ratio}{window}"


def _plain(architecture: ViTArchitecture) -> Iterable[_Piece]:
    patch, *layers, neck = parts(architecture)
    yield _Piece("patches", "patches", 1, 0, f"{architecture.width} channels", [patch])
    for layer, part in zip(architecture.layers, layers, strict=True):
        yield _Piece(f"layer {layer.index}", "vit", 1, layer.mlp_width, _layer_shape(layer), [part])
    yield _Piece("neck", "neck", 1, 0, "", [neck])


def _layer_shape(layer: Layer) -> str:
    reach = f"window {layer.window}" if layer.window else "global"
    return f"{layer.heads} heads, MLP {layer.mlp_width}, {reach}"
