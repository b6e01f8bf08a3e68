"""The exact Pareto front of a sum over stages, by dynamic programming.

Where value and cost are sums of terms of one stage, or of two neighbouring ones, a partial encoder that is beaten by
another with the same linking choices (the type and width the next stage sees) can never become part of the front.
So it is enough to keep, stage by stage, one front for each linking choice.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from supersam.search.encoding import Encoding, Rows, Term, Vector

Indices = NDArray[np.intp]


class Partial(NamedTuple):
    """Beginnings of encoders with the same linking choices, from cheap to expensive."""

    value: Vector
    cost: Vector
    rows: Rows  # all columns; those of later stages are still zero


def front_order(value: Vector, cost: Vector) -> Indices:
    """Return the indices of the Pareto front (more value, less cost), cheapest first; of equal ones the first."""
    order = np.lexsort((-value, cost))
    best = np.maximum.accumulate(value[order])
    rises = np.concatenate([[True], best[1:] > best[:-1]]) if len(order) else np.zeros(0, dtype=bool)
    found: Indices = order[rises]
    return found


def exact_front(encoding: Encoding, value: Sequence[Term], cost: Sequence[Term], cap: float) -> Rows:
    """Return the Pareto front of the whole space: highest value for each cost up to ``cap``, cheapest first.

    Raises:
        ValueError: if a term links stages that are not neighbours.
    """
    groups = stage_columns(encoding)
    shared = [column for column in range(len(encoding.sizes)) if all(column not in group for group in groups)]
    found: list[Partial] = []
    for setting in np.ndindex(*(int(encoding.sizes[column]) for column in shared)):
        row = np.zeros((1, len(encoding.sizes)), dtype=np.int16)
        row[0, shared] = setting
        problem = _Chain(encoding, groups, value, cost, row, cap)
        found.append(problem.solve())
    values, costs = (np.concatenate([part[i] for part in found]) for i in (0, 1))
    rows = np.concatenate([part.rows for part in found])
    return rows[front_order(values, costs)]


def stage_columns(encoding: Encoding) -> list[list[int]]:
    """Return the columns of each stage or layer, in the order in which they run."""
    groups: dict[str, list[int]] = {}
    for column, name in enumerate(encoding.names):
        if "." in name:
            groups.setdefault(name.split(".")[0], []).append(column)
    return list(groups.values())


class _Chain:
    """The problem at one setting of what all stages share (the resolution)."""

    def __init__(
        self,
        encoding: Encoding,
        groups: list[list[int]],
        value: Sequence[Term],
        cost: Sequence[Term],
        base: Rows,
        cap: float,
    ) -> None:
        self.encoding, self.groups, self.base, self.cap = encoding, groups, base, cap
        self.terms = [[_Placed(term, self._place(term)) for term in terms] for terms in (value, cost)]

    def _place(self, term: Term) -> int:
        """Return the last stage a term speaks of; -1 if none."""
        stages = [at for at, group in enumerate(self.groups) if any(column in group for column in term.columns)]
        if len(stages) > 2 or (len(stages) == 2 and stages[1] - stages[0] != 1):
            raise ValueError(f"a term links the stages {stages}, which are not neighbours")
        return stages[-1] if stages else -1

    def _linking(self, stage: int) -> list[int]:
        """Return the columns of a stage that some term links with the next stage."""
        linked = [
            column
            for terms in self.terms
            for placed in terms
            if placed.stage == stage + 1
            for column in placed.term.columns
            if column in self.groups[stage]
        ]
        return sorted(set(linked))

    def solve(self) -> Partial:
        start = [total_at(terms, -1, self.base)[0] for terms in self.terms]
        states = [Partial(np.array([start[0]]), np.array([start[1]]), self.base)]
        for stage in range(len(self.groups)):
            states = self._extend(states, stage)
        return _join(states) if states else Partial(np.zeros(0), np.zeros(0), self.base[:0])

    def _extend(self, states: list[Partial], stage: int) -> list[Partial]:
        """Append every choice of a stage to every beginning, and keep the front for each linking choice."""
        columns = self.groups[stage]
        grid = np.stack(np.meshgrid(*(np.arange(self.encoding.sizes[c]) for c in columns), indexing="ij"), axis=-1)
        grid = grid.reshape(-1, len(columns)).astype(np.int16)
        onward = self._linking(stage)
        backward = self._backward(stage)
        by_state: dict[tuple[int, ...], list[Partial]] = {}
        for beginning in states:
            rows = np.repeat(beginning.rows[:1], len(grid), axis=0)
            rows[:, columns] = grid
            canonical = self.encoding.canonical(rows.copy())  # of nets that are equal, one is enough
            rows = rows[(canonical[:, columns] == grid).all(axis=1)]
            added = [total_at(terms, stage, rows) for terms in self.terms]
            keys = rows[:, sorted({*onward, *backward})]
            for key in np.unique(keys, axis=0):
                members = np.flatnonzero((keys == key).all(axis=1))
                best = members[front_order(added[0][members], added[1][members])]
                state = tuple(int(x) for x in rows[best[0], onward])
                grown = self._grow(beginning, rows[best], added[0][best], added[1][best], columns)
                by_state.setdefault(state, []).append(grown)
        return [joined for joined in map(_join, by_state.values()) if len(joined.value)]

    def _backward(self, stage: int) -> list[int]:
        return sorted(
            {
                column
                for terms in self.terms
                for placed in terms
                if placed.stage == stage and any(c in self.groups[stage - 1] for c in placed.term.columns)
                for column in placed.term.columns
                if column in self.groups[stage]
            }
            if stage
            else set()
        )

    def _grow(self, beginning: Partial, rows: Rows, value: Vector, cost: Vector, columns: list[int]) -> Partial:
        values = (beginning.value[:, None] + value[None, :]).ravel()
        costs = (beginning.cost[:, None] + cost[None, :]).ravel()
        order = front_order(values, costs)
        order = order[costs[order] <= self.cap]
        left, right = np.divmod(order, len(rows))
        grown = beginning.rows[left].copy()
        grown[:, columns] = rows[right][:, columns]
        return Partial(values[order], costs[order], grown)


class _Placed(NamedTuple):
    term: Term
    stage: int


def total_at(terms: list[_Placed], stage: int, rows: Rows) -> Vector:
    """Return the sum of the terms placed at a stage, for each row."""
    return np.sum([np.zeros(len(rows)), *(p.term.at(rows) for p in terms if p.stage == stage)], axis=0)


def _join(parts: list[Partial]) -> Partial:
    value, cost = np.concatenate([p.value for p in parts]), np.concatenate([p.cost for p in parts])
    order = front_order(value, cost)
    return Partial(value[order], cost[order], np.concatenate([p.rows for p in parts])[order])
