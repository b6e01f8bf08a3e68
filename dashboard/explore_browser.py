"""The callbacks of Explore that run in the browser (assets/explore.js): choosing, selecting, drawing, the URL."""

from typing import Any

from dash import ALL, ClientsideFunction, Input, Output, State, clientside_callback

from . import ids

CHOICES: dict[str, Any] = {"type": ids.CHOICE, "name": ALL, "key": ALL}
ROWS: dict[str, Any] = {"type": ids.ROW, "digest": ALL}


def register() -> None:
    """Add the callbacks; the page calls this, so that each app gets its own."""
    _add(
        "choose",
        Output(ids.STATE, "data"),
        Input(CHOICES, "n_clicks"),
        Input(ids.BUDGET, "n_submit"),
        Input(ids.BUDGET, "n_blur"),
        *(Input(name, event) for name in (ids.PARAMS, ids.MACS) for event in ("n_submit", "n_blur")),
        *(State(name, "value") for name in (ids.BUDGET, ids.PARAMS, ids.MACS)),
        State(ids.STATE, "data"),
        State(ids.SHOWN, "data"),
    )
    _add("fields", Output(ids.PARAMS, "value"), Output(ids.MACS, "value"), Input(ids.STATE, "data"))
    _add("press", Output(CHOICES, "aria-pressed"), Input(ids.SHOWN, "data"), Input(CHOICES, "id"), at_once=True)
    _add("pick", Output(ids.SUBNET, "data"), Input(ids.FIGURE, "clickData"), Input(ROWS, "n_clicks"))
    _add("mark", Output(ROWS, "aria-current"), Input(ids.SELECTED, "data"), Input(ROWS, "id"), at_once=True)
    _add("draw", Output(ids.FIGURE, "figure"), Input(ids.BASE, "data"), Input(ids.SELECTED, "data"))
    _add("writeUrl", Output(ids.URL_WRITER, "data"), Input(ids.SHOWN, "data"), Input(ids.SELECTED, "data"))
    _add("svg", Output(ids.SVG_WRITER, "data"), Input(ids.SVG, "n_clicks"))
    _add("copy", Output(ids.COPY, "n_clicks"), Input(ids.COPY_BUTTON, "n_clicks"))


def _add(function: str, *arguments: Output | Input | State, at_once: bool = False) -> None:
    """Add a function of explore.js, called on changes and, if ``at_once``, when its elements appear."""
    clientside_callback(ClientsideFunction("explore", function), *arguments, prevent_initial_call=not at_once)
