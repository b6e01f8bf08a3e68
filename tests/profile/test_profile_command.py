"""``supersam profile`` from the command line, on a device whose times are known."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from supersam.cli.main import app
from supersam.errors import EnvironmentProblem, UsageError
from supersam.latency import read_table
from supersam.profile import machine, measure, onnx_files, protocol, runtimes
from supersam.space import StagedSpace

Command = Callable[..., Any]


@pytest.fixture
def command(board: Any, space: StagedSpace, quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run ``supersam profile`` of the space on the board."""
    real = measure.profile
    monkeypatch.setitem(runtimes.RUNTIMES, "board", board)
    monkeypatch.setattr(measure, "profile", lambda *a: real(*a, clock=board.clock))
    monkeypatch.setattr(measure, "estimate_seconds", lambda *a: 150.0)
    monkeypatch.setattr(protocol, "Protocol", lambda clock, rounds: type(quick)(clock, rounds, 2, 0.0, 0.0))
    monkeypatch.setattr(machine, "disturbances", list)
    monkeypatch.setattr(machine, "pin", lambda: 1)
    monkeypatch.setenv("SUPERSAM_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(space.model_dump(mode="json")))

    def run(*options: str) -> Any:
        wanted = ["--device", "board", "--space", str(file), "--out", str(tmp_path / "board.json"), "--networks", "5"]
        return CliRunner().invoke(app, ["profile", *wanted, "--runtime", "board", *options])

    return run


def test_table_and_rows_are_written_and_the_journal_removed(command: Command, tmp_path: Path) -> None:
    done = command("--held-out", "3", "--isolated", "--rows", str(tmp_path / "rows.csv"), "--json")

    assert done.exit_code == 0, done.output
    table = read_table(tmp_path / "board.json")
    answer = json.loads(done.stdout)
    assert answer["path"] == str(tmp_path / "board.json")
    assert (answer["n_entries"], answer["n_networks"]) == (len(table.entries), 8)
    assert sum(answer["scopes"].values()) == len(table.entries)
    assert "3 rounds with board on core 1, about 2 minutes" in done.stderr
    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    assert set(table.entries) < {row["item"] for row in rows}
    assert not list(tmp_path.glob("*.jsonl"))


def test_existing_table_is_kept_unless_told_otherwise(command: Command, tmp_path: Path) -> None:
    (tmp_path / "board.json").write_text("mine")

    refused = command("--rounds", "1")
    assert isinstance(refused.exception, UsageError)
    assert "--overwrite" in str(refused.exception)
    assert (tmp_path / "board.json").read_text() == "mine"
    assert command("--rounds", "1", "--overwrite").exit_code == 0


@pytest.mark.parametrize("name", ["My-Laptop", "my_laptop", "../board", ".board", "", "b\n"])
def test_name_that_no_table_may_have_is_refused_before_anything_is_measured(
    command: Command, board: Any, tmp_path: Path, name: str
) -> None:
    before = sorted(tmp_path.iterdir())

    refused = command("--device", name)

    assert isinstance(refused.exception, UsageError)
    assert "no name of a table" in str(refused.exception)
    assert not board.prepared
    assert sorted(tmp_path.iterdir()) == before


OF_SSH = ["--precision", "--ssh-option", "--remote-program", "--remote-option", "--remote-python", "--remote-folder"]


@pytest.mark.parametrize("option", OF_SSH)
def test_option_of_a_device_over_ssh_is_refused_without_one(command: Command, board: Any, option: str) -> None:
    refused = command(option, "fp16")

    assert isinstance(refused.exception, UsageError)
    assert f"{option} is for --ssh" in str(refused.exception)
    assert not board.prepared


@pytest.mark.parametrize("options", [("--wait", "9"), ("--export-only",)])
def test_option_of_this_machine_is_refused_for_a_device_over_ssh(command: Command, options: tuple[str, ...]) -> None:
    refused = command("--ssh", "me@board", *options)

    assert isinstance(refused.exception, UsageError)
    assert f"{options[0]} is for this machine" in str(refused.exception)


def test_file_that_no_device_option_would_take_is_refused_before_anything_is_measured(
    command: Command, board: Any, tmp_path: Path
) -> None:
    refused = command("--out", str(tmp_path / "board.yaml"))

    assert isinstance(refused.exception, UsageError)
    assert "ends in .json" in str(refused.exception)
    assert not board.prepared


def test_busy_machine_is_refused_and_force_is_recorded(
    command: Command, board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "disturbances", lambda: ["the machine is busy"])

    refused = command()
    assert isinstance(refused.exception, EnvironmentProblem)
    assert not board.prepared
    assert command("--rounds", "1", "--force").exit_code == 0
    assert read_table(tmp_path / "board.json").quality.forced == ("the machine is busy",)


def test_interrupted_measurement_keeps_its_journal_and_goes_on(command: Command, board: Any, tmp_path: Path) -> None:
    own = board.prepare

    def interrupt(model: Any) -> Any:
        if len(board.prepared) == 40:
            raise KeyboardInterrupt
        return own(model)

    board.prepare = interrupt
    stopped = command("--rounds", "1")
    board.prepare = own
    finished = command("--rounds", "1")

    assert (stopped.exit_code, finished.exit_code) == (130, 0)
    assert "same command again" in stopped.stderr
    assert str(tmp_path / "board.partial.jsonl") in stopped.stderr.replace("\n", "")
    again = {name for name in board.prepared if board.prepared.count(name) > 1}
    assert len(again) == 1  # the sentinel


def test_export_only_fills_the_cache_and_times_nothing(
    command: Command, board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_files, "to_onnx", lambda module, x, opset: b"a model")

    first, second = command("--export-only"), command("--export-only")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert len(list((tmp_path / "cache" / "onnx").iterdir())) > 20
    assert "every ONNX file is in the cache" in second.stderr
    assert not board.prepared
    assert not (tmp_path / "board.json").exists()
