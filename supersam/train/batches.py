"""Training batches: images with prompts, every step a function of (seed, step, rank) alone.

Nothing is remembered between steps, so a resumed run sees what it would have seen.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supersam.data.coco import ImageRecord, Pack
from supersam.data.prompts import jittered_box, random_point
from supersam.data.transforms import to_input, to_target
from supersam.errors import DataError
from supersam.sam.model import FRAME, Prompts
from supersam.train.config import TrainConfig

MASK_STRIDE = 4
SMALLEST_OBJECT = 16  # pixels of the cropped original that must be visible
SMALLEST_CROP = 0.4  # of each side
ATTEMPTS = 50


@dataclass(frozen=True)
class Batch:
    """Images with prompts and the masks they ask for.

    Shape:
        - images: (B, 3, R, R); targets: (B, Q, R/4, R/4), values 0 to 1, those of the point prompts first
    """

    images: Tensor
    prompts: Prompts
    targets: Tensor


@dataclass(frozen=True)
class Sample:
    """One image of a batch."""

    image: Tensor
    points: Tensor
    boxes: Tensor
    targets: Tensor


def make_batch(packs: list[Pack], config: TrainConfig, resolution: int, count: int, step: int, rank: int) -> Batch:
    """Return the batch of a step: images from all packs alike."""
    samples = []
    for slot in range(count):
        rng = np.random.default_rng((config.seed, step, rank, slot))
        samples.append(_make_sample(packs, config, resolution, rng))
    points = torch.stack([sample.points for sample in samples]).unsqueeze(2)
    return Batch(
        torch.stack([sample.image for sample in samples]),
        Prompts(points, torch.ones(points.shape[:3]), torch.stack([sample.boxes for sample in samples])),
        torch.stack([sample.targets for sample in samples]),
    )


def _make_sample(packs: list[Pack], config: TrainConfig, resolution: int, rng: np.random.Generator) -> Sample:
    for _ in range(ATTEMPTS):
        pack = packs[rng.integers(len(packs))]
        record = pack.records[rng.integers(len(pack.records))]
        if record.annotations:
            sample = _sample_of(record, config, resolution, rng)
            if sample is not None:
                return sample
    raise DataError(f"{ATTEMPTS} images in a row had no object of {SMALLEST_OBJECT} pixels; check the annotations")


def _sample_of(record: ImageRecord, config: TrainConfig, resolution: int, rng: np.random.Generator) -> Sample | None:
    rows, columns = _crop(record, rng) if rng.random() < config.crop_probability else (slice(None), slice(None))
    flip = slice(None, None, -1) if rng.random() < 0.5 else slice(None)
    n_objects = config.points_per_image + config.boxes_per_image
    masks: list[NDArray[np.uint8]] = []
    for index in rng.permutation(len(record.annotations)):
        mask = np.ascontiguousarray(record.mask(int(index))[rows, columns][:, flip])
        if mask.sum() >= SMALLEST_OBJECT:
            masks.append(mask)
        if len(masks) == n_objects:
            break
    if not masks:
        return None
    chosen = [masks[number % len(masks)] for number in range(n_objects)]
    image = np.ascontiguousarray(_colour_jitter(record.read()[rows, columns][:, flip], rng))
    scale = FRAME / max(image.shape[:2])
    point_masks, box_masks = chosen[: config.points_per_image], chosen[config.points_per_image :]
    return Sample(
        to_input(image, resolution),
        torch.from_numpy(np.stack([random_point(mask, rng) for mask in point_masks]) * scale),
        torch.from_numpy(np.stack([jittered_box(mask, rng) for mask in box_masks]) * scale),
        torch.stack([to_target(mask, resolution, MASK_STRIDE) for mask in chosen]),
    )


def _crop(record: ImageRecord, rng: np.random.Generator) -> tuple[slice, slice]:
    share = rng.uniform(SMALLEST_CROP, 1.0)
    slices = []
    for length in (record.height, record.width):
        size = max(32, round(length * share))
        start = int(rng.integers(0, max(1, length - size + 1)))
        slices.append(slice(start, start + size))
    return slices[0], slices[1]


def _colour_jitter(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    gain, offset = rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3), rng.uniform(-15, 15)
    return np.clip(image * gain + offset, 0, 255).astype(np.uint8)
