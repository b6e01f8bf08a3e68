"""Ground truths: problems of which every architecture's accuracy is known, and so the true front.

``archive``         the measured subnets of the shipped archive are the whole search space: nothing is modelled.
``graph:NAME``      NAS-Bench-Graph, a public tabular benchmark that ships its data (``tabular.py``).
``surrogate``       the whole space, its accuracies by trees fitted to the shipped archive.
``synthetic:SEED``  the whole space, its accuracies by an invented function.

``archive:PATH`` and ``surrogate:PATH`` take another archive. Of the latter two the front is found by enumeration, so
that a sampler is compared with what there is and not with what the best sampler found.
"""

import hashlib
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tabular import GraphProblem, PoolProblem, graph_problem

from supersam._paths import starter_dir
from supersam.latency import load_table
from supersam.results import load_archive
from supersam.results.archive import ARCHIVE_FILE
from supersam.search.encoding import Rows, Term, Vector, total
from supersam.search.exact_front import front_order
from supersam.search.problem import Device, Problem
from supersam.space import load_space

CACHE = Path(__file__).parent / "cache"
CHUNK = 200_000
MARGIN = 0.1  # the reference point lies this share of the front's extent beyond it
N_BUDGETS = 5


@dataclass
class Truth:
    """One problem with all its answers."""

    name: str
    problem: Problem
    accuracy: Callable[[Rows], Vector]
    front_accuracy: Vector
    front_ms: Vector
    best_within: dict[float, float]  # budget in ms (upper bound) -> best accuracy
    leaves_out: dict[str, str] = field(default_factory=dict)  # samplers that cannot be used -> why

    @property
    def reference(self) -> tuple[float, float]:
        """The lowest accuracy and the highest latency that count."""
        low, high = self.front_accuracy.min(), self.front_accuracy.max()
        fast, slow = self.front_ms.min(), self.front_ms.max()
        return float(low - MARGIN * (high - low)), float(slow + MARGIN * (slow - fast))

    def latency(self, rows: Rows) -> Vector:
        return total(self.problem.median_terms[0], rows)

    def bound(self, rows: Rows) -> Vector:
        return total(self.problem.bound_terms[0], rows)

    def hypervolume(self, accuracy: Vector, ms: Vector) -> float:
        """Return the hypervolume of some points as a share of the true front's."""
        return self._area(accuracy, ms) / self._area(self.front_accuracy, self.front_ms)

    def _area(self, accuracy: Vector, ms: Vector) -> float:
        low, slow = self.reference
        inside = (accuracy > low) & (ms < slow)
        accuracy, ms = accuracy[inside], ms[inside]
        order = front_order(accuracy, ms)
        ends = np.append(ms[order][1:], slow)
        return float(((ends - ms[order]) * (accuracy[order] - low)).sum())


def load_truth(what: str, device: str, space: str) -> Truth:
    """Return a truth by what is written at the top of this file."""
    kind, _, detail = what.partition(":")
    if kind == "graph":
        return of_graph(what, graph_problem(detail))
    problem = Problem(load_space(space), (Device(device, load_table(device)),))
    archive = Path(detail) if detail else starter_dir() / ARCHIVE_FILE
    if kind == "archive":
        return of_archive(problem, archive)
    if kind == "surrogate":
        return of_space(f"surrogate of {version(problem, archive)}", problem, surrogate(problem, archive))
    if kind == "synthetic":
        return of_space(f"{what} {version(problem)}", problem, synthetic(problem, int(detail)))
    raise SystemExit(f"no truth {what!r}; there are archive[:PATH], graph:NAME, surrogate[:PATH], synthetic:SEED")


def version(problem: Problem, archive: Path | None = None) -> str:
    """Return a short hash of everything a truth is made from, so that rows of another archive or table are others."""
    content = archive.read_bytes() if archive else b""
    about = f"{problem.space.fingerprint} {problem.devices[0].fingerprint}".encode()
    return ("archive " if archive else "") + "@" + hashlib.sha256(content + about).hexdigest()[:8]


def of_archive(problem: Problem, path: Path) -> Truth:
    """Return the truth in which the measured subnets of an archive are all there is."""
    measured = {a: found.value for a, found in load_archive(path).measured.items() if problem.space.contains(a)}
    rows = problem.encoding.rows(list(measured))
    value_of = dict(zip((row.tobytes() for row in rows), measured.values(), strict=True))
    pool = PoolProblem(problem.space, problem.devices, members=rows)

    def accuracy(rows: Rows) -> Vector:
        return np.array([value_of[row.tobytes()] for row in rows])

    found = answers(pool, rows, accuracy(rows))
    return Truth(version(problem, path), pool, accuracy, *found)


def of_graph(name: str, problem: GraphProblem) -> Truth:
    """Return the truth that NAS-Bench-Graph tabulates for one data set."""
    flat = np.unique(problem.table.same_as[problem.table.same_as >= 0])
    rows = np.stack(np.unravel_index(flat, problem.table.accuracy.shape), axis=1).astype(np.int16)

    def accuracy(rows: Rows) -> Vector:
        found: Vector = problem.table.accuracy[tuple(rows.T)]
        return found

    why = "its latency is no sum over stages"
    return Truth(name, problem, accuracy, *answers(problem, rows, accuracy(rows)), {"linas-dp": why})


