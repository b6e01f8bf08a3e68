"""``supersam export``: what the ONNX files compute is what PyTorch does, on this machine's runtimes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from supersam.data.synthetic import draw
from supersam.errors import SuperSAMError
from supersam.export import sam as sam_files
from supersam.export.graph import to_onnx
from supersam.export.sam import decoder_example
from supersam.predict import Predictor
from supersam.sam.model import Prompts

onnx = pytest.importorskip("onnx", reason="needs supersam[export]")
ort = pytest.importorskip("onnxruntime", reason="needs supersam[export]")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def exported(supersam, kept_runs, tmp_path_factory):
    """Export the starter's best once, and come to the folder that has it."""
    if "exported" not in kept_runs:
        assert supersam("extract", "starter", "best", "-o", "best.safetensors").code == 0
        answer = supersam("export", "best.safetensors", "-o", "best", "--json")
        assert answer.code == 0, answer.err
        kept_runs["exported"] = Path.cwd(), answer.out
    folder, printed = kept_runs["exported"]
    return folder, json.loads(printed)


def session(folder, name):
    return ort.InferenceSession(folder / "best" / f"{name}.onnx", providers=["CPUExecutionProvider"])


def test_both_files_compute_what_pytorch_does_and_say_what_they_are(exported):
    folder, told = exported

    for name in ("encoder", "decoder"):
        assert told[name]["max_rel_diff"] < 1e-4
        model = onnx.load(folder / "best" / f"{name}.onnx")
        onnx.checker.check_model(model, full_check=True)
        notes = {entry.key: entry.value for entry in model.metadata_props}
        assert notes["supersam.digest"] == told["digest"]
        assert notes["supersam.resolution"] == str(told["resolution"])
        assert "nuclei" in notes["supersam.trained_on"]
        assert {node.domain for node in model.graph.node} <= {""}  # standard operators only


