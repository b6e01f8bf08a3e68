"""The dashboard as one file that opens from disk: fronts, details of their subnets, devices and the zoo."""

import json
from collections.abc import Iterable
from html import escape
from pathlib import Path

from dash import html

from supersam._paths import write_atomically
from supersam.errors import MissingError
from supersam.results import Candidate

from . import components, devices_parts, explore_parts, wording, zoo_parts
from .app import create_app
from .current import current_data
from .data import Data
from .details import details, extract_command, heading
from .devices_view import look_at_devices
from .figures import CONFIG, draw_front
from .frame import PLOTLY
from .front import describe_front
from .front_table import front_table
from .look import look
from .theme import PALETTES
from .to_html import render
from .view import View
from .zoo_view import look_at_zoo

FILE = "index.html"
SOURCES = 4  # the newest; each adds some hundred kilobytes
# Nothing is loaded from anywhere, whatever a label says.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
ASSETS = Path(__file__).parent / "assets"

PAGE = """<!DOCTYPE html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>SuperSAM fronts</title>
<style>{style}</style>
</head>
<body class="static">
<a class="skip" href="#main">Skip to content</a>
<header><span class="brand">SuperSAM</span><nav aria-label="Sections"><a href="#fronts">Fronts</a>
<a href="#devices">Devices</a><a href="#zoo">Zoo</a></nav>
<button type="button" id="theme" aria-pressed="false">Dark</button></header>
<main id="main">
<h1 id="fronts">Fronts</h1>
{choices}
{views}
<h1 id="devices">Devices</h1>
<section class="panel">{devices}</section>
<h1 id="zoo">Zoo</h1>
<section class="panel zoo">{zoo}</section>
</main>
<script>{plotly}</script>
<script id="figures" type="application/json">{figures}</script>
<script>{script}</script>
</body>
</html>
"""


def build(runs: Path, folder: Path, tables: Path | None = None, archive: Path | None = None) -> Path:
    """Write the page and return its path.

    Raises:
        MissingError: if there is nothing to show.
    """
    app = create_app(runs, tables, archive)
    with app.server.test_request_context("/", headers={"Host": "localhost"}):
        content = _page(current_data())
    path = folder / FILE
    write_atomically(path, content)
    return path


def _page(data: Data) -> str:
    views = list(_views(data))
    if not views:
        raise MissingError(
            f"there is nothing to show in {data.runs}; make a run with: supersam search --out {data.first_run}"
        )
    figures = {
        _key(view): {
            name: json.loads(draw_front(describe_front(view), colors).to_json()) for name, colors in PALETTES.items()
        }
        for view in views
    }
    options = [(_key(view), f"{view.source.label} on {view.device.label}", "") for view in views]
    buttons = [html.Button(text, type="button", **{"data-view": key}) for key, text, _ in options]
    # "</" would end the script element.
    sent = json.dumps({"figures": figures, "config": CONFIG}).replace("</", "<\\/")
    return PAGE.format(
        policy=POLICY,
        style=(ASSETS / "style.css").read_text(encoding="utf-8"),
        choices=render(html.Div(buttons, className="buttons", role="group", **components.aria(label="Front"))),
        views="".join(map(_view, views)),
        devices=render(devices_parts.listing(look_at_devices(data, {}))),
        zoo=render(zoo_parts.table(look_at_zoo(data.zoo, {}))),
        plotly=(ASSETS / PLOTLY).read_text(encoding="utf-8"),
        figures=sent,
        script=(ASSETS.parent / "static.js").read_text(encoding="utf-8"),
    )


def _views(data: Data) -> Iterable[View]:
    """Return every source on every device that has a latency for it."""
    for source in data.sources()[:SOURCES]:
        first = look(data, {"source": source.key})
        if not isinstance(first, View) or first.source.key != source.key:
            continue
        others = [key for key, (_, reason) in first.devices.items() if not reason and key != first.device.key]
        yield first
        for key in others:
            view = look(data, {"source": source.key, "device": key})
            if isinstance(view, View) and view.device.key == key:
                yield view


def _key(view: View) -> str:
    return f"{view.source.key} {view.device.key}"


def _view(view: View) -> str:
    front = describe_front(view)
    chart = html.Section(
        [
            html.H2("Accuracy against latency"),
            html.Div(
                className="chart", role="group", **components.aria(label="The figure; the table below has the same")
            ),
            html.Div(explore_parts.caption(view, len(front.dominated)), className="caption"),
        ],
        className="panel area-chart",
    )
    table = html.Section(front_table(view), className="panel front-table area-table")
    shown, listed = view.headline.digest, [*view.listed, *view.listed_apart]
    panels = [_details(view, candidate, candidate.digest == shown) for candidate in listed]
    if shown not in [candidate.digest for candidate in listed]:
        panels.append(_details(view, view.headline, is_shown=True))
    label = components.aria(label="Details of a subnet")
    side = html.Div(panels, className="area-details", tabIndex=0, role="group", **label)
    summary = html.P(wording.summary(view), className="summary" if view.best else "summary over")
    results = html.Div([chart, side, table], className="results")
    content = render([*components.notices(view.notices), summary, results])
    return f'<section class="view" data-view="{escape(_key(view))}" hidden>{content}</section>'


def _details(view: View, candidate: Candidate, is_shown: bool) -> html.Section:
    command = html.Code(components.command(extract_command(view, candidate)), className="command")
    parts = [
        heading(view, candidate, can_compare=False),
        html.Section([html.H3("Extract it"), command]),
        *details(view, candidate),
    ]
    return html.Section(parts, className="panel subnet", hidden=not is_shown, **{"data-subnet": candidate.digest})
