"""``supersam search --measure K``: whole subnets timed on this machine, with a runtime and a clock of the tests."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest

from supersam import latency
from supersam.cli._measure_here import chosen
from supersam.errors import DamagedError, EnvironmentProblem
from supersam.latency import LatencyTable, load_table
from supersam.profile import machine, measure, runtimes
from supersam.profile.protocol import Instant, Protocol
from supersam.results import Run
from supersam.results.timed import load_timed
from supersam.space import load_space

SEARCH = ["search", "--budget", "4ms", "--trials", "20", "--out", "run"]


class FakeClock:
    """Stands still but for what the calls add."""

    def __init__(self) -> None:
        self.ns = 1

    def __call__(self) -> Instant:
        return Instant(self.ns, self.ns)


class FakeRuntime:
    """Takes what a table predicts, but for 10 %."""

    name = "onnxruntime"
    exporter = "none"

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.prepared, self.table = clock, [], load_table("jetson-agx-orin")

    def check(self) -> None:
        pass

    def about(self) -> latency.Runtime:
        return latency.Runtime(name=self.name, version="0", provider="none")

    def prepare(self, model: runtimes.Exported) -> runtimes.Call:
        self.prepared.append(model.item.name)
        ms = self.table.predict(model.item.architecture).ms / 1.1

        def call() -> np.ndarray:
            self.clock.ns += int(1e6 * ms)
            return np.ones(1)

        return call


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    clock = FakeClock()
    fake = FakeRuntime(clock)
    quick = functools.partial(measure.time_networks, clock=clock)
    monkeypatch.setitem(runtimes.RUNTIMES, "onnxruntime", fake)
    monkeypatch.setattr(measure, "time_networks", quick)
    monkeypatch.setattr(machine, "disturbances", list)
    monkeypatch.setattr(machine, "pin", lambda: None)
    return fake


@pytest.fixture
def of_this_machine(runtime: FakeRuntime, tmp_path: Path) -> Path:
    """The runtime's table, as if it were of this machine under the same conditions."""
    content = json.loads(runtime.table.to_json()) | measure.conditions_of(runtime, Protocol())
    path = tmp_path / "here.json"
    LatencyTable.model_validate(content | {"name": "here", "aliases": []}).save(path)
    return path


def test_on_the_tables_own_machine_the_prediction_is_judged(supersam, runtime, of_this_machine):
    answer = supersam(*SEARCH, "--device", of_this_machine, "--measure", "3", "--json")

    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    (timed,) = found["timed"]
    assert timed["differs"] is None
    assert next(one["digest"] for one in timed["subnets"]) == found["best"]["digest"]
    assert len(timed["subnets"]) == 3 == len(set(runtime.prepared))
    for one in timed["subnets"]:
        assert one["measured"]["role"] == "chosen"
        assert one["error"] == pytest.approx(0.1, abs=1e-3)
        assert one["within_interval"] is True
    assert json.loads(Path("run/result.json").read_text())["timed"] == found["timed"]
    assert not list(Path("run").glob("*.partial.jsonl"))

    shown = supersam("show", "run")
    assert "+10.0%" in shown.out
    assert json.loads(supersam("show", "run", "--json").out)["timed"] == found["timed"]


def test_times_of_this_machine_never_judge_a_table_of_another(supersam, runtime):
    answer = supersam(*SEARCH, "--device", "jetson-orin", "--measure", "2")

    assert answer.code == 0, answer.err
    (timed,) = load_timed(Path("run"))
    assert not timed.judges
    assert "Jetson" in timed.table_is
    assert timed.here.startswith(machine.cpu_name())
    assert [one["error"] for one in timed.to_dict()["subnets"]] == [None, None]
    assert "do not judge the prediction" in answer.out
    assert "prediction is" not in answer.out


def test_a_busy_machine_is_refused_before_the_search_or_recorded(supersam, runtime, monkeypatch):
    monkeypatch.setattr(machine, "disturbances", lambda: ["the machine is busy (load 3.0, at most 0.6)"])
    arguments = [*SEARCH, "--device", "jetson-orin", "--measure", "1"]

    refused = supersam(*arguments)

    assert refused.code == 5
    assert "--force" in refused.err
    assert not Path("run").exists()
    assert supersam(*arguments, "--force").code == 0
    (timed,) = load_timed(Path("run"))
    assert timed.forced == ("the machine is busy (load 3.0, at most 0.6)",)


def test_what_is_refused_after_a_search_keeps_the_answer_and_is_measured_later(supersam, runtime, monkeypatch):
    def busy(force: bool, wait_seconds: float = 0.0) -> tuple[str, ...]:
        if wait_seconds:
            raise EnvironmentProblem("the machine is busy")
        return ()

    with monkeypatch.context() as patch:
        patch.setattr(machine, "require_quiet", busy)
        answer = supersam(*SEARCH, "--device", "jetson-orin", "--measure", "2", "--json")

    assert answer.code == 5
    assert json.loads(answer.out)["best"]
    assert "--out run --resume --trials 20 --measure 2" in answer.err
    later = supersam("search", "--resume", "--out", "run", "--trials", "20", "--measure", "2", "--json")
    assert later.code == 0, later.err
    assert len(json.loads(later.out)["timed"][0]["subnets"]) == 2


def test_the_best_comes_first_then_what_fits_then_the_nearest_then_what_is_predicted():
    space = load_space("starter")
    encoders = [space.decode(space.encode(space.smallest()) | {"resolution": side}) for side in space.resolutions]
    encoders.append(space.largest())

    def one(place: int, accuracy: float, upper: float) -> dict[str, object]:
        shown = {"architecture": encoders[place].to_dict(), "accuracy": accuracy}
        return shown | {"latency_ms": upper, "latency_interval_ms": [upper, upper]}

    front = [one(0, 0.3, 5.0), one(1, 0.5, 30.0), one(2, 0.4, 9.0)]
    found = {"budget_ms": 10.0, "best": front[2], "front": front, "predicted": {"front": [one(3, 0.9, 1.0)]}}

    assert chosen(found, 9, "upper") == [encoders[2], encoders[0], encoders[1], encoders[3]]
    assert chosen(found, 2, "upper") == [encoders[2], encoders[0]]


def test_a_damaged_record_of_times_is_said(tmp_path):
    run = Run(tmp_path / "run")
    run.start({"device": "x"})
    assert load_timed(run.folder) == []
    for text in ("{", '{"schema": 1, "devices": [{"device": 3}]}', '{"schema": 99, "devices": []}'):
        (run.folder / "timed.json").write_text(text)
        with pytest.raises(DamagedError, match=r"timed\.json"):
            load_timed(run.folder)
