"""LINAS: lightweight iterative neural architecture search (https://arxiv.org/abs/2205.10358).

A ridge regression learns accuracy from all evaluations, NSGA-II searches it exhaustively together with the latency,
and the best of its last population that are new are evaluated next. Latency is the table's own, not learnt.
"""

import numpy as np

from supersam.search.encoding import Rows, Vector, total
from supersam.search.evolution import best_first, evolve
from supersam.search.problem import Problem
from supersam.search.ridge import Ridge
from supersam.search.samplers.model_based import ModelSampler, parents_of

INNER = (100, 60)  # population and generations of NSGA-II on the regression


class LINASSampler(ModelSampler):
    """Evaluates, in batches, the front that NSGA-II finds on a ridge regression.

    Args:
        population: how many are evaluated between two fits, and before the first; as published, 50.
        pairs: also learn pairs of choices, where the publication learns single ones.
        inner: population and generations of the search on the regression.
    """

    def __init__(
        self, problem: Problem, seed: int, population: int = 24, pairs: bool = True, inner: tuple[int, int] = INNER
    ) -> None:
        super().__init__(problem, seed, population)
        self.population, self.pairs, self.inner = population, pairs, inner

    def batch(self, n: int) -> int:
        return self.population

    def plan(self, rows: Rows, accuracy: Vector, cost: Vector, device: int, rng: np.random.Generator) -> Rows:
        ridge = Ridge(self.problem.encoding, self.pairs).fit(rows, accuracy)
        terms, bound = self.problem.median_terms[device], self.problem.reachable

        def objectives(candidates: Rows) -> np.ndarray:
            far = np.where(bound(candidates), 0.0, 1e6)  # beyond reach is worse than anything within
            return np.stack([far - ridge.predict(candidates), far + total(terms, candidates)], axis=1)

        size, generations = self.inner
        first = np.concatenate([parents_of(rows, accuracy, cost), self.problem.random(rng, max(2, size // 2))])
        found = evolve(self.problem.encoding, objectives, first, rng, size, generations)
        new = self.unknown(found)
        return new[best_first(objectives(new))] if len(new) else found
