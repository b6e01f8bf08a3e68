"""The skeleton of Explore: where things go; callbacks fill it."""

from collections.abc import Mapping

from dash import dcc, html

from . import figures, ids
from .components import aria, choices
from .figure_layout import blank
from .filters import KEYS as FILTERS
from .query import CHOSEN, NO_BUDGET, ROWS

TICK_MS = 2000  # how often the page asks whether a file changed


def page(chosen: Mapping[str, str], revision: str) -> html.Div:
    """Return the page for the choices of a URL."""
    state = {key: chosen[key] for key in CHOSEN if key in chosen}
    return html.Div(
        [
            dcc.Store(id=ids.STATE, data=state),
            dcc.Store(id=ids.SUBNET, data=chosen.get("subnet")),
            dcc.Store(id=ids.REVISION, data=revision),
            *(dcc.Store(id=store) for store in (ids.SHOWN, ids.SELECTED, ids.BASE, ids.URL_WRITER, ids.SVG_WRITER)),
            dcc.Interval(id=ids.TICK, interval=TICK_MS),
            html.H1("Explore"),
            _controls(state.get("budget", "")),
            _filters(state),
            html.Div(id=ids.NOTICES, role="status"),
            html.Div(id=ids.SUMMARY),
            html.Div(id=ids.EMPTY),
            html.Div([_chart(), _details(), _below()], id=ids.RESULTS, className="results", hidden=True),
        ],
        className="explore",
    )


def _controls(budget: str) -> html.Div:
    return html.Div(
        [
            html.Div([_budget("" if budget == NO_BUDGET else budget), html.Div(id=ids.RISKS)], className="pair"),
            html.Div(id=ids.SOURCES),
            html.Div(id=ids.DEVICES),
        ],
        id=ids.CONTROLS,
        className="controls",
    )


def _filters(state: Mapping[str, str]) -> html.Details:
    """Return the filters, open if the link has some; their buttons are filled in, as they depend on the source."""
    fields = [
        _limit(ids.PARAMS, "At most M parameters", state.get("params", "")),
        _limit(ids.MACS, "At most GMACs", state.get("macs", "")),
    ]
    summary = html.Summary(["Filters and published models ", html.Span(id=ids.FILTERED, className="muted")])
    content = html.Div(
        [html.Div(id=ids.FILTERS, className="pair"), html.Div(fields, className="pair")], className="controls"
    )
    return html.Details([summary, content], open=any(key in state for key in (*FILTERS, "zoo")), className="filters")


def _limit(name: str, text: str, value: str) -> html.Div:
    field = dcc.Input(id=name, type="text", value=value, placeholder="any", size="6", autoComplete="off")
    return html.Div([html.Label(text, htmlFor=name, className="label"), field], className="control")


def _budget(text: str) -> html.Div:
    field = dcc.Input(id=ids.BUDGET, type="text", value=text, placeholder="none", size="10", autoComplete="off")
    problem = html.P(id=ids.BUDGET_PROBLEM, className="problem", role="alert")
    label = html.Label("Budget, such as 30ms", htmlFor=ids.BUDGET, className="label")
    return html.Div([label, field, problem], className="control")


def _chart() -> html.Section:
    graph = dcc.Graph(id=ids.FIGURE, figure=blank(), config=figures.CONFIG, className="graph")
    chart = html.Div(
        graph,
        id=ids.CHART,
        className="chart",
        tabIndex=0,
        role="application",
        **aria(label="Accuracy against latency. Arrow keys, Home and End select subnets of the front."),
    )
    spoken = html.P(id=ids.SPOKEN, className="spoken", role="status")
    hint = html.P("Click a point, or focus the figure and press the arrow keys.", className="muted hint")
    return html.Section(
        [html.H2("Accuracy against latency"), chart, spoken, hint, html.Div(id=ids.CAPTION, className="caption")],
        className="panel area-chart",
    )


def _details() -> html.Section:
    copy = dcc.Clipboard(id=ids.COPY, children="Copy", copied_children="Copied")
    command = html.Section(
        [
            html.H3("Extract it"),
            html.Div(
                [
                    html.Code(id=ids.COMMAND, className="command"),
                    # The clipboard is not focusable by itself, so a button around it takes the clicks and keys.
                    html.Button(copy, id=ids.COPY_BUTTON, type="button", title="Copy the command"),
                ],
                className="copy",
            ),
            html.Div(id=ids.EXTRACTED),
        ]
    )
    return html.Section([html.Div(id=ids.HEADING), command, html.Div(id=ids.DETAILS)], className="panel area-details")


def _below() -> html.Div:
    svg = html.Button("SVG", id=ids.SVG, type="button", title="Save the figure")
    exports = html.Div([html.Span("Save ", className="muted"), html.Span(id=ids.EXPORTS), svg], className="exports")
    rows = choices("Rows of the table and the files", "rows", [(key, text, "") for key, text in ROWS.items()])
    above = html.Div([rows, exports], className="above")
    return html.Div(
        [
            html.Section(id=ids.SWITCH, className="panel optional"),
            html.Section(id=ids.COMPARE, className="panel optional"),
            html.Section([above, html.Div(id=ids.TABLE)], className="panel front-table"),
            html.Section(id=ids.PUBLISHED, className="panel optional"),
        ],
        className="area-table",
    )
