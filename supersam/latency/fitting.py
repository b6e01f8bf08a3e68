"""Fit the prices of operations to published times of whole networks, and say how far off they are.

For a device nobody here has. The model is linear in counted operations, so that what is fitted on whole networks can
be summed over parts:

    time = a * kernels + b * dense GMACs + c * depth-wise GMACs + d * MB of traffic,    a, b, c, d >= 0

Rows span two or three orders of magnitude, so errors count relative to the row: each row is divided by its time, then
solved by non-negative least squares (Lawson and Hanson, 1974). Signs are constrained because without it small networks
can give operations a negative price. There is no constant term: a network of no parts takes no time, and a constant
could not be shared out among parts.

How far off a fit is, networks say that it has not seen, a whole family left out at a time.
"""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from supersam.latency.conformal import conformal_quantile

Array = NDArray[np.float64]
FEATURES = ("kernels", "dense_gmac", "depthwise_gmac", "traffic_mb")  # columns of every matrix of features here


class Errors(NamedTuple):
    """How far predictions are from measurements."""

    mape: float  # mean of |predicted / measured - 1|
    within_10: float  # share of rows with |predicted / measured - 1| <= 0.1
    spearman: float  # correlation of ranks
    factor_90: float  # nine in ten rows are off by less, as a factor (split conformal)


def fit_prices(features: Array, ms: Array) -> Array:
    """Return the prices with the least squared relative errors, none negative.

    Args:
        features: what is counted of each network, shape (networks, features).
        ms: what it takes, shape (networks,).

    Returns:
        Milliseconds for each unit of a feature, shape (features,).
    """
    prices, _ = nnls(features / ms[:, None], np.ones(len(ms)))
    return np.asarray(prices)


def predict_left_out(features: Array, ms: Array, groups: Sequence[Hashable]) -> Array:
    """Predict each network, in ms, by prices fitted on the networks of all other groups."""
    predicted = np.empty(len(ms))
    for held_out, rest in _splits(groups):
        predicted[held_out] = features[held_out] @ fit_prices(features[rest], ms[rest])
    return predicted


def spread_left_out(features: Array, ms: Array, groups: Sequence[Hashable]) -> float:
    """Return the factor that the errors of left-out groups stay below, nine times in ten (split conformal)."""
    return factor_90(ms, predict_left_out(features, ms, groups))


def held_left_out(features: Array, ms: Array, groups: Sequence[Hashable], least: float = 1.0) -> NDArray[np.bool_]:
    """Return whether the interval holds each network, made without any network of its group.

    Prices and spread both come from the other groups: the spread is that of ``spread_left_out``, at least ``least``.
    The mean of this is the coverage to expect for a family that nobody has published.
    """
    held = np.empty(len(ms), dtype=bool)
    names = np.array([str(group) for group in groups])
    for held_out, rest in _splits(groups):
        spread = max(least, spread_left_out(features[rest], ms[rest], list(names[rest])))
        predicted = features[held_out] @ fit_prices(features[rest], ms[rest])
        held[held_out] = np.abs(np.log(predicted / ms[held_out])) <= math.log(spread)
    return held


def held_in_splits(
    features: Array, ms: Array, groups: Sequence[Hashable], least: float = 1.0, splits: int = 20, seed: int = 0
) -> float:
    """Return the share of held-out networks within the interval, over repeated random splits.

    Each split holds out a quarter of the groups; prices and spread come from the others.
    """
    rng = np.random.default_rng(seed)
    names = np.array([str(group) for group in groups])
    different = np.unique(names)
    shares = []
    for _ in range(splits):
        chosen = rng.choice(different, max(1, len(different) // 4), replace=False)
        held_out = np.isin(names, chosen)
        rest = ~held_out
        spread = max(least, spread_left_out(features[rest], ms[rest], list(names[rest])))
        predicted = features[held_out] @ fit_prices(features[rest], ms[rest])
        shares.append(np.abs(np.log(predicted / ms[held_out])) <= math.log(spread))
    return float(np.concatenate(shares).mean())


def factor_90(measured: Array, predicted: Array) -> float:
    """Return the factor that nine in ten errors stay below."""
    return math.exp(conformal_quantile(list(np.abs(np.log(predicted / measured)))))


def errors(measured: Array, predicted: Array) -> Errors:
    """Compare predictions with measurements, in the same unit."""
    relative = np.abs(predicted / measured - 1)
    return Errors(
        mape=float(relative.mean()),
        within_10=float((relative <= 0.1).mean()),
        spearman=float(np.corrcoef(_ranks(measured), _ranks(predicted))[0, 1]),
        factor_90=factor_90(measured, predicted),
    )


def _ranks(values: Array) -> Array:
    """Return the ranks; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse], dtype=np.float64)


def _splits(groups: Sequence[Hashable]) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return the rows of each group, and those of all others."""
    names = np.array([str(group) for group in groups])
    return [(names == name, names != name) for name in dict.fromkeys(names)]
