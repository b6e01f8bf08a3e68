"""Draw figures from information: pure functions, no files and no components."""

from html import escape
from typing import Any

import plotly.graph_objects as go

from supersam.results import Candidate

from .figure_layout import front_layout, on_log_axis, place_on_axis
from .front import Front, Group, facts
from .published import Published, conditions
from .theme import Palette

HOVER = "<br>".join(["<b>%{customdata[0]}</b>", *(f"%{{customdata[{n}]}}" for n in range(1, 5))]) + "<extra></extra>"
DOMINATED_HOVER = "<b>%{customdata[0]}</b><br>accuracy %{y:.3f}<br>{quantity} %{x:.3g}ms<extra></extra>"

# plotly.js 4 has a button that sends the chart to a server, on by default: every figure needs this.
CONFIG: Any = {
    "displaylogo": False,
    "showSendToCloud": False,
    "responsive": True,
    "scrollZoom": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    "toImageButtonOptions": {"format": "svg", "filename": "supersam-front"},
}


def draw_front(front: Front, palette: Palette) -> go.Figure:
    """Draw accuracy against latency; the last trace is left empty for the point that is selected."""
    traces = [
        _dominated(front, palette),
        _line(front.line, "Pareto front", palette, width=1.5),
        *([_line(front.apart, "predicted front", palette, width=1, dash="dash")] if front.apart else []),
        *_groups(front, palette),
        *_published(front, palette),
        _ring(front.best, palette.best, 19, 3),
        _selected(palette),
    ]
    figure = go.Figure(data=traces, layout=front_layout(front, palette))
    if front.budget_ms is not None:
        is_inside = front.x_range[0] < front.budget_ms < front.x_range[1]
        (_add_budget if is_inside else _add_far_budget)(figure, front, front.budget_ms, palette)
    if front.best is not None:
        _add_label(figure, front, front.best, palette)
    return figure


def _points(points: list[Candidate], quantity: str) -> dict[str, Any]:
    # Lists, not arrays: clicks on points from numpy arrays arrive without customdata (plotly.py #5119).
    return {
        "x": [point.latency.ms for point in points],
        "y": [point.accuracy.value for point in points],
        "customdata": [facts(point, quantity) for point in points],
        "hovertemplate": HOVER,
    }


def _dominated(front: Front, palette: Palette) -> go.Scatter:
    marker = {"size": 5, "color": palette.dominated, "opacity": 0.55}
    name = f"dominated ({front.n_dominated})"
    # Only the digest goes with a dominated point: they are many, and the details say the rest.
    return go.Scatter(
        x=[round(point.latency.ms, 4) for point in front.dominated],
        y=[round(point.accuracy.value, 5) for point in front.dominated],
        customdata=[[point.digest] for point in front.dominated],
        hovertemplate=DOMINATED_HOVER.replace("{quantity}", front.quantity),
        mode="markers",
        marker=marker,
        name=name,
        showlegend=front.n_dominated > 0,
    )


def _line(points: list[Candidate], name: str, palette: Palette, **style: Any) -> go.Scatter:
    return go.Scatter(
        x=[point.latency.ms for point in points],
        y=[point.accuracy.value for point in points],
        mode="lines",
        line={"shape": "hv", "color": palette.front, **style},
        name=name,
        hoverinfo="skip",
        showlegend=False,
    )


def _groups(front: Front, palette: Palette) -> list[go.Scatter]:
    labels = [group.label for group in front.groups]
    return [
        _group(group, front.quantity, palette, in_legend=group.label not in labels[:place])
        for place, group in enumerate(front.groups)
    ]


def _group(group: Group, quantity: str, palette: Palette, in_legend: bool) -> go.Scatter:
    latencies = [point.latency for point in group.points]
    return go.Scatter(
        **_points(group.points, quantity),
        mode="markers",
        marker={
            "size": 10,
            "symbol": group.symbol,
            "color": palette.front,
            "line": {"width": 2, "color": palette.front},
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [latency.hi - latency.ms for latency in latencies],
            "arrayminus": [latency.ms - latency.lo for latency in latencies],
            "color": palette.interval,
            "thickness": 1,
            "width": 0,  # caps of many bars are a thicket
        },
        name=group.label,
        legendgroup=group.label,
        showlegend=in_legend,
        opacity=1 if group.fits else 0.4,
    )


