"""The trials of a study are read without Optuna, beside a writer, and every damage is said."""

import sqlite3
from pathlib import Path

import optuna
import pytest

from supersam.errors import DamagedError, MissingError
from supersam.results import study
from supersam.results.study import Trial, read_trials


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A study of four trials: complete, failed, rejected and running."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = tmp_path / "study.db"
    made = optuna.create_study(storage=f"sqlite:///{path}", directions=["maximize", "minimize"])
    trials = [made.ask() for _ in range(4)]
    trials[0].set_user_attr("worker", "one")
    trials[2].set_user_attr("rejected", "too slow")
    made.tell(trials[0], [0.5, 2.0])
    made.tell(trials[1], state=optuna.trial.TrialState.FAIL)
    made.tell(trials[2], state=optuna.trial.TrialState.PRUNED)
    return path


def test_every_trial_is_read_with_its_state_worker_and_times(file: Path):
    found = read_trials(file)

    assert [(t.number, t.state, t.worker, t.rejected) for t in found] == [
        (0, "COMPLETE", "one", ""),
        (1, "FAIL", "", ""),
        (2, "PRUNED", "", "too slow"),
        (3, "RUNNING", "", ""),
    ]
    assert found[0].seconds is not None
    assert found[0].seconds >= 0
    assert found[3].seconds is None


def test_a_writer_is_not_disturbed(file: Path):
    with sqlite3.connect(file) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("BEGIN IMMEDIATE")
        assert len(read_trials(file)) == 4
        writer.execute("UPDATE trials SET state = 'FAIL' WHERE number = 3")
    assert read_trials(file)[3].state == "FAIL"
    writer.close()


def test_reading_leaves_nothing_beside_a_study_that_nobody_writes(file: Path):
    with sqlite3.connect(file) as writer:
        writer.execute("PRAGMA journal_mode=WAL")  # as a search does
    writer.close()

    assert len(read_trials(file)) == 4
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_what_a_writer_begins_during_the_reading_is_read_with_its_log(file: Path, monkeypatch: pytest.MonkeyPatch):
    read, ways = study._read_by, []
    writer = sqlite3.connect(file, isolation_level=None)

    def reading(file: Path, name: str | None, how: str) -> list[Trial]:
        found = read(file, name, how)
        if not ways:
            writer.execute("PRAGMA journal_mode=WAL")
            writer.execute("UPDATE trials SET state = 'FAIL' WHERE number = 3")
        ways.append(how)
        return found

    monkeypatch.setattr(study, "_read_by", reading)
    assert read_trials(file)[3].state == "FAIL"
    assert ways == ["immutable=1", "mode=ro"]
    writer.close()


def test_a_locked_file_is_said(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study, "PATIENCE_S", 0.01)
    writer = sqlite3.connect(file, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    writer.execute("UPDATE trials SET state = 'FAIL' WHERE number = 3")  # so that there is something to undo

    with pytest.raises(DamagedError, match="locked by another program"):
        read_trials(file)
    writer.execute("ROLLBACK")
    writer.close()


def test_a_newer_schema_is_said(file: Path):
    with sqlite3.connect(file) as writer:
        writer.execute("UPDATE version_info SET schema_version = 13")
    writer.close()

    with pytest.raises(DamagedError, match="schema 13 of Optuna, this version reads 12"):
        read_trials(file)


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be read as one" * 50])
def test_what_is_no_study_is_said(tmp_path: Path, content: bytes):
    path = tmp_path / "study.db"
    path.write_bytes(content)

    with pytest.raises(DamagedError, match=r"study\.db"):
        read_trials(path)


def test_a_missing_study_is_said(tmp_path: Path):
    with pytest.raises(MissingError, match=r"there is no study .*study\.db"):
        read_trials(tmp_path / "study.db")


def test_a_trial_without_times_has_no_length():
    assert Trial(0, "WAITING").seconds is None
