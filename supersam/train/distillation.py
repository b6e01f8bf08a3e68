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

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supersam.data.augment import Augmentation
from supersam.data.records import Pack
from supersam.data.skipped import Skipped
from supersam.errors import ConfigError
from supersam.sam.model import Prompts, Sam
from supersam.space import AnyArchitecture, SearchSpace, StagedSpace
from supersam.supernet.supernet import Supernet
from supersam.train.distillation_config import Distillation
from supersam.train.distillation_losses import (
    Outputs,
    Target,
    covered,
    embedding_loss,
    prompt_in_the_loop_loss,
    resized,
    stage_loss,
)
from supersam.train.teacher_cache import TeacherCache, View, sources_of
from supersam.train.teachers import Teacher, load_teacher

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
        return cached_views(self.cache.flips)

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
        return self.config.active_at(progress)

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
        precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> dict[str, Tensor]:
        """Return the weighted losses by name: ``embedding``, ``stages``, ``prompts``; those that are off are missing.

        Args:
            decoder: the student's prompt encoder and mask decoder.
            generator: of the corrective clicks; seeded by the step it makes them repeatable.
            precision: in which the decoders compute.
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
            lesson = prompt_in_the_loop_loss(
                decoder, student.embedding, self.teacher.decoder, target, config.prompts.rounds, generator, precision
            )
            losses["prompts"] = weight * lesson
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
        parts = images.split(TEACHER_BATCH)
        if not self._compares_stages(progress):
            return Outputs(torch.cat([self.teacher(part) for part in parts]))
        embeddings, stages = zip(*(self.teacher.features(part) for part in parts), strict=True)
        return Outputs(torch.cat(embeddings), [torch.cat(maps) for maps in zip(*stages, strict=True)])


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
    if augmentation is not None and config.cache is not None:
        check_views(cached_views(flips=True), augmentation)  # before anything is loaded
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


def cached_views(flips: bool) -> AllowedViews:
    """Return what a batch may show where embeddings come from a cache."""
    return AllowedViews(crops=False, flips=flips, colours=False)


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


def _widest(space: SearchSpace) -> list[int]:
    """Return the widest output of each stage."""
    if isinstance(space, StagedSpace):
        return [stage.widths[-1] for stage in space.stages]
    return [space.width] * 4
