"""What a file of times does not say: the user may, and what nobody says stays unknown and costs the grade."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from supersam._yaml import explain
from supersam.errors import DamagedError, MissingError, UsageError
from supersam.latency import Entry, LatencyTable, Network, Quality, best_grade, variation_pct
from supersam.latency.format import MOST_MS, Clock

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Conditions:
    """Under which the times were taken; empty or None: whatever the file says, or unknown."""

    name: str  # of the table
    device: str = ""  # for people
    kind: str = ""  # of device
    runtime: str = ""
    runtime_version: str = ""
    precision: str = ""
    threads: int | None = None
    power_mode: str = ""
    clocks_locked: bool | None = None
    gpu_mhz: float | None = None
    date: str | None = None
    source: str = ""
    licence: str = ""


def table_of(
    conditions: Conditions,
    *,
    networks: Mapping[str, Network],
    entries: Mapping[str, Entry] | None = None,
    defaults: Mapping[str, str],
    clock: Clock,
    source: str,
    note: str,
    input: str = NOT_STATED,
) -> LatencyTable:
    """Return the table of imported times with the best grade its header allows.

    Args:
        defaults: device, kind, runtime, runtime_version and precision as the file says them.

    Raises:
        UsageError: if a word of the user is not allowed in a table.
    """

    def said(name: str, otherwise: str = NOT_STATED) -> str:
        return getattr(conditions, name) or defaults.get(name, "") or otherwise

    content: dict[str, Any] = {
        "schema": 2,
        "name": conditions.name,
        "device": {"name": said("device"), "kind": said("kind", "unknown")},
        "runtime": {"name": said("runtime"), "version": said("runtime_version", "")},
        "exporter": NOT_STATED,
        "precision": said("precision"),
        "threads": conditions.threads,
        "input": input,
        "power": {
            "mode": conditions.power_mode or NOT_STATED,
            "clocks_locked": conditions.clocks_locked,
            "gpu_mhz": conditions.gpu_mhz,
        },
        "clock": clock,
        "method": "measured",
        "grade": "D",
        "date": conditions.date,
        "quality": _quality([*networks.values(), *(entries or {}).values()]),
        "sources": tuple(filter(None, (conditions.source, source))),
        "licence": conditions.licence or NOT_STATED,
        "note": note,
        "networks": dict(networks),
        "entries": dict(entries or {}),
    }
    try:
        draft = LatencyTable.model_validate(content)
    except ValidationError as problem:
        raise UsageError(f"this makes no latency table: {explain(problem)}") from problem
    throttled = any(entry.throttled for entry in draft.entries.values())
    grade = best_grade("measured", draft.date, draft.clock, draft.power, draft.quality, throttled).grade
    return draft.model_copy(update={"grade": grade})


def _quality(timed: Sequence[Entry]) -> Quality:
    """Return how far repeats differ, where there are any."""
    varies = [found for entry in timed if (found := variation_pct(entry.rounds)) is not None]
    return Quality(repeat_cv_median_pct=round(statistics.median(varies), 3) if varies else None)


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        MissingError: if there is none.
        DamagedError: if it is no text.
    """
    if not path.is_file():
        raise MissingError(f"there is no file {path}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as problem:
        raise DamagedError(f"{path} cannot be read: {problem}") from problem


def positive_ms(value: object, path: Path, line: int, what: str) -> float:
    """Return a time.

    Raises:
        DamagedError: if it is none, with file and line.
    """
    try:
        ms = float(value)  # type: ignore[arg-type]
    except (OverflowError, TypeError, ValueError):
        ms = math.nan
    if isinstance(value, bool) or not 0 < ms <= MOST_MS:
        raise DamagedError(f"{path}:{line}: {what} is {value!r:.40}, not a time above 0, at most {MOST_MS:g} ms")
    return ms
