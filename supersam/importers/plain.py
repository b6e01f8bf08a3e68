"""Times from a CSV file of one's own: whole networks, and parts by their keys."""

from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from supersam._yaml import explain
from supersam.errors import DamagedError
from supersam.importers.conditions import Conditions, positive_ms, table_of
from supersam.importers.rows import read_rows
from supersam.latency import Entry, LatencyTable, Network
from supersam.latency.format import Scope
from supersam.space.parts import ARGUMENTS, part_from_key

NEEDED = ("name", "ms")
TIMES = ("lo", "hi", "p25", "p75", "p99")
KNOWN = (*NEEDED, *TIMES, "samples", "rounds", "scope", "source")


def import_csv(path: Path, conditions: Conditions) -> LatencyTable:
    """Return the table of a CSV file with the columns ``name`` and ``ms`` and any of ``KNOWN``.

    A name that is the key of a part, such as ``vit:16:128:4:0:16``, becomes an entry, any other one a network.
    ``rounds`` are times separated by spaces; ``scope`` says how a part was timed (isolated if nothing does).

    Raises:
        DamagedError: if a row cannot be used, with file and line.
    """
    columns, rows = read_rows(path)
    wrong = [column for column in NEEDED if column not in columns] or [c for c in columns if c not in KNOWN]
    if wrong:
        known = f"columns are {', '.join(KNOWN)}, of which name and ms are needed"
        there = ", ".join(map(repr, columns)) or "nothing"
        raise DamagedError(f"{path}:1: {known}, separated by commas; there is {there}; look at {wrong[0]!r}")
    entries: dict[str, Entry] = {}
    networks: dict[str, Network] = {}
    for line, row in rows:
        where = f"{path}:{line}"
        name = row["name"].strip()
        if not name or name in entries or name in networks:
            raise DamagedError(f"{where}: {f'{name} is there twice' if name else 'there is no name'}")
        values = _values(path, line, row)
        try:
            if name.partition(":")[0] in ARGUMENTS:
                part_from_key(name)
                entries[name] = Entry(scope=_scope(row), **values)
            else:
                networks[name] = Network(**values)
        except ValidationError as problem:
            raise DamagedError(f"{where}: {explain(problem)}") from problem
        except ValueError as problem:
            raise DamagedError(f"{where}: {problem}") from problem
    if not entries and not networks:
        raise DamagedError(f"{path}:1: there are no rows")
    return table_of(
        conditions,
        networks=networks,
        entries=entries,
        defaults={},
        clock="published",
        source=f"imported from {path.name}",
        note="as its author gives it",
    )


def _values(path: Path, line: int, row: dict[str, str]) -> dict[str, Any]:
    def ms(text: str, column: str) -> float:
        return positive_ms(text.strip(), path, line, column)

    values: dict[str, Any] = {name: ms(row[name], name) for name in ("ms", *TIMES) if row.get(name, "").strip()}
    if "ms" not in values:
        ms(row["ms"], "ms")
    rounds = tuple(ms(text, "rounds") for text in row.get("rounds", "").split())
    spread = (*rounds, values["ms"])
    values = {"lo": min(spread), "hi": max(spread), **values, "rounds": rounds, "method": "measured"}
    if row.get("samples", "").strip():
        values["samples"] = row["samples"].strip()
    return {**values, "source": row.get("source", "").strip()}


def _scope(row: dict[str, str]) -> Any:
    scope = row.get("scope", "").strip() or "isolated"
    if scope not in get_args(Scope):
        raise ValueError(f"the scope {scope!r} is none of {', '.join(get_args(Scope))}")
    return scope
