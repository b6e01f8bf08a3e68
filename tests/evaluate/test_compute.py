"""Accuracies on a GPU: everything is where it has to be, and several processes share several GPUs."""

import numpy as np
import pytest
import torch

from supersam.data.coco import load_pack
from supersam.data.synthetic import write_pack
from supersam.errors import EnvironmentProblem, UsageError
from supersam.evaluate.compute import compute_device
from supersam.evaluate.evaluator import PROMPTS, calibration_batches, evaluate
from supersam.evaluate.recalibrate import recalibrate
from supersam.predict import Predictor
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
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)

    with pretend_gpu():
        assert compute_device(name, "--compute", worker) == torch.device(expected)
    assert torch.backends.cudnn.allow_tf32 == (expected == "cpu")


def test_without_a_gpu_auto_is_the_cpu_and_others_are_refused(monkeypatch, tells):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert compute_device("auto", "--compute", 3) == torch.device("cpu")
    with tells(UsageError, "unknown device 'abacus'", "cuda:1", "auto"):
        compute_device("abacus", "--compute")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_told_in_one_line(tells):
    with tells(EnvironmentProblem, "cuda"):
        compute_device("cuda", "--compute")
