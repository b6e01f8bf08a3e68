"""The parts of Explore beside the figure: filters, what a device switch changed, exports, published models."""

from collections.abc import Iterable

from dash import dcc, get_relative_path, html

from supersam.results import Candidate

from . import components, ids, wording
from .downloads import Download
from .exports import ROUTE, TYPES
from .filters import Filters
from .published import Published, conditions
from .query import OVERLAYS
from .sources import Contents
from .view import View

LISTED = 8  # names of those who enter or leave a front


def filters(whole: Contents, has_published: bool) -> list[html.Div]:
    """Return the buttons of the filters; a filter that could change nothing is left out."""
    groups = []
    if len(whole.blocks) > 1:
        groups.append(components.choices("Block types", "block", [(one, one, "") for one in whole.blocks]))
    if len(whole.resolutions) > 1:
        sides = [(str(side), f"{side}px", "") for side in whole.resolutions]
        groups.append(components.choices("Input", "resolution", sides))
    if has_published:
        overlays = [(key, text, "") for key, text in OVERLAYS.items()]
        groups.append(components.choices("Published models, by licence", "zoo", overlays))
    groups.append(components.choices("All filters", "clear", [("filters", "Clear", "")]))
    return groups


def pressed(chosen: Filters) -> dict[str, str | list[str]]:
    """Return which buttons of the filters are pressed."""
    return {"block": sorted(chosen.blocks), "resolution": [str(side) for side in sorted(chosen.resolutions)]}


def passing(view: View) -> str:
    """Return how many candidates pass, if some do not."""
    if not view.filters.restricts:
        return ""
    return f"- {len(view.candidates)} of {len(view.found)} candidates pass; the front is that of these"


def switch(view: View) -> list[html.H2 | html.P | html.Dl]:
    """Return who entered and who left the front with the device; empty where none was left."""
    found = view.switch
    if found is None:
        return []
    whole = " This is of all candidates, without the filters." if view.filters.restricts else ""
    parts = [html.H2("What the other device changes"), html.P(f"{found.says}{whole}")]
    names = {"enter": found.entering, "leave": found.leaving}
    rows = [part for name, some in names.items() if some for part in (html.Dt(name), html.Dd(_digests(some)))]
    return [*parts, html.Dl(rows)] if rows else parts


def _digests(some: list[Candidate]) -> list[html.Button | str]:
    shown: list[html.Button | str] = []
    for one in some[:LISTED]:
        shown += [html.Button(one.digest, id=ids.row(f"switch/{one.digest}"), type="button", className="link"), " "]
    return [*shown, f"and {len(some) - LISTED} more"] if len(some) > LISTED else shown


def caption(view: View, drawn_dominated: int) -> list[html.P | html.Details]:
    """Return what the reader must know to trust the figure; what its table says of itself at length is folded."""
    lines: list[html.P | html.Details] = [html.P(line) for line in wording.caption(view, drawn_dominated)]
    table = view.device.table
    if table is not None and table.note:
        lines.append(html.Details([html.Summary(f"How the latencies of {table.name} came about"), html.P(table.note)]))
    return lines


def extracted(found: Iterable[Download], digest: str) -> list[html.P]:
    """Return the checkpoints of a subnet that were extracted already."""
    return [
        html.P(
            [
                "Extracted already: ",
                html.A(one.place, href=get_relative_path(one.address), download=one.name),
                f" ({one.size / 1e6:.1f}\N{NO-BREAK SPACE}MB)",
            ]
        )
        for one in found
        if one.digest == digest
    ]


def exports(view: View) -> list[html.A]:
    """Return the links to the rows of the table as files."""
    search = f"?{view.query}" if view.query else ""
    return [
        html.A(kind.upper(), href=get_relative_path(ROUTE + kind) + search, className="button", download="")
        for kind in TYPES
    ]


def published(view: View) -> list[html.H2 | html.P | html.Div]:
    """Return the published models whose latency may stand beside ours, and how many may not."""
    if not view.published:
        return []
    fitting = [one for one in view.published if one.fits]
    rest = len(view.published) - len(fitting)
    more = html.P(
        [
            f"{wording.plural(rest, 'other published latency', 'other published latencies')} of this device cannot be "
            "compared, for reasons listed under ",
            dcc.Link("Devices", href=f"{get_relative_path('/devices')}?name={view.device.key}"),
            ".",
        ],
        className="muted hint",
    )
    title = html.H2("Published models on this device")
    if not fitting:
        return [title, more]
    note = html.P("Only their latency is on our terms; their accuracy is of other protocols (Zoo).", className="hint")
    rows = [_published(one) for one in fitting]
    table = components.table(
        "Published", ["model", "latency", "kind", "conditions", "source", "licence"], rows, hide_caption=True
    )
    return [title, note, table, *([more] if rest else [])]


def _published(one: Published) -> html.Tr:
    link = dcc.Link(one.card.title, href=f"{get_relative_path('/zoo')}?name={one.card.name}")
    texts = [one.time.time, one.kind.value, conditions(one.time), one.source, one.card.licence.terms]
    return html.Tr([html.Th(link, scope="row"), *(html.Td(text, className="wrap") for text in texts)])
