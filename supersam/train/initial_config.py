"""The section ``initial`` of a training configuration; it loads no torch."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Initial(BaseModel):
    """Where the weights of a supernet start (docs/supersam-mode.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Path  # an official SAM (.pth, .pt, .safetensors), a supernet of ours, or ``starter``
    parts: Literal["all", "decoder"] = "all"  # ``decoder``: prompt encoder and mask decoder alone
    reorder: Literal["wanda", "magnitude", "taylor"] | None = None  # sort MLP units and heads by importance
    calibration_images: int = Field(default=32, gt=0)  # for ``wanda`` and ``taylor``
