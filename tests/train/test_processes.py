"""Runs in processes of their own: two under torchrun equal one, and what is killed goes on where it was.

Importing torch costs most of the time here, so every process serves several tests.
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from supersam.checkpoints.files import load_checkpoint
from supersam.errors import CheckpointError
from supersam.train import loop, step
from supersam.train.config import TrainConfig, load_config
from supersam.train.folder import LOCK_FILE
from supersam.train.loop import train
from supersam.train.progress import LOG_FILE
from supersam.train.state import STATE_FILE, WEIGHTS_FILE

HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
STEPS, HALF = 7, 3
RECIPE = {
    "split": "train",
    "steps": STEPS,
    "images_per_step": 2,
    "phases": [
        {"until": 0.4, "subnets": "sandwich", "inplace_distillation": 0.5, "resolution_weights": {64: 1.0}},
        {"until": 0.7, "subnets": "uniform", "correction_rounds": 1},
        {"subnets": "attentive", "correction_rounds": 2, "resolution_weights": {64: 1.0, 128: 1.0}},
    ],
    "attentive": {"warmup_steps": 3},
    # Adam scales rounding errors of tiny gradients up to steps of the learning rate, so that it is small
    "optimization": {"learning_rate": 2e-4, "warmup_steps": 2, "ema": 0.9, "stochastic_depth": 0.2, "layer_decay": 0.8},
}
TWO_BATCHES = {"accumulate": 2}


# Directions in which the function is flat: biases in front of a BatchNorm, and of keys in front of a softmax. Their
# gradients are rounding errors, which Adam scales up to steps of the learning rate: nothing is asked of them.
FLAT = (".token_mixer.conv.bn.bias", ".token_mixer.conv1.bias", ".k_proj.bias")


class Runs:
    """Writes configurations of the recipe, each run in a folder of its own."""

    def __init__(self, folder: Path, space: Path, data: Path) -> None:
        self.folder = folder
        self.base = {**RECIPE, "space": str(space), "data": str(data)}

    def write(self, name: str, **values: object) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**self.base, "out": str(self.folder / name), **values}))
        return path

    def config(self, name: str, **values: object) -> TrainConfig:
        return load_config(self.write(name, **values))


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def started(*command: object) -> subprocess.Popen[str]:
    """Start a process in a group of its own."""
    words = list(map(str, command))
    return subprocess.Popen(
        words,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition, process: subprocess.Popen[str]) -> None:
    for _ in range(6000):
        if condition():
            return
        if process.poll() is not None:
            pytest.fail(f"ended too early: {process.communicate()[0]}")
        time.sleep(0.03)
    pytest.fail("nothing happened")


@pytest.fixture
def assert_agree(state_of, assert_equal):
    """Two runs that differ by rounding have the same weights, averages and moments."""

    def check(found: Path, expected: Path) -> None:
        states = [state_of(folder) for folder in (found, expected)]
        assert_equal(*map(without_flat, states), tolerance=1e-5)

    return check


def without_flat(state):
    """Leave out what the function does not depend on; of queries, keys and values the keys alone."""
    kept = {name: tensor for name, tensor in state.items() if not name.endswith(FLAT)}
    for name in [name for name, tensor in kept.items() if name.endswith(".qkv.bias") and tensor.ndim]:
        queries, _, values = kept[name].chunk(3)
        kept[name] = torch.cat([queries, values])
    return kept


def gradient_norm(folder: Path) -> float:
    """Return the norm of the last step's gradient, which neither Adam nor the clipping has scaled."""
    with (folder / LOG_FILE).open(newline="") as file:
        return float(list(csv.DictReader(file))[-1]["gradient_norm"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory, space_file, shapes):
    return Runs(tmp_path_factory.mktemp("runs"), space_file, shapes)


@pytest.fixture(scope="module")
def drawn_alone():
    """The subnets that the run of one process drew."""
    return []


@pytest.fixture(scope="module")
def alone(runs, drawn_alone):
    """The run of one process with both batches, and a copy of its state after three steps."""
    config, half = runs.config("alone", engine=TWO_BATCHES, checkpoint_minutes=1e-9), runs.folder / "half"
    half.mkdir()
    plan_step, save_state = step.plan_step, loop.save_state

    def noted(*arguments):
        plan = plan_step(*arguments)
        drawn_alone.append([architecture.digest for architecture in plan.subnets])
        return plan

    def kept(run):
        if run.step in (HALF, STEPS):
            save_state(run)
        if run.step == HALF:
            shutil.copy(config.out / STATE_FILE, half)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "plan_step", noted)
        patch.setattr(loop, "save_state", kept)
        train(config)
    return config.out


