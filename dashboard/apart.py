"""Fronts of measured and of predicted accuracies, which never share one (docs/decisions/0011)."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from supersam.results import Candidate, best_within, pareto_front

MEASURED, PREDICTED = "measured", "predicted"


@dataclass(frozen=True)
class Fronts:
    """The Pareto fronts of some candidates, from fast to slow."""

    main: list[Candidate]  # of the measured accuracies, or of the predicted ones where nothing is measured
    predicted: list[Candidate] = field(default_factory=list)  # of the predicted ones, beside a measured main


def fronts(candidates: Iterable[Candidate]) -> Fronts:
    """Return the front of the measured candidates and, apart from it, that of the predicted ones."""
    measured, predicted = split(candidates)
    if not measured:
        return Fronts(pareto_front(predicted))
    return Fronts(pareto_front(measured), pareto_front(predicted))


def best_of(candidates: Iterable[Candidate], budget_ms: float, risk: str) -> Candidate | None:
    """Return the best measured candidate within a budget; a predicted one only where no measured one is within it."""
    measured, predicted = split(candidates)
    return best_within(measured, budget_ms, risk) or best_within(predicted, budget_ms, risk)


def split(candidates: Iterable[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
    """Return the candidates with measured accuracies and those with predicted ones."""
    found: dict[str, list[Candidate]] = {MEASURED: [], PREDICTED: []}
    for candidate in candidates:
        found[candidate.accuracy.source].append(candidate)
    return found[MEASURED], found[PREDICTED]
