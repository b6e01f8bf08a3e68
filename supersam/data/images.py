"""Folders of images without masks: all that is needed to learn what a teacher says of them."""

import os
import zlib
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import numpy as np
from PIL import Image

from supersam.data.labels import IMAGE_SUFFIXES
from supersam.data.records import Annotation, ImageRecord, LazyRecords, Pack, displayed_size
from supersam.data.splits import of_split, split_folder
from supersam.errors import DataError, MissingError

RECTANGLES = 32  # of an image, to ask the teacher about
SIDES = (0.05, 0.6)  # of a rectangle, as a share of the image's


def load_image_folder(folder: Path, split: str) -> Pack:
    """Load the images of a folder and of all folders in it, or of its part in ``train/``, ``val/`` or ``test/``.

    Random rectangles, the same every time, stand in for objects, so that there are clicks and boxes to ask about.
    What begins with a dot is left out.

    Raises:
        MissingError: if there are no images, or no such split.
    """
    if not folder.is_dir():
        raise MissingError(f"there is no folder {folder} to read images from")
    place = split_folder(folder, split, lambda child: any(_images(child)))
    paths = of_split(_images(place), attrgetter("stem"), split, place)
    return Pack(folder.name, LazyRecords(sorted(paths), _record, Path), has_masks=False)


def _images(folder: Path) -> Iterator[Path]:
    """Yield as they are found, so that a look whether there are any ends with the first."""
    for parent, children, names in os.walk(folder, followlinks=True):
        children[:] = [child for child in children if not child.startswith(".")]
        for path in (Path(parent, name) for name in names if not name.startswith(".")):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                yield path


def _record(path: Path) -> ImageRecord:
    try:
        with Image.open(path) as file:
            width, height = displayed_size(file)
    except FileNotFoundError as problem:
        raise MissingError(f"image {path} is not there any more") from problem
    except Exception as problem:  # Pillow's decoders raise many kinds
        raise DataError(f"image {path} does not open ({problem})") from problem
    return ImageRecord(path, width, height, _rectangles(path.stem, width, height))


def _rectangles(name: str, width: int, height: int) -> tuple[Annotation, ...]:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    whole = np.array([width, height])
    sides = np.maximum(1, (rng.uniform(*SIDES, (RECTANGLES, 2)) * whole).astype(int))
    corners = (rng.random((RECTANGLES, 2)) * (whole - sides + 1)).astype(int)
    return tuple(
        Annotation([[x, y, x + w, y, x + w, y + h, x, y + h]], float(w * h))
        for (x, y), (w, h) in zip(corners.tolist(), sides.tolist(), strict=True)
    )
