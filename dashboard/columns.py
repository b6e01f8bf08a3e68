"""Candidates as columns of numbers, for figures, filters and importances."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from supersam.results import Candidate
from supersam.space import AnyArchitecture, Architecture

from .part_sums import PartSums

Numbers = NDArray[np.float64]

# Axes of the parallel coordinates, as far as the candidates have them; the others can be filtered by.
DRAWN = ("resolution", "stage1.block", "stage2.block", "stage3.block", "stage4.block", "depth", "gmacs", "params_m",
         "accuracy_source", "latency_ms", "accuracy")  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One property of every candidate; ``names`` are the words behind the numbers, where there are words."""

    name: str
    values: Numbers
    names: tuple[str, ...] = ()

    @property
    def choices(self) -> NDArray[np.intp]:
        """The place of each value among those that occur."""
        return np.unique(self.values, return_inverse=True)[1]


def columns(candidates: Sequence[Candidate]) -> dict[str, Column]:
    """Return every property of some candidates by name: choices, then costs, then what was found."""
    if not candidates:
        return {}
    chosen = [_choices(candidate.architecture) for candidate in candidates]
    # Runs hold one kind of encoder; a property that some lack cannot be an axis.
    shared = [name for name in chosen[0] if all(name in one for one in chosen)]
    found = [_column(name, [one[name] for one in chosen]) for name in shared]
    sums = PartSums([candidate.architecture for candidate in candidates])
    found += [
        Column("gmacs", sums.gmacs),
        Column("params_m", sums.params_m),
        _column("accuracy_source", [candidate.accuracy.source for candidate in candidates]),
        _column("latency_ms", [candidate.latency.ms for candidate in candidates]),
        _column("accuracy", [candidate.accuracy.value for candidate in candidates]),
    ]
    return {column.name: column for column in found}


def _choices(architecture: AnyArchitecture) -> dict[str, float | str]:
    chosen: dict[str, float | str] = {"resolution": architecture.resolution}
    if isinstance(architecture, Architecture):
        for number, stage in enumerate(architecture.stages, start=1):
            for what in ("block", "depth", "width", "ratio"):
                chosen[f"stage{number}.{what}"] = getattr(stage, what)
        return chosen | {"depth": sum(stage.depth for stage in architecture.stages)}
    return chosen | {"depth": len(architecture.layers)}


def _column(name: str, values: Sequence[float | str]) -> Column:
    if isinstance(values[0], str):
        names = tuple(sorted({str(value) for value in values}))
        places = {value: place for place, value in enumerate(names)}
        return Column(name, np.array([places[str(value)] for value in values], dtype=np.float64), names)
    return Column(name, np.array(values, dtype=np.float64))


def of_source(found: dict[str, Column], source: str) -> dict[str, Column]:
    """Return the same columns of those candidates alone whose accuracy is measured, or predicted."""
    sources = found["accuracy_source"]
    if source not in sources.names:
        return {}
    rows = sources.values == sources.names.index(source)
    return {name: replace(column, values=column.values[rows]) for name, column in found.items()}


def importance(choice: Column, outcome: Numbers) -> float:
    """Return the share of an outcome's variance that one choice alone explains, 0 to 1.

    The adjusted correlation ratio (epsilon squared, Kelley 1935): unlike the plain one it does not grow with the
    number of values of a choice.
    """
    places = choice.choices
    n, groups = len(places), int(places.max()) + 1
    spread = float(((outcome - outcome.mean()) ** 2).sum())
    if groups < 2 or n <= groups or spread == 0:
        return 0.0
    sizes = np.bincount(places)
    means = np.bincount(places, outcome) / sizes
    within = float(((outcome - means[places]) ** 2).sum())
    return max(0.0, 1 - within / (n - groups) / (spread / (n - 1)))


def importances(found: dict[str, Column], outcome: str) -> list[tuple[str, float]]:
    """Return the importance of every choice for an outcome, the greatest first."""
    results = ("gmacs", "params_m", "accuracy_source", "latency_ms", "accuracy", "depth")
    choices = [column for name, column in found.items() if name not in results]
    values = [(column.name, importance(column, found[outcome].values)) for column in choices]
    return sorted(values, key=lambda pair: -pair[1])
