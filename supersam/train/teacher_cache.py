"""Teacher embeddings, computed once and kept on disk: half precision, memory-mapped, resumable, checksummed.

A folder of three files:

- ``index.json``: whose embeddings these are (fingerprint of the teacher, resolution, shape, precision), and the
  fingerprint of the images once all are there;
- ``embeddings.f16``: embeddings one after the other, each in a slot of ``2 * 256 * R/16 * R/16`` bytes (2 MiB at 1024);
- ``entries.jsonl``: a line for every embedding written: image, flipped or not, slot, CRC-32, bytes of the image file.

A line is appended after its embedding has reached the disk, so a killed run loses at most the batch it was
computing. What a line does not vouch for, or what does not match its checksum, is computed again. An image whose
file has changed its size is computed again, one that does not decode is noted and left out.

An embedding belongs to the whole image, resized and padded, in its own colours: a batch of other views (crops,
colour jitter) needs the teacher itself (``supersam.train.distillation.AllowedViews``).
"""

import fcntl
import hashlib
import json
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supersam._paths import write_atomically
from supersam.data.records import ImageRecord, Pack
from supersam.data.skipped import Skipped
from supersam.data.transforms import to_input
from supersam.errors import CheckpointError, DamagedError, DataError, EnvironmentProblem, MissingError, UsageError
from supersam.train.teachers import Teacher

FORMAT = 1
INDEX, EMBEDDINGS, ENTRIES = "index.json", "embeddings.f16", "entries.jsonl"
Half = NDArray[np.float16]
Precision = Literal["fp32", "bf16", "fp16"]
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class View:
    """A view of an image that an embedding belongs to: the whole image, flipped or not."""

    image: str  # as ``image_key`` gives
    flipped: bool = False


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
    """An image to have an embedding of."""

    key: str
    record: ImageRecord
    n_bytes: int  # of the image file


@dataclass
class Filled:
    """What ``fill`` did, in embeddings."""

    computed: int = 0
    kept: int = 0
    damaged: int = 0  # of those computed: were there and did not match their checksum
    skipped: list[str] = field(default_factory=list)  # why, for each image that does not decode


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
                source = Source(image_key(pack.name, record), record, _file_size(record))
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
    lines = sorted(f"{s.key} {s.record.width}x{s.record.height} {s.n_bytes}\n" for s in sources)
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
        self.index = _read_index(folder)
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
                f"{self.folder} has no embedding of {_name(view)}; fill it: supersam teacher cache{flips}"
            )
        found = self._slot(entry.slot)
        if found is None or zlib.crc32(found.tobytes()) != entry.crc32:
            raise DamagedError(
                f"the embedding of {_name(view)} in {self.folder} is damaged; supersam teacher cache computes it again"
            )
        return torch.from_numpy(found)

    def missing(self, sources: Iterable[Source], flips: bool | None = None) -> list[View]:
        """Return the views without an entry, or with that of an image file of another size."""
        flips = self.flips if flips is None else flips
        return [
            view
            for source in sources
            for view in views_of(source, flips)
            if (entry := self.entries.get(view)) is None or entry.image_bytes != source.n_bytes
        ]

    def require(self, teacher_fingerprint: str, sources: Sequence[Source]) -> None:
        """Check that these embeddings are a teacher's and those of all images.

        Raises:
            UsageError: if they are another teacher's.
            MissingError: if some images have none.
        """
        if self.index["fingerprint"] != teacher_fingerprint:
            raise UsageError(f"{self.folder} holds embeddings of {self.index['teacher']}, not of the teacher asked for")
        missing = self.missing(sources)
        if missing:
            raise MissingError(
                f"{self.folder} lacks {len(missing)} embeddings of {len(sources)} images, such as {_name(missing[0])}; "
                "fill it: supersam teacher cache"
            )

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


