"""Filling a cache of teacher embeddings (``teacher_cache``): one process writes, and goes on where one was killed."""

import fcntl
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from supersam._paths import write_atomically
from supersam.data.transforms import to_input
from supersam.errors import CheckpointError, DataError, EnvironmentProblem, MissingError, UsageError
from supersam.train.teacher_cache import (
    EMBEDDINGS,
    ENTRIES,
    FORMAT,
    INDEX,
    Entry,
    Half,
    Source,
    TeacherCache,
    View,
    data_fingerprint,
    read_index,
    views_of,
)
from supersam.train.teachers import Teacher

Precision = Literal["fp32", "bf16", "fp16"]
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Filled:
    """What ``fill`` did, in embeddings."""

    computed: int = 0
    kept: int = 0
    damaged: int = 0  # of those computed: were there and did not match their checksum
    skipped: list[str] = field(default_factory=list)  # why, for each image that does not decode


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
        """Note that an image has no embedding because it does not decode, if that is not known yet."""
        entry = Entry(view.image, view.flipped, -1, 0, image_bytes)
        if self.entries.get(view) != entry:
            self._append([entry])

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
        index = read_index(folder)
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
    device = next(chain(teacher.parameters(), teacher.buffers()), images).device
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


def _end_torn_line(journal: Any) -> None:
    """Cut off the line that a killed run did not finish."""
    journal.seek(0)
    journal.truncate(journal.read().rfind(b"\n") + 1)
