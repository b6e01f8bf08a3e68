"""The reported front is measured, not believed: predicted members are evaluated until none is left or K are."""

from collections.abc import Callable, Iterable

from supersam.results import Accuracy, Candidate, pareto_front
from supersam.space import AnyArchitecture


def verify(
    candidates: Iterable[Candidate],
    most: int | None,
    measure: Callable[[AnyArchitecture], Accuracy],
    on_measured: Callable[[Candidate], None],
) -> dict[str, Candidate]:
    """Return the candidates by digest, those of the front measured.

    A measurement changes the front, so it is taken anew after each.

    Args:
        most: how many may be measured; None is as many as it takes.
        on_measured: called with each candidate that was measured.
    """
    found = {candidate.digest: candidate for candidate in candidates}
    done = 0
    while most is None or done < most:
        waiting = [one for one in pareto_front(found.values()) if one.accuracy.source == "predicted"]
        if not waiting:
            break
        chosen = max(waiting, key=lambda one: one.accuracy.value)
        measured = Candidate(chosen.architecture, measure(chosen.architecture), chosen.latency, chosen.also)
        found[chosen.digest] = measured
        on_measured(measured)
        done += 1
    return found
