"""The parts of the page of a run beside its figures: state, trials, workers, importances and the table."""

from collections.abc import Sequence

import numpy as np
from dash import dcc, get_relative_path, html
from numpy.typing import NDArray

from supersam.results import Candidate

from . import components, wording
from .columns import Column, importances
from .components import aria
from .progress import Curves, Progress
from .sources import Source
from .theme import MARKS

ROWS = 50  # of the table


def links(sources: Sequence[Source], chosen: Source) -> html.Div:
    """Return the runs to choose from."""
    shown = [
        dcc.Link(
            source.label,
            href=f"{get_relative_path('/run')}?source={source.key}",
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
    parts = [html.P([mark, f"{found.says}{pace}"], className="summary")]
    if found.problem:
        parts.append(html.P(f"States of trials are not known: {found.problem}", className="notice"))
    if found.state in ("stalled", "failed"):
        parts.append(html.P("Continue it with its own command and --resume, for example:"))
        parts.append(html.Code(components.command(resume(source)), className="command"))
    return parts


def resume(source: Source) -> str:
    """Return the command that continues a run."""
    asked = source.asked
    device = f" --device {asked.device}" if asked.device else ""
    budget = f" --budget {asked.budget_ms:g}ms" if asked.budget_ms else ""
    return f"supersam search{device}{budget} --out {source.argument} --resume"


def reference(found: Curves) -> str:
    """Return what the hypervolume is measured from."""
    if not found.evaluations:
        return ""
    slowest, lowest = found.reference
    return (
        f"Hypervolume is in accuracy × ms, against {wording.ms(slowest)} and an accuracy of {lowest:.3f}: the slowest "
        "and the least accurate candidate of this run."
    )


def side(found: Progress, columns: dict[str, Column]) -> list[html.Section]:
    """Return trials by state, workers and importances."""
    parts = [_trials(found), _workers(found)]
    if columns:
        parts += [_importances(columns, "accuracy"), _importances(columns, "latency_ms")]
    return parts


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


def _importances(columns: dict[str, Column], outcome: str) -> html.Section:
    found = importances(columns, outcome)[:8]
    title = html.H3(f"What decides {'accuracy' if outcome == 'accuracy' else 'latency'}")
    note = html.P(
        "Share of the variance that a choice alone explains (ε²), among all candidates.", className="muted hint"
    )
    rows = [_bar(name, share, f"{share:.0%}") for name, share in found]
    return html.Section([title, html.Ul(rows, className="bars"), note])


def _bar(name: str, share: float, text: str) -> html.Li:
    bar = html.Div(
        html.Div(className="bar", style={"width": f"{100 * share:.1f}%"}), className="track", **aria(hidden="true")
    )
    return html.Li([html.Span(name), bar, html.Span(text, className="number")])


def table(source: Source, candidates: Sequence[Candidate], kept: NDArray[np.bool_]) -> html.Div:
    """Return the candidates that pass the filter, the most accurate first."""
    passing = [candidate for candidate, passes in zip(candidates, kept, strict=True) if passes]
    best = sorted(passing, key=lambda one: (-one.accuracy.value, one.latency.ms))[:ROWS]
    rows = [_row(source, candidate) for candidate in best]
    more = f", the {ROWS} most accurate" if len(passing) > ROWS else ""
    caption = f"{len(passing)} of {len(candidates)} candidates pass{more}"
    head = ["subnet", "accuracy", "latency", "architecture"]
    if not rows:
        return html.Div([html.H2(caption), html.P("Nothing passes the filter; widen or clear it.", className="muted")])
    return components.table(caption, head, rows)


def _row(source: Source, candidate: Candidate) -> html.Tr:
    address = f"{get_relative_path('/')}?source={source.key}&subnet={candidate.digest}"
    cells = [
        html.Th(dcc.Link(html.Code(candidate.digest), href=address), scope="row"),
        html.Td(wording.accuracy(candidate.accuracy)),
        html.Td(wording.latency(candidate.latency)),
        html.Td(candidate.architecture.describe(), className="wide"),
    ]
    return html.Tr(cells)
