"""Mean IoU of a model on packs, by click and by box, as SAM evaluates (https://arxiv.org/abs/2304.02643, section 7)."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supersam.data.coco import ImageRecord, Pack
from supersam.data.prompts import bounding_box, central_point
from supersam.data.transforms import to_input
from supersam.errors import UsageError
from supersam.evaluate.metrics import bootstrap_interval, filled_box, inscribed_ellipse, iou
from supersam.predict.predictor import Embedded, embed, predict_logits
from supersam.results.candidate import Accuracy
from supersam.sam.model import Sam

Mask = NDArray[np.uint8]
Logits = Callable[[Embedded, list[Mask]], Tensor]
CHUNK = 32  # prompts decoded at once


@dataclass
class PackScores:
    """IoU of every mask of a pack by prompt, and of the trivial answers."""

    prompts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    trivial: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class Report:
    """What an evaluation found."""

    n_images: int
    packs: dict[str, PackScores]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{pack: {prompt: {miou, ci95, n_masks, trivial}}}``."""
        return {
            pack: {
                prompt: {
                    "miou": round(float(np.mean(values)), 5),
                    "ci95": [round(bound, 5) for bound in bootstrap_interval(values)],
                    "n_masks": len(values),
                    "trivial": {name: round(float(np.mean(found)), 5) for name, found in scores.trivial.items()},
                }
                for prompt, values in scores.prompts.items()
            }
            for pack, scores in self.packs.items()
        }

    def accuracy(self) -> Accuracy:
        """Return the mean over packs and prompts with its 95 % interval over masks."""
        cells = [values for scores in self.packs.values() for values in scores.prompts.values()]
        error = np.sqrt(sum(np.var(values, ddof=1) / len(values) for values in cells if len(values) > 1)) / len(cells)
        value = float(np.mean([np.mean(values) for values in cells]))
        means = {
            pack: {prompt: round(float(np.mean(values)), 5) for prompt, values in scores.prompts.items()}
            for pack, scores in self.packs.items()
        }
        return Accuracy(value, "measured", (value - 1.96 * float(error), value + 1.96 * float(error)), means)


def evaluate(
    model: Sam,
    resolution: int,
    packs: list[Pack],
    prompts: list[str],
    limit: int | None = None,
    masks_per_image: int | None = None,
    on_image: Callable[[], object] = lambda: None,
) -> Report:
    """Evaluate a plain model in evaluation mode.

    Args:
        prompts: names of PROMPTS.
        limit: images of each pack, evenly spread over it; None is all.
        masks_per_image: objects of each image, evenly spread over them; None is all.
    """
    unknown = [prompt for prompt in prompts if prompt not in PROMPTS]
    if unknown or not prompts:
        raise UsageError(f"unknown prompt {''.join(unknown[:1])!r}; there are: {', '.join(PROMPTS)}")
    n_images, found = 0, {}
    for pack in packs:
        scores = PackScores()
        for record in spread(pack.records, limit):
            n_images += 1
            _score_image(model, resolution, record, prompts, masks_per_image, scores)
            on_image()
        if not scores.prompts:
            raise UsageError(f"pack {pack.name} has no masks to evaluate")
        found[pack.name] = scores
    return Report(n_images, found)


def spread(items: Sequence[Any], count: int | None) -> list[Any]:
    """Return ``count`` items evenly spread over all, or all of them."""
    if count is None or count >= len(items):
        return list(items)
    return [items[int(index)] for index in np.linspace(0, len(items) - 1, count)]


def calibration_batches(packs: list[Pack], resolution: int, count: int, batch_size: int = 8) -> Iterator[Tensor]:
    """Yield about ``count`` inputs, evenly spread over all packs, for ``recalibrate``.

    The order mixes the packs, so that every batch has the mix.
    """
    share = -(-count // len(packs))
    columns = [spread(pack.records, share) for pack in packs]
    records = [column[row] for row in range(share) for column in columns if row < len(column)]
    for start in range(0, len(records), batch_size):
        yield torch.stack([to_input(record.read(), resolution) for record in records[start : start + batch_size]])


def _score_image(
    model: Sam,
    resolution: int,
    record: ImageRecord,
    prompts: list[str],
    masks_per_image: int | None,
    scores: PackScores,
) -> None:
    indices = spread(tuple(range(len(record.annotations))), masks_per_image)
    masks = [mask for mask in (record.mask(index) for index in indices) if mask.any()]
    if not masks:
        return
    embedded = embed(model, record.read(), resolution)
    for start in range(0, len(masks), CHUNK):
        chunk = masks[start : start + CHUNK]
        for prompt in prompts:
            predicted = (PROMPTS[prompt](embedded, chunk) > 0).numpy()
            scores.prompts[prompt] += [iou(one, mask) for one, mask in zip(predicted, chunk, strict=True)]
    for mask in masks:
        box = bounding_box(mask)
        scores.trivial["box_fill"].append(iou(filled_box(box, mask.shape), mask))
        scores.trivial["ellipse"].append(iou(inscribed_ellipse(box, mask.shape), mask))


def _by_box(embedded: Embedded, masks: list[Mask]) -> Tensor:
    boxes = np.stack([bounding_box(mask) for mask in masks])
    return predict_logits(embedded, boxes=boxes)[0][:, 0]


def _by_clicks(embedded: Embedded, masks: list[Mask], clicks: int) -> Tensor:
    """One click in the middle, then each further click in the middle of the largest error."""
    points = np.stack([central_point(mask) for mask in masks])[:, None]
    labels = np.ones(points.shape[:2], dtype=np.float32)
    logits, scores = predict_logits(embedded, points=points, labels=labels, multimask=True)
    best = logits[torch.arange(len(masks)), scores.argmax(dim=1)]
    for _ in range(clicks - 1):
        corrections = [_correction((one > 0).numpy(), mask) for one, mask in zip(best, masks, strict=True)]
        points = np.concatenate([points, np.stack([point for point, _ in corrections])[:, None]], axis=1)
        added = np.array([[label] for _, label in corrections], dtype=np.float32)
        labels = np.concatenate([labels, added], axis=1)
        best = predict_logits(embedded, points=points, labels=labels)[0][:, 0]
    return best


def _correction(predicted: NDArray[np.bool_], mask: Mask) -> tuple[NDArray[np.float32], float]:
    """Return a click where prediction and mask differ most, and whether it is on the object (1) or beside it (0)."""
    error = (predicted != mask.astype(bool)).astype(np.uint8)
    point = central_point(error if error.any() else mask)
    return point, float(mask[int(point[1]), int(point[0])])


PROMPTS: dict[str, Logits] = {
    "point1": lambda embedded, masks: _by_clicks(embedded, masks, 1),
    "point3": lambda embedded, masks: _by_clicks(embedded, masks, 3),
    "box": _by_box,
}
