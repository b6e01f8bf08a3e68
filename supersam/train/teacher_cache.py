"""Teacher embeddings, computed once and kept on disk: half precision, memory-mapped, resumable, checksummed.

A folder of three files:

- ``index.json``: whose embeddings these are (fingerprint of the teacher, resolution, shape, precision), and the
  fingerprint of the images once all are there;
- ``embeddings.f16``: embeddings one after the other, each in a slot of ``2 * 256 * R/16 * R/16`` bytes (2 MiB at 1024);
- ``entries.jsonl``: a line for every embedding written: image, flipped or not, slot, CRC-32, bytes of the image file.

A line is appended after its embedding has reached the disk, so a killed run loses at most the batch it was
computing. What a line does not vouch for, or what does not match its checksum, is computed again. An image whose
file has changed its size is computed again; one that does not decode is noted, left out, and tried again by the next
filling.

An embedding belongs to the whole image, resized and padded, in its own colours: a batch of other views (crops,
colour jitter) needs the teacher itself (``supersam.train.distillation.AllowedViews``).
"""

import hashlib
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supersam.data.records import ImageRecord, Pack
from supersam.data.skipped import Skipped
from supersam.errors import DamagedError, DataError, MissingError, UsageError

FORMAT = 1
INDEX, EMBEDDINGS, ENTRIES = "index.json", "embeddings.f16", "entries.jsonl"
Half = NDArray[np.float16]


@dataclass(frozen=True)
class View:
    """A view of an image that an embedding belongs to: the whole image, flipped or not."""

    image: str  # as ``image_key`` gives
    flipped: bool = False

    def __str__(self) -> str:
        return f"{self.image}{' (flipped)' if self.flipped else ''}"


@dataclass(frozen=True)
class Entry:
    """A line of ``entries.jsonl``."""

    image: str
    flipped: bool
    slot: int  # -1: the image does not decode
    crc32: int
    image_bytes: int


@dataclass(frozen=True)
class Source:
    """An image to have an embedding of. Its objects are not kept: those of SA-1B would fill the memory."""

    key: str
    pack: Pack
    index: int  # in the pack
    pixels: tuple[int, int]  # width, height
    n_bytes: int  # of the image file

    @property
    def record(self) -> ImageRecord:
        """The image with its objects, read again where a pack does not hold them."""
        return self.pack.records[self.index]


def image_key(pack: str, record: ImageRecord) -> str:
    """Return the name of an image in a cache: pack, folder and file."""
    return f"{pack}/{record.path.parent.name}/{record.path.name}"


def sources_of(packs: Iterable[Pack], skipped: Skipped | None = None) -> list[Source]:
    """Return the images of some packs.

    Args:
        skipped: counts images that are not there or whose annotations are damaged, and leaves them out, as a
            training does; without it they are errors.

    Raises:
        MissingError: if a file is not there.
        DataError: if two images have the same name.
    """
    sources: dict[str, Source] = {}
    for pack in packs:
        for index in range(len(pack.records)):
            try:
                record = pack.records[index]
                pixels = record.width, record.height
                source = Source(image_key(pack.name, record), pack, index, pixels, _file_size(record))
            except (MissingError, DataError) as problem:
                if skipped is None:
                    raise
                skipped.see("image")
                skipped.add("image", "unreadable", problem)
                continue
            if source.key in sources:
                raise DataError(f"two images are named {source.key}; a cache of embeddings needs other names")
            sources[source.key] = source
    return list(sources.values())


def data_fingerprint(sources: Iterable[Source]) -> str:
    """Return a hash of the names, sizes in pixels and sizes in bytes of the images, in any order."""
    lines = sorted(f"{s.key} {s.pixels[0]}x{s.pixels[1]} {s.n_bytes}\n" for s in sources)
    return hashlib.blake2b("".join(lines).encode(), digest_size=16).hexdigest()


def bytes_of(shape: tuple[int, int, int]) -> int:
    """Return the bytes of an embedding in half precision."""
    return 2 * math.prod(shape)


def views_of(source: Source, flips: bool) -> list[View]:
    """Return the views of an image that are cached."""
    return [View(source.key, flipped) for flipped in ((False, True) if flips else (False,))]


