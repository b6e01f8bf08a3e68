"""Playground: any subnet of the starter space by sliders, and two subnets' masks of an image of yours."""

import math
from typing import Any

from dash import (
    ALL,
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

from supersam.errors import SuperSAMError
from supersam.space import AnyArchitecture

from .. import components, ids, masks, play_parts
from ..components import aria
from ..current import current_data
from ..data import Data
from ..play import Nearest, decode, most_accurate, nearest, read_places, write_places
from ..query import texts

register_page(__name__, path="/playground", name="Playground", title="Playground - SuperSAM", order=4)

RANGES: dict[str, Any] = {"type": ids.PLAY_RANGE, "name": ALL}
TYPES: dict[str, Any] = {"type": ids.PLAY_TYPE, "name": ALL, "key": ALL}
VALUES: dict[str, Any] = {"type": ids.PLAY_VALUE, "name": ALL}


def layout(**query: Any) -> html.Div:
    """``/playground?at=2.0.1...`` opens the subnet at these places of the choices."""
    data = current_data()
    title = html.H1("Playground")
    try:
        model, space = data.predictor(), data.starter
    except SuperSAMError as problem:
        return html.Div([title, *components.notices([str(problem)])])
    notices: list[str] = []
    at = texts(query, ["at"]).get("at")
    architecture = most_accurate(model) if at is None else read_places(space, at, most_accurate(model), notices)
    places = {name: allowed.index(space.encode(architecture)[name]) for name, allowed in space.variables().items()}
    return html.Div(
        [
            dcc.Store(id=ids.PLAY_STATE, data=places),
            dcc.Store(
                id=ids.PLAY_NAMES, data={name: list(map(str, allowed)) for name, allowed in space.variables().items()}
            ),
            dcc.Store(id=ids.PLAY_URL_WRITER),
            title,
            html.P(
                f"Every subnet of the space {space.name}: accuracy is predicted from {len(model.measured)} measured "
                f"ones (error {model.error:.3f} with one left out), latency is summed from each device's table.",
                className="lead",
            ),
            html.Div(components.notices(notices), role="status"),
            html.Div(
                [
                    html.Div(
                        [
                            html.Section(play_parts.sliders(space, architecture), className="panel sliders"),
                            html.Section(id=ids.PLAY_NEAREST, className="panel"),
                        ],
                        className="area-table",
                    ),
                    html.Section(id=ids.PLAY_ANSWER, className="panel area-card"),
                    _image(),
                ],
                className="split",
            ),
        ],
        className="playground",
    )


def _image() -> html.Section:
    upload = dcc.Upload(
        html.Button("Choose an image, or drop one here", type="button"),
        id=ids.PLAY_UPLOAD, accept="image/png,image/jpeg,image/webp", max_size=masks.LARGEST, className="drop",
        style_active={"borderColor": "var(--accent)"}, style_reject={"borderColor": "var(--problem)"},
    )  # fmt: skip
    where = [_place("x", "Click from the left, %"), _place("y", "from the top, %")]
    button = html.Button("Show both masks", id=ids.PLAY_SEGMENT, type="button", disabled=True)
    return html.Section(
        [
            html.H2("Try both on an image"),
            html.P(
                "The subnet of the sliders beside the nearest evaluated one. The image stays on this machine: "
                "it is checked, kept in memory and in a temporary folder while the networks run, then gone. The "
                "starter weights are no segmenter to deploy.",
                className="muted",
            ),
            html.Label([html.Span("PNG, JPEG or WebP, at most 8 MB", className="label"), upload], className="upload"),
            html.P(id=ids.PLAY_PROBLEM, className="problem", role="alert"),
            html.Img(id=ids.PLAY_IMAGE, alt="Your image; click where the object is", className="target", hidden=True),
            html.Div([*where, button], className="pair"),
            dcc.Loading(html.Div(id=ids.PLAY_MASKS, **aria(live="polite")), type="dot"),
        ],
        className="panel area-image",
    )


def _place(name: str, text: str) -> html.Div:
    field = dcc.Input(id=f"play-{name}", type="number", min=0, max=100, value=50)
    return html.Div([html.Label(text, htmlFor=f"play-{name}", className="label"), field], className="control")


def _architecture(data: Data, places: object) -> AnyArchitecture:
    known = (
        {name: place for name, place in places.items() if isinstance(place, int)} if isinstance(places, dict) else {}
    )
    return decode(data.starter, known)


def _nearest(data: Data, architecture: AnyArchitecture, is_other: bool = False) -> Nearest | None:
    evaluated = data.evaluated()
    if is_other:
        evaluated = [pair for pair in evaluated if pair[1].architecture != architecture]
    return nearest(data.starter, architecture, evaluated)


@callback(
    Output(ids.PLAY_ANSWER, "children"),
    Output(ids.PLAY_NEAREST, "children"),
    Output(ids.PLAY_URL_WRITER, "data"),
    Input(ids.PLAY_STATE, "data"),
)
def show(places: object) -> tuple[Any, Any, str]:
    """Fill everything about the subnet of the sliders."""
    data = current_data()
    architecture = _architecture(data, places)
    shown = play_parts.answer(architecture, data.predictor()(architecture), data.tables())
    return shown, play_parts.neighbour(_nearest(data, architecture)), write_places(data.starter, architecture)


@callback(
    Output(ids.PLAY_IMAGE, "src"),
    Output(ids.PLAY_IMAGE, "hidden"),
    Output(ids.PLAY_SEGMENT, "disabled"),
    Output(ids.PLAY_PROBLEM, "children"),
    Input(ids.PLAY_UPLOAD, "contents"),
    prevent_initial_call=True,
)
def take(contents: object) -> tuple[Any, bool, bool, str]:
    """Check an upload and show it."""
    if contents is None:
        return no_update, True, True, ""
    try:
        return masks.to_url(masks.read_upload(contents)), False, False, ""
    except SuperSAMError as problem:
        return None, True, True, f"{problem}."


@callback(
    Output(ids.PLAY_MASKS, "children"),
    Input(ids.PLAY_SEGMENT, "n_clicks"),
    State(ids.PLAY_IMAGE, "src"),
    State("play-x", "value"),
    State("play-y", "value"),
    State(ids.PLAY_STATE, "data"),
    prevent_initial_call=True,
)
def segment(clicks: object, picture: object, x: object, y: object, places: object) -> Any:
    """Show the masks of both subnets for the click."""
    if not clicks:
        return no_update
    data = current_data()
    architecture = _architecture(data, places)
    near = _nearest(data, architecture, is_other=True)
    pair = [architecture, *([near.found.architecture] if near else [])]
    labels = ["sliders", "nearest evaluated"][: len(pair)]
    try:
        answers = masks.segment(masks.read_upload(picture), (_share(x), _share(y)), pair)
    except SuperSAMError as problem:
        return components.notices([f"{problem}."])
    return play_parts.pictures(answers, labels)


def _share(percent: object) -> float:
    value = float(percent) if isinstance(percent, int | float) else 50.0
    return min(max(value, 0.0), 100.0) / 100 if math.isfinite(value) else 0.5


clientside_callback(
    ClientsideFunction("play", "collect"),
    Output(ids.PLAY_STATE, "data"),
    Input(RANGES, "value"),
    Input(TYPES, "n_clicks"),
    State(RANGES, "id"),
    State(ids.PLAY_STATE, "data"),
    prevent_initial_call=True,
)
clientside_callback(
    ClientsideFunction("play", "mirror"),
    Output(TYPES, "aria-pressed"),
    Output(VALUES, "children"),
    Input(ids.PLAY_STATE, "data"),
    State(TYPES, "id"),
    State(VALUES, "id"),
    State(ids.PLAY_NAMES, "data"),
)
clientside_callback(
    ClientsideFunction("play", "writeUrl"),
    Output(ids.PLAY_URL_WRITER, "id"),
    Input(ids.PLAY_URL_WRITER, "data"),
    prevent_initial_call=True,
)
