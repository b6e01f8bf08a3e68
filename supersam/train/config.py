"""The training configuration, read from YAML; unknown keys are errors."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from supersam._yaml import load_model
from supersam.errors import ConfigError

Positive = Annotated[int, Field(gt=0)]


class TrainConfig(BaseModel):
    """Everything that decides the weights; together with the data it gives the same weights again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: str
    data: Path  # a pack or a folder of packs; ``synthetic`` makes the seeded shapes
    split: str = "train-fit"
    out: Path  # the run's folder
    steps: Positive
    images_per_step: Positive  # at the smallest resolution, of each process; fewer at larger ones
    points_per_image: Positive = 1
    boxes_per_image: Positive = 1
    resolution_weights: dict[int, float] = {}  # how often each resolution is drawn; empty: all alike
    crop_probability: float = Field(default=0.5, ge=0, le=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup_steps: int = Field(default=50, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    random_subnets: int = Field(default=2, ge=0)
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    seed: int = 0


def load_config(path: Path) -> TrainConfig:
    """Load a training configuration."""
    return load_model(path, TrainConfig, ConfigError)
