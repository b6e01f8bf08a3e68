"""Distillation: what a subnet learns from a teacher, or from the largest subnet of its own supernet.

- regression of the image embedding (MobileSAM, https://arxiv.org/abs/2306.14289);
- outputs of the stages, through projections (FitNets, https://arxiv.org/abs/1412.6550);
- prompts in the loop: the masks of the same prompts, with clicks where student and teacher differ
  (EdgeSAM, https://arxiv.org/abs/2312.06660);
- in-place distillation from the largest subnet (https://arxiv.org/abs/1903.05134).

In a training loop::

    distiller = build_distiller(config.distillation, space, model, packs)
    target = distiller.target(batch, progress)              # once a step
    for architecture in subnets:
        student = distiller.encode(supernet, batch.images, architecture, progress)
        loss = sum(distiller.losses(student, target, model, progress).values())

The parameters of ``distiller.projections`` belong to the training alone: the loop optimises and saves them beside
the model, and no subnet has them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supersam.data.augment import Augmentation
from supersam.data.records import Pack
from supersam.data.skipped import Skipped
from supersam.errors import ConfigError
from supersam.sam.model import FRAME, MULTIMASK, Masks, Prompts, Sam, corners
from supersam.space import AnyArchitecture, SearchSpace, StagedSpace
from supersam.supernet.supernet import Supernet
from supersam.train.distillation_config import Distillation
from supersam.train.losses import dice_loss
from supersam.train.teacher_cache import TeacherCache, View, sources_of
from supersam.train.teachers import Teacher, load_teacher

OUTSIDE = -30.0  # logit of a pixel of the padding: surely no object
NO_POINT = -1
TEACHER_BATCH = 8  # images: ViT-H's position bias takes 0.5 GiB an image in each layer with global attention


@dataclass(frozen=True)
class AllowedViews:
    """Which views of images a batch may show. Cached embeddings know whole images in their own colours."""

    crops: bool
    flips: bool
    colours: bool


class DistillationBatch(Protocol):
    """What is read of a batch.

    Shape:
        - images: (B, 3, R, R), the padding exactly zero
        - views: of every image, or None if some are crops or have other colours (only without a cache)
        - teacher_images: (B, 3, T, T), the same views at the teacher's resolution; None: ``images``, resized
    """

    @property
    def images(self) -> Tensor: ...
    @property
    def prompts(self) -> Prompts: ...
    @property
    def views(self) -> Sequence[View] | None: ...
    @property
    def teacher_images(self) -> Tensor | None: ...


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


class Projection(nn.Module):
    """A 1x1 convolution from any width up to the widest to the teacher's.

    Shape:
        - Input: (B, C, h, w), C <= widest; output: (B, width, h, w)
    """

    def __init__(self, widest: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(widest, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.conv.weight[:, : x.shape[1]], self.conv.bias)


class Distiller:
    """Runs the teacher, or reads its embeddings, and compares subnets with it."""

    def __init__(
        self, config: Distillation, space: SearchSpace, teacher: Teacher, cache: TeacherCache | None = None
    ) -> None:
        """Prepare a distillation.

        Raises:
            ConfigError: if the teacher lacks what is to be learned from it.
        """
        needs_decoder = config.prompts is not None or config.start_from_teacher_decoder
        if needs_decoder and teacher.decoder is None:
            raise ConfigError(
                f"teacher {teacher.name} is an encoder alone; `prompts` and `start_from_teacher_decoder` need a decoder"
            )
        self.config = config
        self.teacher = teacher
        self.cache = cache
        self.projections = nn.ModuleList()
        if config.stages:
            self.projections = nn.ModuleList(map(Projection, _widest(space), teacher.stage_widths))

    @property
    def views(self) -> AllowedViews:
        """Which views a batch may show."""
        if self.cache is None:
            return AllowedViews(crops=True, flips=True, colours=True)
        return AllowedViews(crops=False, flips=self.cache.flips, colours=False)

    @property
    def teacher_resolution(self) -> int | None:
        """The side of ``teacher_images`` in pixels; None if the cache makes them superfluous."""
        return None if self.cache else self.teacher.resolution

    @property
    def record(self) -> dict[str, Any]:
        """What a run must keep when it is resumed."""
        data = self.cache.index["data"] if self.cache else None
        return {"teacher": self.teacher.name, "fingerprint": self.teacher.fingerprint, "cached_data": data}

    def to(self, device: torch.device | str) -> "Distiller":
        """Move the teacher and the projections."""
        self.teacher.to(device)
        self.projections.to(device)
        return self

    def active(self, progress: float) -> bool:
        """Say whether something is learned at a point of the training, 0 to 1."""
        return any(lesson.weight_at(progress) for lesson in self.config.lessons)

    def target(self, batch: DistillationBatch, progress: float = 0.0) -> Target:
        """Return what the teacher says, from the cache if there is one.

        Raises:
            ConfigError: if the batch shows views that are not cached.
        """
        outputs = self._teacher_outputs(batch, progress)
        # under autocast a teacher answers in bfloat16, and decoders are given single precision
        return Target(replace(outputs, embedding=outputs.embedding.float()), batch.images, batch.prompts)

    def encode(self, supernet: Supernet, images: Tensor, architecture: AnyArchitecture, progress: float) -> Outputs:
        """Run a subnet, with the outputs of its stages if they are compared."""
        if self._compares_stages(progress):
            return Outputs(*supernet.features(images, architecture))
        return Outputs(supernet(images, architecture))

    def losses(
        self,
        student: Outputs,
        target: Target,
        decoder: Sam,
        progress: float,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return the weighted losses by name: ``embedding``, ``stages``, ``prompts``; those that are off are missing.

        Args:
            decoder: the student's prompt encoder and mask decoder.
            generator: of the corrective clicks; seeded by the step it makes them repeatable.
        """
        config, losses = self.config, {}
        if config.embedding and (weight := config.embedding.weight_at(progress)):
            inside = covered(target.images, student.embedding.shape[-1])
            losses["embedding"] = weight * embedding_loss(
                student.embedding,
                target.outputs.embedding,
                inside,
                config.embedding.regression,
                config.embedding.cosine,
            )
        if config.stages and (weight := config.stages.weight_at(progress)):
            assert student.stages is not None
            assert target.outputs.stages is not None
            losses["stages"] = weight * stage_loss(
                student.stages, target.outputs.stages, self.projections, target.images
            )
        if config.prompts and (weight := config.prompts.weight_at(progress)):
            assert self.teacher.decoder is not None
            losses["prompts"] = weight * prompt_in_the_loop_loss(
                decoder, student.embedding, self.teacher.decoder, target, config.prompts.rounds, generator
            )
        return losses

    def _compares_stages(self, progress: float) -> bool:
        return self.config.stages is not None and self.config.stages.weight_at(progress) > 0

    def _teacher_outputs(self, batch: DistillationBatch, progress: float) -> Outputs:
        if self.cache is not None:
            if batch.views is None:
                raise ConfigError(
                    "a batch of crops or of other colours has no cached embeddings; switch off the augmentation of "
                    "both, or remove `distillation.cache`"
                )
            cached = torch.stack([self.cache.read(view) for view in batch.views])
            return Outputs(cached.to(batch.images.device, torch.float32))
        images = batch.teacher_images
        if images is None:
            images = resized(batch.images, self.teacher.resolution)
        if self._compares_stages(progress):
            return Outputs(*self.teacher.features(images))
        return Outputs(torch.cat([self.teacher(part) for part in images.split(TEACHER_BATCH)]))


