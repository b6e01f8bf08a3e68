"""Reading latency tables: from their files, by name or alias; what is wrong is told with its line."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from supersam._paths import data_dir
from supersam.errors import LatencyTableError, MissingError, UsageError, suggest
from supersam.latency.format import Fault
from supersam.latency.lines import line_of, repeated_key
from supersam.latency.table import SCHEMA, LatencyTable


def read_table(path: Path) -> LatencyTable:
    """Read a table from its file.

    Raises:
        MissingError: if there is no such file.
        LatencyTableError: if it is damaged or of another schema.
    """
    if not path.is_file():
        raise MissingError(f"there is no latency table {path}")
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as problem:
        raise LatencyTableError(f"latency table {path} is damaged ({problem})") from problem
    return parse_table(text, str(path))


def parse_table(text: str, where: str) -> LatencyTable:
    """Read a table from the text of its file.

    Args:
        where: the name of the file, for messages.

    Raises:
        LatencyTableError: if it is damaged or of another schema; the message names the line.
    """
    try:
        content = json.loads(text, object_pairs_hook=_once)
        json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair could not be printed
    except json.JSONDecodeError as problem:
        raise _damaged(f"{where}:{problem.lineno}", problem.msg) from problem
    except _Twice as problem:
        key, line = repeated_key(text)
        raise _damaged(f"{where}:{line}", f"the key {key!r} is there twice") from problem
    except (ValueError, RecursionError) as problem:
        raise _damaged(where, str(problem)) from problem
    if not isinstance(content, dict):
        raise _damaged(f"{where}:1", f"it must be a dictionary, not {type(content).__name__}")
    schema = content.get("schema")
    if type(schema) is int and schema != SCHEMA:
        remedy = "install a newer supersam" if schema > SCHEMA else "measure it again with: supersam profile"
        raise LatencyTableError(
            f"latency table {where}:{line_of(text, ('schema',))} has schema {schema}, this version reads {SCHEMA}; "
            f"{remedy}"
        )
    try:
        return LatencyTable.model_validate(content)
    except ValidationError as problem:
        keys, what = _first(problem)
        more = f" (and {problem.error_count() - 1} more)" if problem.error_count() > 1 else ""
        at = ".".join(keys) or "file"
        raise _damaged(f"{where}:{line_of(text, keys)}", f"{at}: {what}{more}") from problem


class _Twice(Exception):
    """A key that a dictionary has twice; JSON would keep the last one in silence."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice
    return found


def _first(problem: ValidationError) -> tuple[tuple[str, ...], str]:
    """Return at which keys the first problem is, and what it is."""
    first = problem.errors()[0]
    keys = tuple(str(key) for key in first["loc"])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, Fault):
        return (*keys, *cause.where), str(cause)
    return keys, first["msg"]


def _damaged(where: str, what: str) -> LatencyTableError:
    return LatencyTableError(f"latency table {where} is damaged: {' '.join(what.split())}")


def shipped_tables(folder: Path | None = None) -> dict[str, Path]:
    """Return the tables of a folder (default: the shipped ones) by name."""
    return {path.stem: path for path in sorted((folder or data_dir("latency_tables")).glob("*.json"))}


def load_table(device: str, folder: Path | None = None) -> LatencyTable:
    """Load the table of a device by name, that of its file, alias or path.

    Raises:
        UsageError: if no table has this name, or several have.
    """
    if device.endswith(".json"):
        return read_table(Path(device))
    files = shipped_tables(folder)
    of_file = read_table(files[device]) if device in files else None
    if of_file is not None and of_file.name == device:
        return of_file
    tables, damaged = _readable(files.values())
    named = {path: table for path, table in tables.items() if table.name == device}
    aliased = {path: table for path, table in tables.items() if device in table.aliases}
    found = _one_of(device, named) or of_file or _one_of(device, aliased)
    if found is not None:
        return found
    if damaged is not None:
        raise damaged
    names = [*files, *(name for table in tables.values() for name in (table.name, *table.aliases))]
    raise UsageError(
        f"unknown device {device!r}.{suggest(device, names)} Devices: {', '.join(sorted(set(names)))}. "
        "List them with: supersam devices; add your own with: supersam profile --device NAME"
    )


def _readable(paths: Iterable[Path]) -> tuple[dict[Path, LatencyTable], LatencyTableError | None]:
    """Return the tables that can be read, and what is wrong with another: it may not be the one asked for."""
    tables: dict[Path, LatencyTable] = {}
    damaged: LatencyTableError | None = None
    for path in paths:
        try:
            tables[path] = read_table(path)
        except LatencyTableError as problem:
            damaged = problem
    return tables, damaged


def _one_of(name: str, tables: dict[Path, LatencyTable]) -> LatencyTable | None:
    if len(tables) > 1:
        raise UsageError(f"{name!r} is a name of several tables, give the path of one: {', '.join(map(str, tables))}")
    return next(iter(tables.values()), None)


def alias_of(name: str) -> str | None:
    """Return the shipped table that has this other name, inside its file or as an alias, if one has."""
    tables, _ = _readable(shipped_tables().values())
    others = (path.stem for path, table in tables.items() if path.stem != name and name in (table.name, *table.aliases))
    return next(others, None)
