"""Ridge regression on choices and pairs of choices: additive, like a latency table, so it explains itself."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from supersam.search.encoding import Encoding, Rows, Term, Vector, total

PENALTY = 1.0  # in units of one observation


class Ridge:
    """A linear model with one weight for each choice and, if asked, each pair of choices that belong together.

    Pairs are block type with depth, width and ratio of a stage, and the types of neighbouring stages.
    """

    def __init__(self, encoding: Encoding, pairs: bool) -> None:
        self.encoding = encoding
        self.columns: list[tuple[int, ...]] = [(column,) for column in range(len(encoding.sizes))]
        if pairs:
            self.columns += pairs_of(encoding)
        self.terms: list[Term] = []
        self._mean = 0.0

    def fit(self, rows: Rows, accuracy: Vector) -> "Ridge":
        """Fit to observations, (n, variables) and (n,)."""
        features = np.concatenate([self._one_hot(rows, columns) for columns in self.columns], axis=1)
        self._mean = float(accuracy.mean())
        target = accuracy - self._mean
        if len(rows) < features.shape[1]:  # the smaller of two equal systems
            gram = features @ features.T + PENALTY * np.eye(len(rows))
            weights = features.T @ np.linalg.solve(gram, target)
        else:
            gram = features.T @ features + PENALTY * np.eye(features.shape[1])
            weights = np.linalg.solve(gram, features.T @ target)
        self.terms, start = [], 0
        for columns in self.columns:
            shape = tuple(int(self.encoding.sizes[column]) for column in columns)
            size = int(np.prod(shape))
            self.terms.append(Term(columns, weights[start : start + size].reshape(shape)))
            start += size
        return self

    def predict(self, rows: Rows) -> Vector:
        """Return the expected accuracy of each row, (n,)."""
        found: Vector = self._mean + total(self.terms, rows)
        return found

    def _one_hot(self, rows: Rows, columns: tuple[int, ...]) -> NDArray[np.float64]:
        shape = [int(self.encoding.sizes[column]) for column in columns]
        flat = np.ravel_multi_index([rows[:, column] for column in columns], shape)
        return np.eye(int(np.prod(shape)))[flat]


def pairs_of(encoding: Encoding) -> list[tuple[int, ...]]:
    """Return the pairs of columns whose choices act together: within a stage, and types of neighbouring stages."""
    found: list[tuple[int, ...]] = []
    for column, name in enumerate(encoding.names):
        stage, _, what = name.rpartition(".")
        if what in ("depth", "width", "ratio"):
            found.append((encoding.column(f"{stage}.block"), column))
        elif what == "heads":
            found.append((encoding.column(f"{stage}.mlp"), column))
    blocks = [column for column, name in enumerate(encoding.names) if name.endswith(".block")]
    return found + list(pairwise(blocks))
