"""A training small enough for tests: a tiny space on seeded shapes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from supersam.checkpoints.files import load_checkpoint
from supersam.data.synthetic import write_pack
from supersam.sam.model import Sam
from supersam.train import distillation
from supersam.train.config import Optimization, Phase, TrainConfig
from supersam.train.engine import Workers
from supersam.train.setup import build
from supersam.train.state import STATE_FILE, Run
from supersam.train.teachers import Teacher

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
SMALL = (Phase(resolution_weights={64: 1.0}),)
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of seeded shapes."""
    return write_pack(tmp_path_factory.mktemp("shapes") / "shapes", n_train=12, n_val=3, side=96)


@pytest.fixture(scope="session")
def space_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "tiny.yaml"
    path.write_text(TINY_SPACE)
    return path


@pytest.fixture
def tiny_config(tmp_path: Path, space_file: Path, shapes: Path) -> TrainConfig:
    return TrainConfig(
        space=str(space_file),
        data=shapes,
        split="train",
        out=tmp_path / "run",
        steps=4,
        images_per_step=2,
        phases=SMALL,
        optimization=Optimization(warmup_steps=1),
    )


@pytest.fixture
def changed(tiny_config: TrainConfig) -> Callable[..., TrainConfig]:
    """Return the tiny configuration with other values, checked anew."""

    def change(**values: object) -> TrainConfig:
        content = {name: getattr(tiny_config, name) for name in TrainConfig.model_fields}
        return TrainConfig.model_validate(content | values)

    return change


@pytest.fixture
def build_run() -> Callable[[TrainConfig], Run]:
    """Build a run in this process, as ``train`` does."""

    def make(config: TrainConfig) -> Run:
        run, objective = build(config, Workers(0, 1, torch.device("cpu")))
        assert objective is run.objective
        return run

    return make


@pytest.fixture
def patch_teacher(patch_sam: Sam, monkeypatch: pytest.MonkeyPatch) -> Teacher:
    """A small teacher, which every distillation that is built meanwhile learns from."""
    teacher = Teacher("patches", patch_sam.image_encoder, 128, decoder=patch_sam)
    monkeypatch.setattr(distillation, "load_teacher", lambda *_: teacher)
    return teacher


@pytest.fixture
def state_of() -> Callable[[Path], Tensors]:
    """Return the tensors of a run's checkpoint, without the counters of BatchNorm, which nothing reads."""

    def read(folder: Path) -> Tensors:
        tensors = load_checkpoint(folder / STATE_FILE, "training").tensors
        return {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}

    return read


@pytest.fixture
def assert_equal() -> Callable[..., None]:
    """Compare named tensors; without a tolerance bit for bit."""

    def check(found: Tensors, expected: Tensors, tolerance: float = 0.0) -> None:
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(
                found[name], tensor, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
            )

    return check