def of_space(name: str, problem: Problem, accuracy: Callable[[Rows], Vector]) -> Truth:
    """Return the truth of a whole space, enumerated once and kept in ``cache/``."""
    file = CACHE / f"{hashlib.sha256(name.encode()).hexdigest()[:12]}.npz"
    if not file.is_file():
        file.parent.mkdir(exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}.npz")
        np.savez(unfinished, **enumerate_space(problem, accuracy, N_BUDGETS))
        unfinished.replace(file)
    found = np.load(file)
    within = dict(zip(map(float, found["budgets"]), map(float, found["best"]), strict=True))
    return Truth(name, problem, accuracy, found["front_accuracy"], found["front_ms"], within)


def answers(problem: Problem, rows: Rows, accuracy: Vector) -> tuple[Vector, Vector, dict[float, float]]:
    """Return accuracy and latency of the front of some rows, and the best of them within five budgets."""
    ms, upper = total(problem.median_terms[0], rows), total(problem.bound_terms[0], rows)
    order = front_order(accuracy, ms)
    budgets = np.quantile(upper, np.linspace(0.1, 0.9, N_BUDGETS)).round(6)
    within = {float(budget): float(accuracy[upper <= budget].max()) for budget in budgets}
    return accuracy[order], ms[order], within


def enumerate_space(problem: Problem, accuracy: Callable[[Rows], Vector], n_budgets: int) -> dict[str, np.ndarray]:
    """Return the front of the whole space and the best within budgets spread over it."""
    sizes = tuple(int(size) for size in problem.encoding.sizes)
    front_accuracy, front_ms = np.zeros(0), np.zeros(0)
    upper_accuracy, upper_ms = np.zeros(0), np.zeros(0)
    for start in range(0, int(np.prod(sizes)), CHUNK):
        index = np.arange(start, min(start + CHUNK, int(np.prod(sizes))))
        rows = np.stack(np.unravel_index(index, sizes), axis=1).astype(np.int16)
        value = accuracy(rows)
        ms, upper = total(problem.median_terms[0], rows), total(problem.bound_terms[0], rows)
        front_accuracy, front_ms = _merge(front_accuracy, front_ms, value, ms)
        upper_accuracy, upper_ms = _merge(upper_accuracy, upper_ms, value, upper)
    budgets = np.quantile(upper_ms, np.linspace(0.1, 0.9, n_budgets))
    best = np.array([upper_accuracy[upper_ms <= budget].max() for budget in budgets])
    return {"front_accuracy": front_accuracy, "front_ms": front_ms, "budgets": budgets, "best": best}


def _merge(accuracy: Vector, ms: Vector, more_accuracy: Vector, more_ms: Vector) -> tuple[Vector, Vector]:
    accuracy, ms = np.concatenate([accuracy, more_accuracy]), np.concatenate([ms, more_ms])
    order = front_order(accuracy, ms)
    return accuracy[order], ms[order]


def synthetic(problem: Problem, seed: int) -> Callable[[Rows], Vector]:
    """Return an invented accuracy: stages whose gains saturate and multiply, types that suit their neighbours or not,
    and a smooth remainder that is no sum of anything (random Fourier features).

    It says nothing about SAM; it is of no model's own form, neither a ridge regression's nor a Gaussian process's.
    """
    rng, encoding = np.random.default_rng(seed), problem.encoding
    stages = sorted({name.split(".")[0] for name in encoding.names if "." in name})
    blocks = [encoding.column(f"{stage}.block") for stage in stages]
    numbers = {
        column: np.log(np.array(encoding.variables[name], dtype=float))
        for column, name in enumerate(encoding.names)
        if not name.endswith(".block")
    }
    gains = [rng.normal(1, 0.15, encoding.sizes[column]) for column in blocks]
    exponents = rng.uniform(0.2, 0.6, (len(stages), 3))
    neighbours = [
        Term((left, right), rng.normal(0, 0.01, (encoding.sizes[left], encoding.sizes[right])))
        for left, right in itertools.pairwise(blocks)
    ]
    waves = rng.normal(0, 0.35, (64, int(encoding.sizes.sum())))
    phases = rng.uniform(0, 2 * np.pi, 64)
    starts = np.concatenate([[0], np.cumsum(encoding.sizes)[:-1]])
    resolution = encoding.column("resolution")

    def accuracy(rows: Rows) -> Vector:
        value = np.ones(len(rows))
        for stage, name in enumerate(stages):
            columns = [encoding.column(f"{name}.{what}") for what in ("depth", "width", "ratio")]
            capacity = sum(e * (numbers[c][rows[:, c]] - numbers[c][0]) for e, c in zip(exponents[stage], columns))
            value *= gains[stage][rows[:, blocks[stage]]] * (1 - 0.35 * np.exp(-1.5 * capacity))
        sharpness = 1 - 0.3 * np.exp(-1.2 * (numbers[resolution][rows[:, resolution]] - numbers[resolution][0]))
        phase = phases + sum(waves[:, start + rows[:, column]].T for column, start in enumerate(starts))
        remainder = np.cos(phase).sum(axis=1) * np.sqrt(2 / 64)
        return 0.3 + 0.35 * value * sharpness + total(neighbours, rows) + 0.006 * remainder

    return accuracy


def surrogate(problem: Problem, archive: Path) -> Callable[[Rows], Vector]:
    """Return gradient-boosted trees fitted to an archive (scikit-learn): no sampler here has a model of that form."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    measured = {a: found for a, found in load_archive(archive).measured.items() if problem.space.contains(a)}
    rows = problem.encoding.rows(list(measured))
    values = np.array([found.value for found in measured.values()])
    trees = HistGradientBoostingRegressor(max_iter=200, learning_rate=0.05, max_leaf_nodes=8, min_samples_leaf=5)
    trees.fit(rows, values)

    def accuracy(rows: Rows) -> Vector:
        return np.asarray(trees.predict(rows))

    return accuracy
