"""The frame around every page: header, navigation and the switch between light and dark."""

import re

import dash
from dash import ALL, ClientsideFunction, Dash, Input, Output, State, dcc, html

from . import ids
from .components import aria

# early.js runs before the first paint, so that a dark page does not flash white.
INDEX = """<!DOCTYPE html>
<html lang="en">
    <head>
        {%metas%}
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>{%title%}</title>
        <script src="EARLY" data-plotly="PLOTLY" data-figures="FIGURES"></script>
        {%favicon%}
        {%css%}
    </head>
    <body>
        {%app_entry%}
        <footer>{%config%}{%scripts%}{%renderer%}</footer>
    </body>
</html>
"""
EARLY = "early.js"
PLOTLY = "plotly-basic.min.js"  # scatter, bar and pie: a quarter of the whole
FIGURES = ("/", "/run")  # pages that always have a figure
OURS = rf"^({re.escape(EARLY)}|{re.escape(PLOTLY)})$"  # what dash need not put into every page


def index(app: Dash) -> str:
    """Return the HTML around the app."""
    figures = " ".join(map(app.get_relative_path, FIGURES))
    filled = {"EARLY": app.get_asset_url(EARLY), "PLOTLY": app.get_asset_url(PLOTLY), "FIGURES": figures}
    text = INDEX
    for name, value in filled.items():
        text = text.replace(name, value)
    return text


def layout() -> html.Div:
    """Return header and page; a new page shows up in the navigation by being registered."""
    links = [
        html.Span(
            dcc.Link(page["name"], href=page["relative_path"]), id=ids.nav(page["relative_path"]), className="nav"
        )
        for page in dash.page_registry.values()
        if page["relative_path"]
    ]
    toggle = html.Button("Dark", id=ids.THEME_TOGGLE, type="button", **aria(pressed="false"))
    return html.Div(
        [
            html.A("Skip to content", href="#main", className="skip"),
            html.Header([html.Span("SuperSAM", className="brand"), html.Nav(links, **aria(label="Pages")), toggle]),
            html.Main(dash.page_container, id="main"),
            dcc.Store(id=ids.THEME),
        ]
    )


def register(app: Dash) -> None:
    """Add the callbacks of the frame."""
    app.clientside_callback(
        ClientsideFunction("frame", "theme"),
        Output(ids.THEME, "data"),
        Output(ids.THEME_TOGGLE, "aria-pressed"),
        Input(ids.THEME_TOGGLE, "n_clicks"),
    )
    links = {"type": ids.NAV, "path": ALL}
    app.clientside_callback(
        ClientsideFunction("frame", "nav"),
        Output(links, "className"),
        Input(ids.LOCATION, "pathname"),
        State(links, "id"),
    )
