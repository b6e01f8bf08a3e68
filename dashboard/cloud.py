"""All points of a figure at once: how far they reach, and the dominated ones, thinned where they are many."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from supersam.results import Candidate

from .apart import Fronts

DRAWN = 800  # beyond this the grey cloud is thinned; more points only make a browser slow
CELLS = (40, 20)  # columns and rows of the grid that keeps one dominated point a cell


@dataclass(frozen=True)
class Cloud:
    """What a figure needs of candidates that may be many."""

    drawn: list[Candidate]  # of those on no front
    n_dominated: int
    ms: tuple[float, float]  # the fastest and the slowest
    accuracy: tuple[float, float]  # the least and the most accurate


def cloud(candidates: Sequence[Candidate], fronts: Fronts) -> Cloud:
    """Return the cloud of some candidates, of which there is at least one."""
    on_front = {candidate.digest for candidate in (*fronts.main, *fronts.predicted)}
    dominated = [candidate for candidate in candidates if candidate.digest not in on_front]
    times = [candidate.latency.ms for candidate in candidates]
    values = [candidate.accuracy.value for candidate in candidates]
    return Cloud(thin(dominated), len(dominated), (min(times), max(times)), (min(values), max(values)))


def thin(dominated: Sequence[Candidate]) -> list[Candidate]:
    """Return all points if they are few, else one for each cell of a grid, so that the cloud keeps its outline."""
    if len(dominated) <= DRAWN:
        return list(dominated)
    xs = _spread([math.log(candidate.latency.ms) for candidate in dominated], CELLS[0])
    ys = _spread([candidate.accuracy.value for candidate in dominated], CELLS[1])
    return list({(x, y): candidate for x, y, candidate in zip(xs, ys, dominated, strict=True)}.values())


def _spread(values: list[float], cells: int) -> list[int]:
    low, width = min(values), (max(values) - min(values)) or 1.0
    return [min(int((value - low) / width * cells), cells - 1) for value in values]
