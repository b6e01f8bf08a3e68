"""The parts of the page of a run beside its figures: state, trials, workers, importances and the table."""

from collections.abc import Sequence
from urllib.parse import quote

import numpy as np
from dash import dcc, get_relative_path, html
from numpy.typing import NDArray

from supersam.results import Candidate

from . import components, wording
from .apart import MEASURED, PREDICTED
from .columns import Column, importances, of_source
from .components import aria
from .curves import Curves
from .progress import Progress
from .query import write_budget
from .sources import TRIALS, Source
from .theme import MARKS

ROWS = 50  # of the table
LISTED = 8  # choices that decide something
LEAST = 16  # candidates from which that can be told


def links(sources: Sequence[Source], chosen: Source) -> html.Div:
    """Return the runs to choose from."""
    shown = [
        dcc.Link(
            source.label,
            href=f"{get_relative_path('/run')}?source={quote(source.key)}",
            className="button chosen" if source.key == chosen.key else "button",
        )
        for source in sources
    ]
    group = html.Div(shown, className="buttons", role="group", **aria(labelledby="run-sources"))
    return html.Div([html.Span("Run", id="run-sources", className="label"), group], className="control")


def state(found: Progress, source: Source) -> list[html.P | html.Code]:
    """Return how the run stands, in a sentence with a mark, and how to go on."""
    mark = html.Span(MARKS[found.state], className=f"mark {found.state}", **aria(hidden="true"))
    per_trial = found.seconds_per_trial
    pace = "" if per_trial is None else f" A trial takes {per_trial:.2g} s (median)."
    has_ended_badly = found.state in ("stalled", "failed")
    kind = "summary over" if has_ended_badly else "summary"
    parts = [html.P([mark, f"{found.says}{pace}"], className=kind), *_best(found, source)]
    if found.problem:
        parts.append(html.P(f"States of trials are not known: {found.problem}", className="notice"))
    if has_ended_badly:
        parts.append(html.P(f"Continue it ({TRIALS}; with --storage URL, if it was begun with one):"))
        parts.append(html.Code(components.command(source.resume), className="command"))
    return parts


def _best(found: Progress, source: Source) -> list[html.P]:
    """Return the best within the budget, with the way to its details and the command that extracts it."""
    if found.best is None:
        return []
    start = f"Best within {write_budget(source.asked.budget_ms)}: " if source.asked.budget_ms else "Most accurate: "
    numbers = f", accuracy {wording.accuracy(found.best.accuracy)}, latency {wording.latency(found.best.latency)}"
    return [html.P([start, _explore(source, found.best), numbers])]


def _explore(source: Source, candidate: Candidate) -> dcc.Link:
    address = f"{get_relative_path('/')}?source={quote(source.key)}&subnet={candidate.digest}"
    return dcc.Link(html.Code(candidate.digest), href=address)


def reference(found: Curves) -> str:
    """Return what the hypervolume is measured from."""
    if not found.by_source:
        return ""
    slowest, lowest = found.reference
    return (
        f"Hypervolume is in accuracy × ms, against {wording.ms(slowest)} and an accuracy of {lowest:.3f}: the slowest "
        "and the least accurate candidate of this run."
    )


def side(found: Progress, columns: dict[str, Column]) -> list[html.Section | html.P]:
    """Return trials by state, workers and importances."""
    parts: list[html.Section | html.P] = [_trials(found), _workers(found)]
    return parts + _decisions(columns) if columns else parts


def _trials(found: Progress) -> html.Section:
    title = html.H3(wording.plural(len(found.trials), "trial"))
    if not found.counts:
        return html.Section([title, html.P("No trial is known.", className="muted")])
    whole = sum(found.counts.values())
    rows = [_bar(name, n / whole, f"{n}") for name, n in found.counts.items()]
    return html.Section([title, html.Ul(rows, className="bars")])


def _workers(found: Progress) -> html.Section:
    title = html.H3("Workers")
    if not found.workers:
        running = found.counts.get("running", 0)
        return html.Section([title, html.P(f"Workers are not named; {running} trials are running.", className="muted")])
    rows = [
        html.Tr(
            [html.Th(one.name, scope="row"), *(html.Td(str(n), className="number") for n in (one.running, one.ended))]
        )
        for one in found.workers
    ]
    head = ["worker", "running", "ended"]
    return html.Section([title, components.table("Workers", head, rows, numeric=head[1:], hide_caption=True)])


def _decisions(columns: dict[str, Column]) -> list[html.Section | html.P]:
    """Return what decides the accuracy, of measured and predicted ones apart, and what the latency."""
    n = len(columns["accuracy"].values)
    if n < LEAST:
        return [html.P(f"What decides accuracy and latency can be told from {LEAST} candidates on.", className="muted")]
    parts = []
    for source in (MEASURED, PREDICTED):
        some = of_source(columns, source)
        if some and len(some["accuracy"].values) >= LEAST:
            title = f"What decides the accuracy ({source}, {len(some['accuracy'].values)})"
            parts.append(_importances(title, some, "accuracy"))
    note = "Shares of the variance that a choice alone explains (ε²), and of how many candidates."
    latency = _importances(f"What decides the latency ({n})", columns, "latency_ms")
    return [*parts, latency, html.P(note, className="muted hint")]


def _importances(title: str, columns: dict[str, Column], outcome: str) -> html.Section:
    rows = [_bar(name, share, f"{share:.0%}") for name, share in importances(columns, outcome)[:LISTED]]
    return html.Section([html.H3(title), html.Ul(rows, className="bars")])


def _bar(name: str, share: float, text: str) -> html.Li:
    bar = html.Div(
        html.Div(className="bar", style={"width": f"{100 * share:.1f}%"}), className="track", **aria(hidden="true")
    )
    return html.Li([html.Span(name), bar, html.Span(text, className="number")])


def table(source: Source, candidates: Sequence[Candidate], kept: NDArray[np.bool_]) -> html.Div:
    """Return the candidates that pass the filter: the measured ones first, and of each kind the most accurate."""
    passing = [candidate for candidate, passes in zip(candidates, kept, strict=True) if passes]
    ordered = sorted(passing, key=lambda one: (one.accuracy.source != MEASURED, -one.accuracy.value, one.latency.ms))
    rows = [_row(source, candidate) for candidate in ordered[:ROWS]]
    caption = f"{len(passing)} of {len(candidates)} candidates pass{_which(passing)}"
    head = ["subnet", "accuracy", "latency", "architecture"]
    if not rows:
        return html.Div([html.H2(caption), html.P("Nothing passes the filter; widen or clear it.", className="muted")])
    return components.table(caption, head, rows)


def _which(passing: Sequence[Candidate]) -> str:
    """Return which rows are listed, and in which order, where that is not plain."""
    order = ", measured before predicted" if len({one.accuracy.source for one in passing}) > 1 else ""
    return f"; the {ROWS} most accurate{order}" if len(passing) > ROWS else order


def _row(source: Source, candidate: Candidate) -> html.Tr:
    cells = [
        html.Th(_explore(source, candidate), scope="row"),
        components.stacked(wording.accuracy(candidate.accuracy)),
        components.stacked(wording.latency(candidate.latency)),
        html.Td(candidate.architecture.describe(), className="wide"),
    ]
    return html.Tr(cells)
