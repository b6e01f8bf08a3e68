"""What a search knew after each number of evaluations: hypervolume and the best within the budget."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from supersam.results import Candidate, hypervolume

from .apart import MEASURED, PREDICTED

POINTS = 200  # of a curve


@dataclass(frozen=True)
class Curve:
    """What one kind of accuracy says: measured and predicted ones never share a front (docs/decisions/0011)."""

    evaluations: list[int] = field(default_factory=list)  # of either kind, so that the curves share an axis
    hypervolume: list[float] = field(default_factory=list)  # accuracy x milliseconds beyond the reference point
    best: list[float | None] = field(default_factory=list)  # accuracy of the best within the budget


@dataclass(frozen=True)
class Curves:
    """The curves of a run by kind of accuracy, of those kinds that occur."""

    by_source: dict[str, Curve]
    reference: tuple[float, float]  # milliseconds, accuracy


def curves(candidates: Sequence[Candidate], budget_ms: float | None, risk: str) -> Curves:
    """Return the curves of candidates in the order in which they were evaluated.

    The reference point is the slowest and the least accurate candidate of the run.
    """
    if not candidates:
        return Curves({}, (0.0, 0.0))
    reference = (
        max(candidate.latency.ms for candidate in candidates),
        min(candidate.accuracy.value for candidate in candidates),
    )
    occurring = {candidate.accuracy.source for candidate in candidates}
    sources = [source for source in (MEASURED, PREDICTED) if source in occurring]
    return Curves({source: _curve(candidates, source, reference, budget_ms, risk) for source in sources}, reference)


def _curve(
    candidates: Sequence[Candidate], source: str, reference: tuple[float, float], budget_ms: float | None, risk: str
) -> Curve:
    every = max(1, len(candidates) // POINTS)
    found = Curve()
    front: list[Candidate] = []
    best: Candidate | None = None
    for number, candidate in enumerate(candidates, start=1):
        if candidate.accuracy.source == source:
            _insert(front, candidate)
            best = candidate if _is_better(candidate, best, budget_ms, risk) else best
        if number % every == 0 or number == len(candidates):
            found.evaluations.append(number)
            found.hypervolume.append(hypervolume(front, *reference))
            found.best.append(None if best is None else best.accuracy.value)
    return found


def _insert(front: list[Candidate], candidate: Candidate) -> None:
    """Add a candidate to a front that is kept from fast to slow, or leave it as it is."""
    place = bisect_left(front, candidate.latency.ms, key=lambda one: one.latency.ms)
    if place and front[place - 1].accuracy.value >= candidate.accuracy.value:
        return
    is_tied = place < len(front) and front[place].latency.ms == candidate.latency.ms
    if is_tied and front[place].accuracy.value >= candidate.accuracy.value:
        return
    end = place
    while end < len(front) and front[end].accuracy.value <= candidate.accuracy.value:
        end += 1
    front[place:end] = [candidate]


def _is_better(candidate: Candidate, best: Candidate | None, budget_ms: float | None, risk: str) -> bool:
    if budget_ms is not None and candidate.bound_ms(risk) > budget_ms:
        return False
    return best is None or candidate.accuracy.value > best.accuracy.value
