"""NSGA-II on functions that cost nothing (Deb et al., 2002), in whole arrays: the inner search of the samplers."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from supersam.search.encoding import Encoding, Rows, unique

Objectives = Callable[[Rows], NDArray[np.float64]]  # rows -> (n, objectives), all to be minimised


def ranks(objectives: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the front each point is on: 0 for those no other dominates, 1 for those only front 0 dominates, ..."""
    at_most = np.all(objectives[:, None, :] <= objectives[None, :, :], axis=2)
    less = np.any(objectives[:, None, :] < objectives[None, :, :], axis=2)
    dominates: NDArray[np.bool_] = np.logical_and(at_most, less)
    found = np.full(len(objectives), -1)
    left, rank = dominates.sum(axis=0), 0
    while (found < 0).any():
        front = (found < 0) & (left == 0)
        found[front] = rank
        left = left - dominates[front].sum(axis=0)
        rank += 1
    return found


def crowding(objectives: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far the neighbours of each point of one front are; the ends are infinitely far."""
    found = np.zeros(len(objectives))
    for column in objectives.T:
        order = np.argsort(column, kind="stable")
        extent = column[order[-1]] - column[order[0]]
        found[order[[0, -1]]] = np.inf
        if extent > 0 and len(order) > 2:
            found[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    return found


def best_first(objectives: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the indices by front, and within a front by crowding."""
    rank = ranks(objectives)
    distance = np.zeros(len(objectives))
    for front in range(int(rank.max()) + 1 if len(rank) else 0):
        members = np.flatnonzero(rank == front)
        distance[members] = crowding(objectives[members])
    found: NDArray[np.intp] = np.lexsort((-distance, rank))
    return found


def evolve(
    encoding: Encoding,
    objectives: Objectives,
    first: Rows,
    rng: np.random.Generator,
    population: int = 50,
    generations: int = 50,
    crossover: float = 0.9,
) -> Rows:
    """Return the last population, best first.

    Args:
        first: the rows to begin with, any number above one.
    """
    parents = unique(first)
    for _ in range(generations):
        children = _children(encoding, parents, rng, population, crossover)
        everyone = unique(np.concatenate([parents, children]))
        parents = everyone[best_first(objectives(everyone))[:population]]
    return parents


def _children(encoding: Encoding, parents: Rows, rng: np.random.Generator, n: int, crossover: float) -> Rows:
    """Parents are sorted best first, so the winner of a binary tournament is the smaller of two places."""
    mothers, fathers = np.sort(rng.integers(0, len(parents), (2, 2, n)), axis=0)[0]
    crossed = encoding.cross(parents[mothers], parents[fathers], rng)
    kept = rng.random(n) < crossover
    return encoding.mutate(np.where(kept[:, None], crossed, parents[mothers]), rng)
