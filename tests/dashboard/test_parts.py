"""What the pages compute: sums over parts, coverage, published figures, filters, switches, comparison, neighbours."""

import math
import random
from pathlib import Path
from typing import Any

import pytest

from dashboard.comparing import Line
from dashboard.coverage import coverage, heat_map, noise
from dashboard.data import Data
from dashboard.filters import NONE, Filters, read_filters
from dashboard.look import look
from dashboard.part_sums import PartSums
from dashboard.play import decode, nearest, read_places, write_places
from dashboard.published import misfit, published_on, same_device
from dashboard.ranks import kendall, spearman
from dashboard.sources import Found
from dashboard.switch import switch
from dashboard.to_html import render
from dashboard.view import Nothing, View
from dashboard.zoo_view import look_at_zoo
from supersam.errors import LatencyTableError
from supersam.latency import LatencyTable, read_table, shipped_tables
from supersam.results import Accuracy, Candidate, pareto_front
from supersam.space import count, load_space
from supersam.zoo import Latency, load_zoo

SPACE = load_space("starter")


@pytest.fixture
def candidates(make: Any, table: LatencyTable) -> list[Candidate]:
    found: list[Candidate] = make.candidates(60, table)
    return found


@pytest.mark.parametrize("name", ["jetson-agx-orin", "cpu-x86-1t"])
@pytest.mark.parametrize("space", ["starter", "supersam-vit-b"])
def test_sums_over_parts_are_the_tables_own_predictions(name: str, space: str):
    table = read_table(shipped_tables()[name])
    rng = random.Random(0)
    encoders = [load_space(space).sample(rng) for _ in range(12)]
    sums = PartSums(encoders)
    if sums.missing(table):
        with pytest.raises(LatencyTableError):
            sums.latencies(table)
        return

    for one, latency, gmacs, params in zip(encoders, sums.latencies(table), sums.gmacs, sums.params_m, strict=True):
        expected, ops = table.predict(one), count(one)
        assert latency[:3] == pytest.approx(expected[:3])
        assert latency.method == expected.method
        assert (gmacs, params) == pytest.approx((ops.gmacs, ops.params / 1e6))


def test_sums_of_nothing_are_empty(table: LatencyTable):
    assert PartSums([]).latencies(table) == []
    assert len(PartSums([]).gmacs) == 0


def test_coverage_counts_the_parts_of_a_space(make: Any, table: LatencyTable):
    whole = coverage(table, SPACE)
    assert (whole.share, whole.measured, whole.estimated) == (1.0, 0, whole.n_parts)
    board = make.measured_table("board", [SPACE.smallest()])
    some = coverage(board, SPACE)
    assert 0 < some.share < 1
    assert some.measured == some.known == len(board.entries)


def test_a_heat_map_has_every_block_and_says_what_is_unknown(make: Any):
    board = make.measured_table("board", [SPACE.smallest()])
    found = heat_map(board, SPACE, 256)
    cells = [cell for row in found.rows for cell in row.cells]

    assert len(found.rows) == sum(len(stage.blocks) for stage in SPACE.stages)  # type: ignore[union-attr]
    assert any(cell.ms is None for cell in cells)
    assert all(cell.method == "measured" for cell in cells if cell.ms is not None)
    plain = heat_map(make.estimated_table(), load_space("supersam-vit-b"), 1024)
    assert plain.widths_are == "MLP width"
    assert all(0 <= plain.warmth(cell.ms) <= 1 for row in plain.rows for cell in row.cells if cell.ms)


def test_noise_is_that_of_what_was_timed(make: Any, table: LatencyTable):
    assert noise(table) is None
    found = noise(make.measured_table("board", [SPACE.smallest()]))
    assert found is not None
    assert found.median == pytest.approx(0.125)  # lo is 0.9 and hi 1.15 of ms


