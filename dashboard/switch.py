"""What another device changes: who enters and who leaves the front, and how far the two orders agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from supersam.results import Candidate

from .ranks import kendall, spearman


@dataclass(frozen=True)
class Switch:
    """The front of one device against that of another."""

    before: str  # the device that is left
    after: str
    entering: list[Candidate]  # with their latency on the new device
    leaving: list[Candidate]  # with their latency on the old one
    staying: int
    rho: float | None  # Spearman's, of the latencies of all candidates; None for fewer than two
    tau: float | None = None  # Kendall's, of the same

    @cached_property
    def says(self) -> str:
        """The same in a sentence."""
        rho = ""
        if self.rho is not None and self.tau is not None:
            rho = f"; rank correlation of all latencies {self.rho:.2f} (Spearman), {self.tau:.2f} (Kendall)"
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
    latencies = [[one.latency.ms for one in candidates] for _, candidates, _ in (before, after)]
    was, now = ({one.digest for one in front} for _, _, front in (before, after))
    return Switch(
        before=before[0],
        after=after[0],
        entering=[one for one in after[2] if one.digest not in was],
        leaving=[one for one in before[2] if one.digest not in now],
        staying=len(was & now),
        rho=spearman(*latencies),
        tau=kendall(*latencies),
    )
