"""Folders of images without masks: all that a regression of a teacher's embeddings needs."""

from pathlib import Path

from PIL import Image

from supersam.data.records import Annotation, ImageRecord, LazyRecords, Pack
from supersam.data.splits import in_split, split_folder
from supersam.errors import DataError, MissingError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")


def load_image_folder(folder: Path, split: str) -> Pack:
    """Load the images of a folder and of all folders in it, or of its part in ``train/``, ``val/`` or ``test/``.

    The whole of an image stands in for its objects, so that prompts are drawn anywhere.

    Raises:
        MissingError: if there are no images, or no such split.
    """
    if not folder.is_dir():
        raise MissingError(f"there is no folder {folder} to read images from")
    place = split_folder(folder, split, lambda child: any(_images(child)))
    paths = sorted(path for path in _images(place) if in_split(path.stem, split))
    return Pack(folder.name, LazyRecords(paths, _record), has_masks=False)


def _images(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES]


def _record(path: Path) -> ImageRecord:
    try:
        with Image.open(path) as file:
            width, height = file.size
    except FileNotFoundError as problem:
        raise MissingError(f"image {path} is not there any more") from problem
    except Exception as problem:  # Pillow's decoders raise many kinds
        raise DataError(f"image {path} does not open ({problem})") from problem
    everything = [[0, 0, width, 0, width, height, 0, height]]
    return ImageRecord(path, width, height, (Annotation(everything, float(width * height)),))