class TeacherCache:
    """Embeddings of one teacher on disk; reading needs no state, so it is safe in threads and worker processes."""

    def __init__(self, folder: Path) -> None:
        """Open a cache to read from.

        Raises:
            MissingError: if there is none.
            DamagedError: if its index is damaged.
        """
        self.folder = folder
        self.index = read_index(folder)
        self.shape: tuple[int, int, int] = tuple(self.index["shape"])
        self.entries: dict[View, Entry] = {}
        self._by_slot: dict[int, View] = {}
        for entry in _read_entries(folder / ENTRIES):
            self._note(entry)

    @property
    def entry_bytes(self) -> int:
        """Bytes of an embedding."""
        return bytes_of(self.shape)

    @property
    def flips(self) -> bool:
        """Whether flipped views were cached too."""
        return bool(self.index["flips"])

    def read(self, view: View) -> Tensor:
        """Return an embedding (256, R/16, R/16) in half precision, its checksum compared.

        Raises:
            MissingError: if it is not there.
            DamagedError: if it does not match its checksum.
        """
        entry = self.entries.get(view)
        if entry is None or entry.slot < 0:
            flips = " --flips" if view.flipped else ""
            raise MissingError(
                f"{self.folder} has no embedding of {view}; fill it: supersam teacher cache CONFIG.yaml{flips}"
            )
        found = self._slot(entry.slot)
        if found is None or zlib.crc32(found.tobytes()) != entry.crc32:
            raise DamagedError(
                f"the embedding of {view} in {self.folder} is damaged; supersam teacher cache computes it again"
            )
        return torch.from_numpy(found)

    def missing(self, sources: Iterable[Source], flips: bool | None = None) -> list[View]:
        """Return the views without an embedding, or with that of an image file of another size.

        Those whose image did not decode are among them: the disk may have been the reason.
        """
        flips = self.flips if flips is None else flips
        return [
            view
            for source in sources
            for view in views_of(source, flips)
            if (entry := self._entry(view, source)) is None or entry.slot < 0
        ]

    def require(self, teacher_fingerprint: str, sources: Sequence[Source]) -> None:
        """Check that these embeddings are a teacher's and those of all images that decoded.

        Raises:
            UsageError: if they are another teacher's.
            MissingError: if some images have none.
        """
        if self.index["fingerprint"] != teacher_fingerprint:
            raise UsageError(f"{self.folder} holds embeddings of {self.index['teacher']}, not of the teacher asked for")
        missing = [v for source in sources for v in views_of(source, self.flips) if self._entry(v, source) is None]
        if missing:
            raise MissingError(
                f"{self.folder} lacks {len(missing)} embeddings of {len(sources)} images, such as {missing[0]}; "
                f"fill it: supersam teacher cache CONFIG.yaml{' --flips' if self.flips else ''}"
            )

    def _entry(self, view: View, source: Source) -> Entry | None:
        """Return what is known of a view of an image, as the file is now."""
        entry = self.entries.get(view)
        return entry if entry is not None and entry.image_bytes == source.n_bytes else None

    def _slot(self, slot: int) -> Half | None:
        """Return a copy of what a slot holds; None if the file ends before."""
        try:
            mapped = np.memmap(
                self.folder / EMBEDDINGS, np.float16, "r", offset=slot * self.entry_bytes, shape=self.shape
            )
        except (OSError, ValueError):  # shorter than that
            return None
        return np.array(mapped)

    def _note(self, entry: Entry) -> None:
        view = View(entry.image, entry.flipped)
        self._forget(view)
        evicted = self._by_slot.get(entry.slot)
        if evicted is not None:  # its slot was damaged and has been given away
            self._forget(evicted)
        self.entries[view] = entry
        if entry.slot >= 0:
            self._by_slot[entry.slot] = view

    def _forget(self, view: View) -> None:
        entry = self.entries.pop(view, None)
        if entry is not None:
            self._by_slot.pop(entry.slot, None)


def read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = index["format"]
        needed = ("teacher", "fingerprint", "resolution", "shape", "precision", "flips", "data")
        if any(key not in index for key in needed) or len(index["shape"]) != 3:
            raise KeyError(needed)
    except FileNotFoundError as problem:
        raise MissingError(
            f"there are no teacher embeddings in {folder}; make them: supersam teacher cache CONFIG.yaml"
        ) from problem
    except (ValueError, KeyError, TypeError) as problem:
        raise DamagedError(
            f"{path} is damaged ({type(problem).__name__}); remove {folder} and fill it again"
        ) from problem
    if version > FORMAT:
        raise DamagedError(f"{path} has format {version}, this version reads up to {FORMAT}: upgrade supersam")
    return index


def _read_entries(path: Path) -> Iterator[Entry]:
    """Yield the whole lines; what is no entry vouches for nothing."""
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if line.endswith(b"\n") and all(type(x) is int for x in (entry.slot, entry.crc32, entry.image_bytes)):
            yield entry


def _file_size(record: ImageRecord) -> int:
    if record.content is not None:
        return len(record.content)
    try:
        return record.path.stat().st_size
    except OSError as problem:
        raise MissingError(f"image {record.path} is named in the annotations and is not there") from problem