@pytest.fixture(scope="module")
def together(runs, alone):
    """The same by two processes: whole with DDP and with FSDP, and with FSDP from the state after three steps."""
    names = {"ddp": {}, "fsdp": {"strategy": "fsdp"}, "fsdp-resumed": {"strategy": "fsdp"}}
    files = {name: runs.write(name, engine=engine) for name, engine in names.items()}
    shutil.copytree(runs.folder / "half", runs.folder / "fsdp-resumed")
    arguments = [files["ddp"], files["fsdp"], f"+{files['fsdp-resumed']}"]
    process = started(*TORCHRUN, HERE / "two_processes.py", *arguments)
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 0, output
    return {name: runs.folder / name for name in names}


@pytest.mark.parametrize("name", ["ddp", "fsdp", "fsdp-resumed"])
def test_two_processes_end_with_the_weights_of_one_that_accumulates_their_batches(alone, together, assert_agree, name):
    assert_agree(together[name], alone)
    assert gradient_norm(together[name]) == pytest.approx(gradient_norm(alone), rel=1e-3)


@pytest.mark.parametrize("name", ["ddp", "fsdp", "fsdp-resumed"])
def test_every_process_draws_the_same_subnets(alone, together, drawn_alone, name):
    drawn = [json.loads((together[name] / f"drawn-{rank}.json").read_text()) for rank in (0, 1)]

    begin = HALF if "resumed" in name else 0
    assert drawn[0] == drawn[1] == drawn_alone[begin:]
    assert [len(subnets) for subnets in drawn_alone] == [4] * 3 + [1] * 4


def test_the_trainings_were_no_empty_exercise(alone, state_of):
    first = {name: tensor for name, tensor in state_of(alone.parent / "half").items() if "." in name}
    last = state_of(alone)

    moved = [name for name, tensor in last.items() if name.startswith("training.average.") and tensor.numel() > 1]
    assert len(moved) > 300
    changed = sum(not first[name].equal(last[name]) for name in moved)
    assert changed > len(moved) / 2


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_every_process_reports_what_it_skipped_and_the_first_writes_the_weights(together, name):
    written = sorted(path.name for path in together[name].iterdir())

    each = [f"{what}-{rank}.json" for what in ("drawn", "skipped") for rank in (0, 1)]
    assert written == sorted([*each, LOCK_FILE, LOG_FILE, STATE_FILE, WEIGHTS_FILE])


def test_sigterm_under_torchrun_saves_the_state_and_one_process_goes_on_from_there(runs, alone, assert_agree):
    path = runs.write("stopped", engine={"strategy": "fsdp", "loader_workers": 1}, checkpoint_minutes=1e-9)
    out = runs.folder / "stopped"
    process = started(*TORCHRUN, "-m", "supersam", "train", path)
    wait_for((out / STATE_FILE).exists, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)

    assert process.returncode != 0
    assert "the state is saved. Continue with: supersam train" in output
    assert "DataLoader worker" not in output
    assert 0 < load_checkpoint(out / STATE_FILE).record["step"] < STEPS
    assert not (out / WEIGHTS_FILE).exists()
    train(runs.config("stopped", engine=TWO_BATCHES), resume=True)
    assert_agree(out, alone)


def test_sigterm_to_the_whole_group_saves_the_state_though_a_worker_makes_the_batches(runs):
    path = runs.write("group", steps=500, engine={"loader_workers": 1}, checkpoint_minutes=1e-9)
    out = runs.folder / "group"
    process = started(sys.executable, "-m", "supersam", "train", path)
    wait_for((out / STATE_FILE).exists, process)
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)  # until the worker has ended too

    assert process.returncode == 130
    assert [line for line in output.splitlines() if "stopping" in line] == ["stopping after this step"]
    assert "the state is saved" in output
    assert "Traceback" not in output
    assert load_checkpoint(out / STATE_FILE).record["step"] < 500


def test_a_killed_run_goes_on_to_the_very_weights_of_one_that_was_not(runs, state_of, assert_equal):
    """kill -9 at a moment that differs from time to time, of a run whose batches are made ahead by workers."""
    whole = runs.config("whole")
    train(whole)
    out = runs.folder / "killed"
    path = runs.write("killed", checkpoint_minutes=1e-9, engine={"loader_workers": 2})
    process = started(sys.executable, "-m", "supersam", "train", path)
    wait_for((out / STATE_FILE).exists, process)
    time.sleep(time.time() % 1)
    process.kill()
    process.communicate()

    assert process.returncode == -signal.SIGKILL
    assert 0 < load_checkpoint(out / STATE_FILE).record["step"] <= STEPS
    train(runs.config("killed"), resume=True)
    assert_equal(state_of(out), state_of(whole.out))
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == [LOCK_FILE]


def test_other_numbers_of_batches_are_refused_when_a_run_goes_on(runs, alone, tells):
    shutil.copytree(runs.folder / "half", runs.folder / "others")

    for accumulate in (1, 3):
        with tells(CheckpointError, "2 batches a step", f"this is {accumulate}", "engine.accumulate"):
            train(runs.config("others", engine={"accumulate": accumulate}), resume=True)
