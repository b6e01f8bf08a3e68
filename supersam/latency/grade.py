"""How far a table can be trusted at best, by what its header says."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from supersam.latency.format import Clock, Grade, Method, Power, Quality


class Verdict(NamedTuple):
    """A grade and why it is no better."""

    grade: Grade
    why: str


def variation_pct(times: Sequence[float]) -> float | None:
    """Return the coefficient of variation of repeats in per cent; None where there is one only."""
    return 100 * statistics.stdev(times) / statistics.mean(times) if len(times) > 1 else None


def best_grade(
    method: Method, date: str | None, clock: Clock, power: Power, quality: Quality, throttled: bool
) -> Verdict:
    """Return the best grade that a header allows.

    Args:
        throttled: whether any entry was timed while the device slowed itself down.
    """
    varies = quality.repeat_cv_median_pct
    if method != "measured":
        return Verdict("E", f"{method}, not measured")
    if date is None:
        return Verdict("D", "no date")
    if not power.states_clocks:
        return Verdict("D", "nobody says at what clocks it ran")
    if varies is None:
        return Verdict("D", "nobody says how far repeats differ")
    repeats = f"repeats vary by {varies:.2g} %"
    if varies > 7:
        return Verdict("D", repeats)
    if throttled:
        return Verdict("C", "the device throttled")
    if clock == "cpu":
        return Verdict("C", f"only the process's CPU time could be trusted; {repeats}")
    if varies > 3:
        return Verdict("C", repeats)
    if not power.clocks_locked:
        return Verdict("B", f"clocks were not locked; {repeats}")
    return Verdict("B" if varies > 1 else "A", repeats)
