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

from supersam.errors import EnvironmentProblem


def exporter() -> str:
    """Return what makes the files, for headers."""
    return f"torch.onnx dynamo {metadata.version('torch')}, onnxscript {metadata.version('onnxscript')}"


def check_exporter(*more: str) -> None:
    """Refuse to export where a package is missing, or one of ``more``.

    Raises:
        EnvironmentProblem: naming it.
    """
    for package in ("onnx", "onnxscript", *more):
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
    """
    for layer in module.modules():
        if isinstance(layer, Attention):  # its fused form has no batch dimension, which the exporter does not take
            layer.fused_attn = False
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
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
    for key, value in (notes or {}).items():
        model.metadata_props.add(key=key, value=value)
    content: bytes = model.SerializeToString()
    return content
