"""What a search begins with: the best that is known already, then the corners of the space."""

from collections.abc import Mapping

from supersam.results import Accuracy, Candidate, pareto_front
from supersam.search.feasible import fastest
from supersam.search.problem import Problem
from supersam.space import AnyArchitecture, SearchSpace

BEST = 16  # within the limits, beside the fronts


def starts_of(problem: Problem, known: Mapping[AnyArchitecture, Accuracy]) -> list[AnyArchitecture]:
    """Return the first architectures of a search.

    The fastest on each device; of those whose accuracy is known the best, also within each budget, and the fronts of
    all devices; the corners of the space. So no answer is worse than what was known before.
    """
    allowed = {a: found for a, found in known.items() if problem.space.contains(a)}
    reachable = problem.reachable(problem.encoding.rows(list(allowed))) if allowed else ()
    allowed = {a: allowed[a] for a, reached in zip(allowed, reachable, strict=True) if reached}
    starts = [fastest(problem, number) for number in range(len(problem.devices))]
    starts += _best(allowed)
    fronts: list[AnyArchitecture] = []
    for device in problem.devices:
        candidates = [Candidate(a, accuracy, device.table.predict(a)) for a, accuracy in allowed.items()]
        within = [
            one for one in candidates if device.budget_ms is None or problem.bound_ms(one.latency) <= device.budget_ms
        ]
        starts += _best({one.architecture: one.accuracy for one in within})
        fronts += [one.architecture for found in (within, candidates) for one in reversed(pareto_front(found))]
    return list(dict.fromkeys([*starts, *fronts, *corners(problem.space)]))


def corners(space: SearchSpace) -> list[AnyArchitecture]:
    """Return the extremes of a space, and those of each single block type."""
    found: dict[AnyArchitecture, None] = {space.smallest(): None, space.largest(): None}
    variables = space.variables()
    blocks = next((choices for name, choices in variables.items() if name.endswith(".block")), ())
    for block in blocks:
        for end in (0, -1):
            choices = {name: allowed[end] for name, allowed in variables.items()}
            choices |= {name: block for name in variables if name.endswith(".block") and block in variables[name]}
            found[space.decode(choices)] = None
    return list(found)


def _best(known: Mapping[AnyArchitecture, Accuracy]) -> list[AnyArchitecture]:
    return sorted(known, key=lambda architecture: -known[architecture].value)[:BEST]
