"""Modules as ONNX graphs."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer_sam import Attention
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

from supersam.errors import EnvironmentProblem, UsageError

OLDEST_BY_DYNAMO = 18  # version of the operators; 17, which TensorRT 8.5 and 8.6 read, is for the exporter before


def exporter(opset: int | None = None) -> str:
    """Return what makes the files, for headers."""
    torch_version, of = metadata.version("torch"), "" if opset is None else f", opset {opset}"
    if opset is not None and opset < OLDEST_BY_DYNAMO:
        return f"torch.onnx torchscript {torch_version}{of}"
    return f"torch.onnx dynamo {torch_version}, onnxscript {metadata.version('onnxscript')}{of}"


def check_exporter() -> None:
    """Refuse to export where a package is missing.

    Raises:
        EnvironmentProblem: naming it.
    """
    for package in ("onnx", "onnxscript"):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError as problem:
            raise EnvironmentProblem(
                f'ONNX models need the package {package}: pip install "supersam[export]"'
            ) from problem


def deployed(module: nn.Module) -> nn.Module:
    """Return a module as it is deployed: RepViT's branches and BatchNorm folded into convolutions."""
    return reparameterize_model(module.eval())


def to_onnx(
    module: nn.Module,
    *inputs: Tensor,
    inputs_named: Sequence[str] | None = None,
    outputs_named: Sequence[str] | None = None,
    dynamic: tuple[Any, ...] | None = None,
    notes: Mapping[str, str] | None = None,
    opset: int | None = None,
) -> bytes:
    """Return the ONNX model of a module for inputs of the shape of ``inputs``.

    Args:
        dynamic: for every input a mapping of its dimensions that may have other sizes, as ``torch.export`` has it.
        notes: kept in the file's metadata.
        opset: version of the operators, 17 at least; None: the exporter's own choice.

    Raises:
        UsageError: if the exporter cannot write this version.
    """
    for layer in module.modules():
        if isinstance(layer, Attention):  # its fused form has no batch dimension, which the exporter does not take
            layer.fused_attn = False
    model = _exported(module, inputs, inputs_named, outputs_named, dynamic, opset)
    written = next(one.version for one in model.opset_import if one.domain == "")
    if opset not in (None, written):
        raise UsageError(f"torch {metadata.version('torch')} cannot export opset {opset}, it wrote {written}")
    for key, value in (notes or {}).items():
        model.metadata_props.add(key=key, value=value)
    content: bytes = model.SerializeToString()
    return content


def _exported(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    inputs_named: Sequence[str] | None,
    outputs_named: Sequence[str] | None,
    dynamic: tuple[Any, ...] | None,
    opset: int | None,
) -> Any:
    """Return the ``ModelProto``, and keep quiet about it."""
    for logger in ("torch.onnx", "onnxscript"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    named: dict[str, Any] = {"input_names": inputs_named, "output_names": outputs_named, "opset_version": opset}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        if opset is None or opset >= OLDEST_BY_DYNAMO:
            program = torch.onnx.export(module, inputs, dynamo=True, verbose=False, dynamic_shapes=dynamic, **named)
            assert program is not None
            return program.model_proto
        import onnx

        sizes = zip(inputs_named or (), dynamic or (), strict=False)
        axes = {name: {axis: dimension.__name__ for axis, dimension in of.items()} for name, of in sizes if of}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            torch.onnx.export(module, inputs, file, dynamo=False, dynamic_axes=axes, **named)
            return onnx.load(file)
