"""Accuracies on a GPU: everything is where it has to be, and several processes share several GPUs."""

import numpy as np
import pytest
import torch

from supersam.data.coco import load_pack
from supersam.data.synthetic import write_pack
from supersam.errors import EnvironmentProblem, UsageError
from supersam.evaluate import evaluator
from supersam.evaluate.compute import compute_device, judging, kind_of
from supersam.evaluate.evaluator import PROMPTS, calibration_batches, evaluate
from supersam.evaluate.recalibrate import recalibrate
from supersam.predict import Predictor
from supersam.predict.predictor import OriginalSam, to_segment_anything
from supersam.sam.model import Prompts, Sam
from supersam.supernet.encoder import build_encoder


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return load_pack(write_pack(tmp_path_factory.mktemp("shapes"), n_train=0, n_val=2, side=64), "val")


@pytest.fixture
def architecture(tiny_space):
    return tiny_space.largest()


@pytest.fixture
def on_gpu(pretend_gpu, architecture):
    with pretend_gpu():
        with torch.device("cuda"):
            model = Sam(build_encoder(architecture)).eval()
        yield model


def test_the_pretended_gpu_refuses_what_a_real_one_would(on_gpu, architecture):
    embedding = torch.zeros(1, 256, 4, 4, device="cuda")

    assert on_gpu.decode(embedding, Prompts(boxes=torch.zeros(1, 5, 4, device="cuda"))).logits.is_cuda
    with pytest.raises(RuntimeError, match="on the same device"):
        on_gpu.decode(embedding, Prompts(boxes=torch.zeros(1, 5, 4)))
    with pytest.raises(RuntimeError, match="on the same device"):
        on_gpu.image_encoder(torch.zeros(1, 3, architecture.resolution, architecture.resolution))
    with pytest.raises(RuntimeError, match="reads no GPU"):
        embedding.numpy()


def test_a_model_on_a_gpu_is_evaluated_there(on_gpu, architecture, pack):
    report = evaluate(on_gpu, architecture.resolution, [pack], list(PROMPTS))

    n_masks = sum(len(record.annotations) for record in pack.records)
    assert {prompt: len(values) for prompt, values in report.packs[pack.name].prompts.items()} == dict.fromkeys(
        PROMPTS, n_masks
    )


def test_statistics_are_taken_on_the_gpu_of_the_encoder(on_gpu, architecture, pack):
    statistics = recalibrate(on_gpu.image_encoder, calibration_batches([pack], architecture.resolution, 2))

    assert all(tensor.is_cuda for tensor in statistics.values())
    assert bool(statistics) == any(name.endswith("running_var") for name, _ in on_gpu.image_encoder.named_buffers())


def test_a_predictor_on_a_gpu_answers_in_numpy(on_gpu, architecture, pack):
    predictor = Predictor(on_gpu, architecture.resolution)
    predictor.set_image(pack.records[0].read())

    for prompts, n_masks in (({"points": [[[3, 3]], [[5, 9]]]}, 3), ({"boxes": [[1, 1, 9, 9], [2, 2, 8, 8]]}, 1)):
        masks, scores = predictor.predict(**prompts)
        assert (type(masks), masks.shape) == (np.ndarray, (2, n_masks, 64, 64))
        assert (type(scores), scores.shape) == (np.ndarray, (2, n_masks))


@pytest.mark.parametrize(
    ("name", "worker", "expected"),
    [("auto", 0, "cuda:0"), ("auto", 5, "cuda:1"), ("cuda", 2, "cuda:2"), ("cuda:3", 2, "cuda:3"), ("cpu", 1, "cpu")],
)
def test_workers_share_the_gpus(name, worker, expected, pretend_gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)

    with pretend_gpu():
        assert compute_device(name, "--compute", worker) == torch.device(expected)
    assert kind_of(name) == expected.partition(":")[0]


def test_without_a_gpu_auto_is_the_cpu_and_others_are_refused(monkeypatch, tells):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert compute_device("auto", "--compute", 3) == torch.device("cpu")
    for name in ("abacus", "meta", "cuda:x", "cuda:", "hpu"):
        with tells(UsageError, f"unknown device {name!r}", "cuda:1", "auto"):
            compute_device(name, "--compute")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_told_in_one_line(tells):
    for name in ("cuda", "cuda:1", "xpu"):
        with tells(EnvironmentProblem, name, "use --compute cpu"):
            compute_device(name, "--compute")


def test_accuracies_are_computed_in_single_precision_and_trainings_keep_theirs(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")

    @judging()
    def settings():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    try:
        assert settings() == ("highest", False)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", True)
    finally:
        torch.set_float32_matmul_precision(before)


def test_too_little_memory_of_a_gpu_is_told_in_one_line(architecture, pack, monkeypatch, tells):
    model = Sam(build_encoder(architecture)).eval()

    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation")

    monkeypatch.setattr(model.image_encoder, "forward", full)
    for judged in (
        lambda: evaluate(model, architecture.resolution, [pack], ["box"]),
        lambda: recalibrate(_normed(model.image_encoder), calibration_batches([pack], architecture.resolution, 2)),
    ):
        with tells(EnvironmentProblem, "too little memory", "fewer processes", "CPU"):
            judged()


def test_large_photographs_are_answered_in_small_parts(architecture, tmp_path, monkeypatch):
    pack = load_pack(write_pack(tmp_path / "large", n_train=0, n_val=1, side=64), "val")
    model, sizes = Sam(build_encoder(architecture)).eval(), []
    monkeypatch.setattr(evaluator, "PIXELS", 2 * 64 * 64)
    monkeypatch.setitem(PROMPTS, "box", lambda embedded, chunk: sizes.append(len(chunk.masks)) or full_of(chunk))

    report = evaluate(model, architecture.resolution, [pack], ["box"])

    n_masks = len(pack.records[0].annotations)
    assert n_masks > 2
    assert sizes == [2] * (n_masks // 2) + [1] * (n_masks % 2)
    assert report.packs[pack.name].prompts["box"] == [1.0] * n_masks


def full_of(chunk):
    """Answer with the masks themselves."""
    return torch.from_numpy(np.stack(chunk.masks).astype(np.float32))


def _normed(encoder):
    """Add a BatchNorm to an encoder that may have none, so that there are statistics to take."""
    encoder.add_module("norm", torch.nn.BatchNorm2d(1))
    return encoder


def test_the_class_of_segment_anything_is_where_the_model_is(on_gpu, architecture, monkeypatch):
    moved = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, device: moved.append((type(module), device)) or module)

    to_segment_anything(on_gpu, architecture.resolution)

    assert moved == [(OriginalSam, torch.device("cuda:0"))]
