"""Can a question be answered at all? What the tables and counts know before any accuracy is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from supersam.search.encoding import Term, total
from supersam.search.exact_front import exact_front
from supersam.search.memory import memory_mb
from supersam.search.problem import Problem
from supersam.space import AnyArchitecture, SearchSpace

UNITS = {"params_m": "million parameters", "gmacs": "GMACs"}


@dataclass(frozen=True)
class Unmet:
    """A budget or a limit that nothing in the space meets, and what comes nearest to it."""

    nearest: AnyArchitecture
    device: int  # whose budget it is; the first one's place for a limit of size
    why: str


def unmet(problem: Problem) -> Unmet | None:
    """Return the first budget or limit that nothing in the space meets; None if each alone can be met."""
    for number, device in enumerate(problem.devices):
        if device.budget_ms is None:
            continue
        found = fastest(problem, number)
        bound = problem.bound_ms(device.table.predict(found))
        if bound > device.budget_ms:
            name = "median" if problem.risk == "median" else "upper 90 % bound"
            asked, over = f"{device.budget_ms:g} ms on {device.name}", bound - device.budget_ms
            return Unmet(found, number, _why(problem, found, asked, f"{bound:.3g} ms ({name}), {over:.3g} ms over"))
    for limit, unit in UNITS.items():
        most, terms = getattr(problem.limits, limit), problem.size_terms[limit]
        if most is not None:
            found = least(problem, terms)
            value = float(total(terms, problem.encoding.rows([found]))[0])
            if value > most:
                return Unmet(found, 0, _why(problem, found, f"{most:g} {unit}", f"{value:.3g} {unit}"))
    if problem.limits.memory_mb is not None:
        found = lightest(problem.space)
        if memory_mb(found) > problem.limits.memory_mb:
            asked, has = f"{problem.limits.memory_mb:g} MB of memory", f"{memory_mb(found):.3g} MB"
            return Unmet(found, 0, _why(problem, found, asked, has))
    return None


def _why(problem: Problem, nearest: AnyArchitecture, asked: str, has: str) -> str:
    return f"Nothing in {problem.space.name} meets {asked}; the nearest is {nearest.digest} at {has}."


def fastest(problem: Problem, device: int = 0) -> AnyArchitecture:
    """Return the architecture with the lowest latency bound on a device."""
    return least(problem, problem.bound_terms[device])


def lightest(space: SearchSpace) -> AnyArchitecture:
    """Return the architecture of the least memory: all grows with every dimension, so only block types are tried."""
    variables = space.variables()
    blocks = {name: choices for name, choices in variables.items() if name.endswith(".block")}
    smallest = {name: choices[0] for name, choices in variables.items()}
    tried = (space.decode(smallest | dict(zip(blocks, types, strict=True))) for types in product(*blocks.values()))
    return min(tried, key=memory_mb)


def least(problem: Problem, terms: Sequence[Term]) -> AnyArchitecture:
    """Return the architecture of which a sum of terms is least."""
    return problem.encoding.architecture(exact_front(problem.encoding, [], terms, np.inf)[0])
