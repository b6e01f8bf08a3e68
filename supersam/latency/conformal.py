"""Split conformal prediction: an interval from the errors of what was left out (Lei et al., arXiv 1604.04173)."""

import math
from collections.abc import Sequence

COVERAGE = 0.9
ENOUGH = math.ceil(COVERAGE / (1 - COVERAGE) - 1e-9)  # errors for which the rank exists: 9 for 90 %


def conformal_quantile(errors: Sequence[float], coverage: float = COVERAGE) -> float:
    """Return what the error of one more draw stays below with at least this probability.

    That is the error of rank ceil((n + 1) * coverage). With too few errors for that rank it is the largest, which
    holds with probability n / (n + 1).
    """
    rank = math.ceil((len(errors) + 1) * coverage - 1e-9)
    return float(sorted(errors)[min(rank, len(errors)) - 1])
