"""Expected hypervolume improvement where latency is known exactly and only accuracy is uncertain.

The area a candidate adds is a strip for each step of the present front to the right of its latency; the strip's
height is how far its accuracy rises above that step. So the expectation of Emmerich et al. (2006) becomes a sum of
one-dimensional expected improvements, exact and cheap enough for thousands of candidates.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from supersam.search.encoding import Vector
from supersam.search.exact_front import front_order


def expected_improvement(mean: Vector, spread: Vector, best: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expectation of max(0, value - best) for normal values."""
    gap = mean - best
    scaled = gap / spread
    density = np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi)
    found: NDArray[np.float64] = gap * ndtr(scaled) + spread * density
    return np.maximum(found, 0.0)


def expected_hypervolume_improvement(
    mean: Vector, spread: Vector, cost: Vector, front_value: Vector, front_cost: Vector, lowest: float, most: float
) -> Vector:
    """Return the area each candidate is expected to add to the front.

    Args:
        mean, spread, cost: of the candidates, (n,) each.
        front_value, front_cost: what is known, (m,) each; need not be a front.
        lowest, most: the reference point, in value and in cost.
    """
    order = front_order(front_value, front_cost)
    order = order[(front_cost[order] < most) & (front_value[order] > lowest)]
    starts = np.concatenate([[-np.inf], front_cost[order]])
    ends = np.concatenate([front_cost[order], [most]])
    heights = np.concatenate([[lowest], front_value[order]])
    widths = np.maximum(0.0, ends[None, :] - np.maximum(starts[None, :], cost[:, None]))
    found: Vector = (widths * expected_improvement(mean[:, None], spread[:, None], heights[None, :])).sum(axis=1)
    return found
