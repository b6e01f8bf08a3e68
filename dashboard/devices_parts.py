"""The parts of the devices page: the list, one table's facts, its coverage, its blocks and how far to trust it."""

from collections.abc import Sequence
from urllib.parse import urlencode

from dash import dcc, get_relative_path, html

from supersam.latency import LatencyTable, Power

from . import components, wording
from .components import Child, aria
from .coverage import Cell, Coverage, HeatMap, Noise
from .devices import Device
from .devices_view import DevicesView
from .published import Published, conditions

GRADES = {
    "A": "clocks locked, repeats within 1 %",
    "B": "repeats within 3 %",
    "C": "repeats within 7 %, or only CPU time could be trusted",
    "D": "measured, but clocks, date or repeats are unknown",
    "E": "estimated, not measured",
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
    link = html.Th(dcc.Link(device.name, href=address(view, name=device.key)), scope="row")
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


def facts(table: LatencyTable) -> html.Section:
    """Return what a reader must know before a number."""
    host = ", ".join(f"{key} {value}" for key, value in table.host.items())
    rows: dict[str, Child] = {
        "grade": [grade(table.grade), f" {GRADES[table.grade]} ({table.best_grade.why})"],
        "method": method(table),
        "power mode": table.power.mode,
        "clocks": clocks(table.power),
        "clock": table.clock,
        "threads": str(table.threads or ""),
        "aliases": ", ".join(table.aliases),
        "host": host,
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


def trust(table: LatencyTable, noise: Noise | None) -> html.Section:
    """Return how wide the intervals are and why, and the noise below which nothing can be told."""
    composition = table.composition
    rows: list[tuple[str, str, str]] = []
    if composition.calibration_networks:
        low, high = 1 / composition.spread, composition.spread
        networks = f"{composition.calibration_networks} whole networks"
        rows.append(
            ("measured whole / sum of parts", f"{composition.factor:.3f}", f"median of {networks}; predictions use it")
        )
        rows += [
            (f"the same for {kind}", f"{factor:.3f}", f"fitted on {networks}; predictions use it")
            for kind, factor in composition.factor_per_kind.items()
        ]
        rows.append(
            (
                "90 % of whole networks",
                f"{low:.3f} to {high:.3f}",
                f"times their prediction, conformal over {networks}",
            )
        )
        rows.append(
            ("error of a prediction", f"±{100 * (composition.spread - 1):.0f} %", "half-width of that interval")
        )
    if table.quality.noise_floor_pct is not None:
        where = "the same network timed again and again during the measurement"
        rows.append(("noise floor", f"±{table.quality.noise_floor_pct:.1f} %", where))
    if noise is not None:
        where = f"half-width of the interval of {noise.n} timed parts"
        rows.append(("noise of a part", f"±{100 * noise.median:.1f} %", f"median {where}"))
        rows.append(("noise of the worst tenth", f"±{100 * noise.p90:.1f} %", where))
    if table.estimator is not None:
        estimator = table.estimator
        rows.append(
            (
                "90 % interval of an estimate",
                f"÷{estimator.spread:g} to ×{estimator.spread:g}",
                f"fitted on {estimator.calibration_rows} published rows",
            )
        )
        rows += [
            (f"the same for {kind}", f"÷{spread:g} to ×{spread:g}", "not among those rows")
            for kind, spread in estimator.spread_of_kind.items()
        ]
    if not composition.calibration_networks:
        rows.append(("measured whole / sum of parts", "unknown", composition.note or "no whole network was timed"))
    body = [
        html.Tr([html.Th(what, scope="row"), html.Td(value), html.Td(how, className="wrap muted")])
        for what, value, how in rows
    ]
    shown = components.table("How far to trust it", ["", "value", "from"], body, hide_caption=True)
    return html.Section([html.H3("How far to trust it"), _whisker(table), shown])


def _whisker(table: LatencyTable) -> html.Div | None:
    """Return the interval of whole networks around their prediction as a bar; the table below says the same."""
    composition = table.composition
    if not composition.calibration_networks:
        return None
    reach = max(composition.spread - 1, 0.05) * 1.6
    place = [50 * (1 + end / reach) for end in (1 / composition.spread - 1, composition.spread - 1)]
    bar = html.Div(className="whisker-bar", style={"left": f"{place[0]:.1f}%", "width": f"{place[1] - place[0]:.1f}%"})
    ends = [
        html.Span(f"{text:+.0%}", style={"left": f"{x:.1f}%"})
        for text, x in zip((1 / composition.spread - 1, composition.spread - 1), place, strict=True)
    ]
    return html.Div(
        [
            bar,
            html.Div(className="whisker-middle"),
            *ends,
            html.Span("prediction", style={"left": "50%"}, className="below"),
        ],
        className="whisker",
        **aria(hidden="true"),
    )


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
                html.Td("yes" if one.fits else f"no: {one.misfit}", className="wrap"),
            ]
        )
        for one in found
    ]
    head = ["model", "time", "kind", "conditions", "comparable with ours"]
    table = components.table("Published latencies", head, rows, numeric=["time"], hide_caption=True)
    return html.Section([title, table])
