"""Search spaces that are lists: the measured subnets of an archive, and NAS-Bench-Graph.

NAS-Bench-Graph (https://arxiv.org/abs/2206.09166; ``pip install nas-bench-graph``, Apache-2.0) ships accuracy, latency
and parameters of 26,206 graph neural networks on nine data sets inside its package.
"""

import itertools
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from supersam.latency import Latency
from supersam.search.encoding import Encoding, Rows, Term, Vector
from supersam.search.problem import Device, Problem

NEIGHBOURS = 8  # members one step of mutation can lead to
NUMBERS = ("resolution", "depth", "width", "ratio")  # variables whose choices have an order


class Pool:
    """Rows that are all there is."""

    def __init__(self, encoding: Encoding, rows: Rows) -> None:
        self.rows = rows
        points = []
        for column, (name, size) in enumerate(zip(encoding.names, encoding.sizes, strict=True)):
            ordered = name.split(".")[-1] in NUMBERS
            points.append(rows[:, [column]] / max(1, size - 1) if ordered else np.eye(size)[rows[:, column]] / 2)
        self._points = np.concatenate(points, axis=1)
        self._encoding = encoding
        self._at = {row.tobytes(): at for at, row in enumerate(rows)}

    def distances(self, row: NDArray[np.int16]) -> Vector:
        """Return how far each member is from a row: one for another type, less for a near number, (members,)."""
        point = Pool(self._encoding, row[None])._points[0]
        found: Vector = np.abs(self._points - point).sum(axis=1)
        return found

    def nearest(self, row: NDArray[np.int16], left: NDArray[np.bool_] | None = None) -> int | None:
        """Return the member nearest to a row among those left; None if none is."""
        if left is None and row.tobytes() in self._at:
            return self._at[row.tobytes()]
        distances = self.distances(row)
        if left is not None:
            distances[~left] = np.inf
        found = int(distances.argmin())
        return found if np.isfinite(distances[found]) else None

    @cached_property
    def neighbours(self) -> NDArray[np.intp]:
        """The nearest other members of each member, (members, NEIGHBOURS)."""
        found = []
        for at, row in enumerate(self._points):
            distances = np.abs(self._points - row).sum(axis=1)
            distances[at] = np.inf
            found.append(np.argsort(distances, kind="stable")[:NEIGHBOURS])
        return np.array(found)


class PoolEncoding(Encoding):
    """Rows of a pool: what is drawn, mutated or crossed is always a member."""

    def __init__(self, space: Any, members: Rows) -> None:
        super().__init__(space)
        self.pool = Pool(self, members)

    def random(self, rng: np.random.Generator, count: int) -> Rows:
        return self.pool.rows[rng.integers(0, len(self.pool.rows), count)]

    def mutate(self, rows: Rows, rng: np.random.Generator, rate: float | None = None) -> Rows:
        near = self.pool.neighbours[[self.pool.nearest(row) for row in rows]]
        picked = near[np.arange(len(rows)), rng.integers(0, near.shape[1], len(rows))] if len(rows) else near[:, 0]
        return self.pool.rows[picked]

    def cross(self, mothers: Rows, fathers: Rows, rng: np.random.Generator) -> Rows:
        crossed = super().cross(mothers, fathers, rng)
        return self.pool.rows[[self.pool.nearest(row) for row in crossed]]


@dataclass(frozen=True)
class PoolProblem(Problem):
    """A problem whose only answers are the members of a pool."""

    members: Any = field(default=None, compare=False)

    @cached_property
    def encoding(self) -> Encoding:
        return PoolEncoding(self.space, self.members)


class Wiring(NamedTuple):
    """One architecture of NAS-Bench-Graph: where four operations take their input, and which they are."""

    link: str
    operations: tuple[str, ...]


