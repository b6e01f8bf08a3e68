"""Overlap of masks, its interval, and the answers that need no model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]
RESAMPLES = 1000


def iou(predicted: NDArray[np.bool_], target: Mask) -> float:
    """Return intersection over union of two masks of one size, 0 to 1."""
    inside = target.astype(bool)
    union = np.count_nonzero(predicted | inside)
    return np.count_nonzero(predicted & inside) / union if union else 1.0


def bootstrap_interval(values: Sequence[float], groups: Sequence[int] | None = None) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean; the same values give the same.

    Args:
        groups: the number of the image of each value, to resample images with all their masks; None resamples masks.
    """
    rng, array = np.random.default_rng(0), np.asarray(values)
    if groups is None:
        means = [array[rng.integers(len(array), size=len(array))].mean() for _ in range(RESAMPLES)]
    else:
        numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
        sums, counts = np.bincount(numbers, array), np.bincount(numbers)
        drawn = (rng.integers(len(sums), size=len(sums)) for _ in range(RESAMPLES))
        means = [sums[index].sum() / counts[index].sum() for index in drawn]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def filled_box(box: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask that fills a box (x0, y0, x1, y1)."""
    filled = np.zeros(shape, dtype=bool)
    x0, y0, x1, y1 = np.rint(box).astype(int)
    filled[y0:y1, x0:x1] = True
    return filled


def inscribed_ellipse(box: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the ellipse that touches all four sides of a box."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    centre, radius = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    inside: NDArray[np.bool_] = ((x - centre[0]) / radius[0]) ** 2 + ((y - centre[1]) / radius[1]) ** 2 <= 1
    return inside
