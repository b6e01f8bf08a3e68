"""What the dashboard reads: runs, the archive and tables, damaged ones included."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from dashboard.anatomy import sections
from dashboard.data import Data
from supersam.errors import DamagedError
from supersam.latency import LatencyTable
from supersam.results import Run, pareto_front
from supersam.space import ViTSpace, load_space


@pytest.fixture
def data(runs: Path, tables: Path, no_archive: Path) -> Data:
    return Data(runs, tables, no_archive)


def test_runs_come_newest_first_and_the_archive_last(
    make: Any, runs: Path, tables: Path, tmp_path: Path, table: LatencyTable
):
    newer = make.run(runs / "second", make.candidates(3, table))
    later = newer.question_file.stat().st_mtime_ns + 10**9
    _touch(newer.question_file, later)
    archive = tmp_path / "archive.json"
    make.archive(archive, make.candidates(4, table, seed=1))

    data = Data(runs, tables, archive)

    assert [source.key for source in data.sources()] == ["second", "first", "archive/starter"]
    assert len(data.contents(data.sources()[2]).found) == 4


def test_a_missing_archive_and_a_missing_folder_are_no_error(tmp_path: Path, tables: Path, no_archive: Path):
    assert Data(tmp_path / "nowhere", tables, no_archive).sources() == []


def test_one_run_can_be_given_instead_of_a_folder_of_runs(runs: Path, tables: Path, no_archive: Path):
    (source,) = Data(runs / "first", tables, no_archive).sources()

    assert source.key == "first"
    assert source.argument == str(runs / "first")


def test_a_run_whose_path_has_a_space_is_quoted_in_commands(
    make: Any, tmp_path: Path, tables: Path, no_archive: Path, table: Any
):
    make.run(tmp_path / "my runs" / "a b", make.candidates(1, table))

    (source,) = Data(tmp_path / "my runs", tables, no_archive).sources()

    assert source.argument == f"'{tmp_path}/my runs/a b'"


def test_latency_is_that_of_the_chosen_device_and_accuracy_stays(make: Any, data: Data, tables: Path):
    (source,) = data.sources()
    devices = data.devices(source)

    here = data.candidates(source, devices["jetson-test"][0])
    there = data.candidates(source, devices["phone-test"][0])

    assert [one.accuracy for one in here] == [one.accuracy for one in there]
    phone = make.estimated_table("phone-test", speed=3.0)
    for one in there:
        expected = phone.predict(one.architecture)
        assert one.latency[:3] == pytest.approx(expected[:3])
        assert one.latency.method == expected.method
    front = data.fronts(source, devices["phone-test"][0]).main
    assert front == pareto_front(one for one in there if one.accuracy.source == "measured")


def test_tables_that_cannot_be_used_are_listed_with_the_reason(data: Data):
    devices = data.devices(data.sources()[0])

    assert list(devices) == ["board-part", "jetson-test", "phone-test", "torn"]
    assert devices["jetson-test"][1] == ""
    assert "lacks" in devices["board-part"][1]
    assert "stem:" in devices["board-part"][1]
    assert "damaged" in devices["torn"][1]


def test_a_run_of_a_device_without_a_table_keeps_its_own_latencies(
    make: Any, tmp_path: Path, tables: Path, no_archive: Path
):
    candidates = make.candidates(5, make.estimated_table("elsewhere", speed=7.0))
    make.run(tmp_path / "runs" / "away", candidates, device="my/elsewhere.json")
    data = Data(tmp_path / "runs", tables, no_archive)
    (source,) = data.sources()

    device, reason = data.devices(source)["recorded"]

    assert (device.name, reason) == ("elsewhere", "")
    assert [one.latency.ms for one in data.candidates(source, device)] == pytest.approx(
        [one.latency.ms for one in candidates], abs=1e-4
    )


def test_a_run_named_by_an_alias_needs_no_recorded_device(
    make: Any, tmp_path: Path, tables: Path, no_archive: Path, table: Any
):
    make.run(tmp_path / "runs" / "one", make.candidates(2, table), device="jetson-test-alias")
    data = Data(tmp_path / "runs", tables, no_archive)

    assert "recorded" not in data.devices(data.sources()[0])


def test_a_growing_run_is_read_again_and_nothing_else(make: Any, data: Data, runs: Path, table: LatencyTable):
    before, revision = data.sources()[0], data.revision()
    first = data.contents(before)
    assert data.contents(data.sources()[0]) is first
    assert data.revision() == revision

    Run(runs / "first").append(make.candidates(1, table, seed=9)[0])

    assert data.revision() != revision
    assert len(data.contents(data.sources()[0]).found) == len(first.found) + 1


def test_a_half_written_last_line_is_left_out(data: Data, runs: Path):
    file = Run(runs / "first").candidates_file
    file.write_text(file.read_text() + '{"digest": "abc')

    assert len(data.contents(data.sources()[0]).found) == 60


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("accuracy", "high"),
        ("accuracy_interval", ["a", "b"]),
        ("packs", {"pack": {"box": "good"}}),
        ("packs", ["pack"]),
        ("latency_ms", None),
        ("architecture", {"encoder": "staged", "resolution": "256", "head_dim": 16, "stages": []}),
    ],
)
def test_values_of_a_wrong_type_make_a_damaged_run_not_a_crash(data: Data, runs: Path, field: str, value: Any):
    file = Run(runs / "first").candidates_file
    content = json.loads(file.read_text().splitlines()[0]) | {field: value}
    file.write_text(json.dumps(content) + "\n")

    with pytest.raises(DamagedError) as raised:
        data.contents(data.sources()[0])
    assert "\n" not in str(raised.value)


def test_an_unknown_block_type_makes_a_damaged_run(data: Data, runs: Path):
    file = Run(runs / "first").candidates_file
    file.write_text(file.read_text().replace('"block": "vit"', '"block": "total"'))

    with pytest.raises(DamagedError, match="damaged"):
        data.contents(data.sources()[0])


@pytest.mark.parametrize("question", ["{", "[1]", '{"schema": 99}', '{"schema": "x"}', "{}"])
def test_a_damaged_question_is_a_problem_of_its_source(data: Data, runs: Path, question: str):
    Run(runs / "first").question_file.write_text(question)

    (source,) = data.sources()

    assert source.problem
    assert "\n" not in source.problem


def test_an_accuracy_that_is_no_number_is_left_out_and_counted(data: Data, runs: Path):
    file = Run(runs / "first").candidates_file
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["accuracy"] = math.nan
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    contents = data.contents(data.sources()[0])

    assert (len(contents.found), contents.left_out) == (59, 1)


def test_shares_of_the_stages_add_up_to_the_latency(data: Data):
    device = data.devices(data.sources()[0])["jetson-test"][0]
    candidate = data.candidates(data.sources()[0], device)[0]

    found = sections(candidate.architecture, device)

    assert [section.label for section in found] == ["stage 1", "stage 2", "stage 3", "stage 4", "neck"]
    assert sum(section.ms or 0 for section in found) == pytest.approx(candidate.latency.ms)
    assert sum(section.share or 0 for section in found) == pytest.approx(1)


def test_shares_know_the_factor_of_a_table_and_measured_entries(
    make: Any, tmp_path: Path, table: LatencyTable, no_archive: Path
):
    candidates = make.candidates(2, table)
    measured = make.measured_table("board", [one.architecture for one in candidates])
    content = json.loads(measured.to_json()) | {"composition": {"factor": 0.8, "spread": 1.1}}
    LatencyTable.model_validate(content).save(tmp_path / "tables" / "board.json")
    make.run(tmp_path / "runs" / "one", candidates, device="board")
    data = Data(tmp_path / "runs", tmp_path / "tables", no_archive)
    device = data.devices(data.sources()[0])["board"][0]
    (candidate, _) = data.candidates(data.sources()[0], device)

    found = sections(candidate.architecture, device)

    assert candidate.latency.method == "measured"
    assert sum(section.ms or 0 for section in found) == pytest.approx(candidate.latency.ms)


def test_a_plain_vit_has_sections_too(data: Data):
    space = load_space("supersam-vit-b")
    assert isinstance(space, ViTSpace)
    device = data.devices(data.sources()[0])["jetson-test"][0]

    found = sections(space.largest(), device)

    assert [section.block for section in found] == ["patches", *["vit"] * space.depth, "neck"]
    assert sum(section.share or 0 for section in found) == pytest.approx(1)


def _touch(file: Path, modified_ns: int) -> None:
    import os

    os.utime(file, ns=(modified_ns, modified_ns))