class GraphSpace:
    """The space of NAS-Bench-Graph: one wiring of nine, one operation of nine at each of four nodes."""

    name = "nas-bench-graph"

    def __init__(self) -> None:
        from nas_bench_graph.architecture import gnn_list, link_list

        self.links = {"".join(map(str, link)): link for link in link_list}
        self.operations = tuple(gnn_list)

    def variables(self) -> dict[str, tuple[str, ...]]:
        return {"link": tuple(self.links)} | {f"node{n}.block": self.operations for n in range(1, 5)}

    def decode(self, choices: dict[str, str]) -> Wiring:
        return Wiring(choices["link"], tuple(choices[f"node{n}.block"] for n in range(1, 5)))

    def encode(self, wiring: Wiring) -> dict[str, str]:
        return {"link": wiring.link} | {f"node{n}.block": o for n, o in enumerate(wiring.operations, start=1)}

    def smallest(self) -> Wiring:
        return self.decode({name: choices[0] for name, choices in self.variables().items()})

    largest = smallest  # neither is known beforehand


@dataclass(frozen=True)
class GraphTable:
    """Everything NAS-Bench-Graph knows of one data set, (9, 9, 9, 9, 9) each, and which rows are the same network."""

    accuracy: NDArray[np.float64]
    ms: NDArray[np.float64]
    params_m: NDArray[np.float64]
    same_as: NDArray[np.int64]  # flat index of the row that stands for a network; -1: there is no such network

    @staticmethod
    def read(name: str) -> "GraphTable":
        """Read one of: cora, citeseer, pubmed, cs, physics, photo, computers, arxiv."""
        from nas_bench_graph import light_read
        from nas_bench_graph.architecture import Arch

        known, space = light_read(name), GraphSpace()
        shape = (len(space.links), *[len(space.operations)] * 4)
        values, same_as = np.full((3, int(np.prod(shape))), np.nan), np.full(int(np.prod(shape)), -1)
        first: dict[int, int] = {}
        wirings = itertools.product(space.links.values(), *[space.operations] * 4)
        for at, (link, *operations) in enumerate(wirings):
            key = Arch(list(link), list(operations)).valid_hash()
            if key in known:
                same_as[at] = first.setdefault(key, at)
                values[:, at] = [known[key]["perf"], 1000 * known[key]["latency"], known[key]["para"]]
        return GraphTable(*(one.reshape(shape) for one in values), same_as)


class GraphEncoding(Encoding):
    """Rows of NAS-Bench-Graph; wirings that are the same network have one row."""

    def __init__(self, space: GraphSpace, same_as: NDArray[np.int64]) -> None:
        self._same_as = same_as
        super().__init__(space)  # type: ignore[arg-type]

    def canonical(self, rows: Rows) -> Rows:
        if not len(rows):
            return rows
        flat = np.ravel_multi_index(tuple(rows.T.astype(np.intp)), tuple(self.sizes))
        stands_for = np.where(self._same_as[flat] >= 0, self._same_as[flat], flat)
        return np.stack(np.unravel_index(stands_for, tuple(self.sizes)), axis=1).astype(np.int16)


@dataclass(frozen=True)
class GraphProblem(Problem):
    """Accuracy against the tabulated latency of NAS-Bench-Graph."""

    table: Any = field(default=None, compare=False)

    @cached_property
    def encoding(self) -> Encoding:
        return GraphEncoding(self.space, self.table.same_as)  # type: ignore[arg-type]

    @cached_property
    def median_terms(self) -> list[list[Term]]:
        return [[Term((0, 1, 2, 3, 4), np.nan_to_num(self.table.ms, nan=1e6))]]

    @cached_property
    def bound_terms(self) -> list[list[Term]]:
        return self.median_terms

    @cached_property
    def size_terms(self) -> dict[str, list[Term]]:
        term = Term((0, 1, 2, 3, 4), np.nan_to_num(self.table.params_m, nan=1.0))
        return {"params_m": [term], "gmacs": [term]}  # MACs are not tabulated

    def reachable(self, rows: Rows) -> NDArray[np.bool_]:
        known = ~np.isnan(self.table.accuracy[tuple(rows.T)])
        return known & super().reachable(rows)

    def latencies(self, architecture: Any) -> tuple[Latency, ...]:
        row = self.encoding.row(self.space.encode(architecture))
        ms = float(self.table.ms[tuple(row)])
        return (Latency(ms, ms, ms, "measured"),)


def graph_problem(name: str) -> GraphProblem:
    """Return the problem of one data set of NAS-Bench-Graph."""
    device = Device(f"nas-bench-graph-{name}", None)  # type: ignore[arg-type]
    return GraphProblem(GraphSpace(), (device,), table=GraphTable.read(name))  # type: ignore[arg-type]
