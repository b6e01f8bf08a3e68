"""Profiling with clocks of our own: the table that comes out, and what a journal saves."""

import json
import math
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supersam.errors import DamagedError, EnvironmentProblem, UsageError
from supersam.latency import LatencyTable, read_table, space_parts
from supersam.profile import measure, runtimes
from supersam.profile.measure import profile
from supersam.profile.modules import build_part, build_whole
from supersam.space import AnyArchitecture, Architecture, Part, SearchSpace, StagedSpace, parts

Tells = Callable[..., AbstractContextManager[None]]
FACTOR = 1.25


class Clock:
    """Stands in for building and timing: an item takes what its operations say, and every timing is remembered."""

    def __init__(self) -> None:
        self.timed: list[str] = []
        self.prepared: list[str] = []
        self.of_round: Callable[[int], float] = lambda number: 1.0
        self.of_whole: Callable[[AnyArchitecture], float] = lambda architecture: FACTOR

    def ms(self, item: Part | AnyArchitecture) -> float:
        if isinstance(item, Part):
            return 0.01 * item.ops.kernels + 3 * item.ops.gmacs
        return self.of_whole(item) * sum(self.ms(part) for part in parts(item))

    @staticmethod
    def name(item: Part | AnyArchitecture) -> str:
        return item.key if isinstance(item, Part) else item.digest

    def prepare(self, item: Any, x: None) -> Any:
        self.prepared.append(self.name(item))
        return item

    def time(self, item: Part | AnyArchitecture) -> tuple[float, int]:
        number = self.timed.count(self.name(item))
        self.timed.append(self.name(item))
        return self.ms(item) * self.of_round(number), 7


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(measure, "build_part", lambda part: (part, None))
    monkeypatch.setattr(measure, "build_whole", lambda architecture: (architecture, None))
    monkeypatch.setattr(measure, "_time", found.time)
    monkeypatch.setitem(runtimes.RUNTIMES, "torch", found.prepare)
    return found


@pytest.fixture
def space(staged_content: dict[str, Any]) -> StagedSpace:
    """A staged space of 24 architectures."""
    one = {"depths": [1], "widths": [16], "ratios": [2], "window": 0}
    stages = [
        {**one, "blocks": ["repvit"]},
        {**one, "blocks": ["vit", "rwkv"], "widths": [16, 24, 32]},
        {**one, "blocks": ["efficientvit"], "depths": [1, 2]},
        {**one, "blocks": ["rwkv"], "ratios": [1, 2]},
    ]
    return StagedSpace.model_validate({**staged_content, "resolutions": [64], "stages": stages})


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "own" / "board.jsonl"


def run(space: SearchSpace, journal: Path, **options: Any) -> LatencyTable:
    return profile("board", space, "torch", journal, **options)


# The table


def test_table_predicts_the_factor_times_the_sum_of_what_was_measured(
    space: StagedSpace, journal: Path, clock: Clock
) -> None:
    table = run(space, journal)

    assert table.entries.keys() == {part.key for part in space_parts(space)}
    assert table.covers(space)
    assert table.composition.factor == pytest.approx(FACTOR)
    assert table.composition.spread == pytest.approx(1.0)
    assert table.composition.calibration_networks == measure.CALIBRATION_NETWORKS
    for architecture in (space.smallest(), space.largest()):
        expected = FACTOR * sum(clock.ms(part) for part in parts(architecture))
        latency = table.predict(architecture)
        assert latency[:3] == pytest.approx((expected, expected, expected))
        assert latency.method == "measured"


def test_table_of_a_plain_vit_space_is_complete(tiny_space: SearchSpace, journal: Path, clock: Clock) -> None:
    table = run(tiny_space, journal, rounds=1, networks=4)

    assert table.covers(tiny_space)
    largest = tiny_space.largest()
    assert table.predict(largest).ms == pytest.approx(FACTOR * sum(clock.ms(part) for part in parts(largest)))


def test_entry_is_the_median_of_the_rounds_with_all_of_them_inside(
    space: StagedSpace, journal: Path, clock: Clock
) -> None:
    clock.of_round = lambda number: (1.0, 1.3, 0.9)[number]

    table = run(space, journal)

    assert Counter(clock.timed).keys() >= table.entries.keys()
    assert set(Counter(clock.timed).values()) == {3}
    for part in space_parts(space):
        found, ms = table.entries[part.key], clock.ms(part)
        assert (found.ms, found.lo, found.hi) == pytest.approx((ms, 0.9 * ms, 1.3 * ms))
        assert (found.method, found.samples) == ("measured", 3)


