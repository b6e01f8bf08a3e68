"""The problem: which space, which devices with which budgets, and what else an encoder may cost."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from supersam.latency import Latency, LatencyTable
from supersam.search.encoding import Encoding, Rows, Term, Vector, total
from supersam.search.memory import memory_mb
from supersam.space import AnyArchitecture, Part, SearchSpace, count
from supersam.space.terms import PartTerms

REACH = 2.0  # a front is followed up to this many budgets, to show what a larger one would buy


@dataclass(frozen=True)
class Device:
    """One device with its latency table."""

    name: str  # as asked for
    table: LatencyTable
    budget_ms: float | None = None  # None: the whole front is wanted

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the table."""
        return self.table.fingerprint


@dataclass(frozen=True)
class Limits:
    """Hard limits beside latency; None is no limit."""

    params_m: float | None = None
    gmacs: float | None = None
    memory_mb: float | None = None


@dataclass(frozen=True)
class Problem:
    """What is searched for: more accuracy, less latency on every device, within the limits."""

    space: SearchSpace
    devices: tuple[Device, ...]
    risk: str = "upper"  # what a budget is compared with: the "upper" 90 % bound, or the "median"
    limits: Limits = Limits()

    def latencies(self, architecture: AnyArchitecture) -> tuple[Latency, ...]:
        """Return the latency on each device."""
        return tuple(device.table.predict(architecture) for device in self.devices)

    def bound_ms(self, latency: Latency) -> float:
        """Return what is compared with a budget."""
        return latency.ms if self.risk == "median" else latency.hi

    def over_budget(self, latencies: tuple[Latency, ...]) -> dict[str, float]:
        """Return by how many milliseconds each budget is exceeded; zero or less is within it."""
        return {
            device.name: self.bound_ms(latency) - device.budget_ms
            for device, latency in zip(self.devices, latencies, strict=True)
            if device.budget_ms is not None
        }

    def why_rejected(self, architecture: AnyArchitecture, latencies: tuple[Latency, ...]) -> str:
        """Return why no accuracy need be asked for, or an empty string.

        Rejected is what breaks a limit of size, and what is far beyond the budgets of all devices.
        """
        over = self._over_limits(architecture)
        if over:
            return over
        within = [
            device.budget_ms is None or self.bound_ms(latency) <= REACH * device.budget_ms
            for device, latency in zip(self.devices, latencies, strict=True)
        ]
        return "" if any(within) else f"slower than {REACH:g} budgets"

    def _over_limits(self, architecture: AnyArchitecture) -> str:
        ops = count(architecture)
        found = {"params_m": ops.params / 1e6, "gmacs": ops.gmacs}
        if self.limits.memory_mb is not None:
            found["memory_mb"] = memory_mb(architecture)
        for name, value in found.items():
            most = getattr(self.limits, name)
            if most is not None and value > most:
                return f"{name} {value:.4g} is over {most:g}"
        return ""

    @cached_property
    def encoding(self) -> Encoding:
        return Encoding(self.space)

    @cached_property
    def part_terms(self) -> PartTerms:
        """Which parts each choice brings in."""
        return PartTerms(self.space)

    @cached_property
    def median_terms(self) -> list[list[Term]]:
        """For each device, the terms of the median latency in milliseconds."""
        return [self.part_terms.price(_median(device.table)) for device in self.devices]

    @cached_property
    def bound_terms(self) -> list[list[Term]]:
        """For each device, the terms of what is compared with the budget."""
        if self.risk == "median":
            return self.median_terms
        return [self.part_terms.price(_upper(device.table)) for device in self.devices]

    @cached_property
    def size_terms(self) -> dict[str, list[Term]]:
        """The terms of the parameters (in millions) and of the GMACs."""
        return {
            "params_m": self.part_terms.price(lambda part: part.ops.params / 1e6),
            "gmacs": self.part_terms.price(lambda part: part.ops.gmacs),
        }

    def reachable(self, rows: Rows) -> NDArray[np.bool_]:
        """Return which rows are not rejected, (n,)."""
        near = np.zeros(len(rows), dtype=bool)
        for device, terms in zip(self.devices, self.bound_terms, strict=True):
            near |= total(terms, rows) <= REACH * device.budget_ms if device.budget_ms is not None else True
        for name in ("params_m", "gmacs"):
            most = getattr(self.limits, name)
            if most is not None:
                near &= total(self.size_terms[name], rows) <= most
        if self.limits.memory_mb is not None:
            for at in np.flatnonzero(near):
                near[at] = memory_mb(self.encoding.architecture(rows[at])) <= self.limits.memory_mb
        return near

    def random(self, rng: np.random.Generator, n: int, tries: int = 40) -> Rows:
        """Return up to ``n`` random rows that are not rejected; fewer where they are very rare."""
        found = self.encoding.random(rng, 0)
        for _ in range(tries):
            drawn = self.encoding.random(rng, 4 * n)
            found = np.concatenate([found, drawn[self.reachable(drawn)]])
            if len(found) >= n:
                break
        return found[:n]


def _median(table: LatencyTable) -> Callable[[Part], float]:
    def measure(part: Part) -> float:
        return table.of_part(part).ms

    return measure


def _upper(table: LatencyTable) -> Callable[[Part], float]:
    def measure(part: Part) -> float:
        return table.of_part(part).hi

    return measure


def size_vector(terms: dict[str, list[Term]], rows: Rows) -> Vector:
    """Return the logarithms of parameters and MACs, (n, 2)."""
    return np.log(np.stack([total(terms[name], rows) for name in ("params_m", "gmacs")], axis=1))
