"""Remember what was made from files until the files change."""

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

Made = TypeVar("Made")
Stamp = tuple[tuple[int, int], ...]  # (modified, size) of each file; the size tells two writes of one clock tick apart


def stamp(files: Iterable[Path]) -> Stamp:
    """Return what changes when one of the files does; a file that is not there counts as empty."""
    return tuple(_stamp(file) for file in files)


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


class FileCache:
    """One value for each key, made again when its stamp differs.

    Callbacks of one page ask for the same at once: the first makes it, the others wait for it. What is made may ask for
    other keys, never in a circle.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[Hashable, Any]] = {}
        self._locks: dict[Hashable, RLock] = {}

    def get(self, key: Hashable, stamped: Hashable, make: Callable[[], Made]) -> Made:
        """Return the value of ``key``; errors of ``make`` are not remembered."""
        kept = self._kept.get(key)
        if kept is None or kept[0] != stamped:
            with self._locks.setdefault(key, RLock()):
                kept = self._kept.get(key)
                if kept is None or kept[0] != stamped:
                    kept = self._kept[key] = (stamped, make())
        value: Made = kept[1]
        return value
