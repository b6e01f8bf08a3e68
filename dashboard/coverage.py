"""What a latency table knows: how much of each search space, and what one block of each kind takes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median, quantiles

from supersam.latency import LatencyTable, space_parts
from supersam.space import Part, SearchSpace, StagedSpace, ViTSpace
from supersam.space.architecture import Stage
from supersam.space.parts import STRIDES, block_part


@dataclass(frozen=True)
class Coverage:
    """How much of a search space a table knows."""

    space: str
    n_parts: int
    measured: int
    other: int  # transferred or estimated entries, and what lies between entries
    estimated: int  # parts without an entry that the estimator prices

    @property
    def known(self) -> int:
        return self.measured + self.other + self.estimated

    @property
    def share(self) -> float:
        return self.known / self.n_parts


def coverage(table: LatencyTable, space: SearchSpace, parts: list[Part] | None = None) -> Coverage:
    """Return how much of a space a table knows; ``parts`` are those of the space, where they are at hand."""
    parts = space_parts(space) if parts is None else parts
    stored = [table.entries[part.key] for part in parts if part.key in table.entries]
    derived = [table.entry(part) for part in parts if part.key not in table.entries]
    measured = sum(entry.method == "measured" for entry in stored)
    estimated = sum(entry is not None and entry.method == "estimated" for entry in derived)
    known = len(stored) + sum(entry is not None for entry in derived)
    return Coverage(space.name, len(parts), measured, known - measured - estimated, estimated)


@dataclass(frozen=True)
class Cell:
    """One block; ``ms`` is None where the table says nothing."""

    width: int
    ms: float | None
    method: str = ""


@dataclass(frozen=True)
class HeatRow:
    """The blocks of one type in one stage."""

    stage: str
    block: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class HeatMap:
    """Milliseconds of one block by stage, type and width."""

    widths_are: str  # what the columns are
    widths: tuple[int, ...]
    rows: tuple[HeatRow, ...]

    @property
    def range_ms(self) -> tuple[float, float]:
        """The least and the most of all cells; (0, 0) if there is none."""
        found = [cell.ms for row in self.rows for cell in row.cells if cell.ms is not None]
        return (min(found), max(found)) if found else (0.0, 0.0)

    def warmth(self, ms: float) -> float:
        """Return how warm a cell is, 0 to 1, on a logarithmic scale."""
        low, high = self.range_ms
        return math.log(ms / low) / math.log(high / low) if high > low else 0.5


def heat_map(table: LatencyTable, space: SearchSpace, resolution: int, ratio: int | None = None) -> HeatMap:
    """Return what one block takes within a whole network.

    Args:
        resolution: pixels a side of the input, one of the space.
        ratio: of the channel mixer (default: the largest of each stage); plain ViTs have none.
    """
    rows = list(
        _vit(table, space, resolution) if isinstance(space, ViTSpace) else _staged(table, space, resolution, ratio)
    )
    widths = tuple(sorted({cell.width for row in rows for cell in row.cells}))
    return HeatMap("MLP width" if isinstance(space, ViTSpace) else "width", widths, tuple(rows))


def _staged(table: LatencyTable, space: StagedSpace, resolution: int, ratio: int | None) -> Iterable[HeatRow]:
    for number, stage in enumerate(space.stages):
        chosen = ratio if ratio in stage.ratios else stage.ratios[-1]
        side = resolution // STRIDES[number]
        for block in stage.blocks:
            made = [Stage(block, 1, width, chosen, stage.window) for width in stage.widths]
            parts = [block_part(one, 0, side, space.head_dim) for one in made]
            cells = tuple(_cell(table, one.width, part) for one, part in zip(made, parts, strict=True))
            yield HeatRow(f"stage {number + 1}, {side}×{side}", block, cells)


def _vit(table: LatencyTable, space: ViTSpace, resolution: int) -> Iterable[HeatRow]:
    side = resolution // 16
    for name, window in (("window", space.window), ("global", 0)):
        for heads in space.heads:
            parts = [
                (width, Part("sam_layer", (side, space.width, heads, space.head_dim, width, window)))
                for width in space.mlp_widths
            ]
            yield HeatRow(f"{name} layer", f"{heads} heads", tuple(_cell(table, width, part) for width, part in parts))


def _cell(table: LatencyTable, width: int, part: Part) -> Cell:
    if not table.knows(part):
        return Cell(width, None)
    found = table.of_part(part)
    return Cell(width, found.ms, found.method)


@dataclass(frozen=True)
class Noise:
    """How far apart the timings of one part lie: half of its interval relative to its value."""

    median: float
    p90: float
    n: int


def noise(table: LatencyTable) -> Noise | None:
    """Return the noise of a table's own timings; None where nothing was timed."""
    found = [(entry.hi - entry.lo) / 2 / entry.ms for entry in table.entries.values() if entry.method == "measured"]
    if not found:
        return None
    return Noise(median(found), quantiles(found, n=10)[-1] if len(found) > 1 else found[0], len(found))
