"""Which images belong to a split, by a folder for each split or by a hash of their names.

Besides the splits on disk there are two derived ones of each, so that the search never sees what results are reported
on: every tenth image of ``train``, by a hash of its name, is ``train-search``; the rest is ``train-fit``; and
``train2017-search`` and ``train2017-fit`` of ``train2017`` likewise.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from supersam.errors import MissingError

Item = TypeVar("Item")
PARTS = {"-fit": False, "-search": True}  # end of a derived split's name -> whether it is the tenth
COPY = re.compile(r"\.rf\.[0-9a-f]{32}(?=\.|$)")  # Roboflow's mark of an augmented copy: all of a photograph go one way
SPLIT_FOLDERS = ("train", "val", "test")


def split_on_disk(split: str) -> str:
    """Return the split whose files hold ``split``."""
    return next((split.removesuffix(end) for end in PARTS if split.endswith(end)), split)


def fit_split(split: str) -> str:
    """Return the split to learn from where ``split`` is measured on: of a derived one its other part."""
    return f"{split_on_disk(split)}-fit" if split.endswith("-search") else "train-fit"


def in_split(name: str, split: str) -> bool:
    """Say whether an image of the split on disk, by the name of its file, belongs to ``split``."""
    if split_on_disk(split) == split:
        return True
    is_tenth = hashlib.sha256(COPY.sub("", name).encode()).digest()[0] % 10 == 0
    return is_tenth == PARTS[split.removeprefix(split_on_disk(split))]


def of_split(items: Iterable[Item], name: Callable[[Item], str], split: str, place: Path) -> list[Item]:
    """Return the images of the split on disk that belong to ``split``.

    Raises:
        MissingError: if there are images and none belongs to it.
    """
    there = list(items)
    found = [item for item in there if in_split(name(item), split)]
    if there and not found:
        raise MissingError(
            f"split {split} holds none of the {len(there)} images of {place} (parted by a hash of their names)"
        )
    return found


def split_folders(folder: Path, holds: Callable[[Path], bool]) -> list[Path]:
    """Return the children that are named after a split and hold data, or the folder itself if it does."""
    children = [folder / name for name in SPLIT_FOLDERS]
    return [child for child in children if child.is_dir() and holds(child)] or [folder] * holds(folder)


def split_folder(folder: Path, split: str, holds: Callable[[Path], bool]) -> Path:
    """Return the folder of a split; a folder without a folder for each split is all ``train``.

    Raises:
        MissingError: if there is no such split.
    """
    found = {"train" if child == folder else child.name: child for child in split_folders(folder, holds)}
    if split_on_disk(split) not in found:
        raise MissingError(f"{folder} has no split {split!r} (there: {', '.join(found) or 'none'})")
    return found[split_on_disk(split)]
