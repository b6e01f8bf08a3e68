"""A prediction of a subnet's training loss from its choices, kept up to date as the training goes.

Ridge regression on one-hot choices with forgetting: what was seen long ago, with other weights, counts less.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supersam.space import AnyArchitecture, SearchSpace

FORGETTING = 0.998  # a loss of 500 steps ago counts 1/e
RIDGE = 1.0

Floats = NDArray[np.float64]


class LossModel:
    """Predicts which of several subnets has the lower loss."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        choices = space.variables()
        self._column = {
            (name, value): column
            for column, (name, value) in enumerate((name, value) for name in choices for value in choices[name])
        }
        size = len(self._column) + 1
        self._squares: Floats = np.zeros((size, size))
        self._products: Floats = np.zeros(size)
        self._weights: Floats | None = None
        self.seen = 0

    def update(self, architecture: AnyArchitecture, loss: float) -> None:
        """Learn a loss that was met."""
        x = self._features(architecture)
        self._squares = FORGETTING * self._squares + np.outer(x, x)
        self._products = FORGETTING * self._products + loss * x
        self._weights = None
        self.seen += 1

    def predict(self, architecture: AnyArchitecture) -> float:
        """Return the expected loss."""
        if self._weights is None:
            self._weights = self._solve()
        return float(self._features(architecture) @ self._weights)

    def _solve(self) -> Floats:
        ridge = RIDGE * np.eye(len(self._products))
        ridge[0, 0] = 1e-6  # the mean is not drawn towards zero
        return np.asarray(np.linalg.solve(self._squares + ridge, self._products), dtype=np.float64)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state, to be saved."""
        return {
            "squares": torch.from_numpy(self._squares),
            "products": torch.from_numpy(self._products),
            "seen": torch.tensor(self.seen),
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what ``tensors`` returned."""
        self._squares, self._products = tensors["squares"].numpy(), tensors["products"].numpy()
        self._weights, self.seen = None, int(tensors["seen"])

    def _features(self, architecture: AnyArchitecture) -> Floats:
        x = np.zeros(len(self._products))
        x[0] = 1.0
        for choice in self.space.encode(architecture).items():
            x[1 + self._column[choice]] = 1.0
        return x