def build_distiller(
    config: Distillation,
    space: SearchSpace,
    model: Sam,
    packs: Sequence[Pack],
    augmentation: Augmentation | None = None,
) -> Distiller:
    """Load the teacher and open the cache; start and freeze the student's decoder as configured.

    Call it before the weights of a resumed run are restored.

    Args:
        packs: the images of the training.
        augmentation: of the training, to be checked against the views that are cached.

    Raises:
        SuperSAMError: if the teacher, the cache or what is to be learned does not fit.
    """
    teacher = load_teacher(config.teacher, config.subnet, packs)
    cache = None
    if config.cache is not None:
        cache = TeacherCache(config.cache)
        cache.require(teacher.fingerprint, sources_of(packs, Skipped()))  # the training tells what it skips
        teacher.drop_encoder()
    distiller = Distiller(config, space, teacher, cache)
    if augmentation is not None:
        check_views(distiller.views, augmentation)
    if config.start_from_teacher_decoder:
        start_decoder(model, teacher)
    if config.freeze_decoder:
        model.prompt_encoder.requires_grad_(False)
        model.mask_decoder.requires_grad_(False)
    return distiller


def check_views(views: AllowedViews, augmentation: Augmentation) -> None:
    """Refuse an augmentation that makes views without an embedding.

    Raises:
        ConfigError: naming the keys to change.
    """
    wrong = []
    if not views.crops:
        wrong += ["crop_probability: 0"] * bool(augmentation.crop_probability)
        wrong += ["scale_jitter: [1, 1]"] * (augmentation.scale_jitter != (1.0, 1.0))
    if not views.flips and augmentation.flip_probability:
        wrong.append("flip_probability: 0 (or fill the cache with --flips)")
    if not views.colours:
        wrong += [f"{name}: 0" for name in ("brightness", "tint", "offset") if getattr(augmentation, name)]
    if wrong:
        raise ConfigError(
            f"augmentation makes views that `distillation.cache` has no embeddings of; set {', '.join(wrong)}, "
            "or remove the cache"
        )


