"""The training of a supernet: one process, or several under torchrun.

A step is a function of (seed, step, number of the batch), so a resumed run continues as if it had not stopped, and
two processes do what one does that accumulates two batches.
"""

import json
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path

from torch import nn

from supersam._paths import write_atomically
from supersam.errors import ConfigError, EnvironmentProblem, MissingError
from supersam.train.config import TrainConfig
from supersam.train.engine import agreed, workers
from supersam.train.folder import check_folder, sole_writer, writing
from supersam.train.progress import forget_after, progress, summary_writer
from supersam.train.setup import build
from supersam.train.state import STATE_FILE, WEIGHTS_FILE, Run, remove_unfinished, restore, save_state, save_weights
from supersam.train.step import train_step
from supersam.train.stop import Stopped, stop_requests


def train(config: TrainConfig, resume: bool = False) -> Path:
    """Train until the last step and return the file of half-precision weights.

    Raises:
        ConfigError: if the run's folder cannot be written, or is taken and ``resume`` was not asked for.
        CheckpointError: if the state to resume from belongs to another configuration.
        EnvironmentProblem: if the disk is full.
        Stopped: if SIGTERM or Ctrl-C asked for an end; the state is saved.
        KeyboardInterrupt: if Ctrl-C asked twice.
    """
    check_folder(config.out)
    state_file = config.out / STATE_FILE
    if state_file.exists() and not resume:
        raise ConfigError(f"{config.out} holds a run already; continue it with --resume or choose another `out`")
    if resume and not state_file.exists():
        raise MissingError(f"there is no run to resume in {config.out}; start it without --resume")
    if config.tensorboard:
        summary_writer()  # every process knows before they meet that it is missing
    with workers(config.engine) as group, sole_writer(config.out) if group.first else nullcontext():
        run, objective = build(config, group, resume)
        if resume:
            restore(run, state_file)
        if group.first:  # also of a run that was killed before its first checkpoint
            with writing(config.out):
                forget_after(config.out, run.step, config.steps)
                remove_unfinished(config.out)
        try:
            _run_steps(run, objective)
        except BaseException:
            with suppress(EnvironmentProblem):  # what ended the run is what to tell
                _report_skipped(run)
            raise
        _report_skipped(run)
        with writing(config.out):
            save_state(run)
            save_weights(run, config.out / WEIGHTS_FILE)
    return config.out / WEIGHTS_FILE


def _run_steps(run: Run, objective: nn.Module) -> None:
    config, group = run.config, run.group
    with stop_requests(tell=group.first) as stop, progress(run) as report:
        last_save = time.monotonic()
        batches = run.feed.batches(run.step)
        while run.step < config.steps:
            started = time.monotonic()
            images = train_step(run, objective, next(batches))
            run.step += 1
            run.images += images
            run.seconds += time.monotonic() - started
            report(images)
            stops = agreed(stop.requested, group)
            due = agreed(time.monotonic() - last_save > 60 * config.checkpoint_minutes, group)
            if stops or due:
                with writing(config.out):
                    save_state(run)
                last_save = time.monotonic()
            if stops:
                raise Stopped


def _report_skipped(run: Run) -> None:
    """Say on stderr what this process could not use of the data, and keep it in the run's folder."""
    skipped = run.feed.skipped
    if run.group.first:
        print(skipped.summary(), file=sys.stderr)
    name = f"skipped-{run.group.rank}.json" if run.group.world > 1 else "skipped.json"
    with writing(run.config.out):
        write_atomically(run.config.out / name, json.dumps(skipped.to_dict(), indent=1).encode())
