"""ONNX files: parts are exported once, rows of them compute what torch does."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from supersam.profile import onnx_files
from supersam.profile.modules import build_item
from supersam.profile.onnx_files import export_plan, onnx_of
from supersam.profile.plan import Item, plan_items
from supersam.space import Architecture, Part, StagedSpace

onnx = pytest.importorskip("onnx", reason="needs supersam[export]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs supersam[export]")

REPVIT = Part("repvit", (8, 16, 2, 0))
pytestmark = pytest.mark.usefixtures("onnx_cache")
ROWS = {
    "repvit": (Part("repvit", (8, 16, 2, 1)),) * 6,
    "vit": (Part("vit", (8, 16, 2, 4, 8)),) * 6,
    "efficientvit": (Part("efficientvit", (8, 16, 2, 8)),) * 6,
    "rwkv": (Part("rwkv", (8, 16, 2)),) * 2,
    "downsample": (Part("downsample", (16, 8, 16)), REPVIT, REPVIT),
    "lateral": (REPVIT, REPVIT, Part("lateral", (4, 8, 16))),
    "sam": (Part("sam_patch", (64, 16)), Part("sam_layer", (4, 16, 1, 8, 32, 3)), Part("sam_neck", (4, 16))),
}


def run_onnx(content: bytes, x: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return np.asarray(found)


@pytest.mark.parametrize("name", ROWS)
def test_row_computes_what_torch_does(name: str) -> None:
    item = Item(ROWS[name])
    module, x = build_item(item)

    found = run_onnx(onnx_of(item), x)

    with torch.inference_mode():
        expected = module(x).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_copies_in_a_row_share_no_weights() -> None:
    model = onnx.load_from_string(onnx_of(Item((REPVIT,) * 6)))

    weights = [t.raw_data for t in model.graph.initializer if len(t.dims) == 4 and t.dims[0] == 32]
    assert len(weights) == len(set(weights)) == 6


def test_every_part_is_exported_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUPERSAM_CACHE", str(tmp_path))
    exported: list[str] = []
    export = onnx_files.to_onnx
    monkeypatch.setattr(onnx_files, "to_onnx", lambda *a, **k: exported.append("part") or export(*a, **k))

    for copies in (1, 2, 6):
        onnx_of(Item((REPVIT,) * copies))

    assert exported == ["part"]
    assert len(list(tmp_path.rglob("*.onnx"))) == 1


def test_what_lacks_in_the_cache_is_listed(space: StagedSpace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUPERSAM_CACHE", str(tmp_path))
    monkeypatch.setattr(onnx_files, "to_onnx", lambda module, x, opset: b"a model")
    plan = plan_items(space, networks=2)

    missing = export_plan(plan)
    for item in missing[:-1]:
        onnx_of(item)

    kinds = Counter(item.architecture is None for item in missing)
    assert kinds == {True: len(plan.derivations), False: len({*plan.calibration, plan.sentinel.architecture})}
    assert export_plan(plan) == missing[-1:]


def test_other_versions_have_files_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    before = onnx_files._path(REPVIT.key)
    assert onnx_files._path(REPVIT.key, 17) != before
    monkeypatch.setattr(onnx_files, "_maker", lambda opset: "another torch")

    assert onnx_files._path(REPVIT.key) != before


def test_a_row_of_an_older_version_computes_what_torch_does() -> None:
    item = Item(ROWS["vit"])
    module, x = build_item(item)

    content = onnx_of(item, opset=17)

    with torch.inference_mode():
        np.testing.assert_allclose(run_onnx(content, x), module(x).numpy(), atol=1e-4, rtol=1e-4)
    assert {one.version for one in onnx.load_from_string(content).opset_import} == {17}


def test_whole_encoder_of_all_block_types_computes_what_torch_does(four_types: Architecture) -> None:
    item = Item(architecture=four_types)
    module, x = build_item(item)

    found = run_onnx(onnx_of(item), x)

    with torch.inference_mode():
        np.testing.assert_allclose(found, module(x).numpy(), atol=1e-3, rtol=1e-3)
