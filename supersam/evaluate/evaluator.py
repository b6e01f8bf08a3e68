"""Mean IoU of a model on packs, by click and by box, as SAM evaluates (https://arxiv.org/abs/2304.02643, section 7)."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supersam.data.coco import ImageRecord, Pack
from supersam.data.prompts import central_point
from supersam.data.transforms import to_input, to_original
from supersam.errors import UsageError
from supersam.evaluate.compute import judging
from supersam.evaluate.examples import Example, ExampleCache, load_example
from supersam.evaluate.metrics import bootstrap_interval, iou
from supersam.predict.predictor import Embedded, answer
from supersam.results.candidate import Accuracy
from supersam.sam.model import Sam

Mask = NDArray[np.uint8]
Logits = Callable[[Embedded, Example], Tensor]
CHUNK = 32  # prompts decoded at once
PIXELS = CHUNK * 2**21  # ... fewer of large photographs: their answers have the photograph's size


@dataclass
class PackScores:
    """IoU of every mask of a pack by prompt, and of the trivial answers."""

    prompts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    trivial: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    images: list[int] = field(default_factory=list)  # of every mask, the number of its image in the pack
    empty: int = 0  # masks without a pixel, which are left out

    @property
    def groups(self) -> list[int] | None:
        """The image of every mask, which count as independent; None, for the masks themselves, if there is but one."""
        return self.images if len(set(self.images)) > 1 else None

    def standard_error(self) -> float:
        """Return the standard error of the mean over masks and prompts.

        Masks of one image, and prompts on one mask, are alike, so it is images that count as independent; masks where
        there is one image only.
        """
        of_masks = np.mean(list(self.prompts.values()), axis=0)
        groups = np.unique(self.groups or range(len(of_masks)), return_inverse=True)[1]
        off = np.bincount(groups, of_masks - of_masks.mean())
        correction = len(off) / max(1, len(off) - 1)
        return float(np.sqrt(correction * np.sum(off**2)) / len(of_masks))


@dataclass(frozen=True)
class Report:
    """What an evaluation found."""

    n_images: int
    packs: dict[str, PackScores]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{pack: {prompt: {miou, ci95, n_masks, trivial}}}``; intervals are those over images."""
        intervals = self.intervals_over_images()
        return {
            pack: {
                prompt: {
                    "miou": round(float(np.mean(values)), 5),
                    "ci95": [round(bound, 5) for bound in intervals[pack][prompt]],
                    "n_masks": len(values),
                    "trivial": {name: round(float(np.mean(found)), 5) for name, found in scores.trivial.items()},
                }
                for prompt, values in scores.prompts.items()
            }
            for pack, scores in self.packs.items()
        }

    def intervals_over_images(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Return ``{pack: {prompt: (low, high)}}``, resampling images: masks of one image are alike."""
        return {
            pack: {prompt: bootstrap_interval(values, scores.groups) for prompt, values in scores.prompts.items()}
            for pack, scores in self.packs.items()
        }

    def accuracy(self) -> Accuracy:
        """Return the mean over packs and prompts with its 95 % interval over images."""
        cells = [values for scores in self.packs.values() for values in scores.prompts.values()]
        value = float(np.mean([np.mean(values) for values in cells]))
        parts = [len(scores.prompts) * scores.standard_error() for scores in self.packs.values()]
        error = np.sqrt(np.sum(np.square(parts))) / len(cells)
        means = {
            pack: {prompt: round(float(np.mean(values)), 5) for prompt, values in scores.prompts.items()}
            for pack, scores in self.packs.items()
        }
        return Accuracy(value, "measured", (value - 1.96 * float(error), value + 1.96 * float(error)), means)


@judging()
def evaluate(
    model: Sam,
    resolution: int,
    packs: list[Pack],
    prompts: list[str],
    limit: int | None = None,
    masks_per_image: int | None = None,
    on_image: Callable[[], object] = lambda: None,
    cache: ExampleCache | None = None,
) -> Report:
    """Evaluate a plain model in evaluation mode, where its weights are.

    Its encoder is put into channels_last.

    Args:
        prompts: names of PROMPTS.
        limit: images of each pack, evenly spread over it; None is all.
        masks_per_image: objects of each image, evenly spread over them; None is all.
        cache: keeps what does not depend on the model, for the next one on the same images.
    """
    unknown = [prompt for prompt in prompts if prompt not in PROMPTS]
    if unknown or not prompts:
        raise UsageError(f"unknown prompt {''.join(unknown[:1])!r}; there are: {', '.join(PROMPTS)}")
    if model is not None:
        model.image_encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    n_images, found = 0, {}
    for pack in packs:
        scores = PackScores()
        for record in spread(pack.records, limit):
            n_images += 1
            _score_image(model, resolution, record, prompts, masks_per_image, scores, cache)
            on_image()
        if not scores.prompts:
            crowds = f" but {pack.crowds:,} of crowds (iscrowd 1), which are left out" if pack.crowds else ""
            raise UsageError(f"pack {pack.name} has no masks to evaluate{crowds}")
        found[pack.name] = scores
    return Report(n_images, found)


def spread(items: Sequence[Any], count: int | None) -> list[Any]:
    """Return ``count`` items evenly spread over all, or all of them."""
    if count is None or count >= len(items):
        return list(items)
    return [items[int(index)] for index in np.linspace(0, len(items) - 1, count)]


def calibration_batches(
    packs: list[Pack], resolution: int, count: int, batch_size: int = 8, cache: ExampleCache | None = None
) -> Iterator[Tensor]:
    """Yield about ``count`` inputs, evenly spread over all packs, for ``recalibrate``.

    The order mixes the packs, so that every batch has the mix. Batches count alike, so their sizes differ by at most 1.
    """
    share = -(-count // len(packs))
    columns = [spread(pack.records, share) for pack in packs]
    records = [column[row] for row in range(share) for column in columns if row < len(column)]
    n_batches = max(1, -(-len(records) // batch_size))
    ends = [len(records) * number // n_batches for number in range(n_batches + 1)] if records else []
    for start, end in pairwise(ends):
        yield torch.stack([_input(record, resolution, cache) for record in records[start:end]])


def embed(model: Sam, record: ImageRecord, resolution: int, cache: ExampleCache | None) -> Embedded:
    """Encode an image, in the layout that convolutions like."""
    x = _input(record, resolution, cache)[None].to(model.device).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        return Embedded(model, model.image_encoder(x), (record.height, record.width), resolution)


def enlarge(embedded: Embedded, logits: Tensor) -> Tensor:
    """Scale one answer for each object, (N, h, w), to the size of the image."""
    with torch.inference_mode():
        return to_original(logits[:, None], *embedded.size, embedded.resolution)[:, 0]


def _input(record: ImageRecord, resolution: int, cache: ExampleCache | None) -> Tensor:
    return to_input(record.read(), resolution) if cache is None else cache.input(record, resolution)


def _score_image(
    model: Sam,
    resolution: int,
    record: ImageRecord,
    prompts: list[str],
    masks_per_image: int | None,
    scores: PackScores,
    cache: ExampleCache | None,
) -> None:
    indices = tuple(spread(range(len(record.annotations)), masks_per_image))
    example = load_example(record, indices) if cache is None else cache.example(record, indices)
    scores.empty += len(indices) - len(example.masks)
    if not example.masks:
        return
    embedded = embed(model, record, resolution, cache)
    for chunk in example.chunks(max(1, min(CHUNK, PIXELS // (record.height * record.width)))):
        for prompt in prompts:
            predicted = (PROMPTS[prompt](embedded, chunk) > 0).cpu().numpy()
            scores.prompts[prompt] += [iou(one, mask) for one, mask in zip(predicted, chunk.masks, strict=True)]
    scores.images += [scores.images[-1] + 1 if scores.images else 0] * len(example.masks)
    for name, values in example.trivial.items():
        scores.trivial[name] += values


def _by_box(embedded: Embedded, example: Example) -> Tensor:
    return enlarge(embedded, answer(embedded, boxes=example.boxes)[0][:, 0])


def _by_clicks(embedded: Embedded, example: Example, clicks: int) -> Tensor:
    """One click in the middle, then each further click in the middle of the largest error."""
    masks, points = example.masks, example.points[:, None]
    labels = np.ones(points.shape[:2], dtype=np.float32)
    logits, scores = answer(embedded, points=points, labels=labels, multimask=True)
    best = enlarge(embedded, logits[torch.arange(len(masks), device=logits.device), scores.argmax(dim=1)])
    for _ in range(clicks - 1):
        corrections = [_correction(one, mask) for one, mask in zip((best > 0).cpu().numpy(), masks, strict=True)]
        points = np.concatenate([points, np.stack([point for point, _ in corrections])[:, None]], axis=1)
        added = np.array([[label] for _, label in corrections], dtype=np.float32)
        labels = np.concatenate([labels, added], axis=1)
        best = enlarge(embedded, answer(embedded, points=points, labels=labels)[0][:, 0])
    return best


def _correction(predicted: NDArray[np.bool_], mask: Mask) -> tuple[NDArray[np.float32], float]:
    """Return a click where prediction and mask differ most, and whether it is on the object (1) or beside it (0)."""
    error = (predicted != mask.astype(bool)).astype(np.uint8)
    point = central_point(error if error.any() else mask)
    return point, float(mask[int(point[1]), int(point[0])])


PROMPTS: dict[str, Logits] = {
    "point1": lambda embedded, example: _by_clicks(embedded, example, 1),
    "point3": lambda embedded, example: _by_clicks(embedded, example, 3),
    "box": _by_box,
}
