"""The sentences of the pages: how numbers are written and what is said about a view."""

from supersam.latency import Latency
from supersam.results import Accuracy, Candidate
from supersam.space import count

from .query import RISKS, write_budget
from .view import View


def ms(value: float) -> str:
    """Return milliseconds to three digits, never in powers of ten: ``28.9ms``."""
    return f"{number(value)}ms"


def number(value: float) -> str:
    """Return a positive number to three digits."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3 if value >= 0.1 else 4
    return f"{value:.{digits}f}"


def latency(found: Latency) -> str:
    """Return for example ``22.1ms [18.0-28.9] estimated``."""
    return f"{ms(found.ms)} [{between(found.lo, found.hi)}] {found.method}"


def between(lo: float, hi: float) -> str:
    """Return two bounds, such as ``18.0-28.9``."""
    return f"{number(lo)}-{number(hi)}"


def accuracy(found: Accuracy) -> str:
    """Return for example ``0.712 [0.701-0.723] measured``."""
    low, high = found.interval
    return f"{found.value:.3f} [{low:.3f}-{high:.3f}] {found.source}"


def cost(candidate: Candidate) -> str:
    """Return for example ``1.24 GMACs, 0.87 M parameters``."""
    ops = count(candidate.architecture)
    return f"{number(ops.gmacs)} GMACs, {number(ops.params / 1e6)} M parameters"


def bound(candidate: Candidate, risk: str) -> str:
    """Return what is compared with the budget, such as ``upper bound 28.9ms``."""
    return f"{RISKS[risk]} {ms(candidate.bound_ms(risk))}"


def summary(view: View) -> str:
    """Return the answer in one line."""
    found, where = view.headline, view.device.label
    numbers = f"accuracy {accuracy(found.accuracy)}, {view.device.quantity} {latency(found.latency)}"
    if view.budget_ms is None:
        return f"Most accurate on {where}, no budget set: {found.digest}, {numbers}"
    budget = write_budget(view.budget_ms)
    if view.best is not None:
        return f"Best within {budget} on {where}: {found.digest}, {numbers}"
    over = ms(found.bound_ms(view.risk) - view.budget_ms)
    return f"Nothing is within {budget} on {where}; the nearest is {found.digest}, {over} over: {numbers}"


def caption(view: View, drawn_dominated: int) -> list[str]:
    """Return what the reader must know to trust the figure, a sentence each."""
    return [line for line in (_counts(view, drawn_dominated), _compared(view), _provenance(view)) if line]


def _counts(view: View, drawn_dominated: int) -> str:
    n_dominated = len(view.candidates) - len(view.front_digests)
    text = f"{plural(len(view.candidates), 'candidate')}, {len(view.front)} on the front"
    if view.budget_ms is not None:
        text += f", {sum(map(view.fits, view.front))} of those within {write_budget(view.budget_ms)}"
    if drawn_dominated < n_dominated:
        text += f"; {drawn_dominated} of the {n_dominated} dominated are drawn, the front is complete"
    if view.fronts.predicted:
        text += f". {plural(len(view.fronts.predicted), 'predicted accuracy', 'predicted accuracies')} have a front of "
        text += "their own (dashed): a measured accuracy and a predicted one are not compared"
    return f"{text}."


def _compared(view: View) -> str:
    start = "No budget is set; one would be" if view.budget_ms is None else "The budget is"
    if view.risk == "median":
        return f"{start} compared with the median {view.device.quantity}; the true time may be above it."
    return (
        f"{start} compared with the upper bound of the {view.device.quantity} ({view.device.interval}, drawn as a bar)."
    )


def _provenance(view: View) -> str:
    table = view.device.table
    if table is None:
        gone = "is another by now" if view.device.is_changed else "is not here"
        return f"Latencies are those the run recorded for {view.device.recorded_on}; its table {gone}."
    text = f"{table.name} is {table.device}, {table.runtime}, {table.precision}: {table.method}, grade {table.grade}"
    return f"{text}, {table.date}."


def spoken(view: View, candidate: Candidate) -> str:
    """Return what a screen reader says when a subnet is selected."""
    budget = "" if view.budget_ms is None else ", within the budget" if view.fits(candidate) else ", over the budget"
    return (
        f"Subnet {candidate.digest}: accuracy {candidate.accuracy.value:.3f} at {ms(candidate.latency.ms)} "
        f"on {view.device.label}, {view.place(candidate)}{budget}."
    )


def plural(n: int, noun: str, several: str = "") -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {several or noun + 's'}"
