"""What an image asks of every model that is evaluated on it, made once: masks, prompts, inputs, trivial answers."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from supersam.data.prompts import bounding_box, central_point
from supersam.data.records import ImageRecord
from supersam.data.transforms import to_input
from supersam.evaluate.metrics import filled_box, inscribed_ellipse, iou

Mask = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """The objects of an image; of some or all."""

    masks: list[Mask]

    @cached_property
    def boxes(self) -> Floats:
        """Return their boxes (N, 4), (x0, y0, x1, y1) in pixels."""
        return np.stack([bounding_box(mask) for mask in self.masks])

    @cached_property
    def points(self) -> Floats:
        """Return the pixel (N, 2), (x, y), of each that is farthest from its border."""
        return np.stack([central_point(mask) for mask in self.masks])

    @cached_property
    def trivial(self) -> dict[str, list[float]]:
        """Return the IoU of what needs no model but the box."""
        pairs = list(zip(self.boxes, self.masks, strict=True))
        return {
            "box_fill": [iou(filled_box(box, mask.shape), mask) for box, mask in pairs],
            "ellipse": [iou(inscribed_ellipse(box, mask.shape), mask) for box, mask in pairs],
        }

    def chunks(self, size: int) -> list["Example"]:
        """Return them in groups of at most ``size``."""
        if len(self.masks) <= size:
            return [self]  # with what is known of them
        return [Example(self.masks[start : start + size]) for start in range(0, len(self.masks), size)]


class ExampleCache:
    """Keeps examples and inputs in memory while many models are evaluated on the same images.

    An object takes a byte a pixel, an input twelve bytes a pixel of its resolution. Images out of a shard are not kept.
    """

    def __init__(self) -> None:
        self._examples: dict[tuple[object, ...], Example] = {}
        self._inputs: dict[tuple[object, ...], Tensor] = {}

    def example(self, record: ImageRecord, indices: tuple[int, ...]) -> Example:
        """Return the objects ``indices`` of an image that are not empty."""
        key = (record.path, indices)
        if key in self._examples:
            return self._examples[key]
        example = load_example(record, indices)
        if record.content is None:
            self._examples[key] = example
        return example

    def input(self, record: ImageRecord, resolution: int) -> Tensor:
        """Return the network's input (3, R, R) of an image, as ``to_input``."""
        key = (record.path, resolution)
        if key in self._inputs:
            return self._inputs[key]
        made = to_input(record.read(), resolution)
        if record.content is None:
            self._inputs[key] = made
        return made


def load_example(record: ImageRecord, indices: tuple[int, ...]) -> Example:
    """Decode the objects ``indices`` of an image; empty ones are left out."""
    return Example([mask for mask in (record.mask(index) for index in indices) if mask.any()])
