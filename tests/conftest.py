"""What all tests share: one thread, small spaces of both kinds, and how an error must look."""

import importlib.util
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from supersam.errors import SuperSAMError
from supersam.sam.model import Sam
from supersam.space import BLOCK_TYPES, SearchSpace, StagedSpace, ViTSpace

torch.set_num_threads(1)

ALL_BLOCKS = list(BLOCK_TYPES)
TINY: dict[str, Any] = {
    "name": "tiny",
    "encoder": "staged",
    "description": "every block type in every stage, small enough for a test",
    "resolutions": [64, 128],
    "head_dim": 8,
    "stages": [
        {"blocks": ALL_BLOCKS, "depths": [1, 2], "widths": [8, 16], "ratios": [2, 3], "window": 8},
        {"blocks": ALL_BLOCKS, "depths": [1, 2], "widths": [16, 24, 32], "ratios": [2, 4], "window": 4},
        {"blocks": ALL_BLOCKS, "depths": [1, 3], "widths": [16, 32], "ratios": [1, 2], "window": 0},
        {"blocks": ALL_BLOCKS, "depths": [1, 2], "widths": [32, 40], "ratios": [2, 4], "window": 0},
    ],
}
TINY_VIT: dict[str, Any] = {
    "name": "tiny-vit",
    "encoder": "sam_vit",
    "description": "SAM's plain ViT, small enough for a test",
    "resolutions": [64, 128],
    "head_dim": 16,
    "width": 64,
    "depth": 4,
    "window": 3,  # does not divide the map, so that windows are padded
    "global_layers": [1, 3],
    "removable_layers": [1, 2],
    "heads": [1, 2, 4],
    "mlp_widths": [96, 128, 256],
}
Tells = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def staged_content() -> dict[str, Any]:
    """What the file of ``tiny_staged`` says; a copy, to be damaged."""
    return {**TINY, "stages": [dict(stage) for stage in TINY["stages"]]}


@pytest.fixture
def vit_content() -> dict[str, Any]:
    """What the file of ``tiny_vit`` says; a copy, to be damaged."""
    return dict(TINY_VIT)


@pytest.fixture(scope="session")
def tiny_staged() -> StagedSpace:
    """A staged space whose encoders run in milliseconds."""
    return StagedSpace.model_validate(TINY)


@pytest.fixture(scope="session")
def tiny_vit() -> ViTSpace:
    """A space of plain SAM ViTs that run in milliseconds."""
    return ViTSpace.model_validate(TINY_VIT)


@pytest.fixture(params=["tiny_staged", "tiny_vit"])
def tiny_space(request: pytest.FixtureRequest) -> SearchSpace:
    """Both kinds of space, one after the other."""
    space: SearchSpace = request.getfixturevalue(request.param)
    return space


@pytest.fixture
def patch_sam() -> Sam:
    """SAM with one convolution as its encoder, for inputs of any size."""
    torch.manual_seed(0)
    return Sam(nn.Conv2d(3, 256, 16, stride=16)).eval()


@pytest.fixture
def rng() -> random.Random:
    return random.Random(0)


@pytest.fixture
def tells() -> Tells:
    """``with tells(DataError, "a.png"):`` - exactly this error is raised, in one line that has all these words."""

    @contextmanager
    def check(error: type[SuperSAMError], *words: object) -> Iterator[None]:
        with pytest.raises(error) as caught:
            yield
        message = str(caught.value)
        assert type(caught.value) is error
        assert "\n" not in message
        for word in words:
            assert str(word) in message

    return check


@pytest.fixture
def randomise() -> Callable[..., nn.Module]:
    """Give a module random weights and random BatchNorm statistics, so that no two of its tensors agree by chance."""

    def change(module: nn.Module, seed: int = 0) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
            for name, buffer in module.named_buffers():
                if name.endswith("running_mean"):
                    buffer.copy_(0.2 * torch.randn(buffer.shape, generator=generator))
                elif name.endswith("running_var"):
                    buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
        return module

    return change


class PretendGpu(FakeTensorMode):
    """Takes shapes and devices through PyTorch's own checks as a GPU would, without values: false and 1."""

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:  # `item`, `float`, `if tensor`
            return False if args[0].dtype == torch.bool else 1
        return super().dispatch(func, types, args, kwargs)


@pytest.fixture
def pretend_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """``with pretend_gpu():`` - modules are made on a GPU that is not there; to mix devices, or read it, is an error.

    Nothing is differentiated, and random numbers are drawn on the CPU: both need a driver.
    """
    real = torch.Generator

    class Generator(real):  # type: ignore[misc, valid-type]
        def __new__(cls, device: object = None) -> Any:
            return real.__new__(real)

    def numpy(tensor: torch.Tensor) -> Any:
        if tensor.device.type != "cpu":
            raise RuntimeError("numpy reads no GPU")
        return np.zeros(tensor.shape, str(tensor.dtype).removeprefix("torch."))

    @contextmanager
    def enter() -> Iterator[None]:
        with PretendGpu(allow_non_fake_inputs=True):
            yield

    monkeypatch.setattr(torch, "Generator", Generator)
    monkeypatch.setattr(torch.Tensor, "backward", lambda *_, **__: None)
    monkeypatch.setattr(nn.Module, "to", lambda module, *_, **__: module)
    monkeypatch.setattr(FakeTensor, "numpy", numpy, raising=False)
    return enter


@pytest.fixture(scope="session")
def script_module() -> Callable[[Path], AbstractContextManager[ModuleType]]:
    """Loads a script of ``experiments``, whose folders are no packages, for as long as it is in use."""

    @contextmanager
    def load(path: Path) -> Iterator[ModuleType]:
        spec = importlib.util.spec_from_file_location(f"script_{path.parent.name}_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        yield module
        del sys.modules[spec.name]

    return load
