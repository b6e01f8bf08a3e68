"""The parts of the devices page: the list, one table's facts, its coverage, its blocks, and published figures."""

from collections.abc import Sequence
from urllib.parse import urlencode

from dash import dcc, get_relative_path, html

from supersam.latency import LatencyTable, Power

from . import components, wording
from .components import Child, aria
from .coverage import Cell, Coverage, HeatMap
from .devices import Device
from .devices_view import DevicesView
from .published import Published, conditions

GRADES = {
    "A": "clocks locked, repeats within 1 %",
    "B": "repeats within 3 %",
    "C": "repeats within 7 %, or only CPU time could be trusted",
    "D": "measured, but clocks, date or repeats are unknown",
    "E": "estimated or transferred, not measured",
}


def address(view: DevicesView, **changes: str) -> str:
    """Return the address of the page with some choices changed."""
    path: str = get_relative_path("/devices")
    return f"{path}?{urlencode(view.query | changes)}"


def listing(view: DevicesView) -> html.Div:
    """Return one row for each device."""
    head = ["table", "device", "runtime", "precision", "method", "grade", "entries", "date"]
    rows = [_row(view, device) for device in view.devices]
    return components.table(wording.plural(len(rows), "latency table"), head, rows, numeric=["entries"])


def _row(view: DevicesView, device: Device) -> html.Tr:
    link = html.Th([dcc.Link(device.name, href=address(view, name=device.key)), *_throughput(device)], scope="row")
    current = aria(current="true") if device is view.chosen else {}
    if device.table is None:
        return html.Tr([link, html.Td(device.problem, colSpan=7, className="wrap problem")], **current)
    table = device.table
    cells = [
        html.Td(table.device.name),
        html.Td(str(table.runtime)),
        html.Td(table.precision),
        html.Td(method(table)),
        html.Td(grade(table.grade)),
        html.Td(str(len(table.entries)), className="number"),
        html.Td(table.date or "not stated"),
    ]
    return html.Tr([link, *cells], **current)


def _throughput(device: Device) -> list[html.Span]:
    """Return the mark of a table whose times are no latencies."""
    return [html.Span(f"throughput, batch {device.batch}", className="badge")] if device.is_throughput else []


def method(table: LatencyTable) -> html.Span:
    """Return how the numbers of a table came about, with a mark that is not a colour alone."""
    mark = html.Span("●" if table.method == "measured" else "○", **aria(hidden="true"))
    return html.Span([mark, f"\N{NO-BREAK SPACE}{table.method}"])


def clocks(power: Power) -> str:
    """Return what is known of the clocks; empty if nothing is."""
    said = [
        "" if power.clocks_locked is None else "locked" if power.clocks_locked else "not locked",
        f"governor {power.governor}" if power.governor else "",
        f"GPU {power.gpu_mhz:g} MHz" if power.gpu_mhz else "",
        f"memory {power.memory_mhz:g} MHz" if power.memory_mhz else "",
        power.note,
    ]
    return ", ".join(filter(None, said))


def grade(letter: str) -> html.Span:
    return html.Span(letter, className=f"grade grade-{letter}", title=GRADES[letter])


def _why(table: LatencyTable) -> str:
    """Return what the grade means and why it is no better, which is the same where nothing was measured."""
    why = table.best_grade.why
    return why if table.method != "measured" else f"{GRADES[table.grade]} ({why})"


def _brief(key: str, value: object) -> str:
    """Return a value for people; of a hash the beginning tells two apart."""
    return str(value)[:12] if "sha" in key else str(value)


def facts(table: LatencyTable) -> html.Section:
    """Return what a reader must know before a number."""
    host = ", ".join(f"{key} {_brief(key, value)}" for key, value in table.host.items())
    rows: dict[str, Child] = {
        "grade": [grade(table.grade), f" {_why(table)}"],
        "method": method(table),
        "batch": f"{table.batch} images at a time: throughput, not the latency of one image" if table.batch > 1 else "",
        "input": table.input,
        "exporter": "" if table.exporter == "none" else table.exporter,
        "power mode": table.power.mode,
        "clocks": ", ".join(filter(None, (clocks(table.power), table.quality.clock_note))),
        "clock": table.clock,
        "threads": str(table.threads or ""),
        "overruled": "; ".join(table.quality.forced),
        "aliases": ", ".join(table.aliases),
        "host": host,
        "agent": ", ".join(_brief(key, value) for key, value in table.agent.items() if value),
        "licence": table.licence,
        "note": table.note,
        "sources": html.Ul([html.Li(source) for source in table.sources], className="sources"),
    }
    parts = [part for key, value in rows.items() if value for part in (html.Dt(key), html.Dd(value))]
    return html.Section([html.H2(table.name), html.P(table.device.name, className="muted"), html.Dl(parts)])


