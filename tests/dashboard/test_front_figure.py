"""The figure of the front, before and after it is drawn."""

import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from dashboard import cloud
from dashboard.data import Data
from dashboard.figure_layout import blank
from dashboard.figures import CONFIG, draw_front
from dashboard.front import Front, Group, describe_front, facts, ticks
from dashboard.look import look
from dashboard.theme import PALETTES, palette
from dashboard.view import View
from supersam.latency import METHODS, LatencyTable
from supersam.results import Candidate, pareto_front

LIGHT = palette("light")


@pytest.fixture
def view(runs: Path, tables: Path, no_archive: Path) -> View:
    found = look(Data(runs, tables, no_archive), {})
    assert isinstance(found, View)
    return found


@pytest.fixture
def front(view: View) -> Front:
    return describe_front(view)


@pytest.fixture
def figure(front: Front) -> go.Figure:
    return draw_front(front, LIGHT)


def named(figure: go.Figure, start: str) -> list[go.Scatter]:
    return [trace for trace in figure.data if (trace.name or "").startswith(start)]


@pytest.mark.parametrize(("source", "name"), [("measured", "Pareto front"), ("predicted", "predicted front")])
def test_the_drawn_fronts_are_the_pareto_fronts_of_each_kind(view: View, figure: go.Figure, source: str, name: str):
    expected = pareto_front(one for one in view.candidates if one.accuracy.source == source)
    (line,) = named(figure, name)
    points = {
        (x, y) for group in named(figure, f"front: accuracy {source}") for x, y in zip(group.x, group.y, strict=True)
    }

    assert list(zip(line.x, line.y, strict=True)) == [(one.latency.ms, one.accuracy.value) for one in expected]
    assert points == set(zip(line.x, line.y, strict=True))
    assert line.line.shape == "hv"  # a staircase: nothing is known between two subnets
    assert (line.line.dash == "dash") is (source == "predicted")


def test_where_nothing_is_measured_the_predicted_front_is_the_front(
    make: Any, tmp_path: Path, tables: Path, no_archive: Path, table: LatencyTable
):
    predicted = [one for one in make.candidates(60, table) if one.accuracy.source == "predicted"]
    make.run(tmp_path / "runs" / "one", predicted)
    found = look(Data(tmp_path / "runs", tables, no_archive), {})
    assert isinstance(found, View)

    figure = draw_front(describe_front(found), LIGHT)

    assert [one.digest for one in found.front] == [one.digest for one in pareto_front(predicted)]
    assert not named(figure, "predicted front")
    assert list(named(figure, "Pareto front")[0].x) == [one.latency.ms for one in found.front]


def test_dominated_points_are_drawn_and_counted(view: View, figure: go.Figure):
    (dominated,) = named(figure, "dominated")

    assert len(dominated.x) == len(view.candidates) - len(view.front) - len(view.fronts.predicted)
    assert dominated.name == f"dominated ({len(dominated.x)})"
    assert dominated.marker.size < named(figure, "front:")[0].marker.size


def test_markers_are_hollow_for_estimates_and_differ_by_how_accuracy_is_known(front: Front):
    symbols = {(group.accuracy_source, group.latency_method): group.symbol for group in front.groups}

    assert symbols == {("measured", "estimated"): "circle-open", ("predicted", "estimated"): "diamond-open"}


def test_markers_are_filled_for_measured_latency(make: Any, tmp_path: Path, table: LatencyTable, no_archive: Path):
    candidates = make.candidates(20, table)
    make.measured_table("board", [one.architecture for one in candidates]).save(tmp_path / "tables" / "board.json")
    make.run(tmp_path / "runs" / "one", candidates, device="board")
    found = look(Data(tmp_path / "runs", tmp_path / "tables", no_archive), {})
    assert isinstance(found, View)

    groups = describe_front(found).groups

    assert {group.symbol for group in groups} <= {"circle", "diamond"}
    assert all(group.latency_method == "measured" for group in groups)


def test_every_way_of_knowing_has_a_marker_of_its_own():
    symbols = {
        (source, method): Group(source, method, True, []).symbol
        for source in ("measured", "predicted")
        for method in METHODS
    }

    assert len(set(symbols.values())) == len(symbols)
    assert symbols["measured", "measured"] == "circle"
    assert symbols["predicted", "transferred"] == "diamond-cross-open"
    for symbol in symbols.values():
        assert go.scatter.Marker(symbol=symbol).symbol == symbol, "plotly knows it"


def test_the_selected_point_is_left_to_the_browser_with_bars_for_both_intervals(figure: go.Figure):
    selected = figure.data[-1]

    assert not selected.x
    assert selected.error_x.symmetric is selected.error_y.symmetric is False
    assert (selected.error_x.color, selected.error_y.color) == (LIGHT.ink, LIGHT.ink)


def test_each_way_of_knowing_is_in_the_legend_once(figure: go.Figure):
    shown = [trace.name for trace in named(figure, "front:") if trace.showlegend]

    assert len(shown) == len(set(shown))
    assert set(shown) == {trace.name for trace in named(figure, "front:")}


def test_bars_are_the_interval_of_the_latency(view: View, figure: go.Figure):
    intervals = {one.latency.ms: one.latency for one in view.candidates}
    for group in named(figure, "front:"):
        for x, up, down in zip(group.x, group.error_x.array, group.error_x.arrayminus, strict=True):
            assert (x + up, x - down) == pytest.approx((intervals[x].hi, intervals[x].lo))


