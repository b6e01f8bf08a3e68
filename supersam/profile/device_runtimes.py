"""Runtimes on a device: what file of a network each takes, how it is made here, and what a table says about it.

How they are run there is in ``agent.py``.
"""

import io
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from supersam.errors import EnvironmentProblem, UsageError, suggest
from supersam.export.graph import exporter as onnx_exporter
from supersam.latency.format import Clock
from supersam.profile.onnx_files import network_facts, onnx_of
from supersam.profile.plan import Item

KINDS = {  # of what computes, by execution provider of ONNX Runtime or compute unit of Core ML
    "CUDAExecutionProvider": "gpu",
    "TensorrtExecutionProvider": "gpu",
    "NvTensorRTRTXExecutionProvider": "gpu",
    "ROCMExecutionProvider": "gpu",
    "MIGraphXExecutionProvider": "gpu",
    "DmlExecutionProvider": "gpu",
    "WebGpuExecutionProvider": "gpu",
    "CoreMLExecutionProvider": "npu",
    "QNNExecutionProvider": "npu",
    "NnapiExecutionProvider": "npu",
    "VitisAIExecutionProvider": "npu",
    "CANNExecutionProvider": "npu",
    "CPU_ONLY": "cpu",
    "CPU_AND_GPU": "gpu",
}


@dataclass(frozen=True)
class DeviceRuntime:
    """One runtime as the host sees it."""

    name: str  # in a table
    suffix: str  # of the file of a network
    convert: Callable[[Item, str], bytes]  # an item at a precision
    exporter: Callable[[], str]
    packages: tuple[str, ...]  # on this machine, to convert
    precisions: tuple[str, ...]  # the first is the default
    clock: Clock
    kind: str  # of device, where no option says
    input: str
    builds: int = 1  # engines of each network, in turn by rounds
    tells_cpu_time: bool = False
    least_s: float = 0.3  # of timed runs of a network in a round
    least_samples: int = 30
    warm_up_s: float = 0.5

    def with_opset(self, opset: int | None) -> "DeviceRuntime":
        """Return the runtime with ONNX files of a version of the operators.

        Raises:
            UsageError: if its files are not ONNX.
        """
        if opset is None:
            return self
        if self.convert is not _onnx:
            raise UsageError(f"--opset is for runtimes that read ONNX, {self.name} does not")
        return replace(
            self,
            convert=lambda item, precision: onnx_of(item, opset),
            exporter=lambda: onnx_exporter(opset),
        )

    def kind_with(self, options: Sequence[str]) -> str:
        """Return the kind of what computes; the first provider or unit is the one that counts."""
        return KINDS.get(options[0], self.kind) if options else self.kind

    def maker(self) -> str:
        """Return everything besides an item's name and precision that decides how its file looks."""
        facts = {"torch": metadata.version("torch"), **network_facts()}
        return ", ".join([self.exporter(), *(f"{name} {value}" for name, value in facts.items())])

    def check(self, precision: str) -> None:
        """Refuse what cannot be converted.

        Raises:
            UsageError: if the runtime is not built for this precision.
            EnvironmentProblem: if the converter is not installed.
        """
        if precision not in self.precisions:
            raise UsageError(f"{self.name} is measured in {', '.join(self.precisions)}, not in {precision!r}")
        for package in self.packages:
            try:
                metadata.version(package)
            except metadata.PackageNotFoundError as problem:
                raise EnvironmentProblem(
                    f"networks for {self.name} are made on this machine by {package}: pip install {package}"
                ) from problem


def _onnx(item: Item, precision: str) -> bytes:
    return onnx_of(item)


def _litert(item: Item, precision: str) -> bytes:
    module, x = _build(item)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "network.tflite"
        import_module("litert_torch").convert(module, (x,)).export(str(path))
        return path.read_bytes()


def _executorch(item: Item, precision: str) -> bytes:
    import torch

    module, x = _build(item)
    partitioner = import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner").XnnpackPartitioner()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        edge = import_module("executorch.exir").to_edge_transform_and_lower(
            torch.export.export(module, (x,)), partitioner=[partitioner]
        )
        content: bytes = edge.to_executorch().buffer
    return content


def _coreml(item: Item, precision: str) -> bytes:
    """Return a zip of the model package, which is a folder."""
    import torch

    coreml = import_module("coremltools")
    module, x = _build(item)
    wanted = coreml.precision.FLOAT16 if precision == "fp16" else coreml.precision.FLOAT32
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "network.mlpackage"
        inputs = [coreml.TensorType(name="image", shape=tuple(x.shape))]
        traced = torch.jit.trace(module, x)
        coreml.convert(traced, inputs=inputs, convert_to="mlprogram", compute_precision=wanted).save(str(path))
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for file in sorted(path.rglob("*")):
                archive.write(file, file.relative_to(path))
        return content.getvalue()


def _build(item: Item) -> tuple[Any, Any]:
    from supersam.profile.modules import build_item

    return build_item(item)


def _versions(*packages: str) -> Callable[[], str]:
    return lambda: ", ".join(f"{package} {metadata.version(package)}" for package in packages)


_ONNX = ("onnx", "onnxscript")
DEVICE_RUNTIMES = {
    "trtexec": DeviceRuntime(
        name="tensorrt",
        suffix="onnx",
        convert=_onnx,
        exporter=onnx_exporter,
        packages=_ONNX,
        precisions=("fp16", "fp32"),
        clock="trtexec_gpu",
        kind="gpu",
        input="one image in the device's memory; copies to and from it are not timed",
        builds=2,
        least_s=1.0,
        least_samples=100,
    ),
    "onnxruntime": DeviceRuntime(
        name="onnxruntime",
        suffix="onnx",
        convert=_onnx,
        exporter=onnx_exporter,
        packages=_ONNX,
        precisions=("fp32",),
        clock="wall",
        kind="cpu",
        input="one image in memory",
        tells_cpu_time=True,
    ),
    "litert": DeviceRuntime(
        name="litert",
        suffix="tflite",
        convert=_litert,
        exporter=_versions("litert-torch"),
        packages=("litert-torch",),
        precisions=("fp32",),
        clock="wall",
        kind="cpu",
        input="one image in memory",
    ),
    "executorch": DeviceRuntime(
        name="executorch",
        suffix="pte",
        convert=_executorch,
        exporter=_versions("executorch"),
        packages=("executorch",),
        precisions=("fp32",),
        clock="wall",
        kind="cpu",
        input="one image in memory",
    ),
    "coreml": DeviceRuntime(
        name="coreml",
        suffix="mlpackage.zip",
        convert=_coreml,
        exporter=_versions("coremltools"),
        packages=("coremltools",),
        precisions=("fp16", "fp32"),
        clock="wall",
        kind="npu",
        input="one image in memory; Python's call is timed with it",
    ),
}


def device_runtime(name: str) -> DeviceRuntime:
    """Return a runtime by name.

    Raises:
        UsageError: if there is none of this name.
    """
    if name not in DEVICE_RUNTIMES:
        known = list(DEVICE_RUNTIMES)
        raise UsageError(
            f"unknown runtime {name!r} for a device over ssh.{suggest(name, known)} There are: {', '.join(known)}"
        )
    return DEVICE_RUNTIMES[name]