def covered(found: Sequence[Coverage]) -> html.Section:
    """Return how much of every search space the table knows."""
    rows = [
        html.Tr(
            [
                html.Th(one.space, scope="row"),
                html.Td(_meter(one)),
                html.Td(f"{one.share:.0%}", className="number"),
                html.Td(_known(one), className="wrap"),
            ]
        )
        for one in found
    ]
    head = ["search space", "", "known", "of its parts"]
    table = components.table("Coverage", head, rows, numeric=["known"], hide_caption=True)
    return html.Section([html.H3("Coverage of the search spaces"), table])


def _meter(one: Coverage) -> html.Div:
    def part(n: int, kind: str) -> html.Div:
        return html.Div(className=f"fill {kind}", style={"width": f"{100 * n / one.n_parts:.2f}%"})

    bars = [part(one.measured, "measured"), part(one.other + one.estimated, "estimated")]
    return html.Div(bars, className="meter", **aria(hidden="true"))


def _known(one: Coverage) -> str:
    counts = {
        "measured": one.measured,
        "estimated, transferred or interpolated": one.other,
        "by the estimator": one.estimated,
    }
    text = ", ".join(f"{n} {how}" for how, n in counts.items() if n) or "none"
    return f"{text} of {one.n_parts}"


def heat(view: DevicesView, found: HeatMap) -> html.Section:
    """Return the map of blocks as a table whose cells are warm where they are slow."""
    ratio = f", ratio {view.ratio}" if view.ratio else ""
    caption = f"Milliseconds of one block of {view.space.name} at {view.resolution}px{ratio}"
    head = ["stage", "type", *map(str, found.widths)]
    rows = []
    for row in found.rows:
        cells = {cell.width: cell for cell in row.cells}
        shown = [_cell(found, cells.get(width)) for width in found.widths]
        rows.append(html.Tr([html.Th(row.stage, scope="row"), html.Th(row.block, scope="row"), *shown]))
    table = components.table(caption, head, rows, numeric=head[2:])
    note = f"Columns: {found.widths_are}. Warmer is slower (log scale); italics are not measured, a dash is unknown."
    return html.Section(
        [html.H3("Blocks"), _choices(view), table, html.P(note, className="muted hint")], className="heat"
    )


def _choices(view: DevicesView) -> html.Div:
    groups: list[tuple[str, str, list[str], str]] = [
        ("Space", "space", [space.name for space in view.spaces], view.space.name),
        ("Input", "resolution", [str(side) for side in view.space.resolutions], str(view.resolution)),
        ("Ratio", "ratio", [str(ratio) for ratio in view.ratios], str(view.ratio or "")),
    ]
    return html.Div([_group(view, *group) for group in groups if group[2]], className="controls")


def _group(view: DevicesView, label: str, key: str, values: list[str], chosen: str) -> html.Div:
    # What another space does not have must not follow into its link.
    keep = {"name": view.query.get("name", "")} if key == "space" else view.query
    path = get_relative_path("/devices")
    links = [
        dcc.Link(
            value,
            href=f"{path}?{urlencode({k: v for k, v in {**keep, key: value}.items() if v})}",
            className="button chosen" if value == chosen else "button",
        )
        for value in values
    ]
    heading = f"devices-{key}"
    group = html.Div(links, className="buttons", role="group", **aria(labelledby=heading))
    return html.Div([html.Span(label, id=heading, className="label"), group], className="control")


def _cell(found: HeatMap, cell: Cell | None) -> html.Td:
    if cell is None:
        return html.Td("", className="number")
    if cell.ms is None:
        return html.Td("-", className="number", title="the table says nothing about it")
    style = {"--warmth": f"{found.warmth(cell.ms):.3f}"}
    kind = "number warm" if cell.method == "measured" else "number warm guessed"
    return html.Td(wording.number(cell.ms), className=kind, style=style, title=f"{wording.ms(cell.ms)}, {cell.method}")


def published(found: Sequence[Published]) -> html.Section:
    """Return the published latencies of the device, with why most of them cannot be compared."""
    title = html.H3("Published on this device")
    if not found:
        return html.Section([title, html.P("The zoo has no latency of this device.", className="muted")])
    rows = [
        html.Tr(
            [
                html.Th(
                    dcc.Link(one.card.title, href=f"{get_relative_path('/zoo')}?name={one.card.name}"), scope="row"
                ),
                html.Td(one.time.time, className="number"),
                html.Td(one.kind.value),
                html.Td(conditions(one.time), className="wrap"),
                html.Td(one.source, className="wrap"),
                html.Td("yes" if one.fits else f"no: {one.misfit}", className="wrap"),
            ]
        )
        for one in found
    ]
    head = ["model", "time", "kind", "conditions", "source", "comparable with ours"]
    table = components.table("Published latencies", head, rows, numeric=["time"], hide_caption=True)
    return html.Section([title, table])
