"""Architectures as rows of whole numbers, so that thousands are judged at once.

A row has one column for each variable of the space: the index of its choice. What depends on a few variables
only (the latency of a stage, an effect in a regression) is a ``Term`` (``supersam.space.terms``).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supersam.space import AnyArchitecture, SearchSpace, ViTSpace
from supersam.space.terms import Term as Term
from supersam.space.terms import total as total

Rows = NDArray[np.int16]  # (n, variables)
Vector = NDArray[np.float64]


class Encoding:
    """The rows of one space."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.variables = space.variables()
        self.names = list(self.variables)
        self.sizes = np.array([len(choices) for choices in self.variables.values()])
        self._index = [{choice: index for index, choice in enumerate(all_)} for all_ in self.variables.values()]
        self._ignored = self._find_ignored(space)

    def _find_ignored(self, space: SearchSpace) -> list[tuple[int, int, int]]:
        """Return (column, switch, index): where the switch has this index, the column means nothing."""
        if not isinstance(space, ViTSpace):
            return []
        removable = [f"layer{layer}" for layer in sorted(set(space.removable_layers))]
        return [(self.column(f"{layer}.heads"), self.column(f"{layer}.mlp"), 0) for layer in removable]

    def column(self, name: str) -> int:
        return self.names.index(name)

    def row(self, choices: Mapping[str, Any]) -> NDArray[np.int16]:
        """Return the canonical row of some choices, (variables,)."""
        found = np.array([self._index[at][choices[name]] for at, name in enumerate(self.names)], dtype=np.int16)
        canonical: NDArray[np.int16] = self.canonical(found[None])[0]
        return canonical

    def rows(self, architectures: Sequence[AnyArchitecture]) -> Rows:
        """Return the rows of architectures of the space."""
        found = [self.row(self.space.encode(architecture)) for architecture in architectures]
        return np.array(found, dtype=np.int16).reshape(-1, len(self.names))

    def choices(self, row: NDArray[np.int16]) -> dict[str, Any]:
        """Return the choices of a row by the names of the variables."""
        return {name: choices[index] for (name, choices), index in zip(self.variables.items(), row, strict=True)}

    def architecture(self, row: NDArray[np.int16]) -> AnyArchitecture:
        """Build the architecture of a row."""
        return self.space.decode(self.choices(row))

    def random(self, rng: np.random.Generator, count: int) -> Rows:
        """Return canonical rows with every choice drawn alike."""
        return self.canonical(rng.integers(0, self.sizes, (count, len(self.sizes))).astype(np.int16))

    def canonical(self, rows: Rows) -> Rows:
        """Return the rows with the last choice wherever a choice means nothing, so that equal rows are equal nets."""
        for column, switch, index in self._ignored:
            rows[rows[:, switch] == index, column] = self.sizes[column] - 1
        return rows

    def mutate(self, rows: Rows, rng: np.random.Generator, rate: float | None = None) -> Rows:
        """Return the rows with choices drawn again, each with a probability (default: one in each row on average)."""
        changed = rng.random(rows.shape) < (1 / len(self.sizes) if rate is None else rate)
        forced = rng.integers(0, len(self.sizes), len(rows))
        still = ~changed.any(axis=1)
        changed[still, forced[still]] = True
        steps = 1 + (rng.random(rows.shape) * (self.sizes - 1)).astype(np.int16)  # never the choice there was
        return self.canonical(np.where(changed, (rows + steps) % self.sizes, rows).astype(np.int16))

    def cross(self, mothers: Rows, fathers: Rows, rng: np.random.Generator) -> Rows:
        """Return children that take each choice from one parent or the other (uniform crossover)."""
        return self.canonical(np.where(rng.random(mothers.shape) < 0.5, mothers, fathers).astype(np.int16))


def unique(rows: Rows) -> Rows:
    """Return each row once, in the order in which they first occur."""
    if not len(rows):
        return rows
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)]