@pytest.mark.parametrize(
    ("published", "ours", "same"),
    [
        ("Jetson AGX Orin", "NVIDIA Jetson AGX Orin", True),
        ("Jetson AGX Orin 64GB", "NVIDIA Jetson AGX Orin", True),
        ("Jetson Orin Nano", "NVIDIA Jetson AGX Orin", False),
        ("Jetson Orin Nano Super", "NVIDIA Jetson Orin NX", False),
        ("A100", "NVIDIA A100 SXM 80GB", True),
        ("not stated", "AMD EPYC", False),
        ("iPhone 12", "Apple iPhone 12 and 12 Pro (A14)", True),
        ("Jetson Orin Nano (original)", "NVIDIA Jetson Orin Nano 8 GB (625 MHz, not Super)", True),
        ("Jetson Orin Nano Super", "NVIDIA Jetson Orin Nano 8 GB (625 MHz, not Super)", False),
        ("RTX 4070 Ti", "NVIDIA RTX 4070", False),
        ("iPhone 15 Pro Max", "Apple iPhone 15", False),
        ("Apple M4 Pro CPU", "Apple M4", False),
        ("A100 40GB", "NVIDIA A100 80GB", False),
        ("A100 40GB", "NVIDIA A100 40 GB", True),
    ],
)
def test_devices_are_the_same_but_for_maker_and_memory(published: str, ours: str, same: bool):
    assert same_device(published, ours) is same


def test_only_figures_on_our_terms_stand_beside_ours():
    table = read_table(shipped_tables()["jetson-agx-orin"])
    found = published_on(load_zoo(), table)

    assert [one.card.name for one in found if one.fits] == ["nanosam-resnet18"]
    assert all(one.misfit for one in found if one.card.name.startswith("efficientvit"))
    fields = {
        "device": "Jetson AGX Orin",
        "scope": "encoder",
        "runtime": "TensorRT 8.6",
        "precision": "fp16",
        "ms": 1.0,
    }
    assert misfit(Latency.model_validate(fields | {"source": "s"}), table) == ""
    for change, word in (
        ({"precision": "fp32"}, "fp32"),
        ({"batch": 16}, "batch 16"),
        ({"scope": "decoder"}, "decoder"),
    ):
        assert word in misfit(Latency.model_validate(fields | {"source": "s"} | change), table)


@pytest.mark.parametrize(
    ("table", "device", "time", "reason"),
    [
        ("iphone-12", "iPhone 12", "out of memory", "did not run"),
        ("jetson-orin-nano", "Jetson Orin Nano", "37 images/s", "throughput"),
    ],
)
def test_what_has_no_time_is_listed_last_with_its_reason(table: str, device: str, time: str, reason: str):
    found = published_on(load_zoo(), read_table(shipped_tables()[table]))
    timeless = [one for one in found if one.time.ms is None]

    assert timeless
    assert found[-len(timeless) :] == timeless
    assert all(one.misfit.split("; ")[0] in ("did not run", "throughput") for one in timeless)
    assert (device, time, reason) in [(o.time.device, o.time.time, o.misfit.split("; ")[0]) for o in timeless]


def test_filters_keep_what_passes_and_say_what_cannot_be_read(candidates: list[Candidate]):
    encoders = [one.architecture for one in candidates]
    kept = Filters(frozenset({"vit", "repvit"}), frozenset({256, 384}), params=1.0).passing(
        encoders, PartSums(encoders)
    )
    for one, passes in zip(encoders, kept, strict=True):
        blocks = {stage.block for stage in one.stages}  # type: ignore[union-attr]
        assert passes == (blocks <= {"vit", "repvit"} and one.resolution < 512 and count(one).params <= 1e6)
    notices: list[str] = []
    odd = {"block": "vit,mamba", "resolution": "256,384", "params": "-3", "macs": "0.5"}
    found = read_filters(odd, ["vit", "rwkv"], [256, 384], notices)
    assert (found.blocks, found.resolutions, found.params, found.macs) == (
        frozenset({"vit"}),
        frozenset(),
        math.inf,
        0.5,
    )
    assert len(notices) == 2
    assert found.as_query() == {"block": "vit", "macs": "0.5"}
    assert not NONE.restricts


def test_the_front_is_that_of_what_passes(runs: Path, tables: Path, no_archive: Path):
    data = Data(runs, tables, no_archive)
    view = look(data, {"resolution": "256", "budget": "none"})
    assert isinstance(view, View)

    assert {one.architecture.resolution for one in view.candidates} == {256}
    assert view.front == pareto_front(one for one in view.candidates if one.accuracy.source == "measured")
    assert view.fronts.predicted == pareto_front(one for one in view.candidates if one.accuracy.source == "predicted")
    assert view.query == "budget=none&resolution=256"
    nothing = look(data, {"params": "0.000001"})
    assert isinstance(nothing, Nothing)
    assert nothing.title == "The filters leave nothing"


