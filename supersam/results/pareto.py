"""Pareto fronts of accuracy (more is better) against latency (less is better)."""

from collections.abc import Iterable, Sequence

from supersam.results.candidate import Candidate


def pareto_front(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates that no other dominates, from fast to slow.

    One dominates another if it is at least as fast and as accurate and better in one of the two. Of candidates
    equal in both, the first is kept.
    """
    ordered = sorted(enumerate(candidates), key=lambda pair: (pair[1].latency.ms, -pair[1].accuracy.value, pair[0]))
    front: list[Candidate] = []
    for _, candidate in ordered:
        if not front or candidate.accuracy.value > front[-1].accuracy.value:
            front.append(candidate)
    return front


def hypervolume(front: Sequence[Candidate], slowest_ms: float, lowest_accuracy: float = 0.0) -> float:
    """Return the area that a front dominates up to a reference point, in accuracy times milliseconds."""
    area, previous = 0.0, slowest_ms
    for candidate in sorted(front, key=lambda found: -found.latency.ms):
        if candidate.latency.ms < previous and candidate.accuracy.value > lowest_accuracy:
            area += (previous - candidate.latency.ms) * (candidate.accuracy.value - lowest_accuracy)
            previous = candidate.latency.ms
    return area


def best_within(candidates: Iterable[Candidate], budget_ms: float, risk: str = "upper") -> Candidate | None:
    """Return the most accurate candidate whose latency bound is within the budget; ties go to the faster one."""
    within = [candidate for candidate in candidates if candidate.bound_ms(risk) <= budget_ms]
    return max(within, key=lambda found: (found.accuracy.value, -found.latency.ms), default=None)
