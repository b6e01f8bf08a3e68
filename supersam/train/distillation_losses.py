"""The losses of a distillation, each a function of what student and teacher put out (see ``distillation``)."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supersam.sam.model import MULTIMASK, Masks, Prompts, Sam, corners
from supersam.train.losses import dice_loss
from supersam.train.prompting import draw_pixel, in_frame

OUTSIDE = -30.0  # logit of a pixel of the padding: surely no object
NO_POINT = -1


@dataclass(frozen=True)
class Outputs:
    """What an encoder puts out.

    Shape:
        - embedding: (B, 256, h, w)
        - stages: four maps (B, C, h, w), or None if nobody asks for them
    """

    embedding: Tensor
    stages: list[Tensor] | None = None


@dataclass(frozen=True)
class Target:
    """What the teacher says to a batch."""

    outputs: Outputs
    images: Tensor  # the student's, to know the padding
    prompts: Prompts


def covered(images: Tensor, side: int) -> Tensor:
    """Return which share of every cell the image covers; the rest is padding, which is exactly zero.

    Shape:
        - images: (B, 3, R, R), normalised; no colour of 8 bits is zero then
        - Output: (B, 1, side, side), 0 to 1
    """
    inside = (images != 0).any(dim=1, keepdim=True).float()
    return F.adaptive_avg_pool2d(inside, side)


def resized(maps: Tensor, side: int) -> Tensor:
    """Return maps (B, C, h, w) at (B, C, side, side), in single precision."""
    if maps.shape[-1] == side:
        return maps.float()
    return F.interpolate(maps.float(), (side, side), mode="bilinear", align_corners=False, antialias=True)


def embedding_loss(
    student: Tensor, teacher: Tensor, inside: Tensor, regression: str = "huber", cosine: float = 0.5
) -> Tensor:
    """Return the mean over the image of the regression and of ``cosine`` times 1 - cosine, the padding left out.

    Shape:
        - student: (B, C, h, w); teacher: (B, C, H, W), resized to the student's grid
        - inside: (B, 1, h, w), see ``covered``; output: a scalar
    """
    student, wanted = student.float(), resized(teacher.detach(), student.shape[-1])
    compare = F.huber_loss if regression == "huber" else F.mse_loss
    distance = compare(student, wanted, reduction="none").mean(dim=1, keepdim=True)
    if cosine:
        distance = distance + cosine * (1 - F.cosine_similarity(student, wanted, dim=1).unsqueeze(1))
    return _mean(distance, inside)


def stage_loss(
    student: Sequence[Tensor], teacher: Sequence[Tensor], projections: nn.ModuleList, images: Tensor
) -> Tensor:
    """Return the mean over the stages of the Huber loss between projected and normalised outputs, on the coarser grid.

    The teacher's channels are normalised at every place, because those of ViTs differ in size by far.
    """
    losses = []
    for ours, theirs, projection in zip(student, teacher, projections, strict=True):
        side = min(ours.shape[-1], theirs.shape[-1])
        wanted = resized(theirs.detach(), side)
        wanted = F.layer_norm(wanted.movedim(1, -1), wanted.shape[1:2]).movedim(-1, 1)
        distance = F.huber_loss(projection(resized(ours, side)), wanted, reduction="none").mean(dim=1, keepdim=True)
        losses.append(_mean(distance, covered(images, side)))
    return torch.stack(losses).mean()


def prompt_in_the_loop_loss(
    student: Sam,
    embedding: Tensor,
    teacher: Sam,
    target: Target,
    rounds: int = 1,
    generator: torch.Generator | None = None,
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Tensor:
    """Return the mean distance of the student's masks from the teacher's, over the prompts and rounds of clicks.

    In each round every prompt gets a click where the two masks differ, with the teacher's answer as its label.
    Points and boxes are followed apart, because SAM's decoder sees an empty point beside points alone.

    Args:
        precision: in which both decoders compute.

    Shape:
        - embedding: (B, 256, h, w); output: a scalar
    """
    losses, embedding = [], embedding.float()
    for prompts in _apart(target.prompts):
        for number in range(rounds + 1):
            with precision():
                with torch.no_grad():
                    wanted = teacher.decode(target.outputs.embedding, prompts).single()
                found = student.decode(embedding, prompts).single()
            side = found.logits.shape[-1]
            wanted = replace(wanted, logits=resized(wanted.logits.flatten(0, 1), side).view_as(found.logits))
            inside = covered(target.images, side)
            losses.append(mask_loss(found.logits, wanted.logits, inside))
            if number < rounds:
                prompts = with_clicks(prompts, found, wanted, inside, generator)
    return torch.stack(losses).mean()


def mask_loss(student: Tensor, teacher: Tensor, inside: Tensor) -> Tensor:
    """Return cross entropy plus dice against the teacher's thresholded masks, the padding left out.

    Shape:
        - student, teacher: (B, N, M, h, w), logits; inside: (B, 1, h, w); output: a scalar
    """
    padding = (inside == 0).unsqueeze(2)
    wanted = (teacher.detach() > 0).to(student.dtype).masked_fill(padding, 0.0)
    entropy = F.binary_cross_entropy_with_logits(student, wanted, reduction="none")
    dice = dice_loss(student.masked_fill(padding, OUTSIDE), wanted)
    return _mean(entropy, inside.unsqueeze(2)) + dice.mean()


def with_clicks(
    prompts: Prompts, student: Masks, teacher: Masks, inside: Tensor, generator: torch.Generator | None = None
) -> Prompts:
    """Add to every prompt a click where the masks differ; where they do not, an empty point.

    The mask that is compared is the one for a clear prompt, and for a single point the best by the teacher's word.

    Shape:
        - prompts: points (B, N, P, 2), no boxes; masks: (B, N, 4, h, w); inside: (B, 1, h, w)
    """
    assert prompts.points is not None
    assert prompts.labels is not None
    ambiguous = prompts.points.shape[2] == 1
    best = teacher.iou[..., MULTIMASK].argmax(dim=-1) + MULTIMASK.start
    chosen = best if ambiguous else torch.zeros_like(best)
    index = chosen[..., None, None, None].expand(-1, -1, 1, *teacher.logits.shape[-2:])
    wanted = teacher.logits.gather(2, index).squeeze(2) > 0
    found = student.logits.detach().gather(2, index).squeeze(2) > 0
    differs = ((wanted != found) & (inside > 0)).flatten(2)
    place = draw_pixel(differs, generator)
    label = wanted.flatten(2).gather(2, place.unsqueeze(2)).squeeze(2).to(prompts.labels.dtype)
    label = torch.where(differs.any(dim=2), label, torch.full_like(label, NO_POINT))
    click = in_frame(place, wanted.shape[-1]).to(prompts.points.dtype)
    return replace(
        prompts,
        points=torch.cat([prompts.points, click.unsqueeze(2)], dim=2),
        labels=torch.cat([prompts.labels, label.unsqueeze(2)], dim=2),
    )


def inplace_masks_loss(student: Masks, largest: Masks, inside: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of mask pixels from those of the largest subnet; zero where both agree.

    Shape:
        - masks.logits: (B, N, 4, 4h, 4w)
        - inside: (B, 1, R, R) or any coarser square, see ``covered``
    """
    logits, wanted = student.logits.float(), largest.logits.detach().float()
    probability = wanted.sigmoid()
    divergence = F.binary_cross_entropy_with_logits(logits, probability, reduction="none")
    divergence = divergence - F.binary_cross_entropy_with_logits(wanted, probability, reduction="none")
    return _mean(divergence, resized(inside, logits.shape[-1]).unsqueeze(2))


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of values by weights that are broadcast to them."""
    weights = weights.to(values).expand_as(values)
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)


def _apart(prompts: Prompts) -> list[Prompts]:
    """Return the points and the boxes as prompts of points of their own."""
    found = []
    if prompts.points is not None and prompts.labels is not None:
        found.append(Prompts(prompts.points, prompts.labels))
    if prompts.boxes is not None:
        found.append(Prompts(*corners(prompts.boxes)))
    return [one for one in found if one.points is not None and one.points.shape[1]]
