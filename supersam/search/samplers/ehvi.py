"""Expected hypervolume improvement with exact latency: the sampler of SuperSAM.

A Gaussian process predicts accuracy with its uncertainty; latency needs no model, a table knows it. Candidates grow
from the known front by mutation and crossover, judged by the area they are expected to add to the front
(``supersam.search.acquisition``). After each choice the front is taken to be as predicted, so that the proposals of a
plan differ. Where there is a budget, every other proposal is the one that is expected to improve most on the best
within it.
"""

import numpy as np
from numpy.typing import NDArray

from supersam.search.acquisition import expected_hypervolume_improvement, expected_improvement
from supersam.search.encoding import Rows, Vector, total, unique
from supersam.search.exact_front import front_order
from supersam.search.predictor import MOST, Features, Predictor
from supersam.search.problem import Problem
from supersam.search.samplers.model_based import ModelSampler, caps, parents_of

POOL, SURVIVORS, ROUNDS = 320, 64, 4


class EHVISampler(ModelSampler):
    """Proposes what is expected to add most to the front, or to the best within the budget."""

    def __init__(self, problem: Problem, seed: int, n_start: int = 16) -> None:
        super().__init__(problem, seed, n_start)
        self._predictor = Predictor(Features(problem))
        self._caps = caps(problem)

    def batch(self, n: int) -> int:
        """Return how many proposals are made before the model is fitted again: often is worth the time here
        (docs/decisions/0009)."""
        return max(2, n // 24)

    def plan(self, rows: Rows, accuracy: Vector, cost: Vector, device: int, rng: np.random.Generator) -> Rows:
        self._fit(rows, accuracy, cost)
        search = Acquisition(self.problem, self._predictor, rows, accuracy, cost, device, self._caps[device])
        pool = self._grow(search, rows, accuracy, cost, rng)
        return search.choose(pool, 2 * super().batch(len(rows)))  # more than a batch, for many workers

    def _fit(self, rows: Rows, accuracy: Vector, cost: Vector) -> None:
        near = _nearest_the_front(accuracy, cost, MOST)
        self._predictor = Predictor(self._predictor.features).fit(rows[near], accuracy[near])

    def _grow(
        self, search: "Acquisition", rows: Rows, accuracy: Vector, cost: Vector, rng: np.random.Generator
    ) -> Rows:
        """Return candidates not yet known, bred for what they are expected to add."""
        encoding = self.problem.encoding
        parents = parents_of(rows, accuracy, cost, least=24)
        everyone = self._fresh(self.problem.random(rng, POOL))
        worth = search.worth(everyone)
        for _ in range(ROUNDS):
            chosen = parents[rng.integers(0, len(parents), POOL)]
            mates = parents[rng.integers(0, len(parents), POOL)]
            crossed = np.where(rng.random((POOL, 1)) < 0.5, encoding.cross(chosen, mates, rng), chosen)
            children = self._fresh(encoding.mutate(crossed.astype(np.int16), rng))
            worth = np.concatenate([worth, search.worth(children)])
            everyone = np.concatenate([everyone, children])
            best = np.argsort(-worth, kind="stable")[: 4 * SURVIVORS]
            everyone, worth = everyone[best], worth[best]
            parents = np.concatenate([everyone[:SURVIVORS], parents_of(rows, accuracy, cost)])
        return unique(everyone)

    def _fresh(self, rows: Rows) -> Rows:
        rows = unique(rows)
        return self.unknown(rows[self.problem.reachable(rows)])


class Acquisition:
    """What a candidate is worth, given what is known on one device."""

    def __init__(
        self,
        problem: Problem,
        predictor: Predictor,
        rows: Rows,
        accuracy: Vector,
        cost: Vector,
        device: int,
        cap: float,
    ) -> None:
        self.problem, self.predictor, self.device, self.cap = problem, predictor, device, cap
        # As it was told, not as the model smooths it: a measurement repeats exactly, and what it gave is reported.
        self.value, self.cost, self.lowest = accuracy, cost, float(accuracy.min())
        self._keep_front()
        self._unit = float(np.ptp(accuracy)) + 1e-9
        self.budget_ms = problem.devices[device].budget_ms
        bounds = total(problem.bound_terms[device], rows)
        within = accuracy[bounds <= self.budget_ms] if self.budget_ms is not None else accuracy[:0]
        self.best = float(within.max()) if len(within) else self.lowest

    def worth(self, rows: Rows) -> Vector:
        """Return what each row is worth, both wishes together, for breeding."""
        if not len(rows):
            return np.zeros(0)
        mean, spread = self.predictor.predict(rows)
        return self._area(mean, spread, rows) / (self.cap * self._unit) + self._gain(mean, spread, rows) / self._unit

    def _keep_front(self) -> None:
        order = front_order(self.value, self.cost)
        self.value, self.cost = self.value[order], self.cost[order]

    def _area(self, mean: Vector, spread: Vector, rows: Rows) -> Vector:
        cost = total(self.problem.median_terms[self.device], rows)
        return expected_hypervolume_improvement(mean, spread, cost, self.value, self.cost, self.lowest, self.cap)

    def _gain(self, mean: Vector, spread: Vector, rows: Rows) -> Vector:
        if self.budget_ms is None:
            return np.zeros(len(rows))
        within = total(self.problem.bound_terms[self.device], rows) <= self.budget_ms
        return np.where(within, expected_improvement(mean, spread, self.best), 0.0)

    def choose(self, rows: Rows, n: int) -> Rows:
        """Return ``n`` rows one after the other, each chosen as if the earlier ones had come out as predicted.

        What is known can only lower what another row is worth, so worths of earlier turns are upper bounds: a row is
        looked at again only when it leads (lazy greedy, Minoux 1978).
        """
        if not len(rows):
            return rows
        mean, spread = self.predictor.predict(rows)
        wishes = [self._area, self._gain] if self.budget_ms is not None else [self._area]
        bounds = [wish(mean, spread, rows) for wish in wishes]
        found: list[int] = []
        for turn in range(min(n, len(rows))):
            wish, bound = wishes[turn % len(wishes)], bounds[turn % len(wishes)]
            while True:
                picked = int(bound.argmax())
                one = slice(picked, picked + 1)
                worth = wish(mean[one], spread[one], rows[one])[0]
                if worth >= bound[picked]:
                    break
                bound[picked] = worth
            found.append(picked)
            for each in bounds:
                each[picked] = -1.0
            self._suppose(mean[one], spread[one], rows[one])
        return rows[found]

    def _suppose(self, mean: Vector, spread: Vector, row: Rows) -> None:
        """Take one row to be evaluated, with what is predicted."""
        self.value = np.append(self.value, mean)
        self.cost = np.append(self.cost, total(self.problem.median_terms[self.device], row))
        self._keep_front()
        if self._gain(mean, spread, row)[0] > 0:
            self.best = max(self.best, float(mean[0]))


def _nearest_the_front(accuracy: Vector, cost: Vector, n: int) -> NDArray[np.intp]:
    """Return the indices of the ``n`` observations that lie least below the front at their latency."""
    order = front_order(accuracy, cost)
    place = np.searchsorted(cost[order], cost, side="right") - 1
    below = accuracy[order][np.maximum(place, 0)] - accuracy
    found: NDArray[np.intp] = np.sort(np.argsort(below, kind="stable")[:n])
    return found