def start_decoder(model: Sam, teacher: Teacher) -> None:
    """Copy the prompt encoder and mask decoder of a teacher into a model."""
    assert teacher.decoder is not None
    model.prompt_encoder.load_state_dict(teacher.decoder.prompt_encoder.state_dict())
    model.mask_decoder.load_state_dict(teacher.decoder.mask_decoder.state_dict())


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
) -> Tensor:
    """Return the mean distance of the student's masks from the teacher's, over the prompts and rounds of clicks.

    In each round every prompt gets a click where the two masks differ, with the teacher's answer as its label.
    Points and boxes are followed apart, because SAM's decoder sees an empty point beside points alone.

    Shape:
        - embedding: (B, 256, h, w); output: a scalar
    """
    losses, embedding = [], embedding.float()
    for prompts in _apart(target.prompts):
        for number in range(rounds + 1):
            with torch.no_grad():
                wanted = teacher.decode(target.outputs.embedding, prompts)
            found = student.decode(embedding, prompts)
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
    place = _draw(differs.flatten(0, 1), generator).view(differs.shape[:2])
    label = wanted.flatten(2).gather(2, place.unsqueeze(2)).squeeze(2).to(prompts.labels.dtype)
    label = torch.where(differs.any(dim=2), label, torch.full_like(label, NO_POINT))
    width = wanted.shape[-1]
    pixels = torch.stack([place % width, place // width], dim=-1)
    click = ((pixels + 0.5) * (FRAME / width) - 0.5).to(prompts.points.dtype)
    return replace(
        prompts,
        points=torch.cat([prompts.points, click.unsqueeze(2)], dim=2),
        labels=torch.cat([prompts.labels, label.unsqueeze(2)], dim=2),
    )


def inplace_loss(
    student_embedding: Tensor,
    teacher_embedding: Tensor,
    student_masks: Masks | None = None,
    teacher_masks: Masks | None = None,
    inside: Tensor | None = None,
) -> Tensor:
    """Return how far a subnet is from the largest of its supernet, through which no gradient goes.

    The sum of the embedding's Huber loss with half of 1 - cosine and of the Kullback-Leibler divergence of the mask
    pixels; it is zero where both agree.

    Shape:
        - embeddings: (B, 256, h, w); masks.logits: (B, N, 4, 4h, 4w)
        - inside: (B, 1, R, R) or any coarser square, see ``covered``; None: everything
    """
    if inside is None:
        inside = torch.ones_like(student_embedding[:, :1])
    side = student_embedding.shape[-1]
    loss = embedding_loss(student_embedding, teacher_embedding, resized(inside, side))
    if student_masks is None or teacher_masks is None:
        return loss
    logits, wanted = student_masks.logits.float(), teacher_masks.logits.detach().float()
    probability = wanted.sigmoid()
    divergence = F.binary_cross_entropy_with_logits(logits, probability, reduction="none")
    divergence = divergence - F.binary_cross_entropy_with_logits(wanted, probability, reduction="none")
    return loss + _mean(divergence, resized(inside, logits.shape[-1]).unsqueeze(2))


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


def _draw(allowed: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return for every row (Q, n) the index of a random allowed one; any if none is."""
    weights = allowed.float()
    weights[~allowed.any(dim=1)] = 1.0
    device = generator.device if generator else allowed.device
    return torch.multinomial(weights.to(device), 1, generator=generator)[:, 0].to(allowed.device)


def _widest(space: SearchSpace) -> list[int]:
    """Return the widest output of each stage."""
    if isinstance(space, StagedSpace):
        return [stage.widths[-1] for stage in space.stages]
    return [space.width] * 4
