"""Axes, legend and colours around the points of a figure."""

import math
from html import escape
from typing import Any

import plotly.graph_objects as go

from .front import Front
from .theme import Palette

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
CLEAR = "rgba(0,0,0,0)"
FINE = 0.08  # an accuracy axis shorter than this needs a third decimal


def blank() -> go.Figure:
    """Return a figure without axes, so that none flash up before the first data."""
    hidden = {"visible": False}
    layout = go.Layout(template="none", xaxis=hidden, yaxis=hidden, paper_bgcolor=CLEAR, plot_bgcolor=CLEAR)
    return go.Figure(layout=layout)


def place_on_axis(front: Front, value: float) -> float:
    """Return how far along the latency axis a value is, 0 to 1."""
    start, end = map(math.log, front.x_range)
    return (math.log(value) - start) / (end - start)


def on_log_axis(value: float) -> float:
    """Return where ranges and annotations go on a logarithmic axis (shapes take the value itself)."""
    return math.log10(value)


def front_layout(front: Front, palette: Palette) -> go.Layout:
    """Return everything of the figure but its points."""
    label = {"bgcolor": palette.panel, "bordercolor": palette.muted, "font": {"color": palette.ink}, "align": "left"}
    return go.Layout(
        template="none",
        uirevision=front.key,
        meta={"front": [[point.digest, point.latency.ms] for point in front.line]},  # for the arrow keys
        font={"family": FONT, "color": palette.ink, "size": 13},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        margin={"l": 70, "r": 18, "t": 34, "b": 76},
        hovermode="closest",
        hoverlabel=label,
        legend=_legend(palette),
        modebar={"bgcolor": CLEAR, "color": palette.muted, "activecolor": palette.ink},
        xaxis=_axis(palette) | _latency_axis(front),
        yaxis=_axis(palette) | _accuracy_axis(front),
    )


def _legend(palette: Palette) -> dict[str, Any]:
    font = {"color": palette.muted, "size": 12}
    return {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top", "font": font}


def _axis(palette: Palette) -> dict[str, Any]:
    line = {"showline": True, "linecolor": palette.muted, "zeroline": False}
    return line | {"gridcolor": palette.grid, "ticks": "outside", "tickcolor": palette.muted}


def _latency_axis(front: Front) -> dict[str, Any]:
    return {
        "type": "log",
        "range": [on_log_axis(end) for end in front.x_range],
        "tickvals": front.x_ticks,
        "ticktext": [f"{place:g}" for place in front.x_ticks],
        "title": {"text": f"{front.quantity} on {escape(front.device)} (ms)", "standoff": 8},
    }


def _accuracy_axis(front: Front) -> dict[str, Any]:
    low, high = front.y_range
    decimals = ".3f" if high - low < FINE else ".2f"
    return {"range": [low, high], "tickformat": decimals, "title": {"text": "accuracy (mean IoU)"}}
