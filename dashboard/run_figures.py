"""The curves of a run: hypervolume and the best within the budget."""

from typing import Any

import plotly.graph_objects as go

from .figure_layout import CLEAR, FONT
from .progress import Curves
from .theme import Palette


def draw_curves(found: Curves, palette: Palette, budget: str) -> go.Figure:
    """Draw hypervolume and the best within the budget, one above the other, over the evaluations."""
    line = {"color": palette.front, "width": 2, "shape": "hv"}
    top = go.Scatter(x=found.evaluations, y=found.hypervolume, mode="lines", line=line, name="hypervolume", yaxis="y2")
    best = {"color": palette.best, "width": 2, "shape": "hv", "dash": "dot"}
    bottom = go.Scatter(x=found.evaluations, y=found.best, mode="lines", line=best, name="best", connectgaps=False)
    axis: dict[str, Any] = {
        "gridcolor": palette.grid, "zeroline": False, "showline": True, "linecolor": palette.muted, "ticks": "outside",
        "tickcolor": palette.muted, "nticks": 5,
    }  # fmt: skip
    title = f"best {budget}" if budget else "best accuracy"
    layout = go.Layout(
        template="none",
        uirevision="curves",
        font={"family": FONT, "color": palette.ink, "size": 13},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        margin={"l": 72, "r": 14, "t": 24, "b": 48},
        showlegend=False,
        hovermode="x unified",
        hoverlabel={"bgcolor": palette.panel, "font": {"color": palette.ink}},
        modebar={"bgcolor": CLEAR, "color": palette.muted, "activecolor": palette.ink},
        xaxis=axis | {"title": {"text": "evaluated subnets"}, "anchor": "y"},
        yaxis=axis | {"domain": [0, 0.44], "title": {"text": title}, "tickformat": ".3f"},
        yaxis2=axis | {"domain": [0.56, 1], "title": {"text": "hypervolume"}, "tickformat": ".3~g"},
    )
    return go.Figure([top, bottom], layout)
