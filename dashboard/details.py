"""The panel about one subnet: what it is, how accurate, how fast on every device, and where its time goes."""

from collections.abc import Sequence

from dash import html

from supersam.latency import INTERVAL, ROUNDS, Latency
from supersam.results import Candidate
from supersam.results.timed import Timed, TimedSubnet

from . import components, ids, wording
from .anatomy import Section, sections
from .comparing import toggle
from .devices import Device
from .part_sums import PartSums
from .query import MOST_COMPARED
from .view import View


def heading(view: View, candidate: Candidate, can_compare: bool = True) -> html.Section:
    """Return which subnet this is and how it stands to the budget."""
    badges = [view.place(candidate)]
    if view.best is not None and view.best.digest == candidate.digest:
        badges.insert(0, "best")
    if not view.fits(candidate):
        badges.append(f"over budget ({wording.bound(candidate, view.risk)})")
    compare = [toggle(candidate.digest, is_in=False), *_compared(view)] if can_compare else []
    return html.Section(
        [
            html.H2(["Subnet ", html.Code(candidate.digest)]),
            html.P([*(html.Span(badge, className="badge") for badge in badges), *compare]),
            html.P(f"{wording.cost(candidate)}, input {candidate.architecture.resolution}px", className="muted"),
        ]
    )


def _compared(view: View) -> list[html.A]:
    """Return the way to the comparison, which is below the figure; none where nothing is compared."""
    if not view.compared:
        return []
    return [html.A(f"{len(view.compared)} of {MOST_COMPARED} below", href=f"#{ids.COMPARE}", className="beside")]


def extract_command(view: View, candidate: Candidate) -> str:
    """Return the command that writes this subnet to a file."""
    return f"supersam extract {view.source.argument} {candidate.digest} -o {candidate.digest}.safetensors"


def details(view: View, candidate: Candidate) -> list[html.Section]:
    """Return the sections of the panel below its heading."""
    return [
        _accuracy(candidate),
        _structure(view, candidate),
        _devices(view, candidate),
        *_timed(view, candidate),
    ]


def _accuracy(candidate: Candidate) -> html.Section:
    accuracy = candidate.accuracy
    head = [html.H3("Accuracy"), html.P([html.Strong(f"{accuracy.value:.3f}"), _rest(wording.accuracy(accuracy))])]
    if not accuracy.packs:
        return html.Section([*head, html.P("No values per pack: it was not measured.", className="muted")])
    prompts = list(dict.fromkeys(prompt for values in accuracy.packs.values() for prompt in values))
    rows = [
        html.Tr([html.Th(pack, scope="row"), *(_cell(values.get(prompt)) for prompt in prompts)])
        for pack, values in accuracy.packs.items()
    ]
    caption = "Mean IoU per pack and prompt"
    return html.Section(
        [*head, components.table(caption, ["pack", *prompts], rows, numeric=prompts, hide_caption=True)]
    )


def _rest(text: str) -> str:
    """Return a written number without its leading figure, which is shown larger."""
    return " " + text.partition(" ")[2]


def _cell(value: float | None) -> html.Td:
    return html.Td("-" if value is None else f"{value:.3f}", className="number")


def _structure(view: View, candidate: Candidate) -> html.Section:
    found = sections(candidate.architecture, view.device)
    note = [] if view.device.table else [html.P("No shares: the table of this device is not here.", className="muted")]
    heading = html.H3(f"Stages, and their share of the {view.device.quantity} on {view.device.label}")
    return html.Section([heading, stages(found), *note])


def stages(found: Sequence[Section]) -> html.Ol:
    """Return the picture of a subnet: a line for each stage with its blocks, shape and share of the latency."""
    widest = max((section.width for section in found), default=0) or 1
    return html.Ol([html.Li(_section(section, widest), className="stage") for section in found], className="stages")


