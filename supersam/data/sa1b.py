"""SA-1B (https://arxiv.org/abs/2304.02643): one JSON with run lengths for each image, beside the JPEG.

The JSON is ``{"image": {"width", "height", ...}, "annotations": [{"segmentation": RLE, "area", ...}, ...]}``.
"""

import json
from itertools import chain, islice
from operator import attrgetter, itemgetter
from pathlib import Path

from supersam.data.records import Annotation, ImageRecord, LazyRecords, Pack, refuse_several
from supersam.data.splits import of_split, split_folder
from supersam.errors import DataError, MissingError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
LOOKED_AT = 1000  # files, to tell what a folder holds


def holds_pairs(folder: Path) -> bool:
    """Say whether a folder, or a child of it, begins with JSON files and images of the same stem."""
    return any(_begins_with_pair(child) for child in chain([folder], islice(_children(folder), LOOKED_AT)))


def load_sa1b_folder(folder: Path, split: str) -> Pack:
    """Load images with a JSON beside each, from the folder and its direct children (such as ``sa_000020/``).

    Only names are read now; a JSON is read when its record is asked for. What begins with a dot is left out.

    Raises:
        MissingError: if there is no such split.
    """
    place = split_folder(folder, split, holds_pairs)
    images: dict[Path, list[Path]] = {}
    for parent in [place, *_children(place)]:
        for path in parent.iterdir():
            if path.name.startswith("."):
                continue
            if path.suffix.lower() in IMAGE_SUFFIXES:
                images.setdefault(path.with_suffix(""), []).append(path)
            elif path.suffix == ".json":
                images.setdefault(path.with_suffix(""), [])

    keys = of_split(images, attrgetter("name"), split, place)
    items = [tuple(sorted(images[key])) or (key.with_name(f"{key.name}.jpg"),) for key in sorted(keys)]
    return Pack(folder.name, LazyRecords(items, _record, itemgetter(0)))


def parse(annotations: bytes, path: Path, image: bytes | None = None) -> ImageRecord:
    """Return the record of an image from the JSON beside it.

    An object without a mask stays in; asking for its mask is an error.

    Args:
        path: of the image, or where it is said to be.
        image: the bytes of its file, if it came in a shard.

    Raises:
        DataError: if the JSON is damaged.
    """
    try:
        content = json.loads(annotations)
        width, height = int(content["image"]["width"]), int(content["image"]["height"])
        objects = tuple(
            Annotation(entry.get("segmentation"), float(entry.get("area") or 0)) for entry in content["annotations"]
        )
    except Exception as problem:  # whatever else the file holds
        raise DataError(f"the annotations of {path} do not read as those of SA-1B: {problem!r}") from problem
    return ImageRecord(path, width, height, objects, image)


def _record(images: tuple[Path, ...]) -> ImageRecord:
    refuse_several(images)
    image = images[0]
    file = image.with_suffix(".json")
    try:
        return parse(file.read_bytes(), image)
    except FileNotFoundError as problem:
        raise MissingError(f"image {image} has no annotations {file}") from problem


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _begins_with_pair(folder: Path) -> bool:
    for path in islice(folder.iterdir(), LOOKED_AT):
        if path.suffix != ".json" or path.name.startswith("."):
            continue
        if any(path.with_suffix(suffix).exists() for suffix in IMAGE_SUFFIXES):
            return True
    return False
