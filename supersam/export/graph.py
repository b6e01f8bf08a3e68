"""Modules as ONNX graphs."""

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import torch
from timm.models.vision_transformer_sam import Attention
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

from supersam.errors import EnvironmentProblem, UsageError


def exporter() -> str:
    """Return what makes the files, for headers."""
    return f"torch.onnx dynamo {metadata.version('torch')}, onnxscript {metadata.version('onnxscript')}"


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
        opset: version of the operators, 18 at least; None: the exporter's own choice, by which latencies are measured.

    Raises:
        UsageError: if the exporter cannot write this version.
    """
    for layer in module.modules():
        if isinstance(layer, Attention):  # its fused form has no batch dimension, which the exporter does not take
            layer.fused_attn = False
    for logger in ("torch.onnx", "onnxscript"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            verbose=False,
            input_names=inputs_named,
            output_names=outputs_named,
            dynamic_shapes=dynamic,
            opset_version=opset,
        )
    assert program is not None
    model = program.model_proto
    written = next(one.version for one in model.opset_import if one.domain == "")
    if opset not in (None, written):
        raise UsageError(
            f"the exporter of torch {metadata.version('torch')} cannot write opset {opset}, it wrote {written}"
        )
    for key, value in (notes or {}).items():
        model.metadata_props.add(key=key, value=value)
    content: bytes = model.SerializeToString()
    return content