def _section(section: Section, widest: int) -> list[html.Div | html.Span]:
    """Return one line: name, a bar for each block (as wide as its channels), shape and share."""
    share = "" if section.share is None else f"{section.share:.0%}"
    bar = {"width": f"{100 * (section.share or 0):.1f}%"}
    title = None if section.ms is None else f"{wording.ms(section.ms)} of {section.label}"
    return [
        html.Span(section.label, className="stage-label"),
        html.Span([html.Strong(section.block), f" {section.shape}"], className="stage-text"),
        html.Div(_tiles(section, widest), className="tiles", **components.aria(hidden="true")),
        html.Div(
            html.Div(className="bar", style=bar), className="track", title=title, **components.aria(hidden="true")
        ),
        html.Span(share, className="number stage-share"),
    ]


def _tiles(section: Section, widest: int) -> list[html.Div]:
    style = {"width": f"{max(100 * section.width / widest, 8):.0f}%"}
    return [html.Div(className=f"tile {section.block}", style=style) for _ in range(section.depth)]


def _devices(view: View, candidate: Candidate) -> html.Section:
    head = ["device", "median", "90 % interval", "method"]
    rows = [_device(view, candidate, device) for device, _ in view.devices.values()]
    table = components.table("Latency", head, rows, numeric=head[1:3], hide_caption=True)
    return html.Section([html.H3("Latency on every device"), table])


def _timed(view: View, candidate: Candidate) -> list[html.Section]:
    """Return what the whole subnet took where it was timed; empty where it was not."""
    found = [(one, subnet) for one in view.timed for subnet in one.subnets if subnet.digest == candidate.digest]
    if not found:
        return []
    rows = [
        html.Tr(
            [
                html.Th([what, html.Small(where)], scope="row", className="wrap"),
                html.Td(wording.ms(time.ms), className="number"),
                html.Td([wording.between(time.lo, time.hi), html.Small(f" {is_what}")], className="number"),
            ]
        )
        for one, subnet in found
        for what, where, time, is_what in (
            (f"predicted by {one.table}", one.table_is, subnet.predicted, _interval(view, one)),
            ("measured here", f"{one.here}, {one.date}", subnet.measured, ROUNDS),
        )
    ]
    head = ["whole subnet", "time", "from-to"]
    table = components.table("Measured here", head, rows, numeric=head[1:], hide_caption=True)
    notes = [html.P(_verdict(one, subnet), className="muted hint") for one, subnet in found]
    return [html.Section([html.H3("Measured here"), table, *notes])]


def _interval(view: View, timed: Timed) -> str:
    """Return what the interval of a prediction is, by the table it is from if that is here."""
    device, _ = view.devices.get(timed.table, (None, ""))
    return device.interval if device else INTERVAL


def _verdict(one: Timed, subnet: TimedSubnet) -> str:
    noise = "" if one.noise_floor_pct is None else f" Noise floor {one.noise_floor_pct:.1f} %."
    forced = f" Measured all the same: {'; '.join(one.forced)}." if one.forced else ""
    if not one.judges:
        return (
            f"Another machine or other conditions than the table's: the prediction is not judged by it.{noise}{forced}"
        )
    inside = "inside" if subnet.is_inside else "outside"
    return f"The prediction is {subnet.error:+.1%} off; the time is {inside} its interval.{noise}{forced}"


def _device(view: View, candidate: Candidate, device: Device) -> html.Tr:
    name = html.Th(device.label, scope="row")
    reason = device.why_not(PartSums([candidate.architecture]))
    if reason:
        return html.Tr([name, html.Td(components.short(reason), colSpan=3, className="muted", title=reason)])
    latency = view.latency_on(device, candidate)
    return html.Tr(
        [name, *latency_cells(device, latency)], **components.aria(current=str(device.key == view.device.key).lower())
    )


def latency_cells(device: Device, latency: Latency) -> list[html.Td]:
    """Return median, interval and method; of an interval that is not one of 90 %, what it is instead."""
    other = [] if device.interval == INTERVAL else [html.Small(f" {device.interval}")]
    return [
        html.Td(wording.ms(latency.ms), className="number"),
        html.Td([wording.between(latency.lo, latency.hi), *other], className="number"),
        html.Td(latency.method),
    ]