def _published(front: Front, palette: Palette) -> list[go.Scatter]:
    """Draw published models at the foot of the figure: their accuracy is of other protocols and has no place here."""
    low, high = front.x_range
    shown = [one for one in front.published if low <= (one.time.ms or 0) <= high]
    if not shown:
        return []
    foot = front.y_range[0] + 0.03 * (front.y_range[1] - front.y_range[0])
    return [
        go.Scatter(
            x=[one.time.ms for one in shown],
            y=[foot] * len(shown),
            mode="markers+text",
            text=[escape(one.card.title) for one in shown],
            textposition=[_label_place(place_on_axis(front, one.time.ms or low)) for one in shown],
            textfont={"color": palette.muted, "size": 11},
            hovertext=["<br>".join(map(escape, _told(one))) for one in shown],
            hoverinfo="text",
            marker={"symbol": "triangle-up-open", "size": 11, "color": palette.ink, "line": {"width": 1.5}},
            name="published: latency only",
        )
    ]


def _label_place(place: float) -> str:
    """Return where a label stands by its marker, so that it stays within the figure on a phone too."""
    return "top right" if place < 0.25 else "top left" if place > 0.75 else "top center"


def _told(one: Published) -> list[str]:
    time = f"{one.card.title}, {one.time.time} {one.kind.value}, {conditions(one.time)}"
    return [time, one.source, "accuracy: other protocols, see Zoo"]


def _ring(point: Candidate | None, color: str, size: int, width: float) -> go.Scatter:
    return go.Scatter(
        x=[point.latency.ms] if point else [],
        y=[point.accuracy.value] if point else [],
        mode="markers",
        marker={"size": size, "symbol": "circle-open", "color": color, "line": {"width": width, "color": color}},
        hoverinfo="skip",  # so that the point below gets the clicks
        showlegend=False,
    )


def _selected(palette: Palette) -> go.Scatter:
    """Return the ring of the selected point, which the browser fills; bars are its 90 % and 95 % intervals."""
    bar = {"type": "data", "symmetric": False, "array": [], "arrayminus": [], "color": palette.ink, "thickness": 1.2}
    return _ring(None, palette.ink, 26, 1.5).update(error_x=bar, error_y=bar)


def _add_budget(figure: go.Figure, front: Front, budget: float, palette: Palette) -> None:
    whole_height = {"xref": "x", "yref": "paper", "x0": budget, "y0": 0, "y1": 1}
    figure.add_shape(
        **whole_height, type="rect", x1=front.x_range[1], fillcolor=palette.beyond, line={"width": 0}, layer="below"
    )
    line = {"color": palette.budget, "width": 2, "dash": "dash"}
    figure.add_shape(**whole_height, type="line", x1=budget, line=line)
    place = place_on_axis(front, budget)
    figure.add_annotation(
        x=on_log_axis(budget),
        y=1,
        yref="paper",
        xanchor="left" if place < 0.15 else "right" if place > 0.85 else "center",  # within a phone's width
        yanchor="bottom",
        showarrow=False,
        text=front.budget_label,
        font={"color": palette.budget, "size": 13},
    )


def _add_far_budget(figure: go.Figure, front: Front, budget: float, palette: Palette) -> None:
    """Say on which side of the figure a budget lies that is far from all points."""
    is_right = budget >= front.x_range[1]
    figure.add_annotation(
        x=1 if is_right else 0,
        y=1,
        xref="paper",
        yref="paper",
        xanchor="right" if is_right else "left",
        yanchor="bottom",
        showarrow=False,
        text=f"{front.budget_label} →" if is_right else f"← {front.budget_label}",
        font={"color": palette.budget, "size": 13},
    )


def _add_label(figure: go.Figure, front: Front, best: Candidate, palette: Palette) -> None:
    # Above and to the left of the front there is nothing to cover, except where the axis begins.
    is_left = place_on_axis(front, best.latency.ms) < 0.12
    figure.add_annotation(
        x=on_log_axis(best.latency.ms),
        y=best.accuracy.value,
        text="best",
        ax=10 if is_left else -22,
        ay=-34,
        xanchor="left" if is_left else "right",
        arrowcolor=palette.best,
        arrowwidth=1.5,
        arrowhead=0,
        standoff=10,
        font={"color": palette.best, "size": 13},
        bgcolor=palette.panel,  # other points may lie below it
        borderpad=1,
    )
