"""The section of a device about whole networks: figure, errors in words, and the same as a table."""

from dash import dcc, html

from supersam.latency import ROUNDS, LatencyTable

from . import components, ids, wording
from .agreement import CHOSEN, CLOSE, FITTED, HELD_OUT, Agreement, Errors, Pair, errors
from .components import aria
from .figure_layout import blank
from .figures import CONFIG

PLAIN = CONFIG | {"toImageButtonOptions": {"format": "svg", "filename": "supersam-predicted-measured"}}


def section(key: str, table: LatencyTable, found: Agreement) -> html.Section:
    """Return predicted against measured for a table; the figure itself follows when the theme is known.

    Args:
        key: of the device, under which the figure is asked for.
    """
    title = html.H3("Whole networks: predicted against measured")
    if not found.pairs:
        return html.Section([title, html.P(_nothing(table, found), className="muted")])
    label = aria(label="Measured against predicted latency of whole networks; the table below has the same")
    figure = dcc.Graph(id=ids.AGREEMENT, figure=blank(), config=PLAIN, className="graph")
    chart = html.Div(figure, className="chart square", role="group", **label)
    listed = html.Details([html.Summary("The same as a table"), _table(found)])
    return html.Section(
        [title, dcc.Store(id=ids.AGREEMENT_OF, data=key), *_says(table, found), chart, listed], className="agreement"
    )


def _nothing(table: LatencyTable, found: Agreement) -> str:
    if found.unknown:
        return f"{wording.plural(found.unknown, 'whole network')} were timed, but the table cannot predict them."
    if table.method != "measured":
        return f"This table is {table.method}: no whole network was timed, so there is nothing to compare."
    return "No whole network was timed with this table, so there is nothing to compare. supersam profile times some."


def _says(table: LatencyTable, found: Agreement) -> list[html.P]:
    """Return the errors in sentences, of what the table had not seen first."""
    lines = [
        _sentence("held out of everything", errors(found.of(HELD_OUT)), table.interval),
        _sentence("chosen by a search", errors(found.of(CHOSEN)), table.interval),
        _sentence("that the factors were fitted on (hollow)", errors(found.of(FITTED)), table.interval),
    ]
    bars = f"Bars and brackets: the {table.interval} of what is predicted, the {ROUNDS} of what was measured."
    noise = "" if found.noise is None else f"The same network timed again varies by {found.noise:.1%} (noise floor)."
    rest = f"{wording.plural(found.unknown, 'network')} cannot be predicted and are left out." if found.unknown else ""
    return [html.P(line) for line in (*lines, noise, bars, rest) if line]


def _sentence(what: str, found: Errors | None, interval: str) -> str:
    if found is None:
        return ""
    return (
        f"{wording.plural(found.n, 'network')} {what}: mean error {found.mape:.1%} (MAPE), {found.close:.0%} within "
        f"±{CLOSE:.0%}, {found.inside:.0%} within the predicted {interval}."
    )


def _table(found: Agreement) -> html.Div:
    head = ["network", "role", "predicted ms", "measured ms", "error"]
    return components.table(
        "Predicted and measured latency of whole networks", head, [_row(pair) for pair in found.pairs],
        numeric=head[2:], hide_caption=True,
    )  # fmt: skip


def _row(pair: Pair) -> html.Tr:
    texts = [_interval(pair.predicted), _interval(pair.measured), f"{pair.error:+.1%}"]
    cells = [html.Td(text, className="number") for text in texts]
    return html.Tr([html.Th(html.Code(pair.name), scope="row"), html.Td(pair.role), *cells])


def _interval(found: object) -> str:
    ms, lo, hi = (getattr(found, name) for name in ("ms", "lo", "hi"))
    return f"{wording.number(ms)} [{wording.between(lo, hi)}]"
