"""Sums over the parts of many architectures at once, looked up instead of built.

An architecture is a row of whole numbers: for each variable of its space the index of the choice. Every part depends
on the choices of one stage (or on the widths of two neighbours), so a sum over parts is a sum of a few ``Term``s:
tables that are looked up, exact to rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from supersam.space.architecture import AnyArchitecture, Architecture
from supersam.space.parts import Part, neck_parts, parts, stage_parts
from supersam.space.search_space import SearchSpace, ViTSpace

Rows = NDArray[Any]  # (n, variables), whole numbers
Vector = NDArray[np.float64]


class Term(NamedTuple):
    """What a few variables add to a sum."""

    columns: tuple[int, ...]
    values: NDArray[np.float64]  # one axis for each column, as long as it has choices

    def at(self, rows: Rows) -> Vector:
        """Return what each row adds, (n,)."""
        found: Vector = self.values[tuple(rows[:, column] for column in self.columns)]
        return found


def total(terms: Sequence[Term], rows: Rows) -> Vector:
    """Return the sum of the terms for each row, (n,)."""
    return np.sum([term.at(rows) for term in terms], axis=0) if terms else np.zeros(len(rows))


class _Cells(NamedTuple):
    """Which parts the choices of a few variables add: part ``places[i]`` is one of those of cell ``cells[i]``."""

    columns: tuple[int, ...]
    shape: tuple[int, ...]
    cells: NDArray[np.intp]
    places: NDArray[np.intp]


class PartTerms:
    """Every part that occurs in some architecture of a space, and which choices bring it in."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._variables = space.variables()
        self._names = list(self._variables)
        self._places: dict[Part, int] = {}
        groups = _vit_groups(space) if isinstance(space, ViTSpace) else _staged_groups(len(space.stages))
        self._cells = [self._tabulate(names, chosen) for names, chosen in groups]
        self.parts = list(self._places)

    def _tabulate(self, names: list[str], chosen: Callable[[AnyArchitecture], list[Part]]) -> _Cells:
        base = {name: choices[-1] for name, choices in self._variables.items()}
        shape = tuple(len(self._variables[name]) for name in names)
        cells, places = [], []
        for cell, values in enumerate(product(*(self._variables[name] for name in names))):
            for part in chosen(self._space.decode(base | dict(zip(names, values, strict=True)))):
                cells.append(cell)
                places.append(self._places.setdefault(part, len(self._places)))
        columns = tuple(self._names.index(name) for name in names)
        return _Cells(columns, shape, np.array(cells, dtype=np.intp), np.array(places, dtype=np.intp))

    def price(self, measure: Callable[[Part], float]) -> list[Term]:
        """Return the terms whose sum is that of ``measure`` over the parts of each architecture."""
        values = np.array([measure(part) for part in self.parts], dtype=np.float64)
        return [Term(one.columns, _sums(one, values)) for one in self._cells]


def _sums(cells: _Cells, values: Vector) -> Vector:
    sums: Vector = np.zeros(int(np.prod(cells.shape)))
    np.add.at(sums, cells.cells, values[cells.places])
    return sums.reshape(cells.shape)


Group = tuple[list[str], Callable[[AnyArchitecture], list[Part]]]  # variables, and the parts only they decide


def _staged_groups(n_stages: int) -> Iterator[Group]:
    """One group for each stage with its input to the neck, one for each pair of widths, one for the fusion."""

    def within(number: int) -> Callable[[AnyArchitecture], list[Part]]:
        def chosen(a: AnyArchitecture) -> list[Part]:
            assert isinstance(a, Architecture)
            entry, *blocks = stage_parts(a, number)
            return [*blocks, *neck_parts(a)[number - 1 : number]] if number else [entry, *blocks]

        return chosen

    def entry(number: int) -> Callable[[AnyArchitecture], list[Part]]:
        def chosen(a: AnyArchitecture) -> list[Part]:
            assert isinstance(a, Architecture)
            return stage_parts(a, number)[:1]

        return chosen

    def fusion(a: AnyArchitecture) -> list[Part]:
        assert isinstance(a, Architecture)
        return neck_parts(a)[-1:]

    for number in range(n_stages):
        own = [f"stage{number + 1}.{what}" for what in ("block", "depth", "width", "ratio")]
        yield ["resolution", *own], within(number)
        if number:
            yield ["resolution", f"stage{number}.width", f"stage{number + 1}.width"], entry(number)
    yield ["resolution"], fusion


def _vit_groups(space: ViTSpace) -> Iterator[Group]:
    """One group for each layer, one for what is always there."""

    def layer(number: int) -> Callable[[AnyArchitecture], list[Part]]:
        def chosen(a: AnyArchitecture) -> list[Part]:
            assert not isinstance(a, Architecture)
            return [part for kept, part in zip(a.layers, parts(a)[1:]) if kept.index == number]

        return chosen

    def always(a: AnyArchitecture) -> list[Part]:
        patch, first, *_, neck = parts(a)
        return [patch, first, neck]

    for number in range(1, space.depth):
        yield ["resolution", f"layer{number}.mlp", f"layer{number}.heads"], layer(number)
    yield ["resolution"], always


def space_parts(space: SearchSpace) -> list[Part]:
    """Return every part that occurs in some architecture of a space, each once."""
    return PartTerms(space).parts
