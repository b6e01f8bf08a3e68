"""The log of a run: rows that resume, a cut-off row forgotten, TensorBoard, lines with losses and ETA."""

import builtins
import csv

import pytest

from supersam.errors import EnvironmentProblem
from supersam.train import progress
from supersam.train.loop import train
from supersam.train.progress import COLUMNS, LOG_FILE, LOSSES, forget_after


@pytest.fixture(autouse=True)
def _rows_come_often(monkeypatch):
    monkeypatch.setattr(progress, "LOG_EVERY", 2)


def rows_of(folder):
    with (folder / LOG_FILE).open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_log_has_a_row_every_few_steps_and_none_twice(changed):
    logged = []
    for steps in (1, 5, 6):  # the last step has a row, until a longer run goes on from there
        train(changed(steps=steps), resume=steps > 1)
        logged.append([int(row["step"]) for row in rows_of(changed().out)])

    assert logged == [[1], [2, 4, 5], [2, 4, 6]]
    rows = rows_of(changed().out)
    assert list(rows[0]) == [*COLUMNS, *LOSSES]
    assert [int(row["images"]) for row in rows] == [4, 8, 12]
    assert all(float(row[name]) > 0 for row in rows for name in ("images_per_s", "gradient_norm", *LOSSES))
    assert b"\r" not in (changed().out / LOG_FILE).read_bytes()


def test_steps_that_will_run_again_and_a_row_that_was_cut_off_are_forgotten(tmp_path):
    header = ",".join([*COLUMNS, *LOSSES])
    row = ",1" * (header.count(","))
    (tmp_path / LOG_FILE).write_text(f"{header}\n10{row}\n20{row}\n30{row}\n1")

    forget_after(tmp_path, 20, 40)

    assert (tmp_path / LOG_FILE).read_text() == f"{header}\n10{row}\n20{row}\n"
    forget_after(tmp_path / "nothing", 20, 40)


def test_a_subnet_alone_has_no_largest_and_no_smallest(changed):
    config = changed(steps=2, phases=[{"subnets": "uniform", "resolution_weights": {64: 1.0}}])
    train(config)

    (row,) = rows_of(config.out)
    assert float(row["loss"]) > 0
    assert row["largest"] == row["smallest"] == row["random"] == ""


def test_lines_tell_losses_speed_and_what_is_left_from_the_first_step_on(changed, capsys, monkeypatch):
    monkeypatch.setattr(progress, "LOG_EVERY", 3)
    train(changed(steps=4))

    *others, line = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert [other.partition("  ")[0] for other in others] == ["step 1/4", "step 3/4"]
    assert line.startswith("step 4/4  loss ")
    for word in ("largest", "smallest", "random", "images/s", "eta 0 min"):
        assert word in line


def test_tensorboard_has_the_losses_and_is_wound_back_on_resuming(changed):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(changed(steps=2, tensorboard=True))
    train(changed(steps=3, tensorboard=True), resume=True)

    events = EventAccumulator(str(changed().out / "tensorboard")).Reload()
    assert {"loss", "largest", "smallest", "learning_rate", "gradient_norm"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3]


def test_without_tensorboard_one_line_says_what_to_install(changed, tells, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if "tensorboard" in name:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with tells(EnvironmentProblem, "supersam[train]", LOG_FILE):
        train(changed(steps=1, tensorboard=True))
