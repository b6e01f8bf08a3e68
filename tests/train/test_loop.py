"""Training: it learns, stops, resumes as if it had not stopped, and never leaves half a file."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from supersam.checkpoints.files import load_checkpoint
from supersam.checkpoints.supernets import load_supernet
from supersam.errors import CheckpointError, ConfigError, MissingError
from supersam.train import loop
from supersam.train.config import load_config
from supersam.train.loop import train


def tensors_of(config):
    return load_checkpoint(config.out / loop.STATE_FILE).tensors


def test_a_run_that_was_stopped_and_resumed_has_the_weights_of_one_that_was_not(tiny_config, tmp_path, monkeypatch):
    train(tiny_config)
    stopped = tiny_config.model_copy(update={"out": tmp_path / "stopped"})
    step = loop._train_step

    def stop_after_two(run, rank, world):
        images = step(run, rank, world)
        if run.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return images

    monkeypatch.setattr(loop, "_train_step", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        train(stopped)
    assert load_checkpoint(stopped.out / loop.STATE_FILE).record["step"] == 2
    monkeypatch.setattr(loop, "_train_step", step)
    train(stopped, resume=True)

    whole, resumed = tensors_of(tiny_config), tensors_of(stopped)
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=0, msg=name)


def test_training_on_one_batch_lowers_its_loss(tiny_config, monkeypatch):
    run = loop._build(tiny_config.model_copy(update={"steps": 100, "resolution_weights": {64: 1.0}}))
    batch = loop.make_batch(run.packs, run.config, 64, 2, 0, 0)
    monkeypatch.setattr(loop, "make_batch", lambda *arguments: batch)
    losses = []

    for _ in range(16):
        loop._train_step(run, rank=0, world=1)
        run.step += 1
        losses.append(run.losses["largest"])

    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_the_log_has_a_row_every_few_steps_and_none_twice(tiny_config, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    train(tiny_config)
    train(tiny_config.model_copy(update={"steps": 6}), resume=True)

    with (tiny_config.out / loop.LOG_FILE).open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [2, 4, 6]


def test_the_weights_are_half_precision_and_load_into_a_supernet(tiny_config):
    weights = train(tiny_config)

    stored = load_checkpoint(weights, "supernet").tensors
    assert {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()} == {torch.float16}
    model, record = load_supernet(weights)
    assert record["step"] == 4
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert model.image_encoder(x, model.image_encoder.space.smallest()).shape == (1, 256, 4, 4)


def test_a_taken_folder_and_a_missing_run_are_refused(tiny_config):
    with pytest.raises(MissingError, match="no run to resume"):
        train(tiny_config, resume=True)
    train(tiny_config.model_copy(update={"steps": 1}))
    with pytest.raises(ConfigError, match="--resume"):
        train(tiny_config)


def test_resuming_with_another_configuration_is_refused(tiny_config):
    train(tiny_config.model_copy(update={"steps": 1}))

    with pytest.raises(CheckpointError, match="learning_rate"):
        train(tiny_config.model_copy(update={"steps": 1, "learning_rate": 0.5}), resume=True)


def test_a_resolution_that_is_not_in_the_space_is_refused(tiny_config):
    with pytest.raises(ConfigError, match="300 is not a resolution"):
        train(tiny_config.model_copy(update={"resolution_weights": {300: 1.0}}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("space: s\ndata: x\nout: y\nsteps: 1\nimages_per_step: 2\nstepz: 3\n", "stepz"),
        ("space: starter\ndata: x\nout: y\nsteps: -1\nimages_per_step: 2\n", "steps"),
        ("- a list\n", "mapping"),
        ("space: [\n", "not valid YAML"),
    ],
)
def test_a_wrong_configuration_is_one_line_that_names_the_key(tmp_path, content, message):
    path = tmp_path / "train.yaml"
    path.write_text(content)

    with pytest.raises(ConfigError, match=message) as problem:
        load_config(path)
    assert "\n" not in str(problem.value)


def test_every_shipped_training_configuration_loads():
    found = sorted(Path(__file__).parents[2].glob("experiments/*/train*.yaml"))

    assert found
    for path in found:
        assert load_config(path).steps > 0


def test_two_processes_end_with_the_same_weights_as_one_with_both_batches(tiny_config, tmp_path, monkeypatch):
    """The gradient of two ranks is the mean over both, as if one process had run the two batches."""
    config = tiny_config.model_copy(update={"steps": 1, "out": tmp_path / "two"})
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*command, "-m", "supersam", "train", str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=200,
    )

    run = loop._build(tiny_config.model_copy(update={"steps": 1, "out": tmp_path / "one"}))
    gradients = []
    for rank in (0, 1):
        run.step = 0
        monkeypatch.setattr(run.optimizer, "step", lambda: None)
        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *arguments: torch.zeros(()))
        loop._train_step(run, rank, 1)
        gradients.append({name: p.grad.clone() for name, p in run.model.named_parameters() if p.grad is not None})
    monkeypatch.undo()
    for name, parameter in run.model.named_parameters():
        if name in gradients[0]:
            parameter.grad = (gradients[0][name] + gradients[1][name]) / 2
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_norm)
    run.optimizer.step()

    two = tensors_of(config)
    for name, parameter in run.model.named_parameters():
        torch.testing.assert_close(two[name], parameter.detach(), rtol=1e-4, atol=1e-5, msg=name)
