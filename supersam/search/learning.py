"""Accuracy measured for some architectures and predicted for the rest, by a model that learns during the search."""

import numpy as np

from supersam.results import Accuracy
from supersam.results.ridge import SPREAD_95
from supersam.search.accuracy import AccuracySource
from supersam.search.predictor import MOST, Features, Predictor
from supersam.search.problem import Problem
from supersam.space import AnyArchitecture

LEAST = 24  # measured before anything is predicted


class LearningAccuracy:
    """Measures while there is a budget of measurements and a prediction would not do, else predicts.

    A prediction does where even its upper 95 % bound is below what is known to be reached at this latency.
    """

    def __init__(self, measure: AccuracySource, problem: Problem, n_measurements: int) -> None:
        self.measure, self.problem, self.n_measurements = measure, problem, n_measurements
        self.measured: dict[AnyArchitecture, Accuracy] = {}
        self._predictor = Predictor(Features(problem))
        self._fitted = 0

    def __call__(self, architecture: AnyArchitecture) -> Accuracy:
        if architecture in self.measured:
            return self.measured[architecture]
        if len(self.measured) < min(LEAST, self.n_measurements) or len(self.measured) < 2:
            return self.measure_now(architecture)
        predicted = self.predict(architecture)
        if len(self.measured) < self.n_measurements and predicted.interval[1] > self._reached(architecture):
            return self.measure_now(architecture)
        return predicted

    def measure_now(self, architecture: AnyArchitecture) -> Accuracy:
        """Measure an architecture and learn from it."""
        found = self.measure(architecture)
        self.measured[architecture] = found
        return found

    def predict(self, architecture: AnyArchitecture) -> Accuracy:
        """Predict from all measurements so far, with a 95 % interval."""
        if self._fitted < len(self.measured):
            known = list(self.measured.items())[-MOST:]
            rows = self.problem.encoding.rows([one for one, _ in known])
            values = np.array([accuracy.value for _, accuracy in known])
            self._predictor.fit(rows, values, tune=len(self.measured) >= 1.2 * self._fitted or self._fitted < LEAST)
            self._fitted = len(self.measured)
        mean, spread = self._predictor.predict(self.problem.encoding.rows([architecture]))
        value, reach = float(np.clip(mean[0], 0, 1)), SPREAD_95 * float(spread[0])
        return Accuracy(value, "predicted", (max(0.0, value - reach), min(1.0, value + reach)))

    def _reached(self, architecture: AnyArchitecture) -> float:
        ms = self.problem.latencies(architecture)[0].ms
        below = [a.value for one, a in self.measured.items() if self.problem.latencies(one)[0].ms <= ms]
        return max(below, default=0.0)