def test_a_switch_names_who_enters_and_leaves(candidates: list[Candidate]):
    slow = [
        Candidate(one.architecture, one.accuracy, one.latency._replace(ms=10 - one.latency.ms * 0.5))
        for one in candidates
    ]
    fronts = [pareto_front(one) for one in (candidates, slow)]
    found = switch(("a", candidates, fronts[0]), ("b", slow, fronts[1]))

    digests = [{one.digest for one in front} for front in fronts]
    assert {one.digest for one in found.entering} == digests[1] - digests[0]
    assert {one.digest for one in found.leaving} == digests[0] - digests[1]
    assert found.staying == len(digests[0] & digests[1])
    assert found.rho == pytest.approx(-1)
    assert found.tau == pytest.approx(-1)
    assert found.says.endswith("rank correlation of all latencies -1.00 (Spearman), -1.00 (Kendall).")
    assert found.says.startswith("Against a: ")


def test_ranks_are_correlated_with_ties_shared():
    assert spearman([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486833)
    assert spearman([1, 1], [1, 2]) is None
    assert kendall([1, 1], [1, 2]) is None


@pytest.mark.parametrize(("n", "different"), [(2, 9), (7, 3), (33, 12), (200, 10_000)])
def test_rank_correlations_are_those_of_scipy(n: int, different: int):
    stats = pytest.importorskip("scipy.stats")
    rng = random.Random(n)
    one, other = ([rng.randrange(different) / 7 for _ in range(n)] for _ in range(2))

    assert kendall(one, other) == pytest.approx(stats.kendalltau(one, other).statistic)
    assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)


def test_the_best_of_a_row_is_known_with_gaps():
    line = Line("ms", ["-", "2", "1"], [None, 2.0, 1.0])
    assert line.best == 2
    assert Line("accuracy", ["a", "b"], [0.3, 0.4], less_is_better=False).best == 1
    assert Line("same", ["a", "b"], [1.0, 1.0]).best is None
    assert Line("ms", ["4", "2"], [4.0, 2.0]).change(1) == "-50%"
    assert Line("accuracy", ["0.5", "0.48"], [0.5, 0.48], is_share=True).change(1) == "-0.020"


def test_places_go_into_a_link_and_come_back():
    one = SPACE.sample(random.Random(3))
    notices: list[str] = []

    assert read_places(SPACE, write_places(SPACE, one), SPACE.smallest(), notices) == one
    assert not notices
    for odd in ("", "1", "9." * 16 + "9", "x" * 40, "-1.0"):
        assert read_places(SPACE, odd, SPACE.smallest(), notices) == SPACE.smallest()
    assert len(notices) == 5
    assert decode(SPACE, {"resolution": 99}) == decode(SPACE, {"resolution": len(SPACE.resolutions) - 1})


def test_the_nearest_is_the_measured_one_with_the_fewest_differences():
    wanted = SPACE.smallest()
    choices = SPACE.encode(wanted)
    near = SPACE.decode(choices | {"resolution": SPACE.resolutions[1]})
    measured = Accuracy(0.3, "measured", (0.2, 0.4))
    predicted = Accuracy(0.3, "predicted", (0.2, 0.4))

    found = nearest(
        SPACE,
        wanted,
        [("a", Found(SPACE.largest(), measured)), ("b", Found(near, measured)), ("c", Found(wanted, predicted))],
    )

    assert found is not None
    assert (found.source, found.found.architecture) == ("b", near)
    assert found.differences == [f"resolution {SPACE.resolutions[1]}, not {SPACE.resolutions[0]}"]
    assert nearest(SPACE, wanted, [("c", Found(wanted, predicted))]) is None


def test_cards_are_sorted_with_unknown_values_last():
    view = look_at_zoo(load_zoo(), {"sort": "params", "licence": "permissive"})
    known = [values[0] for card in view.cards if (values := card.encoder_params.values)]

    assert known == sorted(known)
    assert view.cards[-1].encoder_params.values == ()
    assert view.link(sort=None) == "?licence=permissive"
    odd = look_at_zoo(load_zoo(), {"name": "zzz", "sort": "colour"})
    assert (odd.chosen, len(odd.notices)) == (None, 2)


def test_components_become_html_with_their_text_escaped():
    from dash import dcc, html

    row = html.Tr(
        [html.Td("<b>", className="x", n_clicks=0), dcc.Link("in", href="/zoo")], id={"type": "t", "digest": "d1"}
    )
    assert render([row, None, 3]) == '<tr data-digest="d1"><td class="x">&lt;b&gt;</td>in</tr>3'
    assert render(html.Div(hidden=True, style={"width": "3%"})) == '<div hidden style="width: 3%"></div>'
    assert render(html.Div(tabIndex=0, hidden=False, title=None)) == '<div tabindex="0"></div>'
