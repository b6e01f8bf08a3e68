"""A Gaussian process over architectures: the accuracy to expect, and how sure that is.

The prior is a sum of effects: of each choice alone, of block type with depth, width and ratio of its stage, of the
types of neighbouring stages, of the size of the network, and of everything together. How strong each kind is, and
how noisy the observations are, is set by the marginal likelihood (Rasmussen & Williams, 2006, chapter 5), so that
few observations give a ridge regression on the strongest effects and many give the fine structure.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

from supersam.search.encoding import Encoding, Rows, Vector
from supersam.search.problem import Problem, size_vector
from supersam.search.ridge import pairs_of

Matrix = NDArray[np.float64]
NUMBERS = ("resolution", "depth", "width", "ratio", "mlp", "heads")  # variables whose choices have an order
DECAY = 0.7  # likeness of two numbers that are neighbours in their list
LIKENESS = 0.3  # share of the joint effect that one different choice destroys
MOST = 384  # observations a fit uses; the cost grows with the cube
FITTED = 224  # observations that set the strengths
NOISE = 0.1  # prior guess of the noise, in standard deviations of the observations
LEAST_STRENGTH, PRIOR_SPREAD = -9.0, 2.0


class Features:
    """Maps rows to numbers whose products are the likeness of two architectures, one block of columns for each kind."""

    def __init__(self, problem: Problem) -> None:
        self.encoding = problem.encoding
        self._problem = problem
        self._roots = [self._root(name, size) for name, size in zip(problem.encoding.names, problem.encoding.sizes)]
        self._groups = self._find_groups(problem.encoding)
        sample = problem.encoding.random(np.random.default_rng(0), 512)
        sizes = size_vector(problem.size_terms, sample)
        self._size_mean, self._size_scale = sizes.mean(axis=0), sizes.std(axis=0) + 1e-9

    @property
    def names(self) -> list[str]:
        """The kinds of effect."""
        return [*self._groups, "size", "everything"]

    def linear(self, rows: Rows) -> list[Matrix]:
        """Return one (n, features) matrix for each kind of effect that is linear in its features."""
        single = [root[rows[:, column]] for column, root in enumerate(self._roots)]
        return [np.concatenate([self._product(single, members) for members in group], axis=1) / np.sqrt(len(group))
                for group in self._groups.values()]  # fmt: skip

    def sizes(self, rows: Rows) -> Matrix:
        """Return the standardised logarithms of parameters and MACs, (n, 2)."""
        found: Matrix = (size_vector(self._problem.size_terms, rows) - self._size_mean) / self._size_scale
        return found

    def overlap(self, left: Rows, right: Rows) -> Matrix:
        """Return the product over variables of how alike two rows are, (n, m)."""
        logs = np.zeros((len(left), len(right)))
        for column, root in enumerate(self._roots):
            alike = np.log(1 - LIKENESS + LIKENESS * np.clip(root @ root.T, 0, 1))
            one_hot = np.eye(len(root))[right[:, column]]
            logs += alike[left[:, column]] @ one_hot.T
        return np.exp(logs)

    @staticmethod
    def _root(name: str, size: int) -> Matrix:
        """Return a square root of the likeness of the choices of a variable."""
        if name.split(".")[-1] not in NUMBERS:
            return np.eye(size)
        steps = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
        found: Matrix = np.linalg.cholesky(np.power(DECAY, steps)).astype(np.float64)
        return found

    @staticmethod
    def _find_groups(encoding: Encoding) -> dict[str, list[tuple[int, ...]]]:
        groups: dict[str, list[tuple[int, ...]]] = {}
        for column, name in enumerate(encoding.names):
            groups.setdefault(name.rpartition(".")[2], []).append((column,))
        for left, right in pairs_of(encoding):
            kinds = [encoding.names[column].rpartition(".")[2] for column in (left, right)]
            name = "neighbouring types" if kinds[0] == kinds[1] else " with ".join(kinds)
            groups.setdefault(name, []).append((left, right))
        return groups

    @staticmethod
    def _product(single: Sequence[Matrix], members: tuple[int, ...]) -> Matrix:
        found = single[members[0]]
        for member in members[1:]:
            found = (found[:, :, None] * single[member][:, None, :]).reshape(len(found), -1)
        return found


class Predictor:
    """A fitted Gaussian process."""

    def __init__(self, features: Features) -> None:
        self.features = features
        self._strengths = np.full(len(features.names) + 1, -2.0)  # logarithms of variances, the last is the noise
        self._strengths[-1] = 2 * np.log(NOISE)
        self._rows: Rows = features.encoding.rows([])

    def fit(self, rows: Rows, accuracy: Vector, tune: bool = True) -> "Predictor":
        """Fit to observations; ``tune`` also sets the strengths of the effects.

        Args:
            rows: (n, variables), at least two.
            accuracy: (n,).
        """
        self._mean, self._scale = float(accuracy.mean()), float(accuracy.std() + 1e-9)
        target = (accuracy - self._mean) / self._scale
        if tune:
            picked = np.linspace(0, len(rows) - 1, min(FITTED, len(rows))).astype(int)
            self._tune(rows[picked], target[picked])
        self._rows, self._target = rows, target
        self._linear = self._weighted(rows)
        self._sizes = self.features.sizes(rows)
        kernel = self._kernel(rows, self._linear, self._sizes) + np.exp(self._strengths[-1]) * np.eye(len(rows))
        self._factor = linalg.cholesky(kernel, lower=True)
        self._weights = linalg.cho_solve((self._factor, True), target)
        return self

    def predict(self, rows: Rows) -> tuple[Vector, Vector]:
        """Return the mean and the standard deviation of the accuracy itself (without noise) of each row, (n,) each."""
        linear, sizes = self._weighted(rows), self.features.sizes(rows)
        cross = self._kernel(rows, linear, sizes)
        variance = (linear**2).sum(axis=1) + np.exp(self._strengths[-3:-1]).sum()
        explained = linalg.solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = np.maximum(variance - (explained**2).sum(axis=0), 1e-12)
        return self._mean + self._scale * (cross @ self._weights), self._scale * np.sqrt(variance)

    def left_out(self) -> tuple[Vector, Vector]:
        """Return, for each observation, error and standard deviation of its prediction from the others, (n,) each."""
        inverse = linalg.cho_solve((self._factor, True), np.eye(len(self._rows)))
        spread = 1 / np.diag(inverse)
        return self._scale * self._weights * spread, self._scale * np.sqrt(spread)

    def strengths(self) -> dict[str, float]:
        """Return the share of each kind of effect, and of the noise, in the variance; they sum to one."""
        variances = np.exp(self._strengths)
        return dict(zip([*self.features.names, "noise"], map(float, variances / variances.sum()), strict=True))

    def _weighted(self, rows: Rows) -> Matrix:
        roots = np.exp(self._strengths / 2)
        return np.concatenate([root * block for root, block in zip(roots, self.features.linear(rows))], axis=1)

    def _kernel(self, rows: Rows, linear: Matrix, sizes: Matrix) -> Matrix:
        size, everything = np.exp(self._strengths[-3:-1])
        found: Matrix = (
            linear @ self._linear.T
            + size * _bell(sizes, self._sizes)
            + everything * self.features.overlap(rows, self._rows if len(self._rows) else rows)
        )
        return found

    def _tune(self, rows: Rows, target: Vector) -> None:
        blocks = [block @ block.T for block in self.features.linear(rows)]
        sizes = self.features.sizes(rows)
        kernels = np.stack([*blocks, _bell(sizes, sizes), self.features.overlap(rows, rows), np.eye(len(rows))])
        prior = np.full(len(kernels), -2.0)
        prior[-1] = 2 * np.log(NOISE)

        def loss(logs: Vector) -> tuple[float, Vector]:
            variances = np.exp(logs)
            factor = linalg.cholesky(np.tensordot(variances, kernels, 1) + 1e-8 * np.eye(len(rows)), lower=True)
            inverse = linalg.cho_solve((factor, True), np.eye(len(rows)))
            weights = inverse @ target
            gradient = 0.5 * variances * np.tensordot(kernels, inverse - np.outer(weights, weights), 2)
            away = (logs - prior) / PRIOR_SPREAD
            value = 0.5 * target @ weights + np.log(np.diag(factor)).sum() + 0.5 * away @ away
            return float(value), gradient + away / PRIOR_SPREAD

        bounds = [(LEAST_STRENGTH, 4.0)] * len(prior)
        found = optimize.minimize(
            loss, self._strengths, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 25}
        )
        self._strengths = found.x


def _bell(left: Matrix, right: Matrix) -> Matrix:
    """Return the squared-exponential likeness of sizes, (n, m); a length of two spreads keeps it smooth."""
    gaps = ((left[:, None, :] - right[None, :, :]) ** 2).sum(axis=2)
    return np.exp(-gaps / 8)
