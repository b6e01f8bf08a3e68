"""Decoded images kept in memory, up to a number of bytes."""

from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from supersam.data.records import ImageRecord

BYTES_PER_GB = 1e9


class ImageCache:
    """Gives images as ``ImageRecord.read`` does, from memory where it can; threads may share it.

    What came first stays and nothing is evicted: images are drawn at random, where throwing one out to keep another
    saves nothing. Images out of a shard are not kept: they come once an epoch. Every process has its own.
    """

    def __init__(self, limit_gb: float = 0.0) -> None:
        self.n_bytes = 0
        self._limit = limit_gb * BYTES_PER_GB
        self._images: dict[tuple[Path, int], NDArray[np.uint8]] = {}
        self._lock = Lock()

    def read(self, record: ImageRecord, reduce: int = 1) -> NDArray[np.uint8]:
        """Return the image; a change of its file after the first time is not noticed."""
        key = (record.path, reduce)
        kept = self._images.get(key)
        if kept is not None:
            return kept
        image = record.read(reduce)
        with self._lock:
            if record.content is None and key not in self._images and self.n_bytes + image.nbytes <= self._limit:
                image.setflags(write=False)
                self._images[key] = image
                self.n_bytes += image.nbytes
        return image

    def __getstate__(self) -> dict[str, float]:
        return {"limit_gb": self._limit / BYTES_PER_GB}  # a worker process begins with an empty one

    def __setstate__(self, state: dict[str, float]) -> None:
        self.__init__(**state)  # type: ignore[misc]
