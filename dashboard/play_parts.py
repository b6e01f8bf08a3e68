"""The parts of the playground: sliders, the answer, the nearest subnet, and the image."""

from collections.abc import Sequence

from dash import dcc, get_relative_path, html

from supersam.results import Accuracy
from supersam.space import AnyArchitecture, SearchSpace, count

from . import components, ids, wording
from .anatomy import sections
from .components import aria
from .details import latency_cells, stages
from .devices import Device
from .masks import Answer
from .part_sums import PartSums
from .play import Nearest

TITLES = {"resolution": "Input, pixels", "depth": "depth", "width": "width", "ratio": "ratio"}


def sliders(space: SearchSpace, architecture: AnyArchitecture) -> list[html.Fieldset | html.Div]:
    """Return a control for each choice: buttons for words, sliders for numbers."""
    choices = space.encode(architecture)
    groups: dict[str, list[html.Div]] = {}
    for name, allowed in space.variables().items():
        stage, _, what = name.rpartition(".")
        place = allowed.index(choices[name])
        control = (
            _types(name, allowed, place) if isinstance(allowed[0], str) else _slider(name, what or name, allowed, place)
        )
        groups.setdefault(stage, []).append(control)
    parts: list[html.Fieldset | html.Div] = []
    for stage, controls in groups.items():
        legend = [html.Legend(stage.replace("stage", "Stage "))] if stage else []
        parts.append(html.Fieldset([*legend, *controls]) if stage else html.Div(controls))
    return parts


def _types(name: str, allowed: Sequence[str], place: int) -> html.Div:
    buttons = [
        html.Button(
            block, id=ids.play_type(name, str(number)), type="button", **aria(pressed=str(number == place).lower())
        )
        for number, block in enumerate(allowed)
    ]
    return html.Div(buttons, className="buttons", role="group", **aria(label=f"block type of {name.partition('.')[0]}"))


def _slider(name: str, what: str, allowed: Sequence[int], place: int) -> html.Div:
    identity = ids.play_range(name)
    field = dcc.Input(id=identity, type="range", min=0, max=len(allowed) - 1, step=1, value=place)
    # The label is around the field, as a pattern id cannot be named by ``for``.
    label = html.Label(
        [html.Span(TITLES.get(what, what)), field, html.Output(str(allowed[place]), id=ids.play_value(name))],
        className="slider",
    )
    return html.Div(label)


def answer(architecture: AnyArchitecture, accuracy: Accuracy, devices: Sequence[Device]) -> list[html.Section]:
    """Return what a subnet would do, on every device."""
    rows = [_device(device, architecture) for device in sorted(devices, key=lambda device: device.is_throughput)]
    heads = ["device", "median", "90 % interval", "method"]
    table = components.table("Latency", heads, rows, numeric=heads[1:3], hide_caption=True)
    latencies = html.Section([html.H3("Latency on every device"), table])
    return [_head(architecture, accuracy), latencies, *_shares(architecture, devices)]


def _head(architecture: AnyArchitecture, accuracy: Accuracy) -> html.Section:
    ops, (low, high) = count(architecture), accuracy.interval
    facts = (
        f"{wording.number(ops.gmacs)} GMACs, {wording.number(ops.params / 1e6)} M parameters, {architecture.describe()}"
    )
    return html.Section(
        [
            html.H2(["Subnet ", html.Code(architecture.digest)]),
            html.P([html.Strong(f"{accuracy.value:.3f}", className="large"), f" accuracy, {accuracy.source}"]),
            html.P(f"95 % interval {low:.3f} to {high:.3f}; mean IoU of the starter archive", className="muted hint"),
            html.P(facts, className="muted"),
        ]
    )


def _shares(architecture: AnyArchitecture, devices: Sequence[Device]) -> list[html.Section]:
    """Return the picture of a subnet with the shares on the device that is trusted most."""
    usable = [device for device in devices if device.table and not device.why_not(PartSums([architecture]))]
    if not usable:
        return []
    device = min(usable, key=lambda device: device.distrust)
    title = html.H3(f"Stages, and their share on {device.label}")
    return [html.Section([title, stages(sections(architecture, device))])]


def _device(device: Device, architecture: AnyArchitecture) -> html.Tr:
    name = html.Th(device.label, scope="row")
    reason = device.why_not(PartSums([architecture]))
    if reason or device.table is None:
        return html.Tr([name, html.Td(components.short(reason), colSpan=3, className="muted", title=reason)])
    latency = device.table.predict(architecture)
    return html.Tr([name, *latency_cells(device, latency)])


def neighbour(found: Nearest | None) -> list[html.H2 | html.P | html.Ul]:
    """Return the nearest evaluated subnet, which is what a prediction stands on."""
    title = html.H2("Nearest evaluated subnet")
    if found is None:
        return [title, html.P("No subnet of this space was measured.", className="muted")]
    digest = found.found.architecture.digest
    address = f"{get_relative_path('/')}?source={found.source}&subnet={digest}"
    text = [
        "Subnet ",
        dcc.Link(html.Code(digest), href=address),
        f": accuracy {wording.accuracy(found.found.accuracy)}.",
    ]
    if not found.differences:
        return [title, html.P(text), html.P("It is this very subnet.", className="muted")]
    return [title, html.P(text), html.P("It differs in:"), html.Ul([html.Li(one) for one in found.differences])]


def pictures(answers: Sequence[Answer], labels: Sequence[str]) -> html.Div:
    """Return the masks side by side, with their times."""
    return html.Div([_picture(*pair) for pair in zip(answers, labels, strict=True)], className="pictures")


def _picture(one: Answer, label: str) -> html.Figure:
    times = f"encoder {wording.ms(one.encoder_ms)}, decoder {wording.ms(one.decoder_ms)} on this machine, one thread"
    text = f"mask covers {one.share:.0%}, predicted IoU {one.predicted_iou:.2f}; BatchNorm: {one.batch_norm}"
    alternative = f"The image with the mask of subnet {one.digest}, which covers {one.share:.0%} of it"
    caption = html.Figcaption(
        [html.Strong(label), " ", html.Code(one.digest), html.P(times), html.P(text, className="muted")]
    )
    return html.Figure([html.Img(src=one.picture, alt=alternative), caption])
