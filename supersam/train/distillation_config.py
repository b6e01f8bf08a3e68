"""The section ``distillation`` of a training configuration; it loads no torch."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Lesson(BaseModel):
    """One thing that is learned from the teacher, during a part of the training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(default=1.0, gt=0)
    start: float = Field(default=0.0, ge=0, lt=1)  # share of the training
    stop: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _lasts(self) -> "Lesson":
        if self.start >= self.stop:
            raise ValueError(f"start {self.start} is not before stop {self.stop}")
        return self

    def weight_at(self, progress: float) -> float:
        """Return the weight at a point of the training, 0 to 1; 0 outside of its part."""
        return self.weight if self.start <= progress < self.stop else 0.0


class EmbeddingLesson(Lesson):
    """Regression of the image embedding (MobileSAM, https://arxiv.org/abs/2306.14289)."""

    regression: Literal["huber", "mse"] = "huber"
    cosine: float = Field(default=0.5, ge=0)  # weight of 1 - cosine, beside the regression


class PromptLesson(Lesson):
    """Masks of the same prompts, with clicks where they differ (EdgeSAM, https://arxiv.org/abs/2312.06660)."""

    rounds: int = Field(default=1, ge=0)  # of corrective clicks


class Distillation(BaseModel):
    """From which teacher a training learns what, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    teacher: str  # path of a SAM checkpoint (.pth), of our .safetensors or of an .onnx, or ``starter``
    subnet: str = "largest"  # of a supernet: ``largest``, or a block type: the largest of it
    embedding: EmbeddingLesson | None = EmbeddingLesson()
    stages: Lesson | None = None  # outputs of the four stages (FitNets, https://arxiv.org/abs/1412.6550)
    prompts: PromptLesson | None = None
    cache: Path | None = None  # folder of ``supersam teacher cache``; without it the teacher runs in every step
    supervised: float = Field(default=1.0, ge=0)  # weight of the loss against the masks of the data, meanwhile
    start_from_teacher_decoder: bool = False  # the student's prompt encoder and mask decoder begin as the teacher's
    freeze_decoder: bool = False  # ... and stay what they are

    @model_validator(mode="after")
    def _can_be_done(self) -> "Distillation":
        if not self.lessons:
            raise ValueError("nothing is learned: give one of embedding, stages and prompts")
        if self.stages and self.cache:
            raise ValueError("outputs of stages are not cached: remove `cache` or `stages`")
        return self

    @property
    def needs_masks(self) -> bool:
        """Whether masks of the data are ever learned from: beside the lessons, or where there is none."""
        moments = [0.0, *(moment for lesson in self.lessons for moment in (lesson.start, lesson.stop) if moment < 1)]
        return self.supervised > 0 or any(not self.active_at(moment) for moment in moments)

    def active_at(self, progress: float) -> bool:
        """Say whether something is learned at a point of the training, 0 to 1."""
        return any(lesson.weight_at(progress) for lesson in self.lessons)

    @property
    def lessons(self) -> list[Lesson]:
        """What is learned."""
        return [lesson for lesson in (self.embedding, self.stages, self.prompts) if lesson]
