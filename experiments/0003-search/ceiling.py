"""How few evaluations could be enough: who knows more than any search can, on the archive.

    python experiments/0003-search/ceiling.py

Each chooses by the same expected hypervolume improvement, one architecture after the other, among the measured ones.
It is written between the markers "ceiling" of the README.
"""

from collections.abc import Callable

from records import table, write_between

import numpy as np  # isort: skip  # after records, which says how many threads it may use
from compare import first_at  # isort: skip
from competitors import COMPETITORS, run_one, with_optuna  # isort: skip
from tabular import PoolEncoding  # isort: skip
from truth import Truth, load_truth  # isort: skip
from verdict import LEVELS  # isort: skip

from supersam.search.acquisition import expected_hypervolume_improvement
from supersam.search.encoding import Rows, Vector
from supersam.search.predictor import Features, Predictor
from supersam.search.problem import Problem
from supersam.search.samplers.ehvi import EHVISampler

SEEDS = range(100, 108)  # others than those of the comparison
MOST = 400


def members(truth: Truth) -> tuple[Rows, Vector, Vector]:
    """Return the rows there are, their accuracies and latencies."""
    encoding = truth.problem.encoding
    assert isinstance(encoding, PoolEncoding)
    rows = encoding.pool.rows
    return rows, truth.accuracy(rows), truth.latency(rows)


def knows(truth: Truth, mean: Vector, spread: Vector) -> list[int]:
    """Return the evaluations to each level of who expects ``mean`` and ``spread`` throughout and never learns."""
    _, accuracy, ms = members(truth)
    lowest, slowest = truth.reference
    left = np.ones(len(ms), dtype=bool)
    chosen: list[int] = []
    for _ in range(MOST):
        at = np.flatnonzero(left)
        known = accuracy[chosen], ms[chosen]
        worth = expected_hypervolume_improvement(mean[at], spread[at], ms[at], *known, lowest, slowest)
        chosen.append(int(at[worth.argmax()]))
        left[chosen[-1]] = False
    return to_levels(truth, accuracy[chosen], ms[chosen])


def to_levels(truth: Truth, accuracy: Vector, ms: Vector) -> list[int]:
    """Return after how many of some evaluations each level was reached; one more than all if never."""
    areas = [truth.hypervolume(accuracy[:k], ms[:k]) for k in range(1, len(ms) + 1)]
    return [first_at(areas, level) or len(areas) + 1 for level in LEVELS]


class KnowsStrengths(EHVISampler):
    """The default, but told how strong each kind of effect is, as fitted to all there is."""

    def __init__(self, problem: Problem, seed: int, strengths: Vector) -> None:
        super().__init__(problem, seed)
        self._strengths = strengths  # logarithms of variances, of accuracies as they are

    def _fit(self, rows: Rows, accuracy: Vector, cost: Vector) -> None:
        predictor = Predictor(self._predictor.features)
        predictor._strengths = self._strengths - 2 * np.log(accuracy.std())
        self._predictor = predictor.fit(rows, accuracy, tune=False)


def searches(truth: Truth, make: Callable[[Problem, int], EHVISampler]) -> list[int]:
    """Return the medians over seeds of what a sampler needs."""
    COMPETITORS["ceiling"] = lambda problem, seed: with_optuna(make(problem, seed), problem)
    found = [run_one("ceiling", truth, truth.problem, seed, MOST) for seed in SEEDS]
    return [int(value) for value in np.median([to_levels(truth, *run[:, :2].T) for run in found], axis=0)]


def main() -> None:
    truth = load_truth("archive", "jetson-orin", "starter")
    rows, accuracy, _ = members(truth)
    fitted = Predictor(Features(truth.problem)).fit(rows, accuracy)
    error, spread = fitted.left_out()
    strengths = fitted._strengths + 2 * np.log(accuracy.std())
    cells = [
        ("the accuracies themselves", knows(truth, accuracy, np.full(len(accuracy), 1e-9))),
        ("of each what the model expects that has seen all others", knows(truth, accuracy - error, spread)),
        ("how strong each kind of effect is", searches(truth, lambda p, seed: KnowsStrengths(p, seed, strengths))),
        ("nothing: `ehvi`", searches(truth, EHVISampler)),
    ]
    lines = table(["who knows", *(f"evaluations to {level:.0%}" for level in LEVELS)], [(a, *b) for a, b in cells])
    write_between("ceiling", [*lines, "", f"On {truth.name}; the lower two are medians of {len(SEEDS)} seeds."])
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
