"""Runtimes on this machine: each turns what is timed into a call, on one thread."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module, metadata
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from supersam import latency
from supersam.errors import EnvironmentProblem, UsageError, suggest
from supersam.export.graph import check_exporter, exporter
from supersam.profile import onnx_files
from supersam.profile.device_runtimes import DEVICE_RUNTIMES
from supersam.profile.modules import build_item
from supersam.profile.plan import Item

Call = Callable[[], Any]  # runs the model once and returns its output, which numpy can read


@dataclass(frozen=True)
class Exported:
    """An item in the form a runtime asks for; nothing is built before it does."""

    item: Item

    @cached_property
    def onnx(self) -> bytes:
        return onnx_files.onnx_of(self.item)

    def module(self) -> tuple[nn.Module, Tensor]:
        """Return the module and an input for one image."""
        return build_item(self.item)


class Runtime(Protocol):
    """What runs networks."""

    name: str

    @property
    def exporter(self) -> str:
        """What makes its files of networks; "none" where it needs none."""

    def check(self) -> None:
        """Raise EnvironmentProblem, with what to install, if it cannot run here."""

    def about(self) -> latency.Runtime:
        """Return its version and options for the header of a table."""

    def prepare(self, model: Exported) -> Call:
        """Return a call that runs a model once."""


class TorchEager:
    """PyTorch without any compilation."""

    name = "torch"
    exporter = "none"

    def check(self) -> None:
        """It is always there."""

    def about(self) -> latency.Runtime:
        return latency.Runtime(name=self.name, version=torch.__version__, provider="cpu")

    def prepare(self, model: Exported) -> Call:
        torch.set_num_threads(1)
        module, x = model.module()
        return torch.inference_mode()(lambda: module(x))


class TorchCompile:
    """PyTorch with ``torch.compile``; slow to prepare, for every row of parts is compiled."""

    name = "torch-compile"
    exporter = "none"

    def check(self) -> None:
        try:
            torch.compile(lambda x: x * 2 + 1)(torch.zeros(1))
        except Exception as problem:
            raise EnvironmentProblem(
                f"torch.compile does not work here ({_first_line(problem)}); it needs a C++ compiler: install g++"
            ) from problem

    def about(self) -> latency.Runtime:
        options = {"backend": "inductor", "dynamic": False}
        return latency.Runtime(name=self.name, version=torch.__version__, provider="cpu", options=options)

    def prepare(self, model: Exported) -> Call:
        torch.set_num_threads(1)
        # Compiled versions hang on the code of ``forward``, which all rows share: forget those of other items, or the
        # limit of versions is reached and the rest runs uncompiled.
        torch._dynamo.reset()
        module, x = model.module()
        compiled = torch.compile(module, dynamic=False)
        return torch.inference_mode()(lambda: compiled(x))


class OnnxRuntime:
    """ONNX Runtime on the CPU, all graph optimisations."""

    name = "onnxruntime"

    @property
    def exporter(self) -> str:
        return exporter()

    def check(self) -> None:
        _package("onnxruntime", "export")
        check_exporter()

    def about(self) -> latency.Runtime:
        options = {"graph_optimization": "all", "intra_op_num_threads": 1}
        return latency.Runtime(
            name=self.name,
            version=metadata.version("onnxruntime"),
            provider="CPUExecutionProvider",
            options=options,
        )

    def prepare(self, model: Exported) -> Call:
        ort = _package("onnxruntime", "export")
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = ort.InferenceSession(model.onnx, options, providers=["CPUExecutionProvider"])
        wanted = session.get_inputs()[0]
        feed = {wanted.name: _image(wanted.shape)}
        return lambda: session.run(None, feed)[0]


class OpenVino:
    """OpenVINO on the CPU, one stream, float32 throughout."""

    name = "openvino"
    OPTIONS = {  # noqa: RUF012  (constant)
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # else it takes bfloat16 where the CPU has it
        "ENABLE_CPU_PINNING": False,  # the process is pinned as a whole
    }

    @property
    def exporter(self) -> str:
        return exporter()

    def check(self) -> None:
        _package("openvino", "openvino")
        check_exporter()

    def about(self) -> latency.Runtime:
        version = metadata.version("openvino")
        return latency.Runtime(name=self.name, version=version, provider="CPU", options=dict(self.OPTIONS))

    @cached_property
    def _core(self) -> Any:
        return _package("openvino", "openvino").Core()

    def prepare(self, model: Exported) -> Call:
        compiled = self._core.compile_model(self._core.read_model(model.onnx), "CPU", self.OPTIONS)
        request = compiled.create_infer_request()
        feed = [_image(list(compiled.input(0).shape))]
        return lambda: request.infer(feed, share_inputs=True, share_outputs=True)[0]


RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime for runtime in (OnnxRuntime(), TorchEager(), TorchCompile(), OpenVino())
}


def find_runtime(name: str) -> Runtime:
    """Return a runtime that works here.

    Raises:
        UsageError: if there is none of this name.
        EnvironmentProblem: if it is not installed.
    """
    if name in DEVICE_RUNTIMES and name not in RUNTIMES:
        raise UsageError(f"{name} runs on a device over ssh; say which with --ssh user@host")
    if name not in RUNTIMES:
        known = ", ".join(RUNTIMES)
        raise UsageError(f"unknown runtime {name!r}; there are: {known}.{suggest(name, list(RUNTIMES))}")
    RUNTIMES[name].check()
    return RUNTIMES[name]


def _package(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as problem:
        raise EnvironmentProblem(f'measuring with {name} needs it: pip install "supersam[{extra}]"') from problem


def _image(shape: list[int]) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _first_line(problem: Exception) -> str:
    with contextlib.suppress(IndexError):
        return str(problem).strip().splitlines()[0]
    return type(problem).__name__
