"""Rows of an experiment that can be stopped and continued, and the part of the README that is written from them."""

import csv
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from supersam._paths import write_atomically

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")  # two processes, one thread each; imported before numpy
HERE = Path(__file__).parent
README = HERE / "README.md"


class Records:
    """A CSV file that grows row by row; a row torn by a crash is dropped when the file is opened."""

    def __init__(self, file: Path, columns: Sequence[str]) -> None:
        self.file, self.columns = file, list(columns)
        text = file.read_text() if file.is_file() else ",".join(self.columns) + "\n"
        if text.partition("\n")[0] != ",".join(self.columns):
            raise SystemExit(f"{file} has other columns; it is of another version of this script, move it away")
        if not file.is_file() or not text.endswith("\n"):
            write_atomically(file, text[: text.rfind("\n") + 1])

    def rows(self) -> list[dict[str, str]]:
        """Return all rows, the values as text."""
        with self.file.open(newline="") as file:
            return list(csv.DictReader(file))

    def append(self, row: dict[str, Any]) -> None:
        """Add a row in one write; None is an empty cell."""
        with self.file.open("a", newline="") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)

    def keys(self, *names: str) -> set[tuple[str, ...]]:
        """Return what is done, by the text of some columns."""
        return {tuple(row[name] for name in names) for row in self.rows()}


def spread(work: Callable[[Any], Any], tasks: Iterable[Any], processes: int) -> Iterator[Any]:
    """Yield the results of all tasks as they come, from some processes; one is this process itself."""
    if processes == 1:
        yield from map(work, tasks)
        return
    with get_context("spawn").Pool(processes, signal.signal, (signal.SIGINT, signal.SIG_IGN), 20) as pool:
        yield from pool.imap_unordered(work, tasks)


@contextmanager
def stoppable() -> Iterator[None]:
    """End with one line on Ctrl-C and on SIGTERM; rows that were written stay, workers and servers are stopped."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        print("\nInterrupted; what is finished is kept. Give the same command to go on.", file=sys.stderr)
        sys.exit(130)


def write_between(name: str, lines: Sequence[str]) -> None:
    """Replace what stands in the README between the two markers of a name."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    text = README.read_text()
    if begin not in text or end not in text:
        raise SystemExit(f"{README} has no markers {begin} ... {end}")
    before, after = text.partition(begin)[0], text.partition(end)[2]
    write_atomically(README, f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]
