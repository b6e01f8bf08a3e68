"""The curves of a run: hypervolume and the best within the budget."""

from typing import Any

import plotly.graph_objects as go

from .apart import MEASURED
from .curves import Curve, Curves
from .figure_layout import CLEAR, FONT
from .theme import Palette


def draw_curves(found: Curves, palette: Palette, budget: str) -> go.Figure:
    """Draw hypervolume and the best within the budget, one above the other, over the evaluations.

    A kind of accuracy has a colour and a dash of its own: solid is measured, as on the front.
    """
    traces = [trace for source, curve in found.by_source.items() for trace in _traces(source, curve, palette)]
    axis: dict[str, Any] = {
        "gridcolor": palette.grid, "zeroline": False, "showline": True, "linecolor": palette.muted, "ticks": "outside",
        "tickcolor": palette.muted, "nticks": 5,
    }  # fmt: skip
    layout = go.Layout(
        template="none",
        uirevision="curves",
        font={"family": FONT, "color": palette.ink, "size": 13},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        margin={"l": 72, "r": 14, "t": 34, "b": 54},
        legend={"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom", "font": {"color": palette.muted}},
        showlegend=True,
        hovermode="x unified",
        hoverlabel={"bgcolor": palette.panel, "font": {"color": palette.ink}},
        modebar={"bgcolor": CLEAR, "color": palette.muted, "activecolor": palette.ink},
        xaxis=axis | {"title": {"text": "evaluated subnets"}, "anchor": "y"},
        yaxis=axis | {"domain": [0, 0.46], "title": {"text": f"best {budget or 'accuracy'}"}, "tickformat": ".3f"},
        yaxis2=axis | {"domain": [0.54, 1], "title": {"text": "hypervolume"}, "tickformat": ".3~g"},
    )
    return go.Figure(traces, layout)


def _traces(source: str, curve: Curve, palette: Palette) -> list[go.Scatter]:
    is_measured = source == MEASURED
    line = {
        "color": palette.front if is_measured else palette.best,
        "dash": "solid" if is_measured else "dash",
        "width": 2,
        "shape": "hv",
    }
    shared: dict[str, Any] = {"x": curve.evaluations, "mode": "lines", "line": line, "legendgroup": source}
    name = f"accuracy {source}"
    return [
        go.Scatter(y=curve.hypervolume, name=name, yaxis="y2", **shared),
        go.Scatter(y=curve.best, name=name, connectgaps=False, showlegend=False, **shared),
    ]
