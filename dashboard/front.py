"""What the figure of a front shows: which points, in which groups, with which ranges. ``figures`` draws it."""

import math
from dataclasses import dataclass, field
from html import escape

from supersam.latency import Method
from supersam.results import Candidate

from . import wording
from .published import Published
from .query import write_budget
from .view import View

# Filled for what was measured; a dot for what lies between measured parts, a cross for what another device lent.
MARKS: dict[Method, str] = {
    "measured": "",
    "interpolated": "-open-dot",
    "transferred": "-cross-open",
    "estimated": "-open",
}
REACH = 4.0  # a budget farther from the points than this factor is left outside the axis
TICK_STEPS = (
    (1, 2, 5),
    (1, 1.5, 2, 3, 5, 7),
    (1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2, 2.2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9),
)


@dataclass(frozen=True)
class Group:
    """Points of the front that are known in the same way."""

    accuracy_source: str
    latency_method: Method
    fits: bool  # within the budget
    points: list[Candidate]

    @property
    def label(self) -> str:
        return f"front: accuracy {self.accuracy_source}, time {self.latency_method}"

    @property
    def symbol(self) -> str:
        """Circle or diamond by the accuracy, filled, dotted, crossed or hollow by the latency."""
        shape = "circle" if self.accuracy_source == "measured" else "diamond"
        return shape + MARKS[self.latency_method]


@dataclass(frozen=True)
class Front:
    """A figure of accuracy against latency, before it has colours."""

    key: str  # zoom is kept while this stays the same
    device: str
    quantity: str  # what the milliseconds are
    line: list[Candidate]
    apart: list[Candidate]  # the front of predicted accuracies, where the line is of measured ones
    groups: list[Group]
    dominated: list[Candidate]  # those that are drawn
    n_dominated: int
    best: Candidate | None
    budget_ms: float | None
    budget_label: str
    x_range: tuple[float, float]  # milliseconds
    y_range: tuple[float, float]
    published: list[Published] = field(default_factory=list)  # of these only the latency is known on our terms

    @property
    def x_ticks(self) -> list[float]:
        return ticks(*self.x_range)


def describe_front(view: View) -> Front:
    """Return what the figure of a view shows."""
    budget = write_budget(view.budget_ms)
    return Front(
        key=f"{view.source.key} {view.device.key}",
        device=view.device.label,
        quantity=view.device.quantity,
        line=view.fronts.main,
        apart=view.fronts.predicted,
        groups=_groups(view),
        dominated=view.cloud.drawn,
        n_dominated=view.cloud.n_dominated,
        best=view.best,
        budget_ms=view.budget_ms,
        budget_label=f"budget {budget}",
        x_range=_x_range(view),
        y_range=_y_range(*view.cloud.accuracy),
        published=[one for one in view.published if one.fits],
    )


def _groups(view: View) -> list[Group]:
    groups: dict[tuple[str, Method, bool], list[Candidate]] = {}
    for candidate in (*view.fronts.main, *view.fronts.predicted):
        key = (candidate.accuracy.source, candidate.latency.method, view.fits(candidate))
        groups.setdefault(key, []).append(candidate)
    return [Group(*key, points) for key, points in groups.items()]


def _x_range(view: View) -> tuple[float, float]:
    listed = (*view.listed, *view.listed_apart)
    low = min(view.cloud.ms[0], *(candidate.latency.lo for candidate in listed))
    high = max(view.cloud.ms[1], *(candidate.latency.hi for candidate in listed))
    for one in view.published:
        ms = one.time.ms or low
        if one.fits and low / REACH <= ms <= high * REACH:
            low, high = min(low, ms), max(high, ms)
    if view.budget_ms is not None and low / REACH <= view.budget_ms <= high * REACH:
        low, high = min(low, view.budget_ms), max(high, view.budget_ms)
    pad = max((high / low) ** 0.05, 1.04)
    return low / pad, high * pad


def _y_range(low: float, high: float) -> tuple[float, float]:
    pad = max(0.08 * (high - low), 0.01)
    return low - pad, high + 2 * pad  # room above for the label of the best


def ticks(low: float, high: float) -> list[float]:
    """Return ticks of a logarithmic axis: 1, 2, 5 in each decade, finer ones where those are fewer than three."""
    found: list[float] = []
    for steps in TICK_STEPS:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        values = [step * 10.0**decade for decade in decades for step in steps]
        found = [float(f"{value:.6g}") for value in values if low <= value <= high]
        if len(found) >= 3:
            break
    return found


def facts(candidate: Candidate, quantity: str = "latency") -> list[str]:
    """Return what a point carries: its digest, then the lines of its hover text."""
    lines = (
        f"accuracy {wording.accuracy(candidate.accuracy)}",
        f"{quantity} {wording.latency(candidate.latency)}",
        wording.cost(candidate),
        candidate.architecture.describe(),
    )
    return [candidate.digest, *map(escape, lines)]