class CacheWriter(TeacherCache):
    """A cache that is being filled, by one process at a time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._next = 0  # slots below are taken

    def verify(self, on_entry: Callable[[int, int], object] = lambda done, total: None) -> int:
        """Read every embedding, forget those that do not match their checksum and return their number."""
        damaged = 0
        views = list(self.entries)
        for done, view in enumerate(views, start=1):
            entry = self.entries[view]
            if entry.slot >= 0:
                found = self._slot(entry.slot)
                if found is None or zlib.crc32(found.tobytes()) != entry.crc32:
                    self._forget(view)
                    damaged += 1
            on_entry(done, len(views))
        self._next = 0
        return damaged

    def write(self, views: Sequence[View], embeddings: Half, image_bytes: Sequence[int]) -> None:
        """Write embeddings, and when they are on the disk the lines that vouch for them.

        Shape:
            - embeddings: (len(views), 256, R/16, R/16)
        """
        entries = []
        with (self.folder / EMBEDDINGS).open("r+b") as file:
            for view, embedding, n_bytes in zip(views, embeddings, image_bytes, strict=True):
                content = np.ascontiguousarray(embedding).tobytes()
                slot = self._free_slot()
                file.seek(slot * self.entry_bytes)
                file.write(content)
                entries.append(Entry(view.image, view.flipped, slot, zlib.crc32(content), n_bytes))
            file.flush()
            os.fsync(file.fileno())
        self._append(entries)

    def write_undecodable(self, view: View, image_bytes: int) -> None:
        """Note that an image has no embedding because it does not decode."""
        self._append([Entry(view.image, view.flipped, -1, 0, image_bytes)])

    def finish(self, fingerprint: str | None, flips: bool) -> None:
        """Write what the cache holds now into its index."""
        self.index |= {"data": fingerprint, "flips": flips, "n_entries": len(self._by_slot)}
        write_atomically(self.folder / INDEX, json.dumps(self.index, indent=1))

    def _append(self, entries: Sequence[Entry]) -> None:
        with (self.folder / ENTRIES).open("a", encoding="utf-8") as journal:
            journal.writelines(json.dumps(asdict(entry)) + "\n" for entry in entries)
            journal.flush()
            os.fsync(journal.fileno())
        for entry in entries:
            self._note(entry)

    def _free_slot(self) -> int:
        while self._next in self._by_slot:
            self._next += 1
        self._next += 1
        return self._next - 1


@contextmanager
def open_writer(folder: Path, teacher: Teacher, precision: Precision = "fp32") -> Iterator[CacheWriter]:
    """Open a cache to fill, or begin one.

    Raises:
        UsageError: if it holds embeddings of another teacher or precision.
        EnvironmentProblem: if another process is filling it.
    """
    header = {
        "format": FORMAT,
        "teacher": teacher.name,
        "fingerprint": teacher.fingerprint,
        "resolution": teacher.resolution,
        "shape": list(teacher.shape),
        "dtype": "float16",
        "precision": precision,
    }
    if not (folder / INDEX).exists():
        write_atomically(folder / INDEX, json.dumps({**header, "data": None, "flips": False, "n_entries": 0}, indent=1))
    (folder / EMBEDDINGS).touch()
    with (folder / ENTRIES).open("a+b") as journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            raise EnvironmentProblem(f"another process is filling {folder}; wait for it or stop it") from problem
        index = _read_index(folder)
        for key in ("fingerprint", "resolution", "shape", "precision"):
            if index[key] != header[key]:
                raise UsageError(
                    f"{folder} holds embeddings of {index['teacher']} ({key} {index[key]}), not of {teacher.name} "
                    f"({header[key]}); choose another folder"
                )
        _end_torn_line(journal)
        yield CacheWriter(folder)


def fill(
    cache: CacheWriter,
    teacher: Teacher,
    sources: Sequence[Source],
    flips: bool = False,
    batch_size: int = 1,
    workers: int = 1,
    on_progress: Callable[[str, int, int], object] = lambda what, done, total: None,
) -> Filled:
    """Compute the embeddings that are missing or damaged.

    Args:
        teacher: on the device it shall run on.
        flips: the flipped view of every image, too.
        workers: threads that read images.
        on_progress: called with ``verify`` or ``embed``, how many are done and how many there are.

    Raises:
        EnvironmentProblem: if the disk is too small.
        CheckpointError: if the teacher's values do not fit into half precision.
    """
    damaged = cache.verify(lambda done, total: on_progress("verify", done, total))
    by_key = {source.key: source for source in sources}
    flips = flips or cache.flips
    missing = cache.missing(sources, flips)
    _check_disk(cache, len(missing))
    filled = Filled(damaged=damaged)
    done = 0
    for views, images in _prefetched(missing, by_key, teacher.resolution, batch_size, workers):
        sound: list[tuple[View, Tensor]] = []
        for view, image in zip(views, images, strict=True):
            if isinstance(image, Tensor):
                sound.append((view, image))
            else:
                cache.write_undecodable(view, by_key[view.image].n_bytes)
                filled.skipped.append(str(image))
        if sound:
            embeddings = _embed(teacher, torch.stack([image for _, image in sound]), cache.index["precision"])
            cache.write([view for view, _ in sound], embeddings, [by_key[view.image].n_bytes for view, _ in sound])
        filled.computed += len(sound)
        done += len(views)
        on_progress("embed", done, len(missing))
    filled.kept = sum(cache.entries[view].slot >= 0 for s in sources for view in views_of(s, flips)) - filled.computed
    cache.finish(data_fingerprint(sources), flips)
    return filled


def _prefetched(
    views: Sequence[View], sources: dict[str, Source], resolution: int, batch_size: int, workers: int
) -> Iterator[tuple[Sequence[View], list[Tensor | Exception]]]:
    """Yield batches of views with their images, or why an image cannot be read; the next batch is read meanwhile."""

    def load(view: View) -> Tensor | Exception:
        try:
            pixels = sources[view.image].record.read()
        except (DataError, MissingError) as problem:
            return problem
        return to_input(np.ascontiguousarray(pixels[:, ::-1]) if view.flipped else pixels, resolution)

    with ThreadPoolExecutor(workers) as pool:
        waiting = None
        for start in range(0, len(views) + batch_size, batch_size):  # the last is empty and lets the one before go
            batch = views[start : start + batch_size]
            coming = (batch, [pool.submit(load, view) for view in batch])
            if waiting is not None:
                yield waiting[0], [future.result() for future in waiting[1]]
            waiting = coming


def _embed(teacher: Teacher, images: Tensor, precision: Precision) -> Half:
    device = next((tensor.device for tensor in teacher.parameters()), images.device)
    autocast = torch.autocast(device.type, AUTOCAST[precision]) if precision in AUTOCAST else nullcontext()
    with autocast:
        embeddings = teacher(images.to(device)).half().cpu()
    if not embeddings.isfinite().all():
        raise CheckpointError(f"teacher {teacher.name} gives values that half precision does not hold (above 65504)")
    found: Half = embeddings.numpy()
    return found


def _check_disk(cache: CacheWriter, count: int) -> None:
    needed, free = count * cache.entry_bytes, shutil.disk_usage(cache.folder).free
    if needed > free:
        raise EnvironmentProblem(
            f"{count} embeddings need {needed / 2**30:.1f} GiB, {cache.folder} has {free / 2**30:.1f} GiB free; "
            "choose another disk, fewer images, or distil without a cache"
        )


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = index["format"]
        needed = ("teacher", "fingerprint", "resolution", "shape", "precision", "flips", "data")
        if any(key not in index for key in needed) or len(index["shape"]) != 3:
            raise KeyError(needed)
    except FileNotFoundError as problem:
        raise MissingError(
            f"there are no teacher embeddings in {folder}; make them: supersam teacher cache"
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


def _end_torn_line(journal: Any) -> None:
    """Cut off the line that a killed run did not finish."""
    journal.seek(0)
    journal.truncate(journal.read().rfind(b"\n") + 1)


def _file_size(record: ImageRecord) -> int:
    if record.content is not None:
        return len(record.content)
    try:
        return record.path.stat().st_size
    except OSError as problem:
        raise MissingError(f"image {record.path} is named in the annotations and is not there") from problem


def _name(view: View) -> str:
    return f"{view.image}{' (flipped)' if view.flipped else ''}"
