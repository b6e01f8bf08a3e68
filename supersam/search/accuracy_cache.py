"""Measured accuracies on disk, by architecture, data and weights, so that no measurement is made twice."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supersam._paths import cache_dir, write_atomically
from supersam.results import Accuracy
from supersam.search.ledger import accuracy_from_dict

if TYPE_CHECKING:
    from supersam.data.records import Pack


def data_fingerprint(data: Path, splits: list[str], packs: "Iterable[Pack]" = ()) -> str:
    """Return a hash of what would be read: annotations and label masks whole, all other files by name and size.

    Args:
        data: a folder, or an annotation file, whose images are those of ``packs``.
        splits: annotation files of others are not read.
    """
    if data.is_file():
        root, whole = data.parent, {data}
        files = list(dict.fromkeys([data, *(path for pack in packs for path in pack.paths)]))
    else:
        root, files = data, sorted(_files(data))
        whole = {path for path in files if _is_annotation(path.relative_to(root), splits)}
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{os.path.relpath(path, root)} {path.stat().st_size if path.is_file() else None}\n".encode())
        if path in whole:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, also behind links, as the readers follow them."""
    for parent, children, names in os.walk(folder, followlinks=True):
        here = Path(parent).resolve()  # a link to a folder that holds it would lead round
        children[:] = [child for child in children if not here.is_relative_to(Path(parent, child).resolve())]
        yield from (path for name in names if (path := Path(parent, name)).is_file())


def _is_annotation(path: Path, splits: list[str]) -> bool:
    """Return whether a file says what is in the images: JSON (in ``annotations/``, of these splits), a label mask."""
    if path.suffix == ".json":
        return path.parent.name != "annotations" or any(
            re.search(rf"{re.escape(split)}(\d{{4}})?$", path.stem) for split in splits
        )
    return "masks" in path.parent.parts


@dataclass(frozen=True)
class Measurement:
    """What was measured of an architecture, also after a part of the images, which halving compares."""

    accuracy: Accuracy
    rungs: tuple[tuple[Accuracy, int], ...] = ()  # with the number of images


class AccuracyCache:
    """The accuracies of one protocol: weights, data, split, images, masks, prompts."""

    def __init__(self, protocol: dict[str, Any], folder: Path | None = None) -> None:
        self.key = hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:20]
        self.folder = (folder or cache_dir() / "accuracy") / self.key
        self.protocol = protocol

    def get(self, digest: str) -> Measurement | None:
        """Return what was measured, or None; a damaged file counts as none and is measured again."""
        try:
            content = json.loads((self.folder / f"{digest}.json").read_text())
            accuracy = accuracy_from_dict(content)
            rungs = tuple((accuracy_from_dict(one), int(n_images)) for one, n_images in content.get("rungs", ()))
            return Measurement(accuracy, rungs)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, digest: str, measurement: Measurement) -> None:
        """Keep a measurement."""
        about = self.folder / "protocol.json"
        if not about.is_file():
            write_atomically(about, json.dumps(self.protocol, indent=1) + "\n")
        fields = asdict(measurement)
        write_atomically(self.folder / f"{digest}.json", json.dumps({**fields.pop("accuracy"), **fields}) + "\n")
