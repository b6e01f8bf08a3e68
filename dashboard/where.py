"""Filters as text: ``accuracy:0.3.. latency_ms:..10 stage3.block:vit,rwkv``.

The text is the only form a filter has: a brush on the parallel coordinates writes it, the keyboard types it, the URL
carries it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from supersam.errors import UsageError, suggest

from .columns import Column

EXAMPLE = "accuracy:0.3.. latency_ms:..10 stage3.block:vit,rwkv"


@dataclass(frozen=True)
class Term:
    """What one column must be: between two numbers, or one of some choices."""

    name: str
    low: float = -math.inf
    high: float = math.inf
    among: tuple[str, ...] = ()


def parse(text: str) -> list[Term]:
    """Return the terms of a filter.

    Raises:
        UsageError: if a term cannot be read.
    """
    return [_term(word) for word in text.split()]


def _term(word: str) -> Term:
    name, colon, value = word.partition(":")
    if not colon or not name or not value:
        raise UsageError(f"{word!r} is not a filter. Write it like {EXAMPLE}")
    if ".." not in value:
        return Term(name, among=tuple(value.split(",")))
    match = re.fullmatch(r"([-+0-9.eE]*?)\.\.([-+0-9.eE]*)", value)
    try:
        assert match is not None
        low, high = match.groups()
        term = Term(name, float(low) if low else -math.inf, float(high) if high else math.inf)
    except (AssertionError, ValueError):
        raise UsageError(f"{value!r} is not a range. Write it like 0.3..0.4, 0.3.. or ..0.4") from None
    if math.isnan(term.low) or math.isnan(term.high) or term.low > term.high:
        raise UsageError(f"{value!r} is an empty range")
    return term


def passing(found: Mapping[str, Column], terms: list[Term]) -> NDArray[np.bool_]:
    """Return which candidates pass every term.

    Raises:
        UsageError: if there is no column of a term's name.
    """
    n = len(next(iter(found.values())).values) if found else 0
    kept = np.ones(n, dtype=bool)
    for term in terms:
        if term.name not in found:
            raise UsageError(
                f"there is no {term.name!r} here.{suggest(term.name, list(found))} Known: {', '.join(found)}"
            )
        kept &= _passes(found[term.name], term)
    return kept


def _passes(column: Column, term: Term) -> NDArray[np.bool_]:
    if not term.among:
        return (column.values >= term.low) & (column.values <= term.high)
    return np.isin(column.values, _places(column, term))


def _places(column: Column, term: Term) -> list[float]:
    """Return the values that a term of choices names."""
    if column.names:
        return [float(place) for place, name in enumerate(column.names) if name in term.among]
    return [number for text in term.among if math.isfinite(number := _number(text))]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def ranges(column: Column, terms: list[Term]) -> list[list[float]] | None:
    """Return what a brush on the axis of a column would be; None where nothing restricts it."""
    mine = [term for term in terms if term.name == column.name]
    if not mine:
        return None
    low, high = float(column.values.min()), float(column.values.max())
    if mine[0].among:
        return [[mark - 0.3, mark + 0.3] for mark in _places(column, mine[0])] or None
    return [[max(mine[0].low, low), min(mine[0].high, high)]]
