"""What another device changes: who enters and who leaves the front, and how far the two orders agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from supersam.results import Candidate


@dataclass(frozen=True)
class Switch:
    """The front of one device against that of another."""

    before: str  # the device that is left
    after: str
    entering: list[Candidate]  # with their latency on the new device
    leaving: list[Candidate]  # with their latency on the old one
    staying: int
    rho: float | None  # Spearman's, of the latencies of all candidates; None for fewer than two

    @cached_property
    def says(self) -> str:
        """The same in a sentence."""
        rho = "" if self.rho is None else f"; rank correlation of all latencies {self.rho:.2f} (Spearman)"
        return (
            f"Against {self.before}: {len(self.entering)} enter the front of {self.after}, {len(self.leaving)} leave "
            f"it, {self.staying} stay{rho}."
        )


def switch(
    before: tuple[str, Sequence[Candidate], Sequence[Candidate]],
    after: tuple[str, Sequence[Candidate], Sequence[Candidate]],
) -> Switch:
    """Return what changes from one device to another.

    Args:
        before, after: name of the device, all candidates in the same order, and the front.
    """
    was, now = ({one.digest for one in front} for _, _, front in (before, after))
    return Switch(
        before=before[0],
        after=after[0],
        entering=[one for one in after[2] if one.digest not in was],
        leaving=[one for one in before[2] if one.digest not in now],
        staying=len(was & now),
        rho=rank_correlation([one.latency.ms for one in before[1]], [one.latency.ms for one in after[1]]),
    )


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, -1 to 1; None where there is nothing to order.

    By numpy, because importing scipy.stats takes longer than the switch may.
    """
    ranks = [_ranks(values) for values in (one, other)]
    if any(len(set(values)) < 2 for values in (one, other)):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Return the rank of each value; equal ones share the mean of their ranks."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return mean
