"""A training small enough for tests: a tiny space on seeded shapes."""

from pathlib import Path

import pytest

from supersam.train.config import TrainConfig

TINY_SPACE = """
name: tiny
encoder: staged
description: for tests
resolutions: [64, 128]
head_dim: 8
stages:
  - {blocks: [vit, repvit, efficientvit, rwkv], depths: [1, 2], widths: [8, 16], ratios: [1, 2], window: 8}
  - {blocks: [vit, repvit, efficientvit, rwkv], depths: [1], widths: [8, 16], ratios: [2], window: 0}
  - {blocks: [vit, repvit, efficientvit, rwkv], depths: [1], widths: [16, 24], ratios: [2], window: 0}
  - {blocks: [vit, repvit, efficientvit, rwkv], depths: [1], widths: [16], ratios: [2], window: 0}
"""


@pytest.fixture
def tiny_space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_SPACE)
    return path


@pytest.fixture
def tiny_config(tmp_path: Path, tiny_space: Path) -> TrainConfig:
    return TrainConfig(
        space=str(tiny_space),
        data=Path("synthetic"),
        out=tmp_path / "run",
        steps=4,
        images_per_step=2,
        warmup_steps=1,
        split="train",
    )
