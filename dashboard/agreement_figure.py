"""The figure of predicted against measured times: what agrees lies on the diagonal."""

from html import escape
from typing import Any

import plotly.graph_objects as go

from supersam.latency import ROUNDS

from .agreement import CHOSEN, FITTED, HELD_OUT, Agreement, Pair
from .figure_layout import CLEAR, FONT, on_log_axis
from .front import ticks
from .theme import Palette

# Hollow for what the table was fitted on, filled for what it had not seen.
SYMBOLS = {FITTED: "circle-open", HELD_OUT: "circle", CHOSEN: "diamond"}
HOVER = "<b>%{customdata[0]}</b><br>predicted %{x:.3g}ms, %{customdata[1]} off<br>measured %{y:.3g}ms<extra></extra>"


def draw_agreement(found: Agreement, device: str, palette: Palette) -> go.Figure:
    """Draw measured against predicted milliseconds, both with their bounds, on two equal logarithmic axes.

    Of what was predicted these are an interval, of what was measured the range of the rounds.
    """
    low, high = _range(found.pairs)
    traces = [*_band(found.noise, low, high, palette), _diagonal(low, high, palette)]
    traces += [_points(found.of(role), role, palette) for role in SYMBOLS if found.of(role)]
    places = ticks(low, high)
    axis: dict[str, Any] = {
        "type": "log", "range": [on_log_axis(low), on_log_axis(high)], "tickvals": places,
        "ticktext": [f"{place:g}" for place in places], "showline": True, "linecolor": palette.muted,
        "gridcolor": palette.grid, "zeroline": False, "ticks": "outside", "tickcolor": palette.muted,
    }  # fmt: skip
    layout = go.Layout(
        template="none",
        font={"family": FONT, "color": palette.ink, "size": 13},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        margin={"l": 58, "r": 18, "t": 12, "b": 96},
        hovermode="closest",
        hoverlabel={"bgcolor": palette.panel, "bordercolor": palette.muted, "font": {"color": palette.ink}},
        legend={"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top", "font": {"color": palette.muted, "size": 12}},
        modebar={"bgcolor": CLEAR, "color": palette.muted, "activecolor": palette.ink},
        xaxis=axis | {"title": {"text": f"predicted by {escape(device)} (ms)", "standoff": 8}},
        yaxis=axis | {"title": {"text": f"measured (ms), with its {ROUNDS}"}},
    )
    return go.Figure(data=traces, layout=layout)


def _range(pairs: tuple[Pair, ...]) -> tuple[float, float]:
    low = min(min(pair.predicted.lo, pair.measured.lo) for pair in pairs)
    high = max(max(pair.predicted.hi, pair.measured.hi) for pair in pairs)
    pad = max((high / low) ** 0.05, 1.04)
    return low / pad, high * pad


def _diagonal(low: float, high: float, palette: Palette) -> go.Scatter:
    line = {"color": palette.muted, "width": 1, "dash": "dash"}
    return go.Scatter(x=[low, high], y=[low, high], mode="lines", line=line, hoverinfo="skip", showlegend=False)


def _band(noise: float | None, low: float, high: float, palette: Palette) -> list[go.Scatter]:
    """Draw where a difference says nothing: the same network timed again is as far off."""
    if not noise:
        return []
    below, above = 1 / (1 + noise), 1 + noise
    return [
        go.Scatter(
            x=[low, high, high, low],
            y=[low * above, high * above, high * below, low * below],
            mode="lines",
            fill="toself",
            fillcolor=palette.interval,
            opacity=0.4,
            line={"width": 0},
            hoverinfo="skip",
            name=f"noise floor ±{100 * noise:.1f} %",
        )
    ]


def _points(pairs: list[Pair], role: str, palette: Palette) -> go.Scatter:
    bar = {"type": "data", "symmetric": False, "color": palette.interval, "thickness": 1.2, "width": 2}
    return go.Scatter(
        x=[pair.predicted.ms for pair in pairs],
        y=[pair.measured.ms for pair in pairs],
        error_x=bar
        | {
            "array": [pair.predicted.hi - pair.predicted.ms for pair in pairs],
            "arrayminus": [pair.predicted.ms - pair.predicted.lo for pair in pairs],
        },
        error_y=bar
        | {
            "array": [pair.measured.hi - pair.measured.ms for pair in pairs],
            "arrayminus": [pair.measured.ms - pair.measured.lo for pair in pairs],
        },
        customdata=[[pair.name, f"{pair.error:+.1%}"] for pair in pairs],
        hovertemplate=HOVER,
        mode="markers",
        marker={
            "size": 8,
            "symbol": SYMBOLS[role],
            "color": palette.front,
            "line": {"width": 1.5, "color": palette.front},
        },
        name=f"{role} ({len(pairs)})",
    )
