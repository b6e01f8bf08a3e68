"""The report of experiments/0008-composition on a device whose times are known."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from supersam.profile.measure import profile
from supersam.profile.plan import plan_items
from supersam.profile.protocol import Protocol
from supersam.profile.table import write_rows
from supersam.space import load_space

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "0008-composition"
pytest.importorskip("sklearn", reason="the experiment compares with learned regressors")
pytest.importorskip("matplotlib", reason="the experiment draws")


@pytest.fixture
def experiment(script_module: Any) -> Iterator[ModuleType]:
    with script_module(EXPERIMENT / "run.py") as module:
        yield module


@pytest.mark.filterwarnings("ignore::DeprecationWarning:matplotlib.*")
def test_report_finds_what_the_device_is_made_of(
    experiment: ModuleType, board: Any, journal_file: Path, quick: Protocol, tmp_path: Path
) -> None:
    plan = plan_items(load_space("starter"), networks=12, held_out=10, isolated=True)
    table, journal = profile("board", plan, board, replace(quick, rounds=2), journal_file, clock=board.clock)
    (tmp_path / "results").mkdir()
    table.save(tmp_path / "cpu-x86-1t.json")
    write_rows(tmp_path / "results" / "onnxruntime.csv", journal.timings)
    (tmp_path / "README.md").write_text(f"before\n{experiment.MARKS[0]}\nold\n{experiment.MARKS[1]}\nafter\n")

    experiment.report(tmp_path, tmp_path)

    rows = list(csv.DictReader((tmp_path / "results" / "predictions.csv").read_text().splitlines()))
    assert {row["digest"] for row in rows} == {architecture.digest for architecture in plan.held_out}
    for row in rows:
        assert float(row[experiment.OURS]) == pytest.approx(float(row["measured_ms"]), rel=2e-3)
        assert float(row["parts alone, plain sum"]) > float(row["measured_ms"])  # they pay for input and output
    found = csv.DictReader((tmp_path / "results" / "scores.csv").read_text().splitlines())
    scores = {score["predictor"]: score for score in found}
    assert float(scores[experiment.OURS]["mape_pct"]) < 0.2
    assert float(scores[experiment.OURS]["kendall"]) > 0.99
    assert float(scores["a + b * MACs"]["mape_pct"]) > 1
    assert float(scores["(noise) first round for the last"]["mape_pct"]) == 0
    page = (tmp_path / "README.md").read_text()
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert f"| onnxruntime | {experiment.OURS} |" in page
    assert f"mean of {experiment.SPLITS} random splits" in page
    run = experiment.read_run("onnxruntime", tmp_path / "results" / "onnxruntime.csv", tmp_path / "cpu-x86-1t.json")
    assert 50 < experiment.coverage_in_splits_pct(run, splits=20) <= 100
    assert "old" not in page
    assert (tmp_path / "figure.png").stat().st_size > 5000


def test_a_second_measurement_is_scored_by_both_tables(
    experiment: ModuleType, board: Any, journal_file: Path, quick: Protocol, tmp_path: Path
) -> None:
    plan = plan_items(load_space("starter"), networks=12, held_out=4)
    table, _ = profile("board", plan, board, replace(quick, rounds=2), journal_file, clock=board.clock)
    (tmp_path / "results" / "again").mkdir(parents=True)
    table.save(tmp_path / "cpu.json")
    slower = {
        key: one.model_copy(update={"ms": 1.2 * one.ms, "lo": 1.2 * one.lo, "hi": 1.2 * one.hi})
        for key, one in table.networks.items()
    }
    table.model_copy(update={"networks": slower}).save(tmp_path / "results" / "again" / "cpu.json")
    (tmp_path / "README.md").write_text("before {}\n{}\nafter\n".format(*experiment.AGAIN))

    experiment.report_again(tmp_path, tmp_path)

    cells = [line.split(" | ") for line in (tmp_path / "README.md").read_text().splitlines() if "| board" in line]
    assert [(row[2], row[4]) for row in cells] == [
        ("0.0 %", "+0.0 %"),
        ("16.7 %", "-16.7 %"),  # the second's entries are those of the first
        ("16.7 %", "-16.7 %"),
        ("0.0 %", "+0.0 %"),
    ]


def test_report_without_measurements_says_what_to_do(experiment: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="measure --runtime"):
        experiment.report(tmp_path, tmp_path)
