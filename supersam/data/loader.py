"""Draws augmented images with masks from sources, for training: damaged ones are skipped, counted and reported."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from supersam.data.augment import Augmentation, Augmented, augment
from supersam.data.cache import ImageCache
from supersam.data.records import ImageRecord, Pack
from supersam.data.shards import Position, Stream, StreamReader
from supersam.data.skipped import Skipped
from supersam.data.sources import Source
from supersam.errors import DataError, MissingError, UsageError

ATTEMPTS = 50
MAX_SKIPPED_SHARE = 0.05


class Loader:
    """Draws images for one process.

    From packs a draw is a function of (seed, step, rank, slot) alone, so draws may be made in any order and in any
    process, and a resumed run sees what it would have seen. From streams the next image is taken, so draws must be
    made in one order, and ``state`` belongs into the checkpoint: the one after the last batch that was trained on,
    not after a batch prepared ahead. Worker processes of one rank share its draws and divide its part of the streams.

    Args:
        rank, world: which process this is, and of how many.
        worker, workers: which worker of this process, and of how many.
        sources: of ``open_sources``; a source is drawn as often as its weight says, an image of it like any other.
        cache_gb: memory for decoded images, in 1e9 bytes, of each process. It changes no pixel.
        max_skipped_share: of images, of masks or of shards; a larger one ends the training.
        skipped: where to count, for example with what ``open_sources`` counted.

    Raises:
        MissingError: if a pack has no images.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        augmentation: Augmentation,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
        worker: int = 0,
        workers: int = 1,
        cache_gb: float = 0.0,
        max_skipped_share: float = MAX_SKIPPED_SHARE,
        skipped: Skipped | None = None,
    ) -> None:
        self.skipped = skipped if skipped is not None else Skipped()
        self.skipped.check(max_skipped_share)
        self._sources = [
            StreamReader(source, seed, rank * workers + worker, world * workers, self.skipped, max_skipped_share)
            if isinstance(source, Stream)
            else _filled(source)
            for source in sources
        ]
        self._names = [source.name for source in sources]
        self._shares = np.cumsum([source.weight for source in sources]) / sum(source.weight for source in sources)
        self._augmentation = augmentation
        self._cache = ImageCache(cache_gb)
        self._seed, self.rank = seed, rank
        self._limit = max_skipped_share

    def draw(self, step: int, slot: int, resolution: int, n_objects: int) -> Augmented:
        """Return image ``slot`` of this process's batch of a step, with masks of 1 to ``n_objects`` objects.

        Raises:
            DataError: if too much had to be skipped, or no image can be found that shows an object.
        """
        rng = np.random.default_rng((self._seed, step, self.rank, slot))
        for _ in range(ATTEMPTS):
            found = self._try(resolution, n_objects, rng)
            self.skipped.check(self._limit)
            if found is not None:
                return found
        raise DataError(
            f"{ATTEMPTS} images in a row could not be used; check the annotations; {self.skipped.summary()}"
        )

    def state(self) -> list[list[int]]:
        """Return the positions in the streams: all that packs do not know by the step."""
        return [source.position.to_list() for source in self._sources if isinstance(source, StreamReader)]

    def restore(self, state: list[list[int]]) -> None:
        """Go on where a loader of the same sources, seed, rank and world was."""
        readers = [source for source in self._sources if isinstance(source, StreamReader)]
        if len(readers) != len(state):
            raise UsageError(
                f"the data has {len(readers)} streams, the run to resume had {len(state)}; give the same data"
            )
        for reader, position in zip(readers, state, strict=True):
            reader.seek(Position(*position))

    def _try(self, resolution: int, n_objects: int, rng: np.random.Generator) -> Augmented | None:
        number = int(np.searchsorted(self._shares, rng.random(), side="right"))
        source = self._sources[number]
        if isinstance(source, StreamReader):
            record: ImageRecord | None = next(source)
            self.skipped.see("image")
        else:
            record = _record(source, int(rng.integers(len(source))), self.skipped)
        if record is None:
            return None
        try:
            found = augment(record, self._augmentation, resolution, n_objects, rng, self.skipped, self._cache.read)
        except (MissingError, DataError) as problem:
            _count("file", problem, self.skipped)
            return None
        self.skipped.unused += found is None
        return None if found is None else replace(found, source=self._names[number])


def inspect(sources: Sequence[Source], images_each: int) -> Skipped:
    """Read images and all their masks, evenly spread over every pack or the first of every stream; count the damage."""
    skipped = Skipped()
    for source in sources:
        if isinstance(source, Stream):
            for record in islice(StreamReader(source, 0, 0, 1, skipped), images_each):
                skipped.see("image")
                _inspect(record, skipped)
        else:
            skipped.crowds += source.crowds
            for index in np.unique(np.linspace(0, len(_filled(source)) - 1, images_each, dtype=int)).tolist():
                found = _record(source, index, skipped)
                if found is not None:
                    _inspect(found, skipped)
    return skipped


def _inspect(record: ImageRecord, skipped: Skipped) -> None:
    try:
        record.read()
    except (MissingError, DataError) as problem:
        _count("file", problem, skipped)
    skipped.see("mask", len(record.annotations))
    for index in range(len(record.annotations)):
        try:
            if not record.mask(index).any():
                skipped.add("mask", "empty", f"object {index} of {record.path.name} has an empty mask")
        except DataError as problem:
            skipped.add("mask", "damaged", problem)


def _record(pack: Pack, index: int, skipped: Skipped) -> ImageRecord | None:
    """Return a record of a pack, or count why it cannot be made."""
    skipped.see("image")
    try:
        return pack.records[index]
    except (MissingError, DataError) as problem:
        _count("annotations" if pack.has_masks else "file", problem, skipped)
        return None


def _count(what: str, problem: Exception, skipped: Skipped) -> None:
    skipped.add("image", f"{what} {'missing' if isinstance(problem, MissingError) else 'damaged'}", problem)


def _filled(pack: Pack) -> Pack:
    if not len(pack):
        raise MissingError(f"{pack.name} has no images in this split")
    return pack
