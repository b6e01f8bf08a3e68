"""SA-1B in tar files, streamed for what does not fit on a disk; nothing is unpacked."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from supersam.data.records import ImageRecord
from supersam.data.sa1b import parse
from supersam.data.skipped import Skipped
from supersam.data.splits import in_split
from supersam.data.tar_pairs import Broken, Pair, read_pairs
from supersam.errors import DataError

BUFFER = 256  # images that wait to be shuffled, as files
Item = TypeVar("Item")


@dataclass(frozen=True)
class Position:
    """How far a process has read: epochs, then shards of its part of this epoch, then images of the open shard."""

    epoch: int = 0
    shard: int = 0
    taken: int = 0

    def to_list(self) -> list[int]:
        """Return the three numbers, for a checkpoint."""
        return list(astuple(self))


@dataclass(frozen=True)
class Stream:
    """A named set of shards that are read one after the other.

    An epoch gives every image to one process: the shards are shuffled by (seed, epoch) and dealt to the processes.
    With fewer shards than processes every process reads all of them and keeps every world-th image.
    """

    name: str
    shards: tuple[str, ...]
    split: str = "train"
    weight: float = 1.0  # how often it is drawn from, beside other sources
    buffer: int = BUFFER


class StreamReader(Iterator[ImageRecord]):
    """Reads a stream without end, epoch after epoch.

    Exact: the order is a function of (seed, rank, world) and the list of shards; two processes share no image of an
    epoch; ``position`` can be saved, and a reader sent there by ``seek`` goes on with the very next image. For that
    it reads the open shard again from its start, and no other.

    Not exact: where the processes do not divide the shards, some finish an epoch earlier and begin their next;
    images mix within a shard only, through a buffer (across shards by the processes side by side); with another
    ``world`` the order is another one, so a run is resumed with as many processes as it had.

    Args:
        skipped: counts what is damaged, which is left out.
        max_skipped_share: a larger share of damaged images or shards is an error.
    """

    def __init__(
        self, stream: Stream, seed: int, rank: int, world: int, skipped: Skipped, max_skipped_share: float = 1.0
    ) -> None:
        self.position = Position()
        self.skipped = skipped
        self._limit = max_skipped_share
        self._stream, self._seed, self._rank, self._world = stream, seed, rank, world
        self._open: Iterator[Pair | Broken] | None = None

    def seek(self, position: Position) -> None:
        """Go to a position that a reader of the same stream, seed, rank and world has had."""
        self._open = None
        self.position = position

    def __next__(self) -> ImageRecord:
        """Return the next image that can be used.

        Raises:
            DataError: if too many cannot, or a whole epoch has none.
        """
        epochs_left = 2  # the one that is under way may be at its end
        while epochs_left:
            order = self._order(self.position.epoch)
            if self.position.shard == len(order):
                self.seek(Position(self.position.epoch + 1))
                epochs_left -= 1
                continue
            self._open = self._open or self._items(order[self.position.shard])
            item = next(self._open, None)
            if item is None:
                self.skipped.see("shard")
                self.seek(Position(self.position.epoch, self.position.shard + 1))
                continue
            self.position = replace(self.position, taken=self.position.taken + 1)
            record = self._record(item)
            if record is not None:
                return record
            self.skipped.check(self._limit)
        raise DataError(f"a whole epoch of {self._stream.name} had no image to use; {self.skipped.summary()}")

    def _order(self, epoch: int) -> list[int]:
        order: list[int] = np.random.default_rng((self._seed, epoch)).permutation(len(self._stream.shards)).tolist()
        return order[self._rank :: self._world] if self._shards_are_dealt() else order

    def _shards_are_dealt(self) -> bool:
        return len(self._stream.shards) >= self._world

    def _items(self, shard: int) -> Iterator[Pair | Broken]:
        """Return what is left of a shard in this epoch, in its order."""
        rng = np.random.default_rng((self._seed, self.position.epoch, shard))
        items: Iterator[Pair | Broken] = (
            item
            for item in read_pairs(self._stream.shards[shard])
            if isinstance(item, Broken) or in_split(item.name, self._stream.split)
        )
        if not self._shards_are_dealt():
            items = islice(items, self._rank, None, self._world)
        return islice(_shuffled(items, self._stream.buffer, rng), self.position.taken, None)

    def _record(self, item: Pair | Broken) -> ImageRecord | None:
        """Return the record of an image, or count why there is none."""
        if isinstance(item, Broken):
            self.skipped.add("shard", "broken off", item.problem)
            return None
        reason = "annotations missing" if item.annotations is None else "file missing"
        if item.annotations is not None and item.image is not None:
            try:
                return parse(item.annotations, Path(item.path), item.image)
            except DataError as problem:
                reason, item.path = "annotations damaged", str(problem)
        self.skipped.see("image")
        self.skipped.add("image", reason, item.path)
        return None


def _shuffled(items: Iterator[Item], buffer: int, rng: np.random.Generator) -> Iterator[Item]:
    """Yield all items, each drawn at random from as many as the buffer holds."""
    held = list(islice(items, buffer))
    for item in items:
        chosen = int(rng.integers(len(held)))
        yield held[chosen]
        held[chosen] = item
    yield from (held[index] for index in rng.permutation(len(held)))
