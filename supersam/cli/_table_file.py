"""Where a command writes the latency table it makes."""

import os
from pathlib import Path


def table_file(name: str, out: Path | None, overwrite: bool) -> Path:
    """Return the file of a table: what was asked for, else beside the shipped tables.

    Raises:
        UsageError: if the name is none that a table may have, or another's alias, ``--device`` would not take the file,
            it exists, or cannot be written.
    """
    import re

    from supersam._paths import data_dir
    from supersam.errors import UsageError
    from supersam.latency import alias_of
    from supersam.latency.table import NAME

    if not re.fullmatch(NAME, name):
        raise UsageError(f"{name!r} is no name of a table: lower case letters, digits, - and ., such as my-laptop")
    other = alias_of(name) if out is None else None
    if other is not None:
        raise UsageError(
            f"{name} is another name of the table {other}, which would be hidden; choose a name of your own"
        )
    path = out or data_dir("latency_tables") / f"{name}.json"
    if path.suffix != ".json":
        raise UsageError(f"the file of a latency table ends in .json, {path} does not")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; replace it with --overwrite or choose another name")
    if not os.access(next(place for place in path.parents if place.exists()), os.W_OK):
        raise UsageError(f"{path} cannot be written; choose another --out")
    return path
