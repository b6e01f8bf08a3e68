"""Runtimes on this machine: each turns a module into a call that can be timed, on one thread."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from supersam.errors import EnvironmentProblem, UsageError

Call = Callable[[], object]


def torch_eager(module: nn.Module, x: Tensor) -> Call:
    """PyTorch without any compilation."""

    def call() -> object:
        with torch.inference_mode():
            return module(x)

    return call


def onnxruntime(module: nn.Module, x: Tensor) -> Call:
    """ONNX Runtime on the CPU, all graph optimisations, one thread."""
    ort = _import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(to_onnx(module, x), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, feed)


def to_onnx(module: nn.Module, x: Tensor) -> bytes:
    """Return the ONNX model of a module for inputs of the shape of ``x``."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(module, (x,), dynamo=True, verbose=False)
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


RUNTIMES: dict[str, Callable[[nn.Module, Tensor], Call]] = {"onnxruntime": onnxruntime, "torch": torch_eager}


def check_runtime(runtime: str) -> None:
    """Refuse a runtime that is unknown or not installed."""
    if runtime not in RUNTIMES:
        raise UsageError(f"unknown runtime {runtime!r}; there are: {', '.join(RUNTIMES)}")
    if runtime == "onnxruntime":
        _import_onnxruntime()


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime as ort
    except ModuleNotFoundError as problem:
        raise EnvironmentProblem('measuring with onnxruntime needs it: pip install "supersam[export]"') from problem
    return ort


def prepare(runtime: str, module: nn.Module, x: Tensor) -> Call:
    """Return a call that runs the module once."""
    check_runtime(runtime)
    return RUNTIMES[runtime](module, x)


def runtime_version(runtime: str) -> str:
    """Return the name and version of a runtime."""
    if runtime == "torch":
        return f"torch-{torch.__version__}"
    return f"onnxruntime-{_import_onnxruntime().__version__}"
