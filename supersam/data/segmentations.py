"""Encoded masks: COCO's run lengths (as text or as a list), polygons, and one value of a label image."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, the last two past the last column and row
LABELS_KEPT = 4  # label images kept decoded: the objects of one image are asked for one after the other


@dataclass(frozen=True)
class LabelMask:
    """The pixels of a label image that hold one value."""

    path: Path
    value: int
    box: Box


def decode_mask(segmentation: Any, height: int, width: int) -> NDArray[np.uint8]:
    """Return the mask as (H, W) of 0 and 1.

    Raises:
        Exception: of whatever kind, if the segmentation is damaged or its size is not (height, width).
    """
    if isinstance(segmentation, LabelMask):
        return (read_labels(segmentation.path) == segmentation.value).view(np.uint8)
    decoded: NDArray[np.uint8] = coco_mask.decode(_runs(segmentation, height, width))
    return decoded


def mask_box(segmentation: Any, height: int, width: int) -> Box:
    """Return the box around the mask without decoding its pixels; for polygons it may be a pixel too large.

    An empty mask has a box without area. Raises as ``decode_mask`` does.
    """
    if isinstance(segmentation, LabelMask):
        return segmentation.box
    if isinstance(segmentation, list):
        polygons = _polygons(segmentation, height, width)
        points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons])
        (x0, y0), (x1, y1) = np.floor(points.min(axis=0)) - 1, np.ceil(points.max(axis=0)) + 1
        return max(0, int(x0)), max(0, int(y0)), min(width, int(x1)), min(height, int(y1))
    x, y, box_width, box_height = map(int, coco_mask.toBbox(_runs(segmentation, height, width)))
    return x, y, x + box_width, y + box_height


def read_labels(path: Path) -> NDArray[Any]:
    """Return a label image as (H, W) of whole numbers: 0 is background, each other value is one object."""
    return _read_labels(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=LABELS_KEPT)
def _read_labels(path: Path, changed: int) -> NDArray[Any]:
    with Image.open(path) as file:
        labels = np.asarray(file)
    if labels.ndim != 2 or labels.dtype.kind not in "ubi":
        raise ValueError(f"it holds {file.mode} pixels, not one whole number for each")
    return labels


def _runs(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Return COCO's compressed run lengths, checked: with bad ones pycocotools may crash or show old memory."""
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(_polygons(segmentation, height, width), height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, height, width)
    else:
        rle = {"size": segmentation["size"], "counts": segmentation["counts"].encode()}
    lengths = _run_lengths(rle["counts"])
    if tuple(rle["size"]) != (height, width):
        raise ValueError(f"its size is {rle['size']}, that of its image {[height, width]}")
    if lengths.sum() != height * width or (lengths < 0).any():
        raise ValueError("its runs do not fill the image")
    return rle


def _polygons(parts: list[list[float]], height: int, width: int) -> list[list[float]]:
    """Return the polygons of three points and more, of which there must be one.

    Coordinates far outside the image, with which pycocotools may crash, are refused.
    """
    polygons = [part for part in parts if len(part) >= 6]
    if not polygons:
        raise ValueError("its polygons have fewer than three points" if parts else "its segmentation is empty")
    reach = 10 * max(height, width)
    for polygon in polygons:
        if not all(-reach <= coordinate <= reach for coordinate in polygon):
            raise ValueError("a polygon leaves its image")
    return polygons


def _run_lengths(counts: bytes) -> NDArray[np.int64]:
    """Decode COCO's compressed run lengths: six bits a character, differences to the run before the last."""
    codes = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 0x20) == 0)
    if not len(ends) or ends[-1] != len(codes) - 1 or codes.min() < 0 or codes.max() > 63:
        raise ValueError("its run lengths are garbled")
    starts = np.concatenate([[0], ends[:-1] + 1])
    n_characters = ends - starts + 1
    if n_characters.max() > 7:
        raise ValueError("its run lengths are garbled")
    places = np.arange(len(codes)) - np.repeat(starts, n_characters)
    lengths = np.add.reduceat((codes & 0x1F) << (5 * places), starts)
    lengths -= ((codes[ends] & 0x10) != 0) * (1 << (5 * n_characters))
    for first in (1, 2):  # the first run is absolute
        lengths[first::2] = np.cumsum(lengths[first::2])
    return lengths
