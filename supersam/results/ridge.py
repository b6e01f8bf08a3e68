"""Accuracy predicted from an archive of measured subnets: a ridge regression, by numpy alone.

Features are one for each choice of each variable and one for each pair of block type with depth, width and ratio of
its stage: additive like a latency table, so it explains itself and answers while a slider moves.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from supersam.errors import MissingError
from supersam.results.archive import Archive
from supersam.results.candidate import Accuracy
from supersam.space import AnyArchitecture, SearchSpace

Vector = NDArray[np.float64]
PENALTY = 1.0  # in units of one observation
LEAST_MEASURED = 20
SPREAD_95 = 1.96
PAIRED = ("depth", "width", "ratio")  # with the block type of their stage


class RidgeAccuracy:
    """The measured accuracy where the archive has it, else a prediction with the interval of left-out errors."""

    def __init__(self, archive: Archive, space: SearchSpace) -> None:
        """Fit to the measured subnets of a space.

        Raises:
            MissingError: if they are too few.
        """
        self.space = space
        self.measured = {a: accuracy for a, accuracy in archive.measured.items() if space.contains(a)}
        if len(self.measured) < LEAST_MEASURED:
            raise MissingError(
                f"the archive has {len(self.measured)} measured subnets of {space.name}, {LEAST_MEASURED} are needed "
                "to predict from"
            )
        features = np.stack([self._features(architecture) for architecture in self.measured])
        values = np.array([accuracy.value for accuracy in self.measured.values()])
        self._mean = float(values.mean())
        self._inverse = np.linalg.inv(features.T @ features + PENALTY * np.eye(features.shape[1]))
        self._weights: Vector = self._inverse @ features.T @ (values - self._mean)
        self._known, self._values = features, values

    @cached_property
    def error(self) -> float:
        """The root mean square of the errors with one subnet left out at a time."""
        return float(np.sqrt(np.mean(self.left_out_errors**2)))

    @cached_property
    def left_out_errors(self) -> Vector:
        """The error of each measured subnet, predicted from all others."""
        residuals = self._values - self._mean - self._known @ self._weights
        leverage = np.einsum("ij,jk,ik->i", self._known, self._inverse, self._known)
        return residuals / (1 - leverage).clip(min=0.05)

    def __call__(self, architecture: AnyArchitecture) -> Accuracy:
        """Return the accuracy of a subnet of the space, 0 to 1, and how it is known."""
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
            if what in PAIRED and f"{stage}.block" in choices:
                kinds = self.space.variables()[f"{stage}.block"]
                columns += [kind == choices[f"{stage}.block"] and one for kind in kinds for one in chosen]
        return np.array(columns, dtype=np.float64)
