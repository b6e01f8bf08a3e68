"""The training configuration, read from YAML; unknown keys are errors.

Every part of the recipe is a key here, with its paper beside it in ``docs/training.md``.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from supersam._yaml import load_model
from supersam.data.augment import Augmentation
from supersam.data.sources import DataSource
from supersam.errors import ConfigError, MissingError
from supersam.train.distillation_config import Distillation
from supersam.train.initial_config import Initial

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Rule = Literal["uniform", "sandwich", "attentive", "fixed"]


class Section(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Inplace(Section):
    """Weights of what is distilled from the sandwich's largest subnet."""

    embedding: Weight = 1.0  # Huber loss with half of 1 - cosine
    masks: Weight = 1.0  # Kullback-Leibler divergence of the mask pixels

    @property
    def active(self) -> bool:
        """Whether anything is distilled."""
        return bool(self.embedding or self.masks)


class Phase(Section):
    """What the steps of a stretch of the training do; phases follow each other."""

    until: float = Field(default=1.0, gt=0, le=1)  # share of the training at which the phase ends
    subnets: Rule = "sandwich"
    random_subnets: int = Field(default=2, ge=0)  # of a sandwich, besides the largest and the smallest
    resolution_weights: dict[int, Weight] = {}  # how often each resolution is drawn; empty: all alike
    correction_rounds: int = Field(default=0, ge=0)  # clicks on the error after the first answer
    correction_probability: Share = 1.0  # share of the steps that have them
    inplace_distillation: Weight | Inplace = 0.0  # one weight for both, or one each; 0: off

    @model_validator(mode="after")
    def _some_resolution_is_drawn(self) -> "Phase":
        if self.resolution_weights and not any(self.resolution_weights.values()):
            raise ValueError("resolution_weights are all 0; one must be above")
        return self

    @property
    def inplace(self) -> Inplace:
        """The weights of the distillation in place, both 0 where there is none."""
        given = self.inplace_distillation
        return given if isinstance(given, Inplace) else Inplace(embedding=given, masks=given)


class BalancedLoss(Section):
    """A focal loss that weighs object and background alike, before SAM's own (docs/decisions/0006)."""

    until: Share = 0.5  # share of the training up to which it stands alone
    plain_from: Share = 0.8  # share of the training from which SAM's own does

    @model_validator(mode="after")
    def _in_order(self) -> "BalancedLoss":
        if self.plain_from < self.until:
            raise ValueError(f"plain_from ({self.plain_from}) is before until ({self.until})")
        return self

    def share_at(self, progress: float) -> float:
        """Return the share of the balanced loss at a point of the training, 0 to 1."""
        if progress < self.until or progress >= self.plain_from:
            return float(progress < self.until)
        return (self.plain_from - progress) / (self.plain_from - self.until)


class FocalLoss(Section):
    """SAM's focal loss of masks, beside its dice loss (docs/decisions/0006)."""

    weight: Weight = 20.0  # the dice loss has 1
    alpha: Share = 0.25  # weight of a pixel of the object; the background's is 1 - alpha


class Shrinking(Section):
    """Progressive shrinking (https://arxiv.org/abs/1908.09791): dimensions become elastic one after another."""

    order: tuple[str, ...] = ("depth", "ratio", "width")  # of a plain ViT: heads, mlp
    until: float = Field(default=0.5, gt=0, le=1)  # share of the training from which everything is elastic


class Attentive(Section):
    """Pareto-aware sampling (https://arxiv.org/abs/2011.09011)."""

    candidates: Positive = 8  # random subnets of one cost, of which one is trained
    choose: Literal["best", "worst", "both"] = "both"  # by the predicted loss; both: alternating
    warmup_steps: int = Field(default=200, ge=0)  # uniform until so many losses were met, while the prediction learns


class Optimization(Section):
    """AdamW and its schedule."""

    learning_rate: float = Field(default=1e-3, gt=0)
    final_learning_rate: float = Field(default=0.0, ge=0)  # share of the peak that is left at the end
    weight_decay: float = Field(default=0.05, ge=0)
    warmup_steps: int = Field(default=50, ge=0)  # at most half of the training
    clip_norm: float = Field(default=1.0, gt=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)  # factor of the rate for each stage (layer) nearer the image
    ema: float = Field(default=0.0, ge=0, lt=1)  # decay of the average of the weights; 0: none
    stochastic_depth: float = Field(default=0.0, ge=0, lt=1)  # of the last block, rising linearly from 0


