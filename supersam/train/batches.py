"""Training batches: images with prompts, every batch a function of (seed, step, its number in the step) alone.

Nothing is remembered between steps (streams aside, which remember how far they were read), so a resumed run sees
what it would have seen.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from supersam.data.augment import Augmentation, Augmented, scaled
from supersam.data.loader import Loader
from supersam.data.prompts import jittered_box, random_point
from supersam.data.transforms import pad_input, pad_target
from supersam.sam.model import FRAME, Prompts
from supersam.train.config import TrainConfig
from supersam.train.teacher_cache import View, image_key

MASK_STRIDE = 4
SMALLEST_SHOWN = MASK_STRIDE**2  # pixels of the network: of less than a cell of the target no answer can be right


@dataclass(frozen=True)
class Batch:
    """Images with prompts and the masks they ask for.

    Shape:
        - images: (B, 3, R, R), the padding exactly zero
        - targets: (B, Q, R/4, R/4), values 0 to 1, those of the point prompts first
        - teacher_images: (B, 3, T, T), the same views at the teacher's resolution T
    """

    images: Tensor
    prompts: Prompts
    targets: Tensor
    views: tuple[View, ...] | None = None  # None: crops or other colours, which no cache knows
    teacher_images: Tensor | None = None

    @property
    def n_points(self) -> int:
        """How many of an image's prompts are points; they come first."""
        return 0 if self.prompts.points is None else self.prompts.points.shape[1]

    def to(self, device: torch.device, channels_last: bool = False) -> "Batch":
        """Return the batch on a device, its images in the layout that convolutions like."""
        moved = self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return replace(moved, images=moved.images.contiguous(memory_format=layout))

    def pin_memory(self) -> "Batch":
        """Return the batch in memory that a GPU can copy from while the processor goes on."""
        return self._with_tensors(Tensor.pin_memory)

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        def changed(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else change(tensor)

        prompts = self.prompts
        return replace(
            self,
            images=change(self.images),
            prompts=Prompts(*map(changed, (prompts.points, prompts.labels, prompts.boxes, prompts.masks))),
            targets=change(self.targets),
            teacher_images=changed(self.teacher_images),
        )


@dataclass(frozen=True)
class Sample:
    """One image of a batch."""

    image: Tensor
    points: Tensor
    boxes: Tensor
    targets: Tensor
    view: View | None


def make_batch(
    loader: Loader,
    config: TrainConfig,
    resolution: int,
    count: int,
    step: int,
    teacher_resolution: int | None = None,
) -> Batch:
    """Return a batch of ``count`` images at a resolution, and on request the same views at the teacher's."""
    n_objects = config.points_per_image + config.boxes_per_image
    largest = max(resolution, teacher_resolution or 0)
    samples, teacher_images = [], []
    for slot in range(count):
        drawn = loader.draw(step, slot, largest, n_objects)
        rng = np.random.default_rng((config.seed, step, loader.rank, slot, n_objects))
        samples.append(_sample(scaled(drawn, resolution / largest), config, resolution, rng))
        if teacher_resolution is not None:
            shown = scaled(drawn, teacher_resolution / largest).image
            teacher_images.append(pad_input(shown, teacher_resolution))
    views = tuple(sample.view for sample in samples if sample.view is not None)
    return Batch(
        torch.stack([sample.image for sample in samples]),
        _prompts(samples, config),
        torch.stack([sample.targets for sample in samples]),
        views if len(views) == len(samples) else None,
        torch.stack(teacher_images) if teacher_images else None,
    )


def _sample(drawn: Augmented, config: TrainConfig, resolution: int, rng: np.random.Generator) -> Sample:
    n_points, n_boxes = config.points_per_image, config.boxes_per_image
    masks = [mask for mask in drawn.masks if np.count_nonzero(mask) >= SMALLEST_SHOWN] or drawn.masks
    chosen = [masks[number % len(masks)] for number in range(n_points + n_boxes)]
    scale = FRAME / resolution
    # a point stands for the middle of its pixel; SAM adds half a pixel of the frame itself
    points = [(random_point(mask, rng) + 0.5) * scale - 0.5 for mask in chosen[:n_points]]
    boxes = [jittered_box(mask, rng, scale) * scale for mask in chosen[n_points:]]
    return Sample(
        pad_input(drawn.image, resolution),
        torch.from_numpy(np.array(points, dtype=np.float32).reshape(n_points, 2)),
        torch.from_numpy(np.array(boxes, dtype=np.float32).reshape(n_boxes, 4)),
        torch.stack([pad_target(mask, resolution, MASK_STRIDE) for mask in chosen]),
        _view(drawn, resolution, config.augmentation),
    )


def _view(drawn: Augmented, resolution: int, augmentation: Augmentation) -> View | None:
    """Return the name of what a sample shows, if it is a whole image in its own colours."""
    whole = drawn.crop == (0, 0, drawn.record.width, drawn.record.height)
    fitted = max(drawn.image.shape[:2]) == resolution
    if not (whole and fitted) or augmentation.changes_colours:
        return None
    return View(image_key(drawn.source, drawn.record), drawn.flipped)


def _prompts(samples: list[Sample], config: TrainConfig) -> Prompts:
    points = labels = boxes = None
    if config.points_per_image:
        points = torch.stack([sample.points for sample in samples]).unsqueeze(2)
        labels = torch.ones(points.shape[:3])
    if config.boxes_per_image:
        boxes = torch.stack([sample.boxes for sample in samples])
    return Prompts(points, labels, boxes)
