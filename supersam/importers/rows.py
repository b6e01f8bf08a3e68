"""Rows of a CSV file with the lines they end on; a damaged one is named."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from supersam.errors import DamagedError
from supersam.importers.conditions import read_text


def read_rows(path: Path) -> tuple[Sequence[str], Iterator[tuple[int, dict[str, str]]]]:
    """Return the columns of a file, and its rows one by one, each with its line.

    Raises:
        MissingError: if there is no file.
        DamagedError: if it is no CSV; while the rows are read, also if one has not a value for every column.
    """
    reader = csv.DictReader(read_text(path).splitlines())
    try:
        reader.fieldnames = columns = [name.strip() for name in reader.fieldnames or ()]
    except csv.Error as problem:
        raise DamagedError(f"{path}:1: {problem}") from problem
    return columns, _rows(path, reader)


def _rows(path: Path, reader: "csv.DictReader[str]") -> Iterator[tuple[int, dict[str, str]]]:
    try:
        for row in reader:
            if None in row or None in row.values():
                raise DamagedError(f"{path}:{reader.line_num}: this row has not as many values as there are columns")
            yield reader.line_num, row
    except csv.Error as problem:  # of the line behind the last whole one
        raise DamagedError(f"{path}:{reader.line_num + 1}: {problem}") from problem
