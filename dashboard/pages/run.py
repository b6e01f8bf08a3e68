"""Search run: what a search has found so far, live while it runs in another process."""

from typing import Any

from dash import (
    ClientsideFunction,
    Input,
    Output,
    State,
    callback,
    clientside_callback,
    dcc,
    html,
    no_update,
    register_page,
)

from supersam.errors import DamagedError, SuperSAMError, UsageError, suggest
from supersam.results import Run

from .. import components, ids, run_parts
from ..components import aria
from ..current import current_data
from ..curves import curves
from ..data import Data
from ..figure_layout import blank
from ..figures import CONFIG
from ..parallel import LINES, describe_parallel
from ..progress import progress
from ..query import texts, write_budget
from ..run_figures import draw_curves
from ..sources import DAMAGE, Source
from ..theme import palette
from ..where import EXAMPLE, Term, parse, passing

register_page(__name__, path="/run", name="Search run", title="Search run - SuperSAM", order=1)

KEYS = ("source", "where")
TICK_MS = 2000
PLAIN = CONFIG | {"toImageButtonOptions": {"format": "svg", "filename": "supersam-run"}}


def layout(**query: Any) -> html.Div:
    """``/run?source=first&where=accuracy:0.3..`` opens a run with a filter."""
    data, asked = current_data(), texts(query, KEYS)
    runs = [source for source in data.sources() if not source.is_archive]
    known = {source.key: source for source in runs}
    notices = []
    if "source" in asked and asked["source"] not in known:
        notices.append(f"There is no run {asked['source']!r}.{suggest(asked['source'], list(known))}")
    chosen = known.get(asked.get("source", "")) or next(iter(runs), None)
    head = [html.H1("Search run"), html.Div(components.notices(notices), role="status")]
    if chosen is None:
        return html.Div([*head, _nothing(data)], className="run")
    where = asked.get("where", "")
    return html.Div(
        [
            dcc.Store(id=ids.RUN_SOURCE, data=chosen.key),
            dcc.Store(id=ids.RUN_FILTER, data=where),
            dcc.Store(id=ids.RUN_REVISION, data=data.revision()),
            *(dcc.Store(id=store) for store in (ids.RUN_URL_WRITER, ids.RUN_LINES, ids.RUN_DRAWN)),
            dcc.Interval(id=ids.RUN_TICK, interval=TICK_MS),
            *head,
            html.Div(run_parts.links(runs, chosen), className="controls"),
            html.Div(id=ids.RUN_STATE, role="status"),
            html.Div([_curves(), html.Section(id=ids.RUN_SIDE, className="panel area-card")], className="split"),
            _parallel(where),
        ],
        className="run",
    )


def _nothing(data: Data) -> html.Section:
    command = html.Code(
        components.command(f"supersam search --device jetson-orin --budget 30ms --out {data.first_run}"),
        className="command",
    )
    text = html.P(f"Looked in {data.runs}. A search makes a run there, and this page follows it:")
    return html.Section([html.H2("No run yet"), text, command], className="panel empty")


def _curves() -> html.Section:
    label = aria(
        label="Hypervolume and best accuracy over the evaluated subnets; the state above says the last values."
    )
    figure = dcc.Graph(id=ids.RUN_CURVES, figure=blank(), config=PLAIN, className="graph")
    chart = html.Div(figure, className="chart", role="group", **label)
    note = html.P(id=ids.RUN_REFERENCE, className="muted hint")
    return html.Section([html.H2("Progress"), chart, note], className="panel area-table")


def _parallel(where: str) -> html.Section:
    chart = html.Div(
        html.Div(id=ids.RUN_PARALLEL, className="parallel"),
        className="scroll",
        tabIndex=0,
        role="group",
        **aria(label="Parallel coordinates; the filter below does by keyboard what a brush does by mouse"),
    )
    field = dcc.Input(id=ids.RUN_WHERE, type="text", value=where, placeholder="no filter", autoComplete="off")
    problem = html.P(id=ids.RUN_WHERE_PROBLEM, className="problem", role="alert")
    label = html.Label(f"Filter, such as {EXAMPLE}", htmlFor=ids.RUN_WHERE, className="label")
    return html.Section(
        [
            html.H2("Candidates"),
            chart,
            html.P(id=ids.RUN_PARALLEL_NOTE, className="muted hint"),
            html.Div([label, field, problem], className="control where"),
            html.Div(id=ids.RUN_TABLE),
        ],
        className="panel area-table",
    )


