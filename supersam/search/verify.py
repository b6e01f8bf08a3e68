"""The reported fronts are measured, not believed: predicted members are evaluated until none is left or K are."""

from collections.abc import Callable, Collection, Iterable, Iterator

from supersam.results import Accuracy, Candidate, pareto_front
from supersam.search.report import on_device
from supersam.space import AnyArchitecture


def verify(
    candidates: Iterable[Candidate],
    most: int | None,
    measure: Callable[[AnyArchitecture], Accuracy],
    on_measured: Callable[[Candidate], None],
) -> dict[str, Candidate]:
    """Return the candidates by digest, those of the front of every device measured.

    A measurement changes the fronts, so they are taken anew after each.

    Args:
        most: how many may be measured; None is as many as it takes.
        on_measured: called with each candidate that was measured.
    """
    found = {candidate.digest: candidate for candidate in candidates}
    done = 0
    while most is None or done < most:
        waiting = [found[one.digest] for one in _on_fronts(found.values()) if one.accuracy.source == "predicted"]
        if not waiting:
            break
        chosen = max(waiting, key=lambda one: one.accuracy.value)
        measured = Candidate(chosen.architecture, measure(chosen.architecture), chosen.latency, chosen.also)
        found[chosen.digest] = measured
        on_measured(measured)
        done += 1
    return found


def _on_fronts(candidates: Collection[Candidate]) -> Iterator[Candidate]:
    """Yield the members of the fronts of all devices."""
    yield from pareto_front(candidates)
    for device in next(iter(candidates)).also if candidates else ():
        yield from pareto_front(on_device(one, device) for one in candidates)