def test_what_is_over_the_budget_is_faded(view: View, figure: go.Figure):
    by_ms = {one.latency.ms: one for one in view.candidates}
    for group in named(figure, "front:"):
        fits = {view.fits(by_ms[x]) for x in group.x}
        assert fits == {group.opacity == 1}


def test_the_budget_is_a_line_with_the_region_beyond_it(front: Front, figure: go.Figure):
    region, line = figure.layout.shapes

    assert (line.type, line.x0, line.x1) == ("line", 6.0, 6.0)
    assert (region.type, region.x0, region.x1) == ("rect", 6.0, front.x_range[1])
    assert "budget 6ms" in [annotation.text for annotation in figure.layout.annotations]


@pytest.mark.parametrize(
    ("budget", "says"), [("none", []), ("0.0001ms", ["← budget 0.0001ms"]), ("1000s", ["budget 1e+06ms →"])]
)
def test_a_budget_off_the_axis_draws_no_line_leaves_the_axis_and_is_said(
    runs: Path, tables: Path, no_archive: Path, front: Front, budget: str, says: list[str]
):
    found = look(Data(runs, tables, no_archive), {"budget": budget})
    assert isinstance(found, View)

    far = describe_front(found)

    drawn = draw_front(far, LIGHT).layout
    assert not drawn.shapes
    assert [one.text for one in drawn.annotations if "budget" in one.text] == says
    assert far.x_range == pytest.approx(front.x_range, rel=0.5)


def test_the_best_within_the_budget_has_a_ring_and_a_label(view: View, figure: go.Figure):
    assert view.best is not None
    ring, selected = figure.data[-2:]

    assert (list(ring.x), list(ring.y)) == ([view.best.latency.ms], [view.best.accuracy.value])
    assert "best" in [annotation.text for annotation in figure.layout.annotations]
    assert not selected.x  # filled in the browser


def test_clicks_carry_the_digest_in_a_list(figure: go.Figure):
    # plotly loses customdata from numpy arrays when a point is clicked.
    sent = json.loads(figure.to_json())
    for trace in sent["data"]:
        for point in trace.get("customdata", []):
            assert isinstance(point, list)
            assert len(point[0]) == 10
    assert all("customdata" in trace for trace in sent["data"] if trace.get("hoverinfo") != "skip")


def test_hovering_tells_everything_about_a_point(view: View, figure: go.Figure):
    candidate = view.front[0]
    text = facts(candidate)

    assert text[0] == candidate.digest
    assert f"{candidate.accuracy.value:.3f} [" in text[1]
    assert text[1].endswith(candidate.accuracy.source)
    assert text[2].startswith("latency ")
    assert text[2].endswith("estimated")
    assert "GMACs" in text[3]
    assert "M parameters" in text[3]
    assert text[4] == candidate.architecture.describe()
    template = named(figure, "front:")[0].hovertemplate
    assert all(f"%{{customdata[{place}]}}" in template for place in range(len(text)))


def test_hover_text_is_escaped(view: View):
    candidate = view.front[0]
    odd = Candidate(candidate.architecture, candidate.accuracy, candidate.latency._replace(method="<a>"))  # type: ignore[arg-type]

    assert "&lt;a&gt;" in facts(odd)[2]


def test_a_large_cloud_is_thinned_and_keeps_its_outline(view: View, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cloud, "DRAWN", 20)
    monkeypatch.setattr(cloud, "CELLS", (5, 3))

    few = cloud.thin(view.candidates)

    assert len(few) <= 15
    assert {one.digest for one in few} <= {one.digest for one in view.candidates}
    assert describe_front(view).n_dominated == len(view.candidates) - len(view.front_digests)


def test_one_candidate_makes_a_figure(make: Any, tmp_path: Path, tables: Path, no_archive: Path, table: LatencyTable):
    make.run(tmp_path / "runs" / "one", make.candidates(1, table))
    found = look(Data(tmp_path / "runs", tables, no_archive), {})
    assert isinstance(found, View)

    front = describe_front(found)

    assert front.n_dominated == 0
    assert front.x_range[0] < found.candidates[0].latency.ms < front.x_range[1]
    assert draw_front(front, LIGHT).to_json()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.8, 60, [1, 2, 5, 10, 20, 50]),
        (0.01, 0.3, [0.01, 0.02, 0.05, 0.1, 0.2]),
        (9, 16, [10, 15]),
        (1.05, 1.9, [1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8]),
    ],
)
def test_ticks_are_one_two_five_or_finer_on_a_short_axis(low: float, high: float, expected: list[float]):
    assert set(expected) <= set(ticks(low, high))
    assert all(low <= tick <= high for tick in ticks(low, high))


def test_the_axis_is_logarithmic_with_a_range_of_its_own(front: Front, figure: go.Figure):
    axis = figure.layout.xaxis

    assert axis.type == "log"
    assert [10**end for end in axis.range] == pytest.approx(list(front.x_range))
    assert list(axis.tickvals) == front.x_ticks


def test_both_themes_have_every_colour_and_unknown_names_are_light(front: Front):
    assert palette("nonsense") is PALETTES["light"]
    assert draw_front(front, palette("dark")).layout.font.color == PALETTES["dark"].ink


def test_nothing_is_sent_to_a_cloud():
    # The button is on by default since plotly.js 4.
    assert CONFIG["showSendToCloud"] is False
    assert CONFIG["displaylogo"] is False
    assert "http" not in json.dumps(CONFIG)
    assert blank().layout.xaxis.visible is False