def test_a_photograph_prepared_as_documented_has_the_embedding_and_the_mask_of_the_predictor(exported, monkeypatch):
    folder, _ = exported
    monkeypatch.chdir(folder)
    Image.fromarray(draw(np.random.default_rng(5), 200)[0][:149]).save("photo.jpg", quality=95)
    page = (ROOT / "docs" / "deployment.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code is not None
    Path("on_device.py").write_text(code[1] + "np.save('embeddings.npy', embeddings)\nnp.save('scores.npy', scores)\n")

    done = subprocess.run([sys.executable, "on_device.py"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    predictor = Predictor.load("best.safetensors")
    photo = np.asarray(Image.open("photo.jpg").convert("RGB"))
    predictor.set_image(photo)
    masks, scores = predictor.predict(points=[[[100, 74.5]]])
    np.testing.assert_allclose(np.load("embeddings.npy"), predictor._embedded.embedding.numpy(), atol=1e-4)
    np.testing.assert_allclose(np.load("scores.npy")[0, 1:], scores[0], atol=1e-4)
    wanted, found = masks[0, scores[0].argmax()], np.asarray(Image.open("mask-onnx.png"))
    assert found.shape == wanted.shape == (149, 200)
    assert 0 < wanted.mean() < 1
    assert (found & wanted).sum() / (found | wanted).sum() > 0.98  # Pillow's scaling and torch's differ at the border


@pytest.mark.parametrize("points", [2, 3, 9])
def test_one_decoder_takes_any_number_of_points_with_and_without_an_earlier_mask(exported, points):
    folder, told = exported
    decoder = session(folder, "decoder")
    sam = Predictor.load(folder / "best.safetensors").model
    embeddings, coords, labels, mask, _ = decoder_example(told["resolution"], points)

    for has_mask in (0.0, 1.0):
        inputs = (embeddings, coords, labels, mask, torch.tensor([has_mask]))
        names = [one.name for one in decoder.get_inputs()]
        logits, iou = decoder.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
        with torch.inference_mode():
            ours = sam.decode(
                embeddings, Prompts(coords[None, :, :-1], labels[None, :, :-1], masks=mask if has_mask else None)
            )
        np.testing.assert_allclose(logits, ours.logits[0], atol=1e-3)
        np.testing.assert_allclose(iou, ours.iou[0], atol=1e-4)


def test_a_box_is_two_points_without_padding_and_clicks_stand_before_it(exported):
    folder, told = exported
    sam = Predictor.load(folder / "best.safetensors").model
    embeddings, clicks, _, mask, _ = decoder_example(told["resolution"], 2)
    box = torch.tensor([[100.0, 200.0], [600.0, 700.0]])
    decoder = session(folder, "decoder")

    for points, labels in ((box, [2, 3]), (torch.cat([clicks[0], box]), [1, 0, 2, 3])):
        marks = torch.tensor([labels]).float()
        inputs = (embeddings, points[None], marks, mask, torch.zeros(1))
        names = [one.name for one in decoder.get_inputs()]
        logits, iou = decoder.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
        with torch.inference_mode():
            ours = sam.decode(embeddings, Prompts(points[None, None], marks[None]))
        np.testing.assert_allclose(logits, ours.logits[0], atol=1e-3)
        np.testing.assert_allclose(iou, ours.iou[0], atol=1e-4)


def test_where_the_decoder_cannot_be_made_the_files_of_before_stay_a_pair(exported, supersam, monkeypatch):
    folder, _ = exported
    Path("before").mkdir()
    for name in ("encoder", "decoder"):
        Path("before", f"{name}.onnx").write_bytes(b"of another subnet")

    def fails(*_):
        raise SuperSAMError("answers otherwise than PyTorch")

    monkeypatch.setattr(sam_files, "export_decoder", fails)
    answer = supersam("export", folder / "best.safetensors", "-o", "before")

    assert answer.code == 1
    assert {file.read_bytes() for file in Path("before").iterdir()} == {b"of another subnet"}


def test_a_file_that_answers_otherwise_is_not_written(exported, supersam, monkeypatch):
    folder, _ = exported
    broken = iter([float("nan"), 0.5])

    def with_a_change(module, *inputs, **options):
        model = onnx.load_from_string(to_onnx(module, *inputs, **options))
        (weight, *_) = [one for one in model.graph.initializer if one.dims and one.data_type == onnx.TensorProto.FLOAT]
        changed = onnx.numpy_helper.to_array(weight) + np.float32(next(broken))
        weight.CopyFrom(onnx.numpy_helper.from_array(changed, weight.name))
        return model.SerializeToString()

    monkeypatch.setattr(sam_files, "to_onnx", with_a_change)
    for _ in range(2):
        answer = supersam("export", folder / "best.safetensors", "-o", "wrong")
        assert answer.code == 1
        assert "answers otherwise than PyTorch" in answer.err
    assert not Path("wrong").exists()


def test_openvino_computes_the_same(exported):
    openvino = pytest.importorskip("openvino", reason="needs supersam[openvino]")
    folder, told = exported
    image = np.random.default_rng(0).standard_normal((1, 3, told["resolution"], told["resolution"])).astype(np.float32)
    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    found = core.compile_model(str(folder / "best" / "encoder.onnx"), "CPU")([image])[0]

    (wanted,) = session(folder, "encoder").run(None, {"image": image})
    np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.parametrize("opset", [17, 18])
def test_an_older_version_of_the_operators_computes_the_same_for_any_number_of_points(exported, supersam, opset):
    folder, told = exported

    answer = supersam("export", folder / "best.safetensors", "-o", "old", "--opset", opset, "--json")

    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    for name in ("encoder", "decoder"):
        model = onnx.load(Path("old") / f"{name}.onnx")
        onnx.checker.check_model(model, full_check=True)
        assert [one.version for one in model.opset_import] == [opset]
        assert {node.domain for node in model.graph.node} <= {""}
        assert found[name]["max_rel_diff"] < 1e-4
    inputs = decoder_example(told["resolution"], 7)
    old = ort.InferenceSession("old/decoder.onnx", providers=["CPUExecutionProvider"])
    names = [one.name for one in old.get_inputs()]
    answers = [
        one.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})
        for one in (old, session(folder, "decoder"))
    ]
    for ours, others in zip(*answers, strict=True):
        np.testing.assert_allclose(ours, others, atol=1e-3)


def test_versions_that_cannot_be_written_are_refused(exported, supersam):
    folder, _ = exported

    for opset in ("16", "99"):
        assert supersam("export", folder / "best.safetensors", "-o", "other", "--opset", opset).code == 2
    assert not Path("other").exists()


def test_what_is_no_subnet_and_what_is_no_folder_end_in_one_line(exported, supersam):
    folder, _ = exported
    Path("file").write_text("x")

    wrong = [
        supersam("export", "gone.safetensors", "-o", "out"),
        supersam("export", folder / "best.safetensors", "-o", "file"),
        supersam("export", ROOT / "supersam" / "starter" / "starter.safetensors", "-o", "out"),
    ]

    assert [answer.code for answer in wrong] == [4, 2, 1]
    assert "there is no checkpoint" in wrong[0].err
    assert "give a folder" in wrong[1].err
    assert "holds a supernet, a subnet is needed here" in wrong[2].err
    assert not Path("out").exists()
