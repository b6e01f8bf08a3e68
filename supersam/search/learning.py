"""Accuracy measured for some architectures and predicted for the rest, by a model that learns during the search."""

from typing import TYPE_CHECKING, Any

import numpy as np

from supersam.results import Accuracy
from supersam.results.ridge import SPREAD_95
from supersam.search.accuracy import AccuracySource, SharedAccuracy
from supersam.search.predictor import MOST, Features, Predictor
from supersam.search.problem import Problem
from supersam.space import AnyArchitecture

if TYPE_CHECKING:
    from supersam.search.ledger import Ledger

LEAST = 24  # measured before anything is predicted


class LearningAccuracy:
    """Measures while there is a budget of measurements and a prediction would not do, else predicts.

    A prediction does where even its upper 95 % bound is below what is known to be reached at its latency on every
    device. Workers of one study learn from each other's measurements, and share the budget of them (one that is being
    spent does not count yet, so that there may be one more for each further worker).
    """

    def __init__(self, measure: AccuracySource, problem: Problem, n_measurements: int) -> None:
        self.measure, self.problem, self.n_measurements = measure, problem, n_measurements
        self.measured: dict[AnyArchitecture, Accuracy] = {}
        self._features = Features(problem)
        self._predictor = Predictor(self._features)
        self._fitted, self._tuned = 0, 0  # to how many measurements

    def __call__(self, architecture: AnyArchitecture) -> Accuracy:
        if architecture in self.measured:
            return self.measured[architecture]
        if len(self.measured) < min(LEAST, self.n_measurements) or len(self.measured) < 2:
            return self.measure_now(architecture)
        predicted = self.predict(architecture)
        if len(self.measured) < self.n_measurements and predicted.interval[1] > self._reached(architecture):
            return self.measure_now(architecture)
        return predicted

    def learn_from(self, ledger: "Ledger") -> None:
        """Take in what all workers have measured, in the order of their trials."""
        known = ledger.candidates.values()
        self.measured = {one.architecture: one.accuracy for one in known if one.accuracy.source == "measured"}
        if isinstance(self.measure, SharedAccuracy):
            self.measure.learn_from(ledger)

    def notes(self) -> dict[str, Any]:
        """Return what the other workers should know of the last measurement."""
        return self.measure.notes() if isinstance(self.measure, SharedAccuracy) else {}

    def measure_now(self, architecture: AnyArchitecture) -> Accuracy:
        """Measure an architecture and learn from it."""
        found = self.measure(architecture)
        self.measured[architecture] = found
        return found

    def predict(self, architecture: AnyArchitecture) -> Accuracy:
        """Predict from all measurements so far, with a 95 % interval."""
        if self._fitted != len(self.measured):
            self._fit()
        mean, spread = self._predictor.predict(self.problem.encoding.rows([architecture]))
        value, reach = float(np.clip(mean[0], 0, 1)), SPREAD_95 * float(spread[0])
        return Accuracy(value, "predicted", (max(0.0, value - reach), min(1.0, value + reach)))

    def _fit(self) -> None:
        """Fit to all measurements, with the strengths that suited the last round number of them.

        So the model follows from the measurements alone, whoever made them and whenever the search was continued.
        """
        n = len(self.measured)
        rows = self.problem.encoding.rows(list(self.measured))
        values = np.array([accuracy.value for accuracy in self.measured.values()])
        tuned = min(n, round_number(n))
        if tuned != self._tuned:
            self._predictor = Predictor(self._features).fit(rows[:tuned][-MOST:], values[:tuned][-MOST:])
            self._tuned = tuned
        self._predictor.fit(rows[-MOST:], values[-MOST:], tune=False)
        self._fitted = n

    def _reached(self, architecture: AnyArchitecture) -> float:
        """Return the best accuracy at the architecture's latency, on the device where that is least."""
        known = [(self.problem.latencies(one), accuracy.value) for one, accuracy in self.measured.items()]
        mine = self.problem.latencies(architecture)
        return min(
            max((value for latencies, value in known if latencies[at].ms <= latency.ms), default=0.0)
            for at, latency in enumerate(mine)
        )


def round_number(n: int) -> int:
    """Return the largest number up to ``n`` of a ladder whose steps are a fifth."""
    found = LEAST
    while found + max(1, found // 5) <= n:
        found += max(1, found // 5)
    return found
