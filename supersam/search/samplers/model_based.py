"""What the samplers with a model share: history, start, plans made of many proposals, nothing proposed twice."""

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from supersam.search.encoding import Rows, Vector, total, unique
from supersam.search.exact_front import front_order
from supersam.search.history import History
from supersam.search.problem import Problem

Row = NDArray[np.int16]
SPREAD_OVER = 16  # random rows drawn for each one of the start that is kept


class ModelSampler(BaseSampler):  # type: ignore[misc]
    """Makes a plan of several proposals from what is known, and hands them out one by one.

    A plan depends on the seed and on the evaluations it was made from only, so that a run with one worker repeats
    exactly, also when it was interrupted. Several workers make their own plans and skip what another has taken.
    """

    def __init__(self, problem: Problem, seed: int, n_start: int = 16) -> None:
        self.problem, self.seed, self.n_start = problem, seed, n_start
        self.history = History(problem)
        self._known: set[bytes] = set()  # what was judged before the plan in the making
        self._plans: dict[int, tuple[int, Rows]] = {}  # device -> evaluations it was made from, proposals
        self._space = {name: CategoricalDistribution(choices) for name, choices in problem.encoding.variables.items()}

    @abstractmethod
    def plan(self, rows: Rows, accuracy: Vector, cost: Vector, device: int, rng: np.random.Generator) -> Rows:
        """Return what to evaluate next, best first.

        Args:
            rows: what was evaluated, (n, variables), with its accuracy (n,) and latency (n,) on the device.
        """

    def start(self, rng: np.random.Generator) -> Rows:
        """Return what to evaluate before there is a model, best first: random rows, far in latency from those known.

        Latency is free to know, so a start can cover the whole range of it.
        """
        rows = self.problem.random(rng, SPREAD_OVER)
        if not len(rows):
            return rows
        cost = np.log(total(self.problem.median_terms[0], rows))
        _, _, latency = self.history.arrays()
        known = np.log(latency[:, 0]) if len(latency) else np.array([cost.max() + 1])
        distance = np.abs(cost[:, None] - known[None, :]).min(axis=1)
        found: Rows = rows[np.argsort(-distance)]
        return found

    def batch(self, n: int) -> int:
        """Return how many proposals are made from ``n`` evaluations before the model is fitted again."""
        return max(4, n // 12)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        queued = trial.system_attrs.get("fixed_params", {})
        return {} if self._space.keys() <= {*queued, *trial.params} else dict(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        self.history.update(study, ignore=trial.number)
        return self.problem.encoding.choices(self.propose(trial.number))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        rng = np.random.default_rng([self.seed, trial.number, len(param_name)])
        choices = self.problem.encoding.variables[param_name]
        return choices[int(rng.integers(len(choices)))]

    def propose(self, number: int) -> Row:
        """Return the row of trial ``number``."""
        rng = np.random.default_rng([self.seed, number])
        device = number % len(self.problem.devices)
        made_from = self._last_fit(self.history.n)
        if made_from is None:
            return self._first_new(self.start(rng), rng)
        before, plan = self._plans.get(device, (-1, None))
        if plan is None or before != made_from:
            rows, accuracy, latency = self.history.arrays()
            cost = latency[:made_from, device]
            self._known = self.history.judged(made_from)
            drawn = np.random.default_rng([self.seed, made_from, device])
            plan = self.plan(rows[:made_from], accuracy[:made_from], cost, device, drawn)
            self._plans[device] = (made_from, plan)
        return self._first_new(plan, rng)

    def unknown(self, rows: Rows) -> Rows:
        """Return the rows that were neither evaluated nor given up before the plan is made."""
        return rows[[row.tobytes() not in self._known for row in rows]] if len(rows) else rows

    def _last_fit(self, n: int) -> int | None:
        """Return how many evaluations the plan for the next proposal is made from; None before the first."""
        if n < self.n_start:
            return None
        fitted = self.n_start
        while fitted + self.batch(fitted) <= n:
            fitted += self.batch(fitted)
        return fitted

    def _first_new(self, rows: Rows, rng: np.random.Generator) -> Row:
        """Return the first row nobody has taken, else a neighbour of one, else any."""
        for attempt in range(20):
            for row in rows:
                if self.history.is_new(row):
                    found: Row = row
                    return found
            if attempt < 10 and len(rows):
                grown = self.problem.encoding.mutate(rows[:64], rng)
                rows = grown[self.problem.reachable(grown)] if attempt < 9 else grown
            else:
                rows = self.problem.encoding.random(rng, 64)
        last: Row = self.problem.encoding.random(rng, 1)[0]
        return last

    def cap_ms(self, device: int) -> float:
        """Return the latency up to which a front is followed: what is rejected beyond, or the slowest there is."""
        return caps(self.problem)[device]


def caps(problem: Problem) -> list[float]:
    """Return the median latency up to which the front of each device is followed."""
    found = []
    sample = problem.random(np.random.default_rng(0), 2000)
    largest = problem.encoding.rows([problem.space.largest(), problem.space.smallest()])
    sample = np.concatenate([sample, largest[problem.reachable(largest)]])
    for terms in problem.median_terms:
        found.append(float(total(terms, sample).max()) if len(sample) else np.inf)
    return found


def parents_of(rows: Rows, accuracy: Vector, cost: Vector, least: int = 8) -> Rows:
    """Return the front of what is known and what lies next to it, at least ``least`` rows where there are as many."""
    left = np.arange(len(rows))
    found: list[int] = []
    while len(left) and len(found) < least:
        front = left[front_order(accuracy[left], cost[left])]
        found += [int(index) for index in front]
        left = np.setdiff1d(left, front)
    return unique(rows[found])
