"""An image with its objects, whatever format it was in, and sets of them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from supersam.data.segmentations import Box, decode_mask, mask_box
from supersam.errors import DataError, MissingError

Item = TypeVar("Item")
TURNS = {  # EXIF's orientation -> from the stored pixels to the displayed image
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIXTEEN_BITS = re.compile(";16[A-Z]")  # in Pillow's names of what is stored: RGB;16B, but not BGR;16, of 5 and 6 bits
SIDEWAYS = tuple(TURNS[orientation] for orientation in (5, 6, 7, 8))


@dataclass(frozen=True)
class Annotation:
    """One object of an image, its mask still encoded."""

    segmentation: Any  # COCO RLE (counts as text or a list), a list of polygons, or a LabelMask
    area: float  # in pixels


@dataclass(frozen=True)
class ImageRecord:
    """One image and its objects."""

    path: Path
    width: int
    height: int
    annotations: tuple[Annotation, ...]
    content: bytes | None = field(default=None, repr=False, compare=False)  # the file's bytes, if it came in a shard

    def read(self, reduce: int = 1) -> NDArray[np.uint8]:
        """Return the image as (H, W, 3), RGB, values 0 to 255.

        It is turned as its EXIF data says, which is how annotators see it, unless its annotations have the size of the
        stored pixels and not of the turned ones.

        Args:
            reduce: 1, 2, 4 or 8: a JPEG is decoded at this fraction of its size (rounded up), which is much faster;
                other formats, and turned JPEGs whose sides it does not divide, are decoded at their full size.

        Raises:
            MissingError: if the file is not there.
            DataError: if it does not decode, has more than 8 bits a value, or not the size its annotations say.
        """
        try:
            with Image.open(self.path if self.content is None else BytesIO(self.content)) as file:
                turn = self._check(file)
                # a turn would bring the rounded-up end of an axis to its beginning, off the masks
                if reduce > 1 and (turn is None or file.width % reduce == file.height % reduce == 0):
                    file.draft(None, (file.width // reduce, file.height // reduce))
                image = file.convert("RGB")
                return np.asarray(image if turn is None else image.transpose(turn))
        except FileNotFoundError as problem:
            raise MissingError(f"image {self.path} is named in the annotations and is not there") from problem
        except DataError:
            raise
        except Exception as problem:  # Pillow's decoders raise many kinds
            raise DataError(
                f"image {self.path} does not decode ({problem}); replace it or remove its record"
            ) from problem

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Return the mask of object ``index`` as (H, W) of 0 and 1."""
        try:
            decoded = decode_mask(self.annotations[index].segmentation, self.height, self.width)
        except Exception as problem:  # pycocotools raises bare Exception for a bad segmentation
            raise self._unreadable(index, problem) from problem
        if decoded.shape != (self.height, self.width):
            raise DataError(f"a mask of {self.path.name} has size {decoded.shape}, not that of its image")
        return decoded

    def box(self, index: int) -> Box:
        """Return the box around object ``index``, its pixels not decoded; it may be a pixel too large."""
        try:
            return mask_box(self.annotations[index].segmentation, self.height, self.width)
        except Exception as problem:
            raise self._unreadable(index, problem) from problem

    def _unreadable(self, index: int, problem: Exception) -> DataError:
        return DataError(f"object {index} of {self.path.name} has no readable mask ({problem})")

    def _check(self, file: ImageFile.ImageFile) -> Image.Transpose | None:
        """Return how the stored pixels are turned to lie under the masks; refuse those that cannot."""
        # Pillow would cut values off at 255, or take the upper byte of 16 bits
        if file.mode[0] in "IF" or any(SIXTEEN_BITS.search(str(tile.args)) for tile in file.tile):
            raise DataError(
                f"image {self.path} has more than 8 bits a value; convert it to 8 bits with the contrast you want"
            )
        stored, size, turn = file.size, (self.width, self.height), exif_turn(file)
        if size == turned_size(stored, turn):
            return turn
        if size == stored:
            return None
        unless = " (as its EXIF orientation turns them)" if turned_size(stored, turn) != stored else ""
        raise DataError(
            f"image {self.path} is {'x'.join(map(str, turned_size(stored, turn)))} pixels{unless}, its annotations say "
            f"{self.width}x{self.height}; the mask file does not match its images"
        )


def displayed_size(file: Image.Image) -> tuple[int, int]:
    """Return the (width, height) of an opened image as it is displayed: turned as its EXIF data says."""
    return turned_size(file.size, exif_turn(file))


def turned_size(size: tuple[int, int], turn: Image.Transpose | None) -> tuple[int, int]:
    """Return the (width, height) after a turn."""
    return (size[1], size[0]) if turn in SIDEWAYS else size


def exif_turn(file: Image.Image) -> Image.Transpose | None:
    """Return the turn from the stored pixels to the displayed image; None where there is none to make."""
    if file.format == "TIFF":
        return None  # Pillow turns these itself
    try:
        return TURNS.get(file.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # of damaged EXIF data, without which the image may be sound
        return None


def refuse_several(files: Sequence[Path]) -> None:
    """Refuse files of one stem beside each other, of which any could be meant."""
    if len(files) > 1:
        raise DataError(
            f"{' and '.join(map(str, files))} have one stem; which is meant cannot be told, remove the others"
        )


class LazyRecords(Sequence[ImageRecord], Generic[Item]):
    """Records that are made when they are asked for, so that opening a large folder reads names only."""

    def __init__(
        self, items: Sequence[Item], make: Callable[[Item], ImageRecord], path: Callable[[Item], Path]
    ) -> None:
        self._items = items
        self._make = make
        self._path = path

    @property
    def paths(self) -> list[Path]:
        """The images' files; no record is made for them."""
        return [self._path(item) for item in self._items]

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, index: slice) -> "LazyRecords[Item]": ...
    def __getitem__(self, index: int | slice) -> "ImageRecord | LazyRecords[Item]":
        if isinstance(index, slice):
            return LazyRecords(self._items[index], self._make, self._path)
        return self._make(self._items[index])


@dataclass(frozen=True)
class Pack:
    """A named set of images with masks that can be asked for in any order.

    ``records[i]`` raises MissingError or DataError where the annotations of an image have a file of their own.
    """

    name: str
    records: Sequence[ImageRecord]
    weight: float = 1.0  # how often it is drawn from, beside other sources
    licences: Mapping[str, int] = field(default_factory=dict, compare=False)  # licence -> images, as the data says
    has_masks: bool = True  # without them an image teaches what a teacher says of it, and nothing can be judged by it
    crowds: int = field(default=0, compare=False)  # masks of several objects at once (iscrowd), which are left out

    @property
    def paths(self) -> list[Path]:
        """The images' files."""
        return self.records.paths if isinstance(self.records, LazyRecords) else [one.path for one in self.records]

    def __len__(self) -> int:
        return len(self.records)
