"""Parallel coordinates as plain numbers; assets/parallel.js draws them.

plotly's own need WebGL and code made from text, which the pages' security policy refuses.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import wording
from .columns import DRAWN, Column
from .where import Term, ranges

LINES = 800  # more are a blot, and bytes
TICKS = 5
TITLES = {"gmacs": "GMACs", "params_m": "M params", "latency_ms": "latency ms", "resolution": "input px",
          "accuracy_source": "accuracy is"}  # fmt: skip


def describe_parallel(found: dict[str, Column], terms: list[Term], kept: NDArray[np.bool_]) -> dict[str, Any]:
    """Return axes with their values between 0 and 1, which lines pass the filter, and what is brushed."""
    rows = drawn_rows(len(kept))
    axes = [_axis(found[name], rows, terms) for name in DRAWN if name in found and _tells(found[name])]
    shade = _place(found["accuracy"], found["accuracy"].values[rows])
    return {"axes": axes, "shade": shade.round(3).tolist(), "kept": kept[rows].astype(int).tolist()}


def drawn_rows(n: int) -> NDArray[np.intp]:
    """Return which candidates are drawn: all, or evenly many of them where they are too many."""
    return np.unique(np.linspace(0, n - 1, min(n, LINES)).astype(np.intp))


def _tells(column: Column) -> bool:
    """Return whether an axis says something: of accuracies that are all known in one way, the table says which."""
    return column.name != "accuracy_source" or len(column.names) > 1


def _axis(column: Column, rows: NDArray[np.intp], terms: list[Term]) -> dict[str, Any]:
    low, high = _ends(column)
    brushes = [_place(column, np.array(ends)).clip(0, 1).round(4).tolist() for ends in ranges(column, terms) or []]
    return {
        "name": column.name,
        "title": TITLES.get(column.name, column.name.replace(".block", "")),
        "words": list(column.names),
        "range": [low, high],
        "ticks": _ticks(column),
        "values": _place(column, column.values[rows]).round(3).tolist(),
        "brushes": brushes,
    }


def _ends(column: Column) -> tuple[float, float]:
    if column.names:
        return -0.5, len(column.names) - 0.5
    low, high = float(column.values.min()), float(column.values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _place(column: Column, values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = _ends(column)
    place: NDArray[np.float64] = (values - low) / (high - low)
    return place


def _spaced(low: float, high: float, is_whole: bool) -> NDArray[np.float64]:
    """Return a few evenly spaced ticks; whole ones where the values are."""
    return np.arange(low, high + 1, math.ceil((high - low) / TICKS)) if is_whole else np.linspace(low, high, TICKS)


def _ticks(column: Column) -> list[list[Any]]:
    if column.names:
        values, texts = np.arange(len(column.names), dtype=np.float64), list(column.names)
    else:
        distinct = np.unique(column.values)
        values = distinct if len(distinct) <= TICKS else _spaced(*_ends(column), is_whole=not (distinct % 1).any())
        texts = [f"{value:g}" if value == int(value) else wording.number(abs(value)) for value in values]
    places = _place(column, values).round(4).tolist()
    return [[place, text] for place, text in zip(places, texts, strict=True)]
