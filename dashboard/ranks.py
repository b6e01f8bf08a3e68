"""How far two orders agree: the rank correlations of Spearman and Kendall.

By numpy, because importing scipy.stats takes longer than a device switch may.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.integer[Any]]


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Spearman's rho, -1 to 1; None where there is nothing to order."""
    ranks = [_ranks(values) for values in (one, other)]
    if any(len(set(values)) < 2 for values in (one, other)):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def kendall(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Kendall's tau-b, -1 to 1; None where there is nothing to order.

    Discordant pairs are the inversions of the second order when the first is sorted (Knight 1966): n log n.
    """
    x, y = (np.unique(np.asarray(values), return_inverse=True)[1] for values in (one, other))
    whole, in_x, in_y = len(x) * (len(x) - 1) // 2, _tied(x), _tied(y)
    if in_x == whole or in_y == whole:
        return None
    pairs = np.sort(x * (y.max() + 1) + y)  # by x, those of equal x by y
    both = _tied(np.cumsum(np.diff(pairs, prepend=pairs[0]) > 0))
    discordant = _inversions((pairs % (y.max() + 1)).astype(np.int32))
    difference = whole - in_x - in_y + both - 2 * discordant
    return difference / math.sqrt((whole - in_x) * (whole - in_y))


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Return the rank of each value; equal ones share the mean of their ranks."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return mean


def _tied(places: Places) -> int:
    """Return how many pairs are equal."""
    counts = np.bincount(places)
    return int((counts * (counts - 1) // 2).sum())


def _inversions(values: Places) -> int:
    """Return how many pairs stand in the wrong order, by a merge sort of all blocks of a width at once."""
    size = 1 << (len(values) - 1).bit_length()
    # What fills up stands at the end and is never smaller than what is before it.
    blocks: Places = np.full(size, values.max(), dtype=values.dtype)
    blocks[: len(values)] = values
    found, width = 0, 1
    while width < size:
        blocks = blocks.reshape(-1, 2 * width)
        order = np.argsort(blocks, axis=1, kind="stable")
        is_left = order < width
        found += int((width - np.cumsum(is_left, axis=1))[~is_left].sum())
        blocks = np.take_along_axis(blocks, order, axis=1)
        width *= 2
    return found
