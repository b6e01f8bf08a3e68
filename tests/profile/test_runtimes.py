"""Runtimes of this machine: all compute the same, and what is missing is told."""

import importlib.util
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch

from supersam.errors import EnvironmentProblem, UsageError
from supersam.profile.plan import Item
from supersam.profile.runtimes import RUNTIMES, Exported, find_runtime
from supersam.space import Part

Tells = Callable[..., AbstractContextManager[None]]
ROW = Item((Part("downsample", (16, 8, 16)), *(Part("repvit", (8, 16, 2, 0)),) * 2))


def skip_without(name: str) -> None:
    package = name.removesuffix("-compile")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize("name", RUNTIMES)
def test_header_names_the_runtime_and_its_version(name: str) -> None:
    skip_without(name)

    about = RUNTIMES[name].about()

    assert about.name == name
    assert about.version[0].isdigit()
    assert (RUNTIMES[name].exporter == "none") == name.startswith("torch")


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_runtime_runs_rows_of_parts(name: str, onnx_cache: Path) -> None:
    skip_without(name)

    call = find_runtime(name).prepare(Exported(ROW))

    first, second = np.asarray(call()).copy(), np.asarray(call())
    assert first.shape == (1, 16, 8, 8)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_runtime_computes_what_torch_does(name: str, onnx_cache: Path) -> None:
    skip_without(name)
    module, _ = Exported(ROW).module()
    x = np.random.default_rng(0).standard_normal((1, 8, 16, 16), dtype=np.float32)  # what runtimes are fed

    found = np.asarray(find_runtime(name).prepare(Exported(ROW))())

    with torch.inference_mode():
        np.testing.assert_allclose(found, module(torch.from_numpy(x)).numpy(), atol=1e-4, rtol=1e-4)


def test_torch_compile_forgets_what_it_compiled_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda module, **options: module)
    forgotten: list[bool] = []
    monkeypatch.setattr(torch._dynamo, "reset", lambda: forgotten.append(True))

    for _ in range(2):
        output = RUNTIMES["torch-compile"].prepare(Exported(ROW))()

    assert output.shape == (1, 16, 8, 8)
    assert len(forgotten) == 2


def test_torch_compile_without_a_compiler_is_told(monkeypatch: pytest.MonkeyPatch, tells: Tells) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nmore")

    monkeypatch.setattr(torch, "compile", fail)

    with tells(EnvironmentProblem, "No working C++ compiler", "install g++"):
        find_runtime("torch-compile")


@pytest.mark.parametrize("runtime", ["tensorflow", ""])
def test_unknown_runtime_is_answered_with_those_there_are(runtime: str, tells: Tells) -> None:
    with tells(UsageError, repr(runtime), "onnxruntime, torch"):
        find_runtime(runtime)


@pytest.mark.parametrize("runtime", ["trtexec", "litert", "executorch", "coreml"])
def test_runtime_of_a_device_says_that_it_needs_one(runtime: str, tells: Tells) -> None:
    with tells(UsageError, runtime, "--ssh user@host"):
        find_runtime(runtime)


def test_near_miss_is_suggested(tells: Tells) -> None:
    with tells(UsageError, "Did you mean 'openvino'?"):
        find_runtime("openvinno")


@pytest.mark.parametrize(("name", "extra"), [("onnxruntime", "export"), ("openvino", "openvino")])
def test_missing_runtime_is_told_with_the_way_to_get_it(
    name: str, extra: str, tells: Tells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)

    with tells(EnvironmentProblem, name, f'pip install "supersam[{extra}]"'):
        find_runtime(name)
