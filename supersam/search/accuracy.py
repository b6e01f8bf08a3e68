"""Where the search gets accuracies from: measured on images, or from the archive and a model fitted to it."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from supersam.errors import MissingError
from supersam.results import Accuracy, Archive
from supersam.search.objective import Objective
from supersam.space import AnyArchitecture, SearchSpace

Vector = NDArray[np.float64]
RIDGE = 1.0  # prior strength in units of the noise: one observation's worth
LEAST_MEASURED = 20
SPREAD_95 = 1.96


class AccuracySource(Protocol):
    """Gives the accuracy of an architecture."""

    def __call__(self, architecture: AnyArchitecture) -> Accuracy: ...


class ArchiveAccuracy:
    """The measured accuracy where the archive has it, else a ridge regression's prediction.

    Features are one for each choice of each variable and one for each pair of block type with depth, width and
    ratio of its stage: additive like a latency table, and it explains itself. The interval of a prediction is
    that of the leave-one-out errors.
    """

    def __init__(self, archive: Archive, space: SearchSpace, objective: Objective = Objective()) -> None:
        self.space = space
        self.measured = {a: objective.apply(found) for a, found in archive.measured.items() if space.contains(a)}
        if len(self.measured) < LEAST_MEASURED:
            raise MissingError(
                f"the archive has {len(self.measured)} measured subnets of {space.name}, too few to predict from; "
                "give images to measure on: --data DIR (and --weights FILE for a space of your own)"
            )
        features = np.stack([self._features(architecture) for architecture in self.measured])
        values = np.array([accuracy.value for accuracy in self.measured.values()])
        self._mean = values.mean()
        gram = np.linalg.inv(features.T @ features + RIDGE * np.eye(features.shape[1]))
        self._weights = gram @ features.T @ (values - self._mean)
        residuals = values - self._mean - features @ self._weights
        leverage = np.einsum("ij,jk,ik->i", features, gram, features)
        self.left_out_errors: Vector = residuals / (1 - leverage).clip(min=0.05)

    @property
    def error(self) -> float:
        """The standard deviation of a prediction, from leaving one subnet out."""
        return float(np.sqrt(np.mean(self.left_out_errors**2)))

    def __call__(self, architecture: AnyArchitecture) -> Accuracy:
        found = self.measured.get(architecture)
        if found is not None:
            return found
        value = float(np.clip(self._mean + self._features(architecture) @ self._weights, 0, 1))
        reach = SPREAD_95 * self.error
        return Accuracy(value, "predicted", (max(0.0, value - reach), min(1.0, value + reach)))

    def _features(self, architecture: AnyArchitecture) -> Vector:
        choices = self.space.encode(architecture)
        columns: list[bool] = []
        for name, allowed in self.space.variables().items():
            chosen = [choices[name] == choice for choice in allowed]
            columns += chosen
            stage, _, what = name.partition(".")
            if what in ("depth", "width", "ratio"):
                block = choices[f"{stage}.block"]
                for kind in self.space.variables()[f"{stage}.block"]:
                    columns += [kind == block and one for one in chosen]
        return np.array(columns, dtype=np.float64)
