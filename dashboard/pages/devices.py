"""Devices: what each latency table knows, and how far to trust it."""

from typing import Any

import plotly.graph_objects as go
from dash import Input, Output, State, callback, html, register_page

from .. import agreement_parts, components, devices_parts, devices_trust, ids
from ..agreement import agreement
from ..agreement_figure import draw_agreement
from ..coverage import heat_map, noise
from ..current import current_data
from ..devices_view import KEYS, look_at_devices
from ..figure_layout import blank
from ..published import published_on
from ..query import texts
from ..theme import palette

register_page(__name__, path="/devices", name="Devices", title="Devices - SuperSAM", order=3)


def layout(**query: Any) -> html.Div:
    """``/devices?name=cpu-x86-1t&space=starter`` opens one table with the blocks of one search space."""
    data = current_data()
    view = look_at_devices(data, texts(query, KEYS))
    listing = html.Section(devices_parts.listing(view), className="panel")
    return html.Div(
        [
            html.H1("Devices"),
            html.Div(components.notices(view.notices), role="status"),
            listing,
            *_chosen(data, view),
        ],
        className="devices",
    )


def _chosen(data: Any, view: Any) -> list[html.Div]:
    if view.chosen is None:
        return [html.Section("No latency table. Measure one with: supersam profile --device NAME", className="panel")]
    table = view.chosen.table
    if table is None:
        return []
    left = [devices_parts.heat(view, heat_map(table, view.space, view.resolution, view.ratio))]
    left += [agreement_parts.section(view.chosen.key, table, agreement(table))]
    left += [devices_parts.covered(data.coverage(view.chosen)), devices_parts.published(published_on(data.zoo, table))]
    right = [devices_parts.facts(table), devices_trust.trust(table, noise(table))]
    return [
        html.Div(
            [html.Section(left, className="panel area-table"), html.Section(right, className="panel area-card")],
            className="split",
        )
    ]


@callback(
    Output(ids.AGREEMENT, "figure"),
    Input(ids.THEME, "data"),
    State(ids.AGREEMENT_OF, "data"),
)
def show_agreement(theme: object, key: object) -> go.Figure:
    """Draw predicted against measured in the colours of the theme."""
    table = next((device.table for device in current_data().tables() if device.key == key), None)
    found = agreement(table) if table is not None else None
    if table is None or found is None or not found.pairs:
        return blank()
    return draw_agreement(found, table.name, palette(theme))