def test_spread_covers_nine_in_ten_of_the_whole_networks(space: StagedSpace, journal: Path, clock: Clock) -> None:
    clock.of_whole = lambda architecture: FACTOR * (1 + int(architecture.digest, 16) % 100 / 300)

    table = run(space, journal, networks=19)

    wholes = measure._calibration_networks(space, 19)
    ratios = [clock.of_whole(architecture) for architecture in wholes]
    factor = statistics.median(ratios)
    residuals = sorted(abs(math.log(ratio / factor)) for ratio in ratios)
    assert table.composition.factor == pytest.approx(factor)
    assert table.composition.spread == pytest.approx(math.exp(residuals[17]))  # the 18th of 19: ceil(0.9 * 20)
    latencies = [(table.predict(architecture), clock.ms(architecture)) for architecture in wholes]
    assert sum(found.lo <= ms * (1 + 1e-9) and ms <= found.hi * (1 + 1e-9) for found, ms in latencies) >= 18


def test_table_without_whole_networks_is_the_plain_sum(space: StagedSpace, journal: Path, clock: Clock) -> None:
    composition = run(space, journal, networks=0).composition

    assert (composition.factor, composition.spread, composition.calibration_networks) == (1.0, 1.0, 0)


@pytest.mark.parametrize(("variation", "grade"), [(0.02, "B"), (0.05, "C"), (0.2, "D")])
def test_grade_says_how_much_the_rounds_vary(
    space: StagedSpace, journal: Path, clock: Clock, variation: float, grade: str
) -> None:
    clock.of_round = lambda number: 1 + variation * (number - 1)  # the deviation of 1 - v, 1 and 1 + v is v

    table = run(space, journal)

    assert table.grade == grade
    assert f"{100 * variation:.1f} %" in table.note


def test_table_says_where_it_is_from_and_saves(space: StagedSpace, journal: Path, clock: Clock, tmp_path: Path) -> None:
    table = run(space, journal, rounds=1)

    table.save(tmp_path / "board.json")

    assert read_table(tmp_path / "board.json") == table
    assert (table.name, table.runtime, table.threads) == ("board", f"torch-{torch.__version__}", 1)
    assert table.host["cpus"]
    assert "supersam profile --device board" in table.sources[0]


def test_rounds_are_in_different_orders_and_items_are_prepared_once(
    space: StagedSpace, journal: Path, clock: Clock
) -> None:
    run(space, journal, rounds=2)

    n_items = len(clock.timed) // 2
    first, second = clock.timed[:n_items], clock.timed[n_items:]
    assert sorted(first) == sorted(second)
    assert first != second
    assert sorted(clock.prepared) == sorted(first)


# The journal


@pytest.mark.parametrize("stop_after", [1, 17, 40])
def test_interrupted_run_goes_on_where_it_was(
    space: StagedSpace, journal: Path, clock: Clock, tmp_path: Path, stop_after: int
) -> None:
    clock.of_round = lambda number: 1 + 0.1 * number
    whole = run(space, tmp_path / "other.jsonl")
    everything = list(clock.timed)
    clock.timed.clear()
    seen: list[str] = []

    def interrupt(name: str) -> None:
        seen.append(name)
        if len(seen) == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(space, journal, on_item=interrupt)
    assert 0 < len(clock.timed) <= stop_after  # an encoder that was drawn twice is timed once
    seen.clear()
    table = run(space, journal, on_item=seen.append)

    assert clock.timed == everything
    assert len(seen) >= len(everything)
    assert table.model_copy(update={"host": whole.host}) == whole


def test_finished_journal_is_not_measured_again(space: StagedSpace, journal: Path, clock: Clock) -> None:
    first = run(space, journal)
    before, clock.timed = journal.read_bytes(), []

    second = run(space, journal)

    assert clock.timed == []
    assert clock.prepared.count(space_parts(space)[0].key) == 1
    assert second.entries == first.entries
    assert journal.read_bytes() == before


