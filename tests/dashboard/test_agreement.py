"""Predicted against measured: whole networks in a table, and the subnets of a run that were timed here."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from dashboard import create_app
from dashboard.agreement import FITTED, HELD_OUT, Agreement, agreement, errors
from dashboard.agreement_figure import draw_agreement
from dashboard.agreement_parts import section
from dashboard.data import Data
from dashboard.details import details
from dashboard.devices_parts import facts
from dashboard.devices_trust import trust
from dashboard.look import look
from dashboard.theme import palette
from dashboard.to_html import render
from dashboard.view import View
from supersam.latency import LatencyTable, Network, Quality, Runtime, Transfer
from supersam.results import Run
from supersam.results.timed import Prediction, Timed, TimedSubnet, save_timed
from supersam.space import load_space

SPACE = load_space("starter")
OFF = {"calibration": 1.0, "held-out": 1.25, "chosen": 1.05}  # measured / predicted


def network(table: LatencyTable, architecture: Any, role: str, off: float) -> Network:
    ms = table.predict(architecture).ms * off
    fields: Any = {"role": role, "space": "starter", "choices": SPACE.encode(architecture)}
    return Network(ms=ms, lo=0.98 * ms, hi=1.02 * ms, method="measured", samples=30, **fields)


@pytest.fixture
def timed(make: Any) -> LatencyTable:
    """A table with four networks of each role, one of an unknown space and one that is known by its name only."""
    rng = random.Random(0)
    table: LatencyTable = make.estimated_table("timed")
    found = {
        one.digest: network(table, one, role, off)
        for role, off in OFF.items()
        for one in (SPACE.sample(rng) for _ in range(4))
    }
    known = {"method": "measured", "ms": 3.0, "lo": 2.0, "hi": 4.0}
    found["mobile-sam"] = Network.model_validate(known)
    found["lost"] = Network.model_validate(known | {"role": "chosen", "space": "nowhere"})
    return table.model_copy(update={"networks": found, "quality": Quality(noise_floor_pct=1.5)})


@pytest.fixture
def client(tmp_path: Path, timed: LatencyTable, make: Any) -> FlaskClient:
    for name, table in (("timed", timed), ("untimed", make.estimated_table("untimed"))):
        table.save(tmp_path / "tables" / f"{name}.json")
    return create_app(tmp_path / "runs", tmp_path / "tables", tmp_path / "none").server.test_client()


def test_errors_are_those_of_each_role(timed: LatencyTable):
    found = agreement(timed)

    assert (len(found.pairs), found.unknown, found.noise) == (12, 1, 0.015)
    assert [pair.measured.ms for pair in found.pairs] == sorted(pair.measured.ms for pair in found.pairs)
    fitted, held_out = errors(found.of(FITTED)), errors(found.of(HELD_OUT))
    assert fitted is not None
    assert held_out is not None
    assert (fitted.mape, fitted.close) == (pytest.approx(0), 1.0)
    assert held_out.mape == pytest.approx(1 - 1 / 1.25)
    assert (held_out.close, held_out.inside) == (0.0, 1.0)  # beyond 10 %, within the interval of 1.3
    assert errors([]) is None


def test_the_figure_is_hollow_for_what_was_fitted_and_has_both_intervals(timed: LatencyTable):
    found = agreement(timed)
    figure = draw_agreement(found, "timed", palette("dark"))
    symbols = {trace.name.split(" ")[0]: trace.marker.symbol for trace in figure.data if trace.mode == "markers"}

    assert symbols == {"calibration": "circle-open", "held-out": "circle", "chosen": "diamond"}
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    assert figure.layout.yaxis.title.text == "measured (ms), with its range of rounds"
    assert figure.layout.xaxis.range == figure.layout.yaxis.range
    assert any(trace.name == "noise floor ±1.5 %" for trace in figure.data)
    pair = found.of(HELD_OUT)[0]
    (trace,) = [trace for trace in figure.data if (trace.name or "").startswith("held-out")]
    assert trace.x[0] + trace.error_x.array[0] == pytest.approx(pair.predicted.hi)
    assert trace.y[0] - trace.error_y.arrayminus[0] == pytest.approx(pair.measured.lo)
    silent = draw_agreement(Agreement(found.pairs, None), "timed", palette("light"))
    assert not any((trace.name or "").startswith("noise") for trace in silent.data)


def test_the_section_says_the_errors_and_lists_every_network(timed: LatencyTable):
    text = render(section("timed", timed, agreement(timed)))

    assert "4 networks held out of everything: mean error 20.0% (MAPE), 0% within ±10%" in text
    assert "1 network cannot be predicted" in text
    assert text.count("<tr>") == 1 + 12
    assert "+0.0%" in text
    assert "the 90 % interval of what is predicted, the range of rounds of what was measured" in text


def test_a_table_without_networks_says_why_there_is_nothing(make: Any):
    board = make.measured_table("board", [SPACE.smallest()])
    for table, words in ((make.estimated_table(), "This table is estimated"), (board, "supersam profile times some")):
        text = render(section("x", table, agreement(table)))
        assert words in text
        assert "devices-agreement" not in text


def test_the_page_draws_the_figure_of_the_table_it_shows(client: FlaskClient):
    def figure(key: object) -> Any:
        body = {
            "output": "devices-agreement.figure",
            "outputs": {"id": "devices-agreement", "property": "figure"},
            "inputs": [{"id": "frame-theme", "property": "data", "value": "dark"}],
            "state": [{"id": "devices-agreement-of", "property": "data", "value": key}],
            "changedPropIds": [],
        }
        answer = client.post("/_dash-update-component", json=body)
        assert answer.status_code == 200
        return answer.get_json()["response"]["devices-agreement"]["figure"]

    assert figure("timed")["layout"]["xaxis"]["title"]["text"] == "predicted by timed (ms)"
    for odd in ("untimed", "nowhere", None, ["timed"], {"a": 1}):
        assert figure(odd)["layout"]["xaxis"]["visible"] is False


@pytest.mark.parametrize("differs", [None, "runtime.name is 'tensorrt' in one and 'torch' in the other"])
def test_what_was_timed_of_a_run_stands_in_the_details(runs: Path, tables: Path, no_archive: Path, differs: str | None):
    data = Data(runs, tables, no_archive)
    before = look(data, {})
    assert isinstance(before, View)
    candidate = before.front[0]
    revision = data.revision()
    assert "Measured here" not in render(details(before, candidate))
    latency = candidate.latency
    measured = Network(ms=latency.ms / 1.1, lo=latency.ms / 1.2, hi=latency.ms, method="measured", role="chosen")
    subnet = TimedSubnet(digest=candidate.digest, predicted=Prediction.of(latency), measured=measured)
    record = Timed(
        device="jetson-test", table="jetson-test", table_is="a board", host={"cpu": "My CPU"},
        runtime=Runtime(name="torch", version="2"), precision="fp32", clock="cpu", date="2026-11-22", differs=differs,
        forced=("the machine is busy",), subnets=(subnet,),
    )  # fmt: skip

    save_timed(runs / "first", [record])

    after = look(data, {})
    assert isinstance(after, View)
    text = render(details(after, candidate))
    assert data.revision() != revision
    assert "My CPU, torch 2, fp32" in text
    assert "the machine is busy" in text
    assert text.count("range of rounds") == 1
    assert text.index("predicted by jetson-test") < text.index(" 90 % interval<") < text.index("range of rounds")
    assert ("+10.0% off" in text) is (differs is None)
    assert ("not judged" in text) is (differs is not None)
    assert "Measured here" not in render(details(after, before.front[1]))


def test_a_damaged_record_of_times_is_a_notice(runs: Path, tables: Path, no_archive: Path):
    (Run(runs / "first").folder / "timed.json").write_text(json.dumps({"schema": 1, "devices": [3]}))

    found = look(Data(runs, tables, no_archive), {})

    assert isinstance(found, View)
    assert "timed.json is damaged" in found.notices[0]


def test_what_a_grade_says_is_said_once(make: Any):
    assert "E</span> estimated, not measured<" in render(facts(make.estimated_table())).replace("\n", "")
    board = render(facts(make.measured_table("board", [SPACE.smallest()])))
    assert "repeats within 3 % (clocks were not locked; repeats vary by 2 %)" in board


def test_what_was_carried_over_or_overruled_is_said(make: Any):
    carried = {"source": "big-board", "law": "twice as slow", "coefficients": {"a": 2.0}, "spread": 1.4, "networks": 15}
    update = {"transfer": Transfer.model_validate(carried), "quality": Quality(forced=("the machine is busy",))}
    table = make.estimated_table().model_copy(update=update | {"input": "one image", "exporter": "onnx 1"})

    text = render(trust(table, None))
    assert "carried over from big-board" in text
    assert "twice as slow; fitted on 15 networks" in text
    assert "÷1.4 to ×1.4" in text
    said = render(facts(table))
    assert all(words in said for words in ("the machine is busy", "one image", "onnx 1"))
