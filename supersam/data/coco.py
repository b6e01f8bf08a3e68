"""Packs: a folder with ``images/`` and ``annotations/instances_<split>.json`` in COCO format (RLE or polygons).

Besides the splits on disk there are two derived ones, so that the search never sees what results are reported
on: every tenth image of ``train``, by a hash of its name, is ``train-search``; the rest is ``train-fit``.
"""

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as coco_mask

from supersam.errors import DataError, MissingError

DERIVED_SPLITS = {"train-fit": False, "train-search": True}


@dataclass(frozen=True)
class Annotation:
    """One object of an image, its mask still encoded."""

    segmentation: Any  # COCO RLE (counts as text or a list) or a list of polygons
    area: float  # in pixels


@dataclass(frozen=True)
class ImageRecord:
    """One image and its objects."""

    path: Path
    width: int
    height: int
    annotations: tuple[Annotation, ...]

    def read(self) -> NDArray[np.uint8]:
        """Return the image as (H, W, 3), RGB, values 0 to 255.

        Raises:
            DataError: if the file does not decode or its size is not that of the annotation file.
        """
        try:
            with Image.open(self.path) as file:
                image = np.asarray(file.convert("RGB"))
        except FileNotFoundError as problem:
            raise MissingError(f"image {self.path} is named in the annotations and is not there") from problem
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as problem:
            raise DataError(
                f"image {self.path} does not decode ({problem}); replace it or remove its record"
            ) from problem
        if image.shape[:2] != (self.height, self.width):
            raise DataError(
                f"image {self.path} is {image.shape[1]}x{image.shape[0]} pixels, its annotations say "
                f"{self.width}x{self.height}; the mask file does not match its images"
            )
        return image

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Return the mask of object ``index`` as (H, W) of 0 and 1."""
        segmentation = self.annotations[index].segmentation
        try:
            if isinstance(segmentation, list):
                _check_polygons(segmentation, self.height, self.width)
                rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, self.height, self.width))
            elif isinstance(segmentation["counts"], list):
                rle = coco_mask.frPyObjects(segmentation, self.height, self.width)
            else:
                rle = {"size": segmentation["size"], "counts": segmentation["counts"].encode()}
            _check_runs(rle)
            decoded: NDArray[np.uint8] = coco_mask.decode(rle)
        except Exception as problem:  # pycocotools raises bare Exception for a bad segmentation
            raise DataError(f"object {index} of {self.path.name} has no readable mask ({problem})") from problem
        if decoded.shape != (self.height, self.width):
            raise DataError(f"a mask of {self.path.name} has size {decoded.shape}, not that of its image")
        return decoded


def _check_polygons(polygons: list[list[float]], height: int, width: int) -> None:
    """Refuse coordinates far outside the image, with which pycocotools may crash."""
    reach = 10 * max(height, width)
    for polygon in polygons:
        if not all(-reach <= coordinate <= reach for coordinate in polygon):
            raise ValueError("a polygon leaves its image")


def _check_runs(rle: dict[str, Any]) -> None:
    """Refuse runs that do not fill the image: pycocotools would return what was in memory."""
    height, width = rle["size"]
    if sum(_run_lengths(rle["counts"])) != height * width:
        raise ValueError("its runs do not fill the image")


def _run_lengths(counts: bytes) -> list[int]:
    """Decode COCO's compressed run lengths: six bits a character, differences to the run before the last."""
    lengths: list[int] = []
    value = shift = 0
    for character in counts:
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return lengths


@dataclass(frozen=True)
class Pack:
    """A named set of images with masks."""

    name: str
    records: tuple[ImageRecord, ...]


def load_packs(folder: Path, split: str) -> list[Pack]:
    """Load a pack, or every pack in a folder of packs, sorted by name.

    Raises:
        MissingError: if there is no pack or not this split.
        DataError: if an annotation file is damaged or does not match its images.
    """
    if (folder / "annotations").is_dir():
        return [load_pack(folder, split)]
    if not folder.is_dir():
        raise MissingError(f"there is no data folder {folder}; give one with images/ and annotations/")
    found = sorted(child for child in folder.iterdir() if (child / "annotations").is_dir())
    if not found:
        raise MissingError(f"{folder} holds neither images/ and annotations/ nor folders that do")
    return [load_pack(child, split) for child in found]


def load_pack(folder: Path, split: str) -> Pack:
    """Load one pack."""
    on_disk = "train" if split in DERIVED_SPLITS else split
    file = folder / "annotations" / f"instances_{on_disk}.json"
    if not file.is_file():
        there = sorted(path.stem.removeprefix("instances_") for path in file.parent.glob("instances_*.json"))
        raise MissingError(f"{folder} has no split {split!r} (there: {', '.join(there) or 'none'})")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        records = _records(content, folder / "images", file)
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise DataError(f"{file} is not a COCO annotation file: {problem!r}") from problem
    if split in DERIVED_SPLITS:
        records = [record for record in records if _is_search(record) == DERIVED_SPLITS[split]]
    return Pack(folder.name, tuple(records))


def _records(content: dict[str, Any], images: Path, file: Path) -> list[ImageRecord]:
    by_image: dict[int, list[Annotation]] = defaultdict(list)
    for entry in content["annotations"]:
        if not entry.get("iscrowd"):
            by_image[entry["image_id"]].append(Annotation(entry["segmentation"], float(entry["area"])))
    known = {entry["id"] for entry in content["images"]}
    strangers = set(by_image) - known
    if strangers:
        raise DataError(f"{file} has masks for image id {min(strangers)}, which is not among its images")
    records = []
    for entry in sorted(content["images"], key=lambda entry: str(entry["file_name"])):
        path = images / entry["file_name"]
        if images.resolve() not in path.resolve().parents:
            raise DataError(f"{file} names the image {entry['file_name']!r} outside {images}")
        records.append(ImageRecord(path, entry["width"], entry["height"], tuple(by_image[entry["id"]])))
    return records


def _is_search(record: ImageRecord) -> bool:
    return hashlib.sha256(record.path.name.encode()).digest()[0] % 10 == 0
