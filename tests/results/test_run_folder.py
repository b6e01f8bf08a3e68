"""Runs and archives on disk: what comes back, what is forgiven and what is damaged."""

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supersam.errors import DamagedError, MissingError, UsageError
from supersam.latency import load_table
from supersam.results import Accuracy, Candidate, Run, list_runs, load_archive
from supersam.space import load_space

Tells = Callable[..., AbstractContextManager[None]]
Make = Callable[..., Candidate]
QUESTION = {"device": "board", "budget_ms": 6.0, "space": {"name": "starter"}}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that was started and has found nothing yet."""
    found = Run(tmp_path / "runs" / "own")
    found.start(QUESTION)
    return found


@pytest.fixture
def candidates(candidate: Make, run: Run) -> list[Candidate]:
    """Three candidates, all in the run."""
    found = [candidate(2.0, 0.25), candidate(4.0, 0.5), candidate(8.0, 0.75)]
    for one in found:
        run.append(one)
    return found


def edit(run: Run, change: Callable[[list[str]], list[str]]) -> None:
    lines = run.candidates_file.read_text().splitlines(keepends=True)
    run.candidates_file.write_text("".join(change(lines)))


# Candidates


def test_candidate_round_trips(candidate: Make) -> None:
    one = candidate(2.5, 0.625)
    vit = Candidate(load_space("supersam-vit-b").smallest(), Accuracy(0.5, "predicted", (0.25, 0.75)), one.latency)

    for found in (one, vit):
        assert Candidate.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_candidate_tells_what_other_tools_read(candidate: Make) -> None:
    content = candidate(2.0, 0.5).to_dict()

    assert content.keys() == {
        "digest", "accuracy", "accuracy_source", "accuracy_interval", "packs", "latency_ms", "latency_interval_ms",
        "latency_method", "gmacs", "params_m", "architecture",
    }  # fmt: skip
    assert content["latency_interval_ms"] == [1.8, 2.2]
    assert content["accuracy_interval"] == [0.48, 0.52]


def test_candidate_keeps_the_differences_of_a_fast_device(candidate: Make) -> None:
    one = candidate(2.0, 0.5)
    fast = replace(one, latency=one.latency._replace(ms=0.0123456, lo=0.0123455, hi=0.0123457))

    assert Candidate.from_dict(json.loads(json.dumps(fast.to_dict()))).latency == fast.latency


def test_candidate_on_another_device_keeps_all_but_its_latency(candidate: Make) -> None:
    one, table = candidate(2.0, 0.5), load_table("jetson-orin")

    moved = one.on(table)

    assert moved.latency == table.predict(one.architecture)
    assert replace(moved, latency=one.latency) == one
    assert moved.bound_ms("upper") == moved.latency.hi > moved.bound_ms("median") == moved.latency.ms


# Runs


def test_run_gives_back_what_was_asked_and_found(run: Run, candidates: list[Candidate]) -> None:
    again = Run(run.folder)

    assert again.exists
    assert again.question() == {"schema": 1, **QUESTION}
    assert again.candidates() == candidates
    assert [again.find(one.digest) for one in candidates] == candidates


def test_started_run_has_no_candidates(run: Run) -> None:
    assert run.candidates() == []


def test_architecture_found_twice_counts_once_as_found_last(run: Run, candidates: list[Candidate]) -> None:
    better = replace(candidates[1], accuracy=Accuracy(0.875, "measured", (0.75, 0.9375)))
    run.append(better)

    assert run.candidates() == [candidates[0], candidates[2], better], "a later measurement was known later"


@pytest.mark.parametrize("left", [1, 40, -1])
def test_torn_last_line_is_left_out(run: Run, candidates: list[Candidate], left: int) -> None:
    edit(run, lambda lines: [*lines[:-1], lines[-1][:-1][:left]])

    assert run.candidates() == candidates[:-1]


def test_whole_last_line_without_its_end_counts(run: Run, candidates: list[Candidate]) -> None:
    edit(run, lambda lines: [*lines[:-1], lines[-1].rstrip("\n")])

    assert run.candidates() == candidates


def test_candidate_added_behind_a_torn_line_is_not_lost(run: Run, candidates: list[Candidate], candidate: Make) -> None:
    edit(run, lambda lines: [*lines[:-1], lines[-1][:40]])
    added = candidate(1.0, 0.125)

    Run(run.folder).append(added)

    assert run.candidates() == [*candidates[:-1], added]


@pytest.mark.parametrize(
    "line", ["{", "words", "null", "[]", "{}", '{"digest": "x"}', '{"architecture": {"encoder": "swin"}}', ""]
)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_damaged_line_is_told_by_its_number(
    run: Run, candidates: list[Candidate], tells: Tells, line: str, number: int
) -> None:
    edit(run, lambda lines: [*lines[: number - 1], line + "\n", *lines[number:]])

    with tells(DamagedError, run.candidates_file, f"line {number}"):
        run.candidates()


@pytest.mark.parametrize(
    "change",
    [
        {"accuracy": None},
        {"accuracy": "good"},
        {"accuracy_interval": [0.1]},
        {"accuracy_interval": 3},
        {"latency_ms": "fast"},
        {"architecture": None},
        {"packs": 3},
    ],
)
def test_candidate_of_the_wrong_types_is_damaged(
    run: Run, candidates: list[Candidate], tells: Tells, change: dict[str, Any]
) -> None:
    line = json.dumps(candidates[0].to_dict() | change) + "\n"
    edit(run, lambda lines: [line, *lines[1:]])

    with tells(DamagedError, run.candidates_file, "line 1"):
        run.candidates()


def test_candidates_that_are_not_text_are_damaged(run: Run, candidates: list[Candidate], tells: Tells) -> None:
    run.candidates_file.write_bytes(b"\xff\xfe\n" + run.candidates_file.read_bytes())

    with tells(DamagedError, run.candidates_file):
        run.candidates()


def test_folder_that_is_no_run_says_how_to_make_one(tmp_path: Path, tells: Tells) -> None:
    for ask in (Run(tmp_path).question, Run(tmp_path).candidates, lambda: Run(tmp_path).find("best")):
        with tells(MissingError, tmp_path, "run.json", "supersam search"):
            ask()


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "3", "{}", '{"schema": "new"}', '{"schema": null}'])
def test_damaged_question_is_told_in_one_line(run: Run, tells: Tells, text: str) -> None:
    run.question_file.write_text(text)

    with tells(DamagedError, run.question_file, "damaged"):
        run.question()


def test_question_that_is_not_text_is_told_in_one_line(run: Run, tells: Tells) -> None:
    run.question_file.write_bytes(b"\xff\xfe{}")

    with tells(DamagedError, run.question_file):
        run.question()


def test_run_of_a_newer_version_asks_for_an_upgrade(run: Run, candidates: list[Candidate], tells: Tells) -> None:
    run.question_file.write_text(json.dumps({"schema": 2, **QUESTION}))

    for ask in (run.question, run.candidates, lambda: run.find("best")):
        with tells(DamagedError, run.folder, "newer version", "schema 2", "upgrade"):
            ask()


# Finding


def test_best_is_what_the_result_says(run: Run, candidates: list[Candidate]) -> None:
    run.result_file.write_text(json.dumps({"best": candidates[1].to_dict()}))

    assert run.find("best") == candidates[1]


def test_best_of_an_unfinished_run_says_how_to_finish_it(run: Run, candidates: list[Candidate], tells: Tells) -> None:
    with tells(MissingError, run.folder, "no result yet", "--resume"):
        run.find("best")


def test_best_of_a_run_that_met_no_budget_is_told(run: Run, candidates: list[Candidate], tells: Tells) -> None:
    run.result_file.write_text('{"best": null}')

    with tells(UsageError, run.folder, "met its budget"):
        run.find("best")


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "{}", '{"best": 3}', '{"best": {}}', '{"best": []}'])
def test_damaged_result_is_told_in_one_line(run: Run, candidates: list[Candidate], tells: Tells, text: str) -> None:
    run.result_file.write_text(text)

    with tells(DamagedError, run.result_file, "damaged"):
        run.find("best")


@pytest.mark.parametrize("digest", ["0000000000", "", "BEST"])
def test_unknown_digest_says_where_they_are_listed(
    run: Run, candidates: list[Candidate], tells: Tells, digest: str
) -> None:
    with tells(UsageError, repr(digest), "10 characters", run.candidates_file, "best"):
        run.find(digest)


def test_runs_of_a_folder_are_listed_newest_first(tmp_path: Path) -> None:
    for age, name in enumerate(("b", "c", "a")):
        Run(tmp_path / name).start(QUESTION)
        os.utime(Run(tmp_path / name).question_file, (1000 - age, 1000 - age))
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").touch()

    assert [run.folder.name for run in list_runs(tmp_path)] == ["b", "c", "a"]
    assert list_runs(tmp_path / "c") == [Run(tmp_path / "c")]
    assert list_runs(tmp_path / "notes") == []
    assert list_runs(tmp_path / "none") == []


# Archives


@pytest.fixture
def archive(tmp_path: Path, candidate: Make) -> tuple[Path, list[Candidate]]:
    found = [candidate(1.0, 0.25), candidate(2.0, 0.5)]
    measured = [
        {
            "architecture": one.architecture.to_dict(),
            "accuracy": one.accuracy.value,
            "interval": one.accuracy.interval,
            "packs": one.accuracy.packs,
        }
        for one in found
    ]
    path = tmp_path / "archive.json"
    path.write_text(json.dumps({"protocol": {"split": "val"}, "measured": measured}))
    return path, found


def test_archive_gives_back_what_was_measured(archive: tuple[Path, list[Candidate]]) -> None:
    path, found = archive

    loaded = load_archive(path)

    assert loaded.protocol == {"split": "val"}
    assert loaded.measured == {one.architecture: one.accuracy for one in found}
    assert loaded.find(found[1].digest) == found[1].architecture
    assert loaded.find("0000000000") is None


def test_missing_archive_is_told_apart_from_a_damaged_one(tmp_path: Path, tells: Tells) -> None:
    with tells(MissingError, tmp_path / "none.json"):
        load_archive(tmp_path / "none.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        '{"measured": []}',
        '{"protocol": {}, "measured": 3}',
        '{"protocol": {}, "measured": [3]}',
        '{"protocol": {}, "measured": [{}]}',
        '{"protocol": {}, "measured": [{"architecture": {"encoder": "swin"}}]}',
    ],
)
def test_damaged_archive_is_told_in_one_line(tmp_path: Path, tells: Tells, text: str) -> None:
    path = tmp_path / "archive.json"
    path.write_text(text)

    with tells(DamagedError, path, "damaged"):
        load_archive(path)


def test_archive_that_is_not_text_is_told_in_one_line(tmp_path: Path, tells: Tells) -> None:
    path = tmp_path / "archive.json"
    path.write_bytes(b"\xff\xfe{}")

    with tells(DamagedError, path, "damaged"):
        load_archive(path)