@callback(
    output={
        "state": Output(ids.RUN_STATE, "children"),
        "side": Output(ids.RUN_SIDE, "children"),
        "curves": Output(ids.RUN_CURVES, "figure"),
        "reference": Output(ids.RUN_REFERENCE, "children"),
    },
    inputs=[Input(ids.RUN_SOURCE, "data"), Input(ids.THEME, "data"), Input(ids.RUN_REVISION, "data")],
)
def show(key: object, theme: object, _revision: object) -> dict[str, Any]:
    """Fill everything that does not depend on the filter."""
    data = current_data()
    source = _find(data, key)
    try:
        if source is None:
            raise DamagedError("this run is gone")
        candidates, question = data.run_candidates(source), Run(source.file).question()
        found = progress(Run(source.file), candidates, question)
    except DAMAGE as problem:
        return {"state": components.notices([_line(problem)]), "side": None, "curves": blank(), "reference": ""}
    budget = f"within {write_budget(source.asked.budget_ms)}" if source.asked.budget_ms else ""
    drawn = curves(candidates, source.asked.budget_ms, str(question.get("risk", "upper")))
    return {
        "state": run_parts.state(found, source),
        "side": run_parts.side(found, data.run_columns(source)),
        "curves": draw_curves(drawn, palette(theme), budget) if candidates else blank(),
        "reference": run_parts.reference(drawn),
    }


@callback(
    output={
        "figure": Output(ids.RUN_LINES, "data"),
        "note": Output(ids.RUN_PARALLEL_NOTE, "children"),
        "table": Output(ids.RUN_TABLE, "children"),
        "problem": Output(ids.RUN_WHERE_PROBLEM, "children"),
    },
    inputs=[
        Input(ids.RUN_SOURCE, "data"),
        Input(ids.RUN_FILTER, "data"),
        Input(ids.RUN_REVISION, "data"),
    ],
)
def sift(key: object, where: object, _revision: object) -> dict[str, Any]:
    """Fill what depends on the filter."""
    data = current_data()
    source = _find(data, key)
    try:
        if source is None:
            raise DamagedError("this run is gone")
        found, candidates = data.run_columns(source), data.run_candidates(source)
    except DAMAGE:
        return {"figure": None, "note": None, "table": None, "problem": ""}
    if not found:
        return {
            "figure": None,
            "note": "No candidate yet; they appear here as they are found.",
            "table": None,
            "problem": "",
        }
    text = texts({"where": where}, ["where"]).get("where", "")
    terms: list[Term] = []
    try:
        terms = parse(text)
        kept, problem = passing(found, terms), ""
    except UsageError as wrong:
        terms = []
        kept, problem = passing(found, terms), str(wrong)
    drawn = f", {LINES} of them drawn" if len(candidates) > LINES else ""
    return {
        "figure": describe_parallel(found, terms, kept),
        "note": f"Drag along an axis to filter{drawn}, click on it to clear; the table below follows.",
        "table": run_parts.table(source, candidates, kept),
        "problem": problem,
    }


def _find(data: Data, key: object) -> Source | None:
    return next((source for source in data.sources() if source.key == key and not source.is_archive), None)


def _line(problem: BaseException) -> str:
    text = " ".join(str(problem).split()) or type(problem).__name__
    return text if isinstance(problem, SuperSAMError) else f"This run is damaged ({text})."


@callback(Output(ids.RUN_REVISION, "data"), Input(ids.RUN_TICK, "n_intervals"), State(ids.RUN_REVISION, "data"))
def look_for_news(_n: int | None, known: str) -> Any:
    """Send a new revision if a file changed, and nothing otherwise."""
    revision = current_data().revision()
    return no_update if revision == known else revision


clientside_callback(
    ClientsideFunction("run", "filter"),
    Output(ids.RUN_FILTER, "data"),
    Input(ids.RUN_WHERE, "n_submit"),
    Input(ids.RUN_WHERE, "n_blur"),
    State(ids.RUN_WHERE, "value"),
    State(ids.RUN_FILTER, "data"),
    prevent_initial_call=True,
)
clientside_callback(
    ClientsideFunction("run", "writeUrl"),
    Output(ids.RUN_URL_WRITER, "data"),
    Input(ids.RUN_FILTER, "data"),
    prevent_initial_call=True,
)
clientside_callback(
    ClientsideFunction("parallel", "draw"),
    Output(ids.RUN_DRAWN, "data"),
    Input(ids.RUN_LINES, "data"),
)
