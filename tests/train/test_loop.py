"""Training in one process: it learns, stops, resumes as if it had not stopped, and never leaves half a file."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from supersam import _paths
from supersam.checkpoints.files import load_checkpoint, save_checkpoint
from supersam.checkpoints.supernets import AVERAGE, load_supernet
from supersam.data.synthetic import write_pack
from supersam.errors import CheckpointError, ConfigError, DivergedError, EnvironmentProblem, MissingError
from supersam.train import loop, setup
from supersam.train.loop import train
from supersam.train.progress import COLUMNS, LOG_FILE, LOSSES
from supersam.train.state import STATE_FILE, WEIGHTS_FILE, record_of, restore
from supersam.train.step import train_step

EVERYTHING = {
    "steps": 6,
    "phases": [
        {"until": 0.34, "random_subnets": 1, "inplace_distillation": 1.0, "resolution_weights": {64: 1.0}},
        {"until": 0.67, "subnets": "attentive", "correction_rounds": 1, "resolution_weights": {64: 1.0}},
        {"subnets": "uniform", "resolution_weights": {64: 1.0, 192: 1.0}},
    ],
    "attentive": {"warmup_steps": 4},
    "shrinking": {"until": 0.5},
    "optimization": {"warmup_steps": 2, "ema": 0.9, "stochastic_depth": 0.3, "layer_decay": 0.7},
    "engine": {"activation_checkpointing": True},
}


def stop_after(monkeypatch, steps):
    """Ask for an end by SIGTERM while a step runs."""

    def step(run, *arguments):
        images = train_step(run, *arguments)
        if run.step == steps - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return images

    monkeypatch.setattr(loop, "train_step", step)


def test_a_run_that_was_stopped_and_resumed_has_the_weights_of_one_that_was_not(
    changed, tmp_path, monkeypatch, state_of, assert_equal
):
    whole, stopped = changed(**EVERYTHING), changed(**EVERYTHING, out=tmp_path / "stopped")
    train(whole)
    stop_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        train(stopped)
    assert load_checkpoint(stopped.out / STATE_FILE).record["step"] == 3
    assert not (stopped.out / WEIGHTS_FILE).exists()

    monkeypatch.setattr(loop, "train_step", train_step)
    train(stopped, resume=True)

    assert_equal(state_of(stopped.out), state_of(whole.out))
    records = [load_checkpoint(config.out / STATE_FILE).record for config in (whole, stopped)]
    assert records[0]["images"] == records[1]["images"]
    halves = [load_checkpoint(config.out / WEIGHTS_FILE).tensors for config in (whole, stopped)]
    assert all(torch.equal(tensor, halves[1][name]) for name, tensor in halves[0].items())


def test_signals_mean_what_they_did_when_the_training_is_over(changed):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    train(changed(steps=1))

    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_request_to_stop_is_not_lost_however_late_in_a_step_it_comes(changed, monkeypatch):
    """The state is saved whenever the run ends by a request, also by one that comes while the others are asked."""
    config, agreed, asked = changed(steps=3), loop.agreed, []

    def late(flag, group):
        answer = agreed(flag, group)
        asked.append(flag)
        if len(asked) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return answer

    monkeypatch.setattr(loop, "agreed", late)
    with pytest.raises(KeyboardInterrupt):
        train(config)

    assert (config.out / STATE_FILE).exists()


def test_training_on_one_batch_lowers_its_loss(changed, build_run):
    run = build_run(changed(steps=100))
    (batch,) = next(run.feed.batches(0))
    losses = []
    for _ in range(14):
        train_step(run, run.objective, [batch])
        run.step += 1
        losses.append(run.losses["largest"])

    assert sum(losses[-3:]) < 0.85 * sum(losses[:3])


def test_the_losses_of_a_sandwich_are_named_and_taught_to_the_model_of_losses(tiny_config, build_run):
    run = build_run(tiny_config)

    images = train_step(run, run.objective, next(run.feed.batches(0)))

    assert images == 2
    assert run.losses_of_subnets.seen == 4
    assert set(run.losses) == {
        *("loss", "largest", "smallest", "random"),
        "resolution",
        "learning_rate",
        "gradient_norm",
    }
    mean = (run.losses["largest"] + run.losses["smallest"] + 2 * run.losses["random"]) / 4
    assert run.losses["loss"] == pytest.approx(mean)


def test_the_gradient_of_a_step_is_the_mean_over_its_batches(changed, build_run, monkeypatch):
    """Accumulating two batches gives the mean of what each of them gives alone."""
    both = build_run(changed(engine={"accumulate": 2}))
    for run in (both, one := build_run(changed())):
        monkeypatch.setattr(run.optimizer, "step", lambda: None)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.zeros(()))
    batches = next(both.feed.batches(0))
    train_step(both, both.objective, batches)
    apart = []
    for batch in batches:
        train_step(one, one.objective, [batch])
        apart.append({name: p.grad.clone() for name, p in one.model.named_parameters() if p.grad is not None})

    for name, parameter in both.model.named_parameters():
        if name in apart[0]:
            torch.testing.assert_close(parameter.grad, (apart[0][name] + apart[1][name]) / 2, atol=1e-6, rtol=1e-4)
        else:
            assert parameter.grad is None


@pytest.mark.parametrize("engine", [{"activation_checkpointing": True}, {"loader_workers": 2}])
def test_how_the_arithmetic_is_done_does_not_change_the_weights(changed, tmp_path, state_of, assert_equal, engine):
    plain, other = changed(steps=2), changed(steps=2, engine=engine, out=tmp_path / "other")
    train(plain)
    train(other)

    assert_equal(state_of(other.out), state_of(plain.out))


def test_batch_norm_statistics_are_not_kept_in_training(changed):
    config = changed(steps=1)
    train(config)

    tensors = load_checkpoint(config.out / STATE_FILE).tensors
    means = [tensor for name, tensor in tensors.items() if name.endswith("running_mean")]
    assert len(means) > 10
    assert not any(tensor.any() for tensor in means)


def test_the_weights_are_half_precision_and_load_into_a_supernet(tiny_config):
    weights = train(tiny_config)

    stored = load_checkpoint(weights, "supernet").tensors
    assert {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()} == {torch.float16}
    model, record = load_supernet(weights)
    assert record["step"] == 4
    assert record["images"] == 8
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert model.image_encoder(x, model.image_encoder.space.smallest()).shape == (1, 256, 4, 4)


def test_where_weights_are_averaged_the_average_is_what_is_given_away(changed):
    config = changed(optimization={"warmup_steps": 1, "ema": 0.9})
    weights = load_checkpoint(train(config)).tensors
    state = load_checkpoint(config.out / STATE_FILE).tensors

    averages = {name.removeprefix(AVERAGE): one for name, one in state.items() if name.startswith(AVERAGE)}
    assert averages
    assert all(torch.equal(weights[name], one.half()) for name, one in averages.items())
    assert any(not torch.equal(state[name], one) for name, one in averages.items())


def test_a_taken_folder_and_a_missing_run_are_refused(changed, tells):
    with tells(MissingError, "no run to resume"):
        train(changed(), resume=True)
    train(changed(steps=1))
    with tells(ConfigError, "--resume"):
        train(changed())


@pytest.fixture
def begun(changed, tmp_path):
    """A run of one step."""
    config = changed(steps=1)
    train(config)
    return config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimization": {"learning_rate": 0.5}}, "optimization"),
        ({"phases": [{"subnets": "uniform"}]}, "phases"),
        ({"seed": 1, "points_per_image": 2}, "points_per_image, seed"),
        ({"engine": {"autocast": "decoder"}}, "engine.autocast"),
    ],
)
def test_resuming_with_another_recipe_is_refused(begun, changed, tells, values, message):
    with tells(CheckpointError, f"another {message};", "must keep its configuration"):
        train(changed(steps=2, **values), resume=True)


def test_a_key_that_came_after_a_run_was_begun_counts_as_its_default(begun, changed, tells):
    checkpoint = load_checkpoint(begun.out / STATE_FILE)
    del checkpoint.record["config"]["focal_loss"]
    save_checkpoint(begun.out / STATE_FILE, checkpoint.kind, checkpoint.record, checkpoint.tensors)

    with tells(CheckpointError, "another focal_loss;"):
        train(changed(steps=2, focal_loss={"alpha": 0.5}), resume=True)
    train(changed(steps=2), resume=True)


def test_resuming_in_another_space_is_refused(begun, changed, tells):
    path = Path(begun.space)
    content = path.read_text()
    path.write_text(content.replace("widths: [16, 24]", "widths: [16, 32]"))
    try:
        with tells(CheckpointError, "another the search space"):
            train(changed(steps=2), resume=True)
    finally:
        path.write_text(content)


def test_what_does_not_change_the_weights_may_change(begun, changed):
    later = changed(
        steps=2, checkpoint_minutes=9.0, cache_gb=0.1, max_skipped_share=0.5, engine={"activation_checkpointing": True}
    )

    train(later, resume=True)

    assert load_checkpoint(begun.out / STATE_FILE).record["step"] == 2


def test_streams_are_read_on_by_those_who_read_them(begun, changed, build_run, tells, tmp_path):
    """How far a stream was read means something only to as many readers as there were."""
    run = build_run(changed(steps=2))
    checkpoint = load_checkpoint(begun.out / STATE_FILE)
    read = {"0/0": [[0, 1, 5]]}
    record = {name: value for name, value in checkpoint.record.items() if name not in ("kind", "format", "version")}
    path = tmp_path / "streams.safetensors"
    loop.save_state.__globals__["save_checkpoint"](path, "training", record | {"streams": [read]}, checkpoint.tensors)

    restore(run, path)
    assert run.feed.positions == read

    other = build_run(changed(steps=2, engine={"loader_workers": 2}))
    with tells(CheckpointError, "streams by 1 processes", "engine.loader_workers 0", "resume it with the same"):
        restore(other, path)


def test_initial_weights_are_loaded_once_and_remembered(changed, tmp_path, monkeypatch):
    first = changed(steps=1, out=tmp_path / "first")
    weights = shutil.copy(train(first), tmp_path / "start.safetensors")
    config = changed(steps=2, initial={"weights": weights})
    stop_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    origin = load_checkpoint(config.out / STATE_FILE).record["origin"]
    assert origin["weights"] == "start.safetensors"

    Path(weights).unlink()
    monkeypatch.setattr(loop, "train_step", train_step)
    train(config, resume=True)

    assert load_checkpoint(config.out / STATE_FILE).record["origin"] == origin


def test_another_teacher_is_refused_when_a_run_goes_on(begun, build_run, monkeypatch, tells, changed):
    run = build_run(changed(steps=2))
    monkeypatch.setattr(
        "supersam.train.state.record_of", lambda run: record_of(run) | {"distillation": {"teacher": "another"}}
    )

    with tells(CheckpointError, "another teacher"):
        restore(run, begun.out / STATE_FILE)


@pytest.mark.parametrize("moment", ["write", "rename"])
def test_a_checkpoint_half_written_never_replaces_a_whole_one(begun, changed, monkeypatch, moment, tells):
    """The machine stops (here: the disk is full) while the second state is written."""
    (begun.out / LOG_FILE).unlink()  # which would fail before
    before = (begun.out / STATE_FILE).read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    if moment == "write":
        monkeypatch.setattr(_paths.os, "fsync", fail)
    else:
        monkeypatch.setattr(_paths.Path, "replace", fail)
    with tells(EnvironmentProblem, str(begun.out), "No space left", "--resume"):
        train(changed(steps=3, checkpoint_minutes=1e-9), resume=True)

    assert (begun.out / STATE_FILE).read_bytes() == before
    assert not [path for path in begun.out.iterdir() if path.name.startswith(".training")]
    monkeypatch.undo()
    train(changed(steps=2), resume=True)
    assert load_checkpoint(begun.out / STATE_FILE).record["step"] == 2


def test_a_full_disk_does_not_hide_what_ended_a_run(changed, monkeypatch):
    def fail(*_):
        monkeypatch.setattr(_paths.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
        raise DivergedError("nan")

    monkeypatch.setattr(loop, "train_step", fail)
    with pytest.raises(DivergedError, match="nan"):
        train(changed())


def test_a_log_that_cannot_be_written_is_one_line(changed, tells):
    config = changed(steps=1)
    (config.out / LOG_FILE).mkdir(parents=True)

    with tells(EnvironmentProblem, str(config.out), "Is a directory"):
        train(config)


def test_a_run_that_another_process_writes_is_left_alone(begun, changed, tells):
    code = (
        "import sys; from pathlib import Path; from supersam.train.folder import sole_writer\n"
        "with sole_writer(Path(sys.argv[1])): print('here', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(begun.out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "here\n"
        unfinished = begun.out / f".{STATE_FILE}.x1y2"
        unfinished.write_bytes(b"of the other one")
        with tells(EnvironmentProblem, "another training writes to", begun.out):
            train(changed(steps=2), resume=True)
        assert unfinished.exists()
        other.communicate("\n")
    train(changed(steps=2), resume=True)


def test_a_space_may_lie_elsewhere_when_a_run_goes_on(begun, changed, tmp_path):
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(Path(begun.space).read_text())

    train(changed(steps=2, space=str(elsewhere)), resume=True)


def test_what_a_killed_process_left_is_cleared_away_on_resuming(begun, changed):
    half = (begun.out / STATE_FILE).read_bytes()[:1000]
    leftovers = [begun.out / f".{STATE_FILE}.x1y2", begun.out / f".{WEIGHTS_FILE}.abcd"]
    for leftover in leftovers:
        leftover.write_bytes(half)

    train(changed(steps=2), resume=True)

    assert not any(leftover.exists() for leftover in leftovers)


def test_a_run_killed_before_its_first_checkpoint_begins_its_log_anew(changed):
    config = changed(steps=20)
    config.out.mkdir(parents=True)
    row = "," * (len(COLUMNS) + len(LOSSES) - 1)
    (config.out / LOG_FILE).write_text(f"{','.join([*COLUMNS, *LOSSES])}\n10{row}\n")

    train(config)

    rows = (config.out / LOG_FILE).read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["step", "10", "20"]
    assert rows[1] != f"10{row}"


def test_a_state_that_was_cut_off_is_told_in_one_line(begun, changed, tells):
    state = begun.out / STATE_FILE
    state.write_bytes(state.read_bytes()[:-100])

    with tells(CheckpointError, "damaged"):
        train(changed(steps=2), resume=True)


def test_synthetic_shapes_need_no_data(changed, monkeypatch):
    monkeypatch.setattr(setup, "write_pack", lambda folder: write_pack(folder, n_train=3, n_val=1, side=64))
    config = changed(data="synthetic", steps=1)

    train(config)

    (described,) = load_checkpoint(config.out / STATE_FILE).record["data"]
    assert described.startswith("synthetic: 3 images")


def test_damaged_images_are_skipped_and_reported(changed, shapes, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    broken = min((data / "images").glob("train_*.png"))
    broken.write_bytes(b"no image")
    config = changed(data=data, steps=2, images_per_step=12)

    train(config)

    told = json.loads((config.out / "skipped.json").read_text())["kinds"]["image"]
    assert told["skipped"] > 0
    assert broken.name in told["reasons"]["file damaged"]["examples"][0]
    assert f"{told['skipped']} of {told['seen']} image draws" in capsys.readouterr().err


def test_a_gradient_that_is_not_finite_ends_the_run_before_it_touches_weights_or_checkpoint(tiny_config, monkeypatch):
    config = tiny_config.model_copy(update={"steps": 2})
    train(config)
    before = (config.out / STATE_FILE).read_bytes()
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *arguments: torch.tensor(float("nan")))

    with pytest.raises(DivergedError, match="step 2 is nan"):
        train(config.model_copy(update={"steps": 3}), resume=True)

    assert (config.out / STATE_FILE).read_bytes() == before


def test_resuming_on_other_data_is_refused_and_counts_go_on(tiny_config, tmp_path):
    config = tiny_config.model_copy(update={"steps": 1})
    train(config)
    seen = json.loads((config.out / "skipped.json").read_text())["kinds"]["image"]["seen"]

    other = write_pack(tmp_path / "other", 12)
    with pytest.raises(CheckpointError, match="other data"):
        train(config.model_copy(update={"data": other, "steps": 2}), resume=True)

    train(config.model_copy(update={"steps": 2}), resume=True)
    assert json.loads((config.out / "skipped.json").read_text())["kinds"]["image"]["seen"] > seen
