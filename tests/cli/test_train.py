"""``supersam train``: its mistakes in one line each, the dry run, and what it prints."""

import json
import os
import re
import signal

import pytest
import torch
import yaml

from supersam.cli._duration import duration
from supersam.train import loop

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
SPACE = """
name: tiny
encoder: staged
description: for tests
resolutions: [64, 128]
head_dim: 8
stages:
  - {blocks: [vit, repvit], depths: [1, 2], widths: [8, 16], ratios: [1, 2], window: 8}
  - {blocks: [vit, rwkv], depths: [1], widths: [8, 16], ratios: [2], window: 0}
  - {blocks: [vit, efficientvit], depths: [1], widths: [16, 24], ratios: [2], window: 0}
  - {blocks: [vit], depths: [1], widths: [16], ratios: [2], window: 0}
"""


@pytest.fixture
def configure(tmp_path, shapes):
    """Write ``train.yaml`` with some values changed; None leaves a key out."""

    def write(**values):
        (tmp_path / "tiny.yaml").write_text(SPACE)
        content = {
            "space": "tiny.yaml",
            "data": str(shapes),
            "split": "train",
            "out": "run",
            "steps": 2,
            "images_per_step": 2,
            "phases": [{"subnets": "uniform", "resolution_weights": {64: 1.0}}],
        } | values
        wanted = {name: value for name, value in content.items() if value is not None}
        (tmp_path / "train.yaml").write_text(yaml.safe_dump(wanted))

    return write


@pytest.mark.parametrize(
    ("values", "code", "message"),
    [
        ({"stepz": 1}, 2, "Did you mean 'steps'? There are: space, data, "),
        ({"out": "train.yaml"}, 2, "out: train.yaml cannot be a folder"),
        ({"out": "train.yaml/run"}, 2, "out: train.yaml/run cannot be a folder, because train.yaml is none"),
        ({"out": "/proc/run"}, 2, "out: nothing can be written to /proc/run"),
        ({"steps": None}, 2, "steps"),
        ({"space": "startr"}, 2, "Did you mean 'starter'"),
        ({"space": "no.yaml"}, 4, "no search space file no.yaml"),
        ({"data": "nowhere"}, 4, "no data at nowhere"),
        ({"split": "test"}, 4, "test"),
        ({"phases": [{"resolution_weights": {100: 1}}]}, 2, "100px"),
        pytest.param({"engine": {"device": "cuda"}}, 2, "no GPU", marks=NO_GPU),
        ({"shrinking": {"order": ["heads"]}}, 2, "heads"),
        ({"initial": {"weights": "gone.safetensors"}}, 4, "gone.safetensors"),
        ({"distillation": {"teacher": "gone.pth"}}, 4, "gone.pth"),
    ],
)
@pytest.mark.parametrize("option", [(), ("--dry-run",)])
def test_a_mistake_is_one_line_with_its_exit_code(supersam, configure, tmp_path, values, code, message, option):
    configure(**values)

    answer = supersam("train", "train.yaml", *option)

    assert (answer.code, answer.out) == (code, "")
    lines = [line for line in answer.err.splitlines() if not line.startswith(("skipped ", "nothing was skipped"))]
    (line,) = lines
    assert line.startswith("Error: ")
    assert message in line
    assert not list(tmp_path.glob("run/*.safetensors"))


def test_a_missing_configuration_and_a_missing_run(supersam, configure):
    assert supersam("train", "none.yaml").code == 4
    configure()
    answer = supersam("train", "train.yaml", "--resume")
    assert answer.code == 4
    assert answer.err == "Error: there is no run to resume in run; start it without --resume\n"


def test_the_path_of_the_weights_is_printed_and_a_taken_folder_refused(supersam, configure):
    configure()

    first, second = supersam("train", "train.yaml", "--json"), supersam("train", "train.yaml")

    assert json.loads(first.out) == {"weights": "run/weights.safetensors"}
    assert second.code == 2
    assert "continue it with --resume" in second.err


def test_an_interrupted_run_says_how_to_go_on(supersam, configure, monkeypatch):
    configure()
    step, times = loop.train_step, 2

    def interrupted(*arguments):
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
        return step(*arguments)

    monkeypatch.setattr(loop, "train_step", interrupted)
    at_once = supersam("train", "train.yaml")
    assert (at_once.code, at_once.out) == (130, "")
    assert "Interrupted at once. No state was saved yet." in at_once.err

    times = 1
    monkeypatch.setattr(loop, "train_step", interrupted)
    answer = supersam("train", "train.yaml")
    assert answer.code == 130
    assert "supersam train train.yaml --resume" in answer.err

    monkeypatch.setattr(loop, "train_step", step)
    assert supersam("train", "train.yaml", "--resume").out == "run/weights.safetensors\n"


def test_a_dry_run_tells_what_a_training_would_cost(supersam, configure, tmp_path):
    configure(phases=[{"until": 0.5, "subnets": "uniform"}, {"random_subnets": 0}])

    text, answer = supersam("train", "train.yaml", "--dry-run"), supersam("train", "train.yaml", "--dry-run", "--json")

    assert "shapes: 24 images" in text.out
    assert "nothing was skipped" in text.out
    assert "M parameters" in text.out
    assert re.search(r"together about \d+\.\d (s|min) \(", text.out)
    assert "0.0 hours" not in text.out
    content = json.loads(answer.out)
    assert [phase["steps"] for phase in content["phases"]] == [1, 1]
    assert content["parameters"] > 4e6
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59, "59.0 s"), (90, "1.5 min"), (3600, "1.0 hours"), (90_000, "25.0 hours")]
)
def test_a_duration_has_the_unit_that_suits_it(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("values", "code", "message"),
    [({}, 4, "there are no weights gone.safetensors"), ({"data": "synthetic"}, 2, "data: synthetic stands for")],
)
def test_validate_needs_weights_and_images_that_are_there(supersam, configure, tmp_path, values, code, message):
    configure(**values)

    answer = supersam("validate", "train.yaml", "--weights", "gone.safetensors", "--split", "val")

    assert answer.code == code
    assert answer.err.startswith(f"Error: {message}")
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
