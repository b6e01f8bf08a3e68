"""A table of throughput beside tables of latency: marked wherever it is listed, and nobody's default."""

from pathlib import Path
from typing import Any

import pytest

from dashboard import build, create_app
from dashboard.comparing import lines
from dashboard.data import Data
from dashboard.details import details
from dashboard.devices_parts import facts, listing
from dashboard.devices_view import look_at_devices
from dashboard.exports import to_csv
from dashboard.figures import draw_front
from dashboard.front import describe_front
from dashboard.front_table import front_table
from dashboard.look import look
from dashboard.play_parts import answer
from dashboard.published import misfit
from dashboard.theme import palette
from dashboard.to_html import render
from dashboard.view import View
from dashboard.wording import spoken, summary
from supersam.latency import read_table, shipped_tables
from supersam.zoo import Latency

FARM = "a-farm"  # before the others by alphabet
MARKED = "a-farm · throughput"


@pytest.fixture
def data(make: Any, runs: Path, tables: Path, tmp_path: Path) -> Data:
    batched = make.estimated_table(FARM, speed=0.01).model_copy(update={"batch": 64, "clock": "published"})
    batched.save(tables / f"{FARM}.json")
    make.archive(tmp_path / "archive.json", make.candidates(9, make.estimated_table()))
    return Data(runs, tables, tmp_path / "archive.json")


@pytest.fixture
def view(data: Data) -> View:
    found = look(data, {"device": FARM})
    assert isinstance(found, View)
    return found


def test_it_is_listed_last_and_taken_only_where_it_is_asked_for(data: Data):
    for source in ("first", "archive/starter"):
        found = look(data, {"source": source})
        assert isinstance(found, View)
        assert found.device.key == "jetson-test"
        assert list(found.devices)[-1] == FARM
        assert not found.notices
    assert look_at_devices(data, {}).chosen.key != FARM  # type: ignore[union-attr]


def test_choosing_it_says_that_it_is_no_latency(view: View):
    (notice,) = view.notices

    assert notice.startswith("a-farm gives throughput, not latency: the time of a batch of up to 64 images")
    assert summary(view).startswith(f"Most accurate on {MARKED}, no budget set: ")
    assert ", time per image " in summary(view)
    assert "latency" not in summary(view)
    assert MARKED in spoken(view, view.headline)


def test_figure_and_table_call_it_time_per_image(view: View):
    figure = draw_front(describe_front(view), palette("light"))

    assert figure.layout.xaxis.title.text == f"time per image on {MARKED} (ms)"
    drawn = [trace.customdata for trace in figure.data if trace.customdata is not None]
    hovered = [line for points in drawn for point in points for line in point[1:]]
    assert any(line.startswith("time per image ") for line in hovered)
    text = render(front_table(view))
    assert f"Pareto front on {MARKED}" in text
    assert "time per image</th>" in text
    assert "latency" not in text
    assert "batch" in to_csv(view, view.front).splitlines()[0].split(",")


def test_it_is_marked_beside_others(data: Data):
    found = look(data, {"against": FARM})
    assert isinstance(found, View)
    assert found.switch is not None
    architecture = found.front[0].architecture

    assert found.switch.says.startswith(f"Against {MARKED}: ")
    assert [line.label for line in lines(found, found.front[:2]) if line.label.startswith(FARM)] == [MARKED]
    for text in (
        render(details(found, found.front[0])),
        render(answer(architecture, found.front[0].accuracy, data.tables())),
    ):
        assert f">{MARKED}</th>" in text
        assert text.index(">jetson-test</th>") < text.index(f">{MARKED}</th>")
        assert f"share on {MARKED}" not in text


def test_the_devices_page_says_the_batch(data: Data):
    table = next(device.table for device in data.tables() if device.key == FARM)
    assert table is not None

    create_app(data.runs)  # links need one
    listed = render(listing(look_at_devices(data, {})))
    assert listed.count("throughput, batch 64") == 1
    assert "64 images at a time: throughput, not the latency of one image" in render(facts(table))


def test_the_page_without_a_server_says_it_too(data: Data, runs: Path, tables: Path, tmp_path: Path):
    text = build(runs, tmp_path / "site", tables, tmp_path / "none.json").read_text()

    assert f">first on {MARKED}</button>" in text
    assert "a-farm gives throughput, not latency" in text


def test_the_shipped_table_of_throughput_is_known_as_one_and_nothing_published_fits_it():
    table = read_table(shipped_tables()["rtx-4090"])
    fields = {"device": "RTX 4090", "scope": "encoder", "runtime": table.runtime.name, "ms": 1.0, "source": "s"}
    found = misfit(Latency.model_validate(fields | {"precision": table.precision}), table)

    assert found == f"ours is throughput, batch {table.batch}"