def test_torn_last_line_is_measured_again(space: StagedSpace, journal: Path, clock: Clock) -> None:
    whole = run(space, journal)
    lines = journal.read_text().splitlines(keepends=True)
    torn = json.loads(lines[-1])["name"]
    journal.write_text("".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    clock.timed.clear()

    table = run(space, journal)

    assert clock.timed == [torn]
    assert table.entries == whole.entries
    assert [json.loads(line)["name"] for line in journal.read_text().splitlines()[1:]].count(torn) == 3


@pytest.mark.parametrize("change", [{"device": "desk"}, {"runtime": "torch-0"}, {"space": "0"}, {"items": 1}])
def test_journal_of_another_measurement_is_refused_and_kept(
    space: StagedSpace, journal: Path, clock: Clock, tells: Tells, change: dict[str, Any]
) -> None:
    run(space, journal, rounds=1)
    header, *rest = journal.read_text().splitlines()
    journal.write_text("\n".join([json.dumps(json.loads(header) | change), *rest, ""]))
    before = journal.read_bytes()

    with tells(UsageError, journal, "another measurement"):
        run(space, journal, rounds=1)

    assert journal.read_bytes() == before


def test_file_that_is_no_journal_is_refused_and_kept(
    space: StagedSpace, journal: Path, clock: Clock, tells: Tells
) -> None:
    journal.parent.mkdir()
    journal.write_text('{"schema": 1}\n{"name": "a"}\n')

    with tells(UsageError, journal):
        run(space, journal)

    assert journal.read_text() == '{"schema": 1}\n{"name": "a"}\n'


@pytest.mark.parametrize("line", ["{", "words", '{"name": "a"}', "[]", '{"name": "a", "ms": "fast"}'])
def test_damaged_line_of_a_journal_is_told_in_one_line(
    space: StagedSpace, journal: Path, clock: Clock, tells: Tells, line: str
) -> None:
    run(space, journal, rounds=1)
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines[:3], line, *lines[4:], ""]))

    with tells(DamagedError, journal, "line 4"):
        run(space, journal, rounds=1)


# Timing and runtimes


def test_time_is_the_median_after_warming_up(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, now = [], [0]
    durations = iter([900, 700, 9, 11, 7, 30, 8, 10, 99])  # milliseconds; the first two warm up

    def call() -> None:
        calls.append(next(durations))
        now[0] += calls[-1] * 1_000_000

    monkeypatch.setattr(measure.time, "process_time_ns", lambda: now[0])

    assert measure._time(call) == (9, 5)
    assert calls == [900, 700, 9, 11, 7, 30, 8]  # five samples of 65 ms: enough of both


def test_short_calls_are_timed_for_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]

    def call() -> None:
        now[0] += 2_000_000

    monkeypatch.setattr(measure.time, "process_time_ns", lambda: now[0])

    assert measure._time(call) == (2, 25)


@pytest.mark.parametrize("runtime", ["tensorrt", ""])
def test_unknown_runtime_is_answered_with_those_there_are(
    space: StagedSpace, journal: Path, tells: Tells, runtime: str
) -> None:
    with tells(UsageError, repr(runtime), "onnxruntime, torch"):
        runtimes.prepare(runtime, nn.Identity(), torch.zeros(1))
    with tells(UsageError, repr(runtime), "onnxruntime, torch"):
        profile("board", space, runtime, journal)
    assert not journal.exists()


def test_missing_onnxruntime_is_told_with_the_way_to_get_it(
    space: StagedSpace, journal: Path, tells: Tells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with tells(EnvironmentProblem, "onnxruntime", "pip install", "supersam[export]"):
        runtimes.prepare("onnxruntime", nn.Identity(), torch.zeros(1))
    with tells(EnvironmentProblem, "onnxruntime", "pip install", "supersam[export]"):
        profile("board", space, "onnxruntime", journal)


def test_onnxruntime_computes_what_torch_does(tiny_staged: StagedSpace) -> None:
    choices = tiny_staged.encode(tiny_staged.smallest())
    for number, block in enumerate(("repvit", "vit", "efficientvit", "rwkv"), start=1):
        choices[f"stage{number}.block"] = block
    module, x = build_whole(tiny_staged.decode(choices))

    (found,) = runtimes.prepare("onnxruntime", module, x)()  # type: ignore[misc]
    expected = runtimes.prepare("torch", module, x)()

    assert isinstance(expected, Tensor)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-3, rtol=1e-3)


def test_small_space_is_really_measured(
    staged_content: dict[str, Any], journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "LEAST_SECONDS", 0.0)
    one = {"blocks": ["repvit"], "depths": [1], "widths": [16], "ratios": [1], "window": 0}
    space = StagedSpace.model_validate({**staged_content, "resolutions": [64], "stages": [one] * 4})

    table = run(space, journal, rounds=1, networks=1)

    architecture = space.smallest()
    assert isinstance(architecture, Architecture)
    assert table.entries.keys() == {part.key for part in parts(architecture)}
    latency = table.predict(architecture)
    whole = json.loads(journal.read_text().splitlines()[-1])
    measured = {entry["name"]: entry["ms"] for entry in map(json.loads, journal.read_text().splitlines()[1:])}
    assert latency.ms == pytest.approx(measured[architecture.digest])
    assert whole["samples"] >= measure.LEAST_SAMPLES
    assert build_part(parts(architecture)[0])[1].shape == (1, 3, 64, 64)
