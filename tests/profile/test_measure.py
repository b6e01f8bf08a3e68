"""A device whose times are known: the table that comes out, and what the journal saves."""

import csv
import json
import os
import random
import statistics
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supersam.errors import DamagedError, EnvironmentProblem, SuperSAMError, UsageError
from supersam.latency import LatencyTable, read_table, space_parts
from supersam.profile import machine, measure
from supersam.profile.journal import SENTINEL, Journal
from supersam.profile.measure import Collector, estimate_seconds, profile, time_networks
from supersam.profile.onnx_files import network_facts
from supersam.profile.plan import Item, isolated_item, plan_items
from supersam.profile.protocol import Protocol
from supersam.profile.runtimes import Exported
from supersam.profile.table import _git_sha, doubtful, table_from_timings, write_rows
from supersam.space import Part, SearchSpace, StagedSpace

Tells = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def run(board: Any, space: SearchSpace, journal_file: Path, quick: Protocol) -> Callable[..., LatencyTable]:
    """Measure the board: options are those of the plan, or ``rounds``."""

    def go(rounds: int = 3, journal: Path = journal_file, of: SearchSpace = space, **options: Any) -> LatencyTable:
        plan = plan_items(of, **{"networks": 6, **options})
        protocol = replace(quick, rounds=rounds)
        return profile("board", plan, board, protocol, journal, clock=board.clock)[0]

    return go


Run = Callable[..., LatencyTable]


# The table


def test_table_recovers_the_time_of_every_part(run: Run, board: Any, space: StagedSpace) -> None:
    table = run()

    inner = [part for part in space_parts(space) if part.kind not in ("stem", "fuse")]
    assert len(inner) > 10
    for part in inner:
        assert table.entries[part.key].ms == pytest.approx(board.part_ms(part), abs=2e-5)
    scopes = {part.kind: table.entries[part.key].scope for part in space_parts(space)}
    assert scopes["downsample"] == scopes["stem"] == scopes["lateral"] == "border"
    assert scopes["rwkv"] == scopes["fuse"] == "chain"
    assert table.covers(space)


def test_networks_that_nothing_was_fitted_on_are_predicted(run: Run, board: Any, tiny_space: SearchSpace) -> None:
    table = run(of=tiny_space, networks=10)

    assert table.composition.factor == pytest.approx(1, abs=1e-3)
    for seed in range(100, 105):
        architecture = tiny_space.sample(random.Random(seed))
        assert table.predict(architecture).ms == pytest.approx(board.whole_ms(architecture), rel=1e-3)


