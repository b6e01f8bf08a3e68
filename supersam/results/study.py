"""The trials of a study as they stand, read from Optuna's SQLite file without Optuna and without writing.

A search may be writing into the same file: it is opened read-only, and a reader never holds a writer up
(write-ahead log). Nothing is left beside a study that nobody writes. The tables are those of schema version 12,
which Optuna has had since 3.0.
"""

import json
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from supersam.errors import DamagedError, MissingError

SCHEMA = 12
STATES = ("RUNNING", "WAITING", "COMPLETE", "PRUNED", "FAIL")
ATTRIBUTES = ("worker", "rejected")  # what a search notes about a trial
PATIENCE_S = 2.0  # how long a locked file is waited for


@dataclass(frozen=True)
class Trial:
    """One trial of a study."""

    number: int
    state: str  # one of STATES
    started: datetime | None = None  # local time, as Optuna writes it
    ended: datetime | None = None
    worker: str = ""  # who runs it, where the search says so
    rejected: str = ""  # why it was not evaluated, where the search says so

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return (self.ended - self.started).total_seconds() if self.started and self.ended else None


def read_trials(file: Path, name: str | None = None) -> list[Trial]:
    """Return the trials of a study of a file, by number.

    Args:
        name: of the study (default: the first of the file).

    Raises:
        MissingError: if there is no file, or no study of this name.
        DamagedError: if it is locked, of a newer schema, or not a study.
    """
    if not file.is_file():
        raise MissingError(f"there is no study {file}")
    try:
        return _read(file, name)
    except sqlite3.OperationalError as problem:
        why = "is locked by another program; it is read again later" if "locked" in str(problem) else f"({problem})"
        raise DamagedError(f"study {file} cannot be read: {why}") from problem
    except (sqlite3.DatabaseError, TypeError, ValueError, LookupError) as problem:
        raise DamagedError(f"study {file} is damaged ({problem})") from problem


def _read(file: Path, name: str | None) -> list[Trial]:
    """Read what nobody writes as it stands, since SQLite would leave an empty log beside it; else with the log."""
    stamp = _stamp(file)
    if stamp is not None:
        with suppress(sqlite3.DatabaseError):  # a writer may have begun meanwhile
            trials = _read_by(file, name, "immutable=1")
            if _stamp(file) == stamp:
                return trials
    return _read_by(file, name, "mode=ro")


def _stamp(file: Path) -> tuple[int, int] | None:
    """Return size and time of a study without a log of changes, None where there is one."""
    if any(file.with_name(file.name + ending).exists() for ending in ("-wal", "-journal")):
        return None
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _read_by(file: Path, name: str | None, how: str) -> list[Trial]:
    address = f"file:{quote(str(file.resolve()))}?{how}"
    with closing(sqlite3.connect(address, uri=True, timeout=PATIENCE_S)) as connection:
        _check_schema(connection, file)
        return _trials(connection, _study(connection, file, name))


def _check_schema(connection: sqlite3.Connection, file: Path) -> None:
    row = connection.execute("SELECT schema_version FROM version_info").fetchone()
    if row is None or int(row[0]) != SCHEMA:
        version = "none" if row is None else row[0]
        raise DamagedError(
            f"study {file} has schema {version} of Optuna, this version reads {SCHEMA}; upgrade supersam"
        )


def _study(connection: sqlite3.Connection, file: Path, name: str | None) -> int | None:
    if name is None:
        (first,) = connection.execute("SELECT min(study_id) FROM studies").fetchone()
        return first
    row = connection.execute("SELECT study_id FROM studies WHERE study_name = ?", (name,)).fetchone()
    if row is None:
        raise MissingError(f"there is no study {name!r} in {file}")
    return int(row[0])


def _trials(connection: sqlite3.Connection, study: int | None) -> list[Trial]:
    found = connection.execute(
        "SELECT trial_id, number, state, datetime_start, datetime_complete FROM trials WHERE study_id = ? "
        "ORDER BY number",
        (study,),
    ).fetchall()
    marks = ",".join("?" * len(ATTRIBUTES))
    noted: dict[int, dict[str, str]] = {}
    query = (
        f"SELECT trial_id, key, value_json FROM trial_user_attributes WHERE key IN ({marks}) "
        "AND trial_id IN (SELECT trial_id FROM trials WHERE study_id = ?)"
    )
    for trial, key, value in connection.execute(query, (*ATTRIBUTES, study)):
        noted.setdefault(trial, {})[key] = str(json.loads(value))
    return [
        Trial(int(number), str(state), _time(started), _time(ended), **noted.get(trial, {}))
        for trial, number, state, started, ended in found
    ]


def _time(text: Any) -> datetime | None:
    return None if text is None else datetime.fromisoformat(str(text))
