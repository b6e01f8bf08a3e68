"""Where a command writes the latency table it makes."""

from pathlib import Path


def table_file(name: str, out: Path | None, overwrite: bool) -> Path:
    """Return the file of a table: what was asked for, else beside the shipped tables.

    Raises:
        UsageError: if the name is none that a table may have, ``--device`` would not take the file, or it exists.
    """
    import re

    from supersam._paths import data_dir
    from supersam.errors import UsageError
    from supersam.latency.table import NAME

    if not re.fullmatch(NAME, name):
        raise UsageError(f"{name!r} is no name of a table: lower case letters, digits, - and ., such as my-laptop")
    path = out or data_dir("latency_tables") / f"{name}.json"
    if path.suffix != ".json":
        raise UsageError(f"the file of a latency table ends in .json, {path} does not")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; replace it with --overwrite or choose another name")
    return path
