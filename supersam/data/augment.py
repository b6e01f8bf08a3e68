"""Augmentation of an image and of the masks that are used, by one geometry: crop, scale, flip; then colour."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from supersam.data.records import ImageRecord
from supersam.data.segmentations import Box
from supersam.data.skipped import Skipped
from supersam.data.transforms import fitted_size
from supersam.errors import DataError

SMALLEST_SIDE = 32  # pixels of a crop
UNUSABLE = 10  # masks after which an image is left, for in SA-1B it may have hundreds
REDUCTIONS = (8, 4, 2)  # what JPEG decoders can do
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Mask = NDArray[np.uint8]
Reader = Callable[[ImageRecord, int], NDArray[np.uint8]]


class Augmentation(BaseModel):
    """How training images are varied; the defaults are crops, flips and a little colour.

    ``scale_jitter`` is that of Simple Copy-Paste (https://arxiv.org/abs/2012.07177), with which SAM trains on small
    sets (https://arxiv.org/abs/2304.02643, section A): (0.1, 2.0) there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    crop_probability: Share = 0.5
    smallest_crop: PositiveShare = 0.4  # of each side; a crop's share is drawn from here to 1
    object_crop_probability: Share = (
        0.0  # of the crops: those placed around one object, so that small ones are seen large
    )
    object_share: tuple[PositiveShare, PositiveShare] = (0.1, 0.5)  # that object's longer side in the crop's
    scale_jitter: tuple[float, float] = (1.0, 1.0)  # of the frame: below 1 leaves padding, above 1 crops further
    flip_probability: Share = 0.5  # left to right
    brightness: Share = 0.2  # the image's values are multiplied by 1 ± this
    tint: Share = 0.05  # ... and each channel's by 1 ± this
    offset: float = Field(default=15.0, ge=0, le=255)  # ... and ± this is added
    smallest_object: int = Field(default=16, ge=1)  # pixels of the original that the crop must show

    @model_validator(mode="after")
    def _check_ranges(self) -> "Augmentation":
        if not 0.05 <= self.scale_jitter[0] <= self.scale_jitter[1] <= 10:
            raise ValueError("scale_jitter must be two numbers that rise, between 0.05 and 10")
        if self.object_share[0] > self.object_share[1]:
            raise ValueError("object_share must be two numbers that rise")
        return self

    @property
    def changes_colours(self) -> bool:
        """Whether any image gets other colours."""
        return bool(self.brightness or self.tint or self.offset)

    @classmethod
    def none(cls) -> "Augmentation":
        """Return the one that changes nothing."""
        return cls(crop_probability=0, flip_probability=0, brightness=0, tint=0, offset=0)


@dataclass(frozen=True)
class Augmented:
    """An image as the network shall see it, before padding, with the masks of some of its objects.

    Pixel (x, y) of the image is pixel (x, y) of the masks and of the padded R x R input.

    Shape:
        - image: (h, w, 3), values 0 to 255; max(h, w) is R, or less by scale jitter
        - masks: each (h, w) of 0 and 1, none empty, of different objects
    """

    image: NDArray[np.uint8]
    masks: tuple[Mask, ...]
    objects: tuple[int, ...]  # which of the record's
    record: ImageRecord
    crop: Box  # in pixels of the original
    flipped: bool
    source: str = ""  # name of the pack or stream, where a loader drew it


def augment(
    record: ImageRecord,
    augmentation: Augmentation,
    resolution: int,
    n_objects: int,
    rng: np.random.Generator,
    skipped: Skipped | None = None,
    read: Reader = ImageRecord.read,
) -> Augmented | None:
    """Return an image for a network of resolution R with masks of up to ``n_objects`` random objects.

    A crop that shows no object is given up for the whole image. Only masks that may be used are decoded, and JPEGs
    no larger than is needed.

    Args:
        skipped: counts masks that are damaged or empty; without it they are errors.
        read: gives the image at a fraction of its size, such as ``ImageCache.read``.

    Returns:
        None if the image shows no object of ``smallest_object`` pixels.

    Raises:
        MissingError, DataError: if the image cannot be read.
    """
    masks = _Masks(record, skipped)
    order = rng.permutation(len(record.annotations)).tolist()
    zoom = rng.uniform(*augmentation.scale_jitter)
    whole = (0, 0, record.width, record.height)
    crop = _draw_crop(masks, order, augmentation, max(1.0, zoom), rng)
    flipped = bool(rng.random() < augmentation.flip_probability)
    colours = _draw_colours(augmentation, rng)
    chosen = masks.visible(order, crop, n_objects, augmentation.smallest_object)
    if not chosen and crop != whole:
        crop, chosen = whole, masks.visible(order, whole, n_objects, augmentation.smallest_object)
    if not chosen:
        return None
    height, width = fitted_size(crop[3] - crop[1], crop[2] - crop[0], max(1, round(resolution * min(1.0, zoom))))
    image = _resized_image(record, crop, (width, height), read).point(colours)
    mirror = slice(None, None, -1 if flipped else 1)
    return Augmented(
        np.ascontiguousarray(np.asarray(image)[:, mirror]),
        tuple(np.ascontiguousarray(_resized_mask(mask, width, height)[:, mirror]) for mask in chosen.values()),
        tuple(chosen),
        record,
        crop,
        flipped,
    )


def scaled(drawn: Augmented, share: float) -> Augmented:
    """Return the same view with sides of ``share`` of their pixels."""
    if share == 1.0:
        return drawn
    height, width = (max(1, round(share * side)) for side in drawn.image.shape[:2])
    image = Image.fromarray(drawn.image).resize((width, height), Image.Resampling.BILINEAR)
    masks = tuple(_resized_mask(mask, width, height) for mask in drawn.masks)
    return replace(drawn, image=np.asarray(image), masks=masks)


class _Masks:
    """The masks of a record, decoded when they are needed; damaged and empty ones are counted or raised."""

    def __init__(self, record: ImageRecord, skipped: Skipped | None) -> None:
        self.record = record
        self._skipped = skipped
        self._boxes: dict[int, Box | None] = {}  # None: the mask cannot be used

    def box(self, index: int) -> Box | None:
        """Return the box around an object, or None if its mask cannot be used."""
        if index not in self._boxes:
            if self._skipped is not None:
                self._skipped.see("mask")
            self._boxes[index] = self._box(index)
        return self._boxes[index]

    def visible(self, order: list[int], crop: Box, count: int, smallest: int) -> dict[int, Mask]:
        """Return, cut out, the masks of the first ``count`` objects of ``order`` with enough pixels in the crop."""
        found: dict[int, Mask] = {}
        for index in order:
            if len(found) == count or self._given_up():
                break
            box = self.box(index)
            if box is not None and _overlap(box, crop) >= smallest:
                shown = self._mask(index)[crop[1] : crop[3], crop[0] : crop[2]]
                if np.count_nonzero(shown) >= smallest:
                    found[index] = shown
        return found

    def first_box(self, order: list[int]) -> Box | None:
        """Return the box of the first object of ``order`` that has one."""
        for index in order:
            if self._given_up():
                break
            box = self.box(index)
            if box is not None:
                return box
        return None

    def _given_up(self) -> bool:
        return sum(box is None for box in self._boxes.values()) >= UNUSABLE

    def _box(self, index: int) -> Box | None:
        try:
            box = self.record.box(index)
        except DataError as problem:
            return self._skip("damaged", problem)
        return box if _overlap(box, box) else self._skip("empty", self._empty(index))

    def _mask(self, index: int) -> Mask:
        """Return a mask whose box could be found; one that then proves useless shows nothing."""
        mask = np.zeros((self.record.height, self.record.width), dtype=np.uint8)
        try:
            mask = self.record.mask(index)
            if not mask.any():
                self._boxes[index] = self._skip("empty", self._empty(index))
        except DataError as problem:
            self._boxes[index] = self._skip("damaged", problem)
        return mask

    def _empty(self, index: int) -> DataError:
        return DataError(f"object {index} of {self.record.path.name} has an empty mask")

    def _skip(self, reason: str, problem: DataError) -> Box | None:
        """Count a mask, or raise its problem where nothing counts; it has no box."""
        if self._skipped is None:
            raise problem
        self._skipped.add("mask", reason, problem)
        return None


def _overlap(box: Box, crop: Box) -> int:
    """Return the pixels two boxes share."""
    width, height = min(box[2], crop[2]) - max(box[0], crop[0]), min(box[3], crop[3]) - max(box[1], crop[1])
    return max(0, width) * max(0, height)


def _draw_crop(
    masks: _Masks, order: list[int], augmentation: Augmentation, zoom: float, rng: np.random.Generator
) -> Box:
    """Draw a part of the image of its shape; with an object to show, that object is wholly in it."""
    lengths = (masks.record.width, masks.record.height)
    share, target = 1.0, None
    if rng.random() < augmentation.crop_probability:
        share = rng.uniform(augmentation.smallest_crop, 1.0)
        if rng.random() < augmentation.object_crop_probability:
            target = masks.first_box(order)
    if target is not None:
        part = np.exp(rng.uniform(*np.log(augmentation.object_share)))
        share = min(1.0, max(target[2] - target[0], target[3] - target[1]) / (part * max(lengths)))
    starts, ends = [], []
    for axis, length in enumerate(lengths):
        first, last = (target[axis], target[axis + 2]) if target is not None else (0, 0)
        size = min(length, max(SMALLEST_SIDE, last - first, round(length * share / zoom)))
        bounds = (max(0, last - size), min(first, length - size)) if target is not None else (0, length - size)
        starts.append(int(rng.integers(bounds[0], bounds[1] + 1)))
        ends.append(starts[-1] + size)
    return starts[0], starts[1], ends[0], ends[1]


def _draw_colours(augmentation: Augmentation, rng: np.random.Generator) -> list[int]:
    """Draw what becomes of every value of every channel: 3 x 256 values."""
    brightness, tint, offset = augmentation.brightness, augmentation.tint, augmentation.offset
    gain = rng.uniform(1 - brightness, 1 + brightness) * rng.uniform(1 - tint, 1 + tint, 3)
    table = np.arange(256) * gain[:, None] + rng.uniform(-offset, offset)
    colours: list[int] = np.rint(np.clip(table, 0, 255)).astype(int).ravel().tolist()
    return colours


def _resized_image(record: ImageRecord, crop: Box, size: tuple[int, int], read: Reader) -> Image.Image:
    """Return the crop at (width, height), of an image that was decoded no larger than that asks for."""
    ratio = min((crop[2] - crop[0]) / size[0], (crop[3] - crop[1]) / size[1])
    pixels = read(record, next((reduction for reduction in REDUCTIONS if reduction <= ratio), 1))
    reduction = round(record.width / pixels.shape[1])
    place = [edge / reduction for edge in crop]
    left, top, right, bottom = int(place[0]), int(place[1]), -int(-place[2] // 1), -int(-place[3] // 1)
    part = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    return part.resize(
        size, Image.Resampling.BILINEAR, (place[0] - left, place[1] - top, place[2] - left, place[3] - top)
    )


def _resized_mask(mask: Mask, width: int, height: int) -> Mask:
    """Return the pixels that the mask covers half or more, at least one."""
    if mask.shape == (height, width):
        return mask
    kind = Image.Resampling.BOX if height < mask.shape[0] else Image.Resampling.BILINEAR
    shares = Image.fromarray(np.ascontiguousarray(mask) * 255).resize((width, height), kind)
    resized = (np.asarray(shares) >= 128).view(np.uint8)
    if not resized.any():
        rows, columns = np.nonzero(mask)
        middle = len(rows) // 2
        resized[rows[middle] * height // mask.shape[0], columns[middle] * width // mask.shape[1]] = 1
    return resized
