"""Up to four subnets side by side, on every device."""

from collections.abc import Sequence
from dataclasses import dataclass

from dash import html

from supersam.results import Candidate
from supersam.space import count

from . import components, ids, wording
from .components import aria
from .query import MOST_COMPARED
from .view import View


@dataclass(frozen=True)
class Line:
    """One property of every compared subnet; ``best`` is the place of the best, if one is."""

    label: str
    texts: list[str]
    values: list[float | None]
    less_is_better: bool = True
    is_share: bool = False  # between 0 and 1, so that a change in per cent would be of what?

    @property
    def best(self) -> int | None:
        known = [value for value in self.values if value is not None]
        if len(known) < 2 or len(set(known)) == 1:
            return None
        return self.values.index(min(known) if self.less_is_better else max(known))

    def change(self, place: int) -> str:
        """Return how far a value is from the first, such as ``+12%``; shares are subtracted, such as ``+0.012``."""
        first, value = self.values[0], self.values[place]
        if place == 0 or not first or value is None or first == value:
            return ""
        return f"{value - first:+.3f}" if self.is_share else f"{value / first - 1:+.0%}"


def lines(view: View, compared: Sequence[Candidate]) -> list[Line]:
    """Return what is compared: accuracy, the latency on every device, and the costs."""
    accuracies: list[float | None] = [one.accuracy.value for one in compared]
    texts = [wording.accuracy(one.accuracy) for one in compared]
    found = [Line("accuracy", texts, accuracies, less_is_better=False, is_share=True)]
    for device, _ in view.devices.values():
        latencies = [view.try_latency(device, one) for one in compared]
        texts = ["-" if one is None else wording.latency(one) for one in latencies]
        if any(latencies):
            found.append(Line(device.label, texts, [None if one is None else one.ms for one in latencies]))
    ops = [count(one.architecture) for one in compared]
    costs: dict[str, list[float | None]] = {
        "GMACs": [one.gmacs for one in ops],
        "M parameters": [one.params / 1e6 for one in ops],
    }
    found += [Line(label, [wording.number(value or 0) for value in values], values) for label, values in costs.items()]
    shapes = [one.architecture.describe() for one in compared]
    return [*found, Line("architecture", shapes, [None] * len(compared))]


def drawer(view: View, compared: Sequence[Candidate]) -> list[html.Div | html.P]:
    """Return the table of what is compared; empty where nothing is."""
    if not compared:
        return []
    head = ["", *(one.digest for one in compared)]
    rows = [_row(line) for line in lines(view, compared)]
    removing = html.Tr([html.Th("", scope="row"), *(html.Td(toggle(one.digest, is_in=True)) for one in compared)])
    note = html.P("Changes are against the first; the best of a row is bold.", className="muted hint")
    return [components.table(f"Compare ({len(compared)} of {MOST_COMPARED})", head, [*rows, removing]), note]


def toggle(digest: str, is_in: bool) -> html.Button:
    """Return the button that puts a subnet into the comparison or takes it out."""
    text = "Remove" if is_in else "Compare"
    label = aria(label=f"{text} subnet {digest}")
    return html.Button(
        text, id=ids.choice("uncompare" if is_in else "compare", digest), type="button", className="small", **label
    )


def _row(line: Line) -> html.Tr:
    best = line.best
    cells = []
    for place, text in enumerate(line.texts):
        change = line.change(place)
        shown = html.Strong(text) if place == best else html.Span(text)
        cells.append(html.Td([shown, html.Small(f" {change}")] if change else shown, className="wrap"))
    return html.Tr([html.Th(line.label, scope="row"), *cells])
