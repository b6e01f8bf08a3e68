"""From a sum of parts to whole networks: factors of the kinds of part, and how far off the sum still is.

The factors are fitted on whole networks that were timed on the device (docs/decisions/0014-composition.md).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from supersam.latency.conformal import COVERAGE, ENOUGH, conformal_quantile
from supersam.latency.format import Composition
from supersam.latency.table import LatencyTable
from supersam.space import AnyArchitecture, parts

FEWEST = 4  # networks; fewer say more about their own noise than about the device
# Strengths of the pull, from free factors to one for all kinds: the variance of a network's noise over that of the
# kinds' factors around the common one, such as (3 % / 10 %)² = 0.09.
STRENGTHS = (1e6, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)

Matrix = NDArray[np.float64]


def fit_composition(table: LatencyTable, networks: Sequence[tuple[AnyArchitecture, float]]) -> Composition:
    """Fit how the parts of a table add up to whole networks.

    Each kind of part has a factor, drawn towards the one they have in common (non-negative ridge regression on
    relative errors, of the strength that predicts left-out networks best). The spread is the conformal 90 % quantile
    of the errors on networks that were left out of everything: the jackknife, whose coverage needs a stable fit and is
    therefore checked, not guaranteed (Barber et al., arXiv 1905.02928).

    Args:
        networks: architectures with what they take on the device, in milliseconds.

    Raises:
        MissingEntryError: if the table lacks a part of a network.
    """
    n = len(networks)
    if n < FEWEST:
        return Composition(note=f"{n} whole networks timed; {FEWEST} are needed to say more than their parts do")
    kinds, shares = _shares(table.model_copy(update={"composition": Composition()}), networks)
    noise = (table.quality.noise_floor_pct or 0.0) / 100
    common, factors = _fit(shares, noise)
    errors = [_error_left_out(shares, at, noise) for at in range(n)]
    covers = COVERAGE if n >= ENOUGH else n / (n + 1)
    return Composition(
        factor=round(common, 6),
        factor_per_kind={kind: round(float(factor), 6) for kind, factor in zip(kinds, factors, strict=True)},
        spread=math.ceil(math.exp(conformal_quantile(errors)) * 1e6) / 1e6,
        calibration_networks=n,
        note=f"spread: {covers:.0%} of the errors on {n} whole networks, each left out of the factors in turn",
    )


def _shares(table: LatencyTable, networks: Sequence[tuple[AnyArchitecture, float]]) -> tuple[list[str], Matrix]:
    """Return the kinds, and what the parts of each sum to as a share of a network's own time, (networks, kinds)."""
    rows: list[dict[str, float]] = []
    for architecture, measured_ms in networks:
        table.predict(architecture)  # where parts lack, this names how many
        row: dict[str, float] = {}
        for part in parts(architecture):
            row[part.kind] = row.get(part.kind, 0.0) + table.of_part(part).ms / measured_ms
        rows.append(row)
    kinds = list(dict.fromkeys(kind for row in rows for kind in row))
    return kinds, np.array([[row.get(kind, 0.0) for kind in kinds] for row in rows])


def _fit(shares: Matrix, noise: float) -> tuple[float, Matrix]:
    """Return the common factor and that of each kind, (kinds,)."""
    common = float(np.median(1 / shares.sum(axis=1)))
    if abs(common - 1) <= noise / math.sqrt(len(shares)):  # what noise alone does to so many networks
        common = 1.0
    strength = min(STRENGTHS, key=lambda strength: _leave_one_out(shares, common, strength))
    return common, _ridge(shares, common, strength)


def _leave_one_out(shares: Matrix, common: float, strength: float) -> float:
    """Return the mean error of each network predicted by the others, from one decomposition."""
    inverse = np.linalg.inv(shares.T @ shares + strength * np.eye(shares.shape[1]))
    hat = shares @ inverse @ shares.T
    left = 1 - common * shares.sum(axis=1)
    return float(np.abs((left - hat @ left) / (1 - np.diag(hat))).mean())


def _ridge(shares: Matrix, common: float, strength: float) -> Matrix:
    """Return the factors with the least relative errors, drawn towards a common one and no less than a tenth of it."""
    least, kinds = common / 10, shares.shape[1]  # no part is free
    pulled = math.sqrt(strength) * np.eye(kinds)
    wanted = np.concatenate([1 - least * shares.sum(axis=1), math.sqrt(strength) * np.full(kinds, common - least)])
    above, _ = nnls(np.concatenate([shares, pulled]), wanted)
    return np.asarray(above + least)


def _error_left_out(shares: Matrix, at: int, noise: float) -> float:
    """Return |log(predicted / measured)| of one network by a fit on all others."""
    _, factors = _fit(np.delete(shares, at, axis=0), noise)
    return abs(math.log(float(shares[at] @ factors)))
