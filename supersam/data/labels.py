"""Folders of label images: ``images/`` and ``masks/`` with the same stems; each value above 0 of a mask is an object.

Masks are PNG or TIFF with one whole number a pixel (8 or 16 bits, or the index of a palette); 0 is background.
"""

from pathlib import Path

import numpy as np
from scipy.ndimage import find_objects

from supersam.data.records import Annotation, ImageRecord, LazyRecords, Pack, refuse_several
from supersam.data.segmentations import LabelMask, read_labels
from supersam.data.splits import of_split, split_folder
from supersam.errors import DataError, MissingError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
MASK_SUFFIXES = (".png", ".tif", ".tiff")
LARGEST_LABEL = 2**20


def holds_labels(folder: Path) -> bool:
    """Say whether a folder holds ``images/`` and ``masks/``."""
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def load_label_folder(folder: Path, split: str) -> Pack:
    """Load a folder of label images, or its part in ``train/``, ``val/`` or ``test/``.

    A mask is read when its record is asked for. What begins with a dot is left out.

    Raises:
        MissingError: if there is no such split, or no image with its mask in it.
    """
    place = split_folder(folder, split, holds_labels)
    images = _by_stem(place / "images", IMAGE_SUFFIXES)
    masks = _by_stem(place / "masks", MASK_SUFFIXES)
    if not images.keys() & masks.keys():
        raise MissingError(f"no image in {place / 'images'} has a mask of the same stem in {place / 'masks'}")

    pairs = [
        (images.get(stem, [place / "images" / f"{stem}.png"]), masks.get(stem, [place / "masks" / f"{stem}.png"]))
        for stem in of_split(sorted(images.keys() | masks.keys()), str, split, place)
    ]
    return Pack(folder.name, LazyRecords(pairs, _record, _image))


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    """Return the files of every stem, of which there should be one; what begins with a dot is left out."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            found.setdefault(path.stem, []).append(path)
    return found


def _image(pair: tuple[list[Path], list[Path]]) -> Path:
    return pair[0][0]


def _record(pair: tuple[list[Path], list[Path]]) -> ImageRecord:
    for files in pair:
        refuse_several(files)
    (image,), (mask,) = pair
    try:
        labels = read_labels(mask)
        if labels.min() < 0 or labels.max() > LARGEST_LABEL:
            raise ValueError(f"values from {labels.min()} to {labels.max()}, allowed are 0 to {LARGEST_LABEL}")
    except FileNotFoundError as problem:
        raise MissingError(f"image {image} has no mask file {mask}") from problem
    except Exception as problem:  # Pillow's decoders raise many kinds
        raise DataError(f"mask file {mask} does not read ({problem})") from problem
    areas = np.bincount(labels.ravel())
    annotations = []
    for value, place in enumerate(find_objects(labels.astype(np.int32)), start=1):
        if place is not None:
            rows, columns = place
            box = (columns.start, rows.start, columns.stop, rows.stop)
            annotations.append(Annotation(LabelMask(mask, value, box), float(areas[value])))
    return ImageRecord(image, labels.shape[1], labels.shape[0], tuple(annotations))