class Engine(Section):
    """How the arithmetic is done; the weights that come out differ by rounding only."""

    strategy: Literal["ddp", "fsdp"] = "ddp"  # under torchrun
    accumulate: Positive = 1  # batches of one step in each process
    autocast: Literal["none", "decoder", "all"] = "none"  # bfloat16
    activation_checkpointing: bool = False
    channels_last: bool = True
    compile: bool = False  # the decoder
    device: Literal["auto", "cpu", "cuda"] = "auto"
    loader_workers: int = Field(default=0, ge=0)  # processes that prepare batches


class TrainConfig(Section):
    """Everything that decides the weights; together with the data it gives the same weights again."""

    space: str
    data: (
        Annotated[list[DataSource], Field(min_length=1)] | Path
    )  # sources (docs/data.md), or a path; ``synthetic`` makes the seeded shapes
    split: str = "train-fit"
    out: Path  # the run's folder
    steps: Positive
    images_per_step: (
        Positive  # of each process and accumulated batch, at the smallest resolution; fewer at larger ones, not below 2
    )
    points_per_image: int = Field(default=1, ge=0)
    boxes_per_image: int = Field(default=1, ge=0)
    augmentation: Augmentation = Augmentation()
    cache_gb: float = Field(default=0.0, ge=0)  # of memory for decoded images, in each process
    max_skipped_share: float = Field(default=0.05, ge=0, le=1)  # of damaged samples; more end the training
    initial: Initial | None = None
    distillation: Distillation | None = None
    balanced_loss: BalancedLoss | Literal["auto"] | None = "auto"  # auto: only for a new decoder; null: never
    focal_loss: FocalLoss = FocalLoss()
    phases: tuple[Phase, ...] = (Phase(),)
    architecture: dict[str, Any] | None = None  # as in a candidate's JSON: what `subnets: fixed` trains alone
    shrinking: Shrinking | None = None
    removal_probability: float | None = Field(default=None, ge=0, lt=1)  # of each removable layer of a plain ViT
    attentive: Attentive = Attentive()
    optimization: Optimization = Optimization()
    engine: Engine = Engine()
    calibration_images: int = Field(default=64, ge=0)  # of BatchNorm statistics of a judged subnet; 0: the supernet's
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    tensorboard: bool = False
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> "TrainConfig":
        ends = [phase.until for phase in self.phases]
        if not ends or ends != sorted(set(ends)) or ends[-1] != 1.0:
            raise ValueError("phases: `until` must rise from phase to phase and end at 1")
        if any(phase.subnets == "fixed" for phase in self.phases) and self.architecture is None:
            raise ValueError("phases: `subnets: fixed` needs an `architecture` to train alone")
        if self.points_per_image + self.boxes_per_image == 0:
            raise ValueError("points_per_image and boxes_per_image are both 0; a training needs prompts")
        return self

    @model_validator(mode="after")
    def _check_distillation(self) -> "TrainConfig":
        if any(phase.inplace.active and phase.subnets != "sandwich" for phase in self.phases):
            raise ValueError(
                "phases: inplace_distillation needs `subnets: sandwich`: its largest subnet is the teacher"
            )
        lessons = self.distillation
        if lessons and lessons.freeze_decoder and not (lessons.start_from_teacher_decoder or self.initial):
            raise ValueError(
                "distillation: freeze_decoder would keep a decoder of random weights; add start_from_teacher_decoder"
            )
        if lessons and lessons.start_from_teacher_decoder and self.initial:
            raise ValueError(
                "distillation: start_from_teacher_decoder would replace the decoder of `initial`; keep one of them"
            )
        return self

    @property
    def decoder_is_new(self) -> bool:
        """Whether the mask decoder starts from random weights."""
        return self.initial is None and not (self.distillation and self.distillation.start_from_teacher_decoder)

    def balance_at(self, progress: float) -> float:
        """Return the share of the balanced loss at a point of the training, 0 to 1 (docs/decisions/0006)."""
        loss = self.balanced_loss
        if loss == "auto":
            loss = BalancedLoss() if self.decoder_is_new else None
        return loss.share_at(progress) if loss else 0.0

    def phase_at(self, step: int) -> Phase:
        """Return the phase of a step."""
        return next(phase for phase in self.phases if step < phase.until * self.steps or phase is self.phases[-1])


def load_config(path: Path) -> TrainConfig:
    """Load a training configuration.

    Raises:
        MissingError: if there is no such file.
        ConfigError: if it is not valid.
    """
    if not path.is_file():
        raise MissingError(f"there is no training configuration {path}")
    return load_model(path, TrainConfig, ConfigError)
