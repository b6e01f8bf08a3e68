"""LINAS with the exact front of the predictor in place of an evolved one.

A ridge regression on choices and pairs of choices, like the latency table, is a sum of terms of one stage or of two
neighbours, so the front of both over the whole space is found by dynamic programming (``exact_front``). Neighbours of
the front are evaluated too, because the predictor is only as right as its data.
"""

import numpy as np

from supersam.search.encoding import Rows, Vector
from supersam.search.exact_front import exact_front
from supersam.search.problem import Problem
from supersam.search.ridge import Ridge
from supersam.search.samplers.model_based import ModelSampler, caps


class LINASExactSampler(ModelSampler):
    """Evaluates, in batches, the exact front of a ridge regression and some of its neighbours."""

    MUTANTS = 0.3  # share of a batch

    def __init__(self, problem: Problem, seed: int, population: int = 24) -> None:
        super().__init__(problem, seed, population)
        self.population = population
        self._caps = caps(problem)

    def batch(self, n: int) -> int:
        return self.population

    def plan(self, rows: Rows, accuracy: Vector, cost: Vector, device: int, rng: np.random.Generator) -> Rows:
        encoding = self.problem.encoding
        ridge = Ridge(encoding, pairs=True).fit(rows, accuracy)
        front = exact_front(encoding, ridge.terms, self.problem.median_terms[device], self._caps[device])
        front = front[self.problem.reachable(front)]
        new = self.unknown(front)
        new = new[rng.permutation(len(new))]
        if not len(front):
            return self.problem.random(rng, self.population)
        mutants = encoding.mutate(front[rng.integers(0, len(front), 4 * self.population)], rng)
        mutants = self.unknown(mutants[self.problem.reachable(mutants)])
        n_mutants = max(int(self.MUTANTS * self.population), self.population - len(new))
        return np.concatenate([new[: self.population - min(n_mutants, len(mutants))], mutants])