def test_factor_is_fitted_on_calibration_networks_only(
    run: Run, board: Any, space: StagedSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = board.whole_ms
    monkeypatch.setattr(board, "whole_ms", lambda architecture: 1.25 * own(architecture))
    held_out = {a.digest for a in plan_items(space, networks=12, held_out=6).held_out}
    board.noise = lambda name, number: 3.0 if name in held_out else 1.0

    table = run(networks=12, held_out=6)

    roles = Counter(network.role for network in table.networks.values())
    assert roles == {"calibration": 12, "held-out": 6}
    assert table.composition.calibration_networks == 12
    factors = list(table.composition.factor_per_kind.values())
    assert factors == pytest.approx([1.25] * len(factors), rel=0.01)
    assert table.composition.spread < 1.01
    assert {name for name, network in table.networks.items() if network.role == "held-out"} == held_out


def test_networks_say_which_choices_they_are(run: Run, space: StagedSpace) -> None:
    for name, network in run(rounds=1, held_out=2).networks.items():
        assert space.decode(network.choices).digest == name
        assert (network.scope, network.space) == ("whole", None)  # no shipped space


def test_entry_is_the_median_of_the_rounds_with_all_of_them_inside(run: Run, board: Any) -> None:
    board.noise = lambda name, number: (1.0, 1.2, 0.9)[number % 3]

    table = run(networks=0)

    entry = table.entries["rwkv:2:16:2"]
    ms = board.part_ms(Part("rwkv", (2, 16, 2)))
    assert (entry.ms, entry.lo, entry.hi) == pytest.approx((ms, 0.9 * ms, 1.2 * ms), rel=1e-3)
    assert entry.rounds == pytest.approx((ms, 1.2 * ms, 0.9 * ms), rel=1e-3)
    assert entry.samples == 3 * 2
    assert entry.p25 == pytest.approx(entry.ms)


@pytest.mark.parametrize(("variation", "grade"), [(0.001, "C"), (0.2, "D")])
def test_grade_says_how_much_rounds_vary(run: Run, board: Any, variation: float, grade: str) -> None:
    board.noise = lambda name, number: 1 + variation * (number - 1)

    table = run(networks=0)

    assert table.grade == grade  # C at best by CPU time
    assert table.quality.repeat_cv_median_pct == pytest.approx(100 * variation, rel=0.05)


def test_sentinel_tells_the_noise_floor(run: Run, board: Any, space: StagedSpace) -> None:
    sentinel = plan_items(space).sentinel.name
    board.noise = lambda name, number: 1 + 0.05 * (number % 2) if name == sentinel else 1.0

    table = run(networks=0)

    n = board.prepared.count(sentinel)
    factors = [1 + 0.05 * (number % 2) for number in range(n)]
    assert n >= 6
    expected = 100 * statistics.stdev(factors) / statistics.mean(factors)
    assert table.quality.noise_floor_pct == pytest.approx(expected, rel=1e-2)


def test_part_lost_in_noise_is_timed_alone_and_says_so(run: Run, board: Any) -> None:
    lost = Part("downsample", (16, 16, 16))
    board.noise = lambda name, number: 0.3 if name.startswith(lost.key + "+") else 1.0

    table = run(networks=0)

    entry = table.entries[lost.key]
    assert entry.scope == "isolated"
    assert entry.source.endswith("within its noise; timed alone instead, less input and output")
    assert entry.ms == pytest.approx(board.part_ms(lost), rel=1e-3)
    assert [key for key, other in table.entries.items() if other.scope == "isolated"] == [lost.key]


def test_part_that_even_alone_is_less_than_its_input_and_output_counts_whole(run: Run, board: Any) -> None:
    lost = Part("downsample", (16, 16, 16))
    board.noise = lambda name, number: 0.1 if name.startswith(lost.key) else 1.0

    table = run(networks=0)

    entry = table.entries[lost.key]
    assert entry.source.endswith("timed alone instead")
    assert entry.ms == pytest.approx(0.1 * board.item_ms(isolated_item(lost)), rel=1e-3)


def test_difference_that_is_negative_and_not_timed_alone_is_refused(
    board: Any, space: StagedSpace, journal_file: Path, quick: Protocol, tells: Tells
) -> None:
    plan = plan_items(space, networks=0)
    board.noise = lambda name, number: 0.3 if name.startswith("downsample:16:16:16+") else 1.0
    journal = Journal(journal_file, measure.conditions_of(board, quick))
    Collector(board, quick, journal, board.clock).collect(plan.items, plan.sentinel)
    timings = journal.timings
    header = {**measure.conditions_of(board, quick), "name": "board", "sources": ("test",), "licence": "CC0-1.0"}

    assert [item.name for item in doubtful(plan, timings)] == ["downsample:16:16:16"]
    with tells(SuperSAMError, "downsample:16:16:16", "alone"):
        table_from_timings(plan, timings, timings[SENTINEL], header)
    del timings["repvit:16:8:2:1*6"]
    with tells(SuperSAMError, "repvit:16:8:2:1*6", "not timed"):
        table_from_timings(plan, timings, timings[SENTINEL], header)


def test_table_says_where_it_is_from_and_saves(run: Run, tmp_path: Path) -> None:
    table = run(rounds=1)

    table.save(tmp_path / "board.json")

    assert read_table(tmp_path / "board.json") == table
    assert (table.name, str(table.runtime), table.threads, table.clock) == ("board", "board 1", 1, "cpu")
    assert table.host["cpus"]
    assert len(table.host["fingerprint_sha256"]) == 64
    assert "supersam profile --device board" in table.sources[0]


def test_commit_is_never_that_of_a_repository_it_is_installed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:  # of a hook that runs the tests
        monkeypatch.delenv(name)

    def git(*command: str) -> str:
        who = ("-c", "user.name=me", "-c", "user.email=me@board", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *command], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    own, installed = tmp_path / "own.py", tmp_path / "table.py"
    own.touch()
    installed.touch()
    git("init")
    git("add", "own.py")
    git("commit", "-m", "mine")

    assert _git_sha(own) == git("rev-parse", "HEAD")
    assert _git_sha(installed) is None
    assert _git_sha(tmp_path / "nowhere" / "table.py") is None


def test_what_was_overruled_is_in_the_table(
    board: Any, space: StagedSpace, journal_file: Path, quick: Protocol
) -> None:
    plan = plan_items(space, networks=0)

    table, _ = profile("board", plan, board, quick, journal_file, forced=("it is busy",), clock=board.clock)

    assert table.quality.forced == ("it is busy",)


def test_what_was_overruled_before_an_interruption_is_in_the_table(
    board: Any, space: StagedSpace, journal_file: Path, quick: Protocol, tells: Tells
) -> None:
    plan = plan_items(space, networks=0)
    board.dies_at = 5
    with tells(EnvironmentProblem, "board failed"):
        profile("board", plan, board, quick, journal_file, forced=("it is busy",), clock=board.clock)
    board.dies_at = None

    table, _ = profile("board", plan, board, quick, journal_file, clock=board.clock)

    assert table.quality.forced == ("it is busy",)


def test_rounds_are_in_orders_of_their_own_with_the_sentinel_between(run: Run, board: Any, space: StagedSpace) -> None:
    run(rounds=2, networks=0)

    plan = plan_items(space, networks=0)
    timed = [name for name in board.prepared if name != plan.sentinel.name]
    first, second = timed[: len(plan.items)], timed[len(plan.items) :]
    assert sorted(first) == sorted(second) == sorted(item.name for item in plan.items)
    assert first != second
    gaps = [at for at, name in enumerate(board.prepared) if name == plan.sentinel.name]
    assert max(b - a for a, b in pairwise(gaps)) <= 21


def test_item_whose_clock_moves_is_timed_again_and_then_marked(
    run: Run, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = iter(range(10**6))
    monkeypatch.setattr(machine, "read_clocks", lambda: machine.Clocks(None, next(events)))

    table = run(rounds=1, networks=0)

    assert all(entry.throttled for entry in table.entries.values())
    assert next(events) == 2 * measure.ATTEMPTS * len(board.prepared)  # read before and after each


@pytest.mark.parametrize("output", [[np.inf], [np.nan], [0.0], [1e-42]])
def test_numbers_that_change_the_arithmetic_are_refused(
    board: Any, journal_file: Path, quick: Protocol, tells: Tells, output: list[float]
) -> None:
    board.prepare = lambda model: lambda: np.array(output, dtype=np.float32)
    item = Item((Part("repvit", (8, 16, 2, 0)),))
    journal = Journal(journal_file, measure.conditions_of(board, quick))

    with tells(SuperSAMError, item.name, "no sound numbers"):
        Collector(board, quick, journal, board.clock).collect([item], item)


def test_estimate_is_near_what_the_board_takes(board: Any, space: StagedSpace, journal_file: Path) -> None:
    plan = plan_items(space)
    protocol = Protocol(samples=5, seconds=0.02, warm_up_seconds=0.01)
    board.part_ms = lambda part: 5 * part.ops.gmacs

    estimate = estimate_seconds(plan, board, protocol, board.clock)
    before = board.wall
    profile("board", plan, board, protocol, journal_file, clock=board.clock)

    assert estimate == pytest.approx((board.wall - before) / 1e9, rel=0.1)


def test_every_timing_is_kept_as_a_row_on_request(
    board: Any, space: StagedSpace, journal_file: Path, quick: Protocol, tmp_path: Path
) -> None:
    plan = plan_items(space, networks=2, isolated=True)
    _, journal = profile("board", plan, board, quick, journal_file, clock=board.clock)

    write_rows(tmp_path / "rows.csv", journal.timings)

    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    counts = Counter(row["item"] for row in rows)
    assert {item.name for item in plan.items} | {SENTINEL} == set(counts)
    assert {counts[item.name] for item in plan.items} == {quick.rounds}
    alone = next(row for row in rows if row["item"] == "rwkv:2:16:2")
    assert float(alone["ms"]) == pytest.approx(board.item_ms(Item((Part("rwkv", (2, 16, 2)),))), rel=1e-3)


# Whole networks


def test_chosen_networks_are_timed_whole(board: Any, space: StagedSpace, journal_file: Path, quick: Protocol) -> None:
    chosen = [space.smallest(), space.largest(), space.smallest()]

    found = time_networks(chosen, space, board, quick, journal_file, clock=board.clock)

    assert found.keys() == {space.smallest().digest, space.largest().digest}
    for architecture in chosen:
        network = found[architecture.digest]
        assert network.ms == pytest.approx(board.whole_ms(architecture), rel=1e-4)
        assert (network.role, network.samples, len(network.rounds)) == ("chosen", 6, 3)


# The journal


@pytest.mark.parametrize("stop_after", [1, 17, 90])
def test_device_that_dies_goes_on_where_it_was(
    run: Run, board: Any, tmp_path: Path, journal_file: Path, tells: Tells, stop_after: int
) -> None:
    whole = run(journal=tmp_path / "other.jsonl", networks=4)
    everything = Counter(board.prepared)
    board.prepared.clear()
    board.dies_at = stop_after

    with tells(EnvironmentProblem, "board failed", "the cable fell out", journal_file):
        run(networks=4)
    done = board.prepared[:stop_after]
    board.dies_at = None
    table = run(networks=4)

    assert Counter(done) + Counter(board.prepared[stop_after + 1 :]) == everything
    assert table.model_copy(update={"date": whole.date}) == whole


def test_journal_of_another_space_goes_on_with_a_sentinel_of_its_own(
    run: Run, board: Any, space: StagedSpace, tiny_space: SearchSpace, journal_file: Path
) -> None:
    sentinels = [plan_items(one).sentinel.name for one in (space, tiny_space)]
    assert sentinels[0] != sentinels[1]
    run(networks=0)
    board.prepared.clear()

    table = run(of=tiny_space, networks=0)
    again = run(networks=0)

    assert board.prepared.count(sentinels[1]) >= 3
    assert sentinels[0] not in board.prepared
    assert (table.quality.noise_floor_pct, again.quality.noise_floor_pct) == (0, 0)


def test_sentinel_of_networks_that_are_timed_whole_is_their_own(
    board: Any, space: StagedSpace, journal_file: Path, quick: Protocol
) -> None:
    chosen = [space.smallest(), space.largest()]
    for architectures in (chosen, chosen[::-1]):
        time_networks(architectures, space, board, quick, journal_file, clock=board.clock)

        timings = Journal(journal_file, measure.conditions_of(board, quick)).timings[SENTINEL]
        assert len(timings) == quick.rounds
        expected = board.whole_ms(architectures[0])
        assert [timing.ms for timing in timings] == pytest.approx([expected] * quick.rounds, rel=1e-4)


def test_torn_last_line_is_timed_again(run: Run, board: Any, journal_file: Path) -> None:
    run(rounds=1, networks=0)
    lines = journal_file.read_text().splitlines(keepends=True)
    journal_file.write_text("".join(lines)[:-9])
    board.prepared.clear()

    run(rounds=1, networks=0)

    torn = json.loads(lines[-1])["name"]
    assert board.prepared == [torn]
    assert Counter(json.loads(line).get("name") for line in journal_file.read_text().splitlines()[1:])[torn] == 1


def test_torn_first_line_is_written_again(run: Run, journal_file: Path) -> None:
    journal_file.parent.mkdir()
    journal_file.write_text('{"conditions": {"dev')

    assert run(rounds=1, networks=0).entries


@pytest.mark.parametrize(
    ("name", "value"),
    [("clock", "wall"), ("runtime", {"name": "board", "version": "2"}), ("threads", 2), ("power", {"mode": "15W"})],
)
def test_journal_of_other_conditions_is_refused_and_kept(
    run: Run, journal_file: Path, tells: Tells, name: str, value: Any
) -> None:
    run(rounds=1, networks=0)
    header, *rest = journal_file.read_text().splitlines()
    changed = json.loads(header)
    changed["conditions"][name] = value
    journal_file.write_text("\n".join([json.dumps(changed), *rest, ""]))
    before = journal_file.read_bytes()

    with tells(UsageError, f"{journal_file}:1", "other conditions", name):
        run(rounds=1, networks=0)

    assert journal_file.read_bytes() == before


@pytest.mark.parametrize("name", ["timm", "blocks"])
def test_journal_of_other_networks_is_refused_and_kept(
    run: Run, journal_file: Path, tells: Tells, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run(rounds=1, networks=0)
    before = journal_file.read_bytes()
    changed = {**network_facts(), name: "another"}
    monkeypatch.setattr("supersam.profile.journal.network_facts", lambda: changed)

    with tells(UsageError, f"{journal_file}:1", "other networks", name, "another", "--out"):
        run(rounds=1, networks=0)

    assert journal_file.read_bytes() == before


def test_journal_that_does_not_say_what_its_networks_are_is_refused(run: Run, journal_file: Path, tells: Tells) -> None:
    run(rounds=1, networks=0)
    header, *rest = journal_file.read_text().splitlines(keepends=True)
    old = json.dumps({"conditions": json.loads(header)["conditions"]}) + "\n"
    journal_file.write_text("".join([old, *rest]))

    with tells(UsageError, f"{journal_file}:1", "older SuperSAM", "--out"):
        run(rounds=1, networks=0)


@pytest.mark.parametrize("text", ['{"schema": 1}\n{"name": "a"}\n', "words\n", "[]\n"])
def test_file_that_is_no_journal_is_refused_and_kept(run: Run, journal_file: Path, tells: Tells, text: str) -> None:
    journal_file.parent.mkdir()
    journal_file.write_text(text)

    with tells(UsageError, journal_file, "no journal"):
        run()

    assert journal_file.read_text() == text


@pytest.mark.parametrize("change", ["{", "[]", '{"name": "a"}', ("ms", "fast"), ("ms", -1), ("p99", 0), ("colour", 1)])
def test_damaged_line_of_a_journal_is_told_in_one_line(
    run: Run, journal_file: Path, tells: Tells, change: str | tuple[str, Any]
) -> None:
    run(rounds=1, networks=0)
    lines = journal_file.read_text().splitlines()
    damaged = change if isinstance(change, str) else json.dumps({**json.loads(lines[3]), change[0]: change[1]})
    journal_file.write_text("\n".join([*lines[:3], damaged, *lines[4:], ""]))

    with tells(DamagedError, f"{journal_file}:4"):
        run(rounds=1, networks=0)


def test_runtime_gets_what_it_asks_for_and_no_more(board: Any) -> None:
    model = Exported(Item((Part("repvit", (8, 16, 2, 0)),)))

    assert board.prepare(model)() == 1
    assert "onnx" not in vars(model)
