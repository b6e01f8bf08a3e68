"""ONNX models of what is timed: every part is exported once and kept, rows of parts are put together from them."""

import hashlib
import os
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from supersam._paths import cache_dir, write_atomically
from supersam.export.graph import check_exporter, exporter, to_onnx
from supersam.profile.plan import Item, Plan

FORM = 1  # raised when supersam.profile.modules builds something else for the same key
WEIGHTED = ("Conv", "Gemm", "MatMul")  # their second input is the weight


def onnx_of(item: Item, opset: int | None = None) -> bytes:
    """Return the ONNX model of an item: one image in, one tensor out.

    Args:
        opset: version of the operators; None: the exporter's own choice.

    Raises:
        EnvironmentProblem: if the packages for it are missing.
    """
    check_exporter()
    if item.architecture is not None:
        return _kept(item.architecture.to_json(), item, opset)
    if len(item.parts) == 1:
        return _kept(item.name, item, opset)
    return _row(item, opset)


def export_plan(plan: Plan) -> list[Item]:
    """Return what has to be exported for a plan and is not in the cache, one part or encoder each."""
    check_exporter()
    parts = dict.fromkeys(Item((part,)) for item in plan.items for part in item.parts)
    wholes = [item for item in (plan.sentinel, *plan.items) if item.architecture is not None]
    return [item for item in (*parts, *dict.fromkeys(wholes)) if not _path(_content(item)).is_file()]


def _content(item: Item) -> str:
    return item.name if item.architecture is None else item.architecture.to_json()


def _kept(content: str, item: Item, opset: int | None) -> bytes:
    """Return the model from the cache, or export it into the cache."""
    path = _path(content, opset)
    if not path.is_file():
        from supersam.profile.modules import build_item

        write_atomically(path, to_onnx(*build_item(item), opset=opset))
    return path.read_bytes()


def _path(content: str, opset: int | None = None) -> Path:
    key = hashlib.sha256(f"{content}\n{_maker(opset)}".encode()).hexdigest()[:24]
    return cache_dir() / "onnx" / f"{key}.onnx"


def network_facts() -> dict[str, str]:
    """Return what decides how a network looks, besides its name and what exports it."""
    return {"form": str(FORM), "timm": metadata.version("timm"), "blocks": _source_digest()}


@lru_cache
def _maker(opset: int | None) -> str:
    """Return everything besides an item's name that decides how its model looks."""
    facts = network_facts()
    return f"{facts['form']} {exporter(opset)} timm {facts['timm']} {facts['blocks']}"


@lru_cache
def _source_digest() -> str:
    import supersam

    package = Path(os.fspath(supersam.__path__[0]))
    sources = [*sorted((package / "blocks").glob("*.py")), package / "supernet" / "encoder.py"]
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _row(item: Item, opset: int | None) -> bytes:
    import onnx
    from onnx import compose

    from supersam.profile.modules import WEIGHT_STEP

    copies: dict[Any, int] = {}
    row: Any = None
    for place, part in enumerate(item.parts):
        number = copies[part] = copies.get(part, -1) + 1
        model = onnx.load_from_string(_kept(part.key, Item((part,)), opset))
        _scale(model, 1 + number * WEIGHT_STEP)
        model = compose.add_prefix(model, f"{place}/")
        if row is not None:
            joint = [(row.graph.output[0].name, model.graph.input[0].name)]
            model = compose.merge_models(row, model, io_map=joint, producer_name="supersam")
        row = model
    content: bytes = row.SerializeToString()
    return content


def _scale(model: Any, factor: float) -> None:
    """Scale the weights of convolutions and linear layers, as ``modules.build_row`` does."""
    from onnx import numpy_helper

    weights = {node.input[1] for node in model.graph.node if node.op_type in WEIGHTED}
    for tensor in model.graph.initializer:
        if tensor.name in weights and factor != 1:
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array((factor * array).astype(array.dtype), tensor.name))
