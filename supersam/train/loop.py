"""The training loop of a supernet: one process, or several under torchrun.

A step is a function of (seed, step, rank), so a resumed run continues as if it had not stopped.
"""

import csv
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from supersam.checkpoints.files import load_checkpoint, save_checkpoint
from supersam.checkpoints.supernets import load_weights
from supersam.data.coco import Pack, load_packs
from supersam.data.synthetic import write_pack
from supersam.errors import CheckpointError, ConfigError, MissingError
from supersam.sam.model import Sam
from supersam.space import SearchSpace, load_space
from supersam.supernet.supernet import Supernet
from supersam.train.batches import make_batch
from supersam.train.config import TrainConfig
from supersam.train.losses import balance_at, prompt_loss
from supersam.train.optimizer import (
    learning_rate_at,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
)
from supersam.train.sandwich import sandwich

STATE_FILE = "training.safetensors"
WEIGHTS_FILE = "weights.safetensors"
LOG_FILE = "log.csv"
LOG_EVERY = 10
MAY_CHANGE = ("steps", "checkpoint_minutes")  # a run may be extended or cut; its schedule follows


@dataclass
class Run:
    """Everything a training run changes."""

    config: TrainConfig
    space: SearchSpace
    model: Sam
    optimizer: torch.optim.Optimizer
    packs: list[Pack]
    step: int = 0
    seconds: float = 0.0  # spent on training, over all resumptions
    losses: dict[str, float] = field(default_factory=dict)


def train(config: TrainConfig, resume: bool = False) -> Path:
    """Train until the last step and return the file of half-precision weights.

    Raises:
        ConfigError: if the run's folder is taken and ``resume`` was not asked for.
        CheckpointError: if the state to resume from belongs to another configuration.
    """
    rank, world = _start_distributed()
    state_file = config.out / STATE_FILE
    if state_file.exists() and not resume:
        raise ConfigError(f"{config.out} holds a run already; continue it with --resume or choose another `out`")
    if resume and not state_file.exists():
        raise MissingError(f"there is no run to resume in {config.out}; start it without --resume")
    run = _build(config)
    if resume:
        _restore(run, state_file)
    with _stop_requests() as stop, _progress(run, rank) as report:
        last_save = time.monotonic()
        while run.step < config.steps:
            started = time.monotonic()
            images = _train_step(run, rank, world)
            run.step += 1
            run.seconds += time.monotonic() - started
            report(images * world)
            due = time.monotonic() - last_save > 60 * config.checkpoint_minutes
            if _agreed(stop.requested or due, world):
                _save_state(run, rank)
                last_save = time.monotonic()
            if _agreed(stop.requested, world):
                raise KeyboardInterrupt
    _save_state(run, rank)
    weights = config.out / WEIGHTS_FILE
    if rank == 0:
        save_weights(run, weights)
    if world > 1:
        dist.destroy_process_group()
    return weights


def save_weights(run: Run, path: Path) -> None:
    """Write the model alone, in half precision."""
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in run.model.state_dict().items()
    }
    save_checkpoint(path, "supernet", _record(run), tensors)


def _build(config: TrainConfig) -> Run:
    space = load_space(config.space)
    unknown = set(config.resolution_weights) - set(space.resolutions)
    if unknown:
        raise ConfigError(f"resolution_weights: {min(unknown)} is not a resolution of {space.name} {space.resolutions}")
    if str(config.data) == "synthetic":
        packs = load_packs(_shared_synthetic(config.out / "synthetic"), config.split)
    else:
        packs = load_packs(config.data, config.split)
    torch.manual_seed(config.seed)
    model = Sam(Supernet(space)).train()
    optimizer = make_optimizer(model, config.learning_rate, config.weight_decay)
    return Run(config, space, model, optimizer, packs)


def _shared_synthetic(folder: Path) -> Path:
    """Let the first process write the seeded shapes and the others wait for them."""
    several = dist.is_initialized()
    if not several or dist.get_rank() == 0:
        write_pack(folder)
    if several:
        dist.barrier()
    return folder


def _train_step(run: Run, rank: int, world: int) -> int:
    """Run one sandwich, update the weights and return the number of images seen."""
    config = run.config
    rng = random.Random(f"{config.seed}/{run.step}")  # the same on every rank
    resolution = _draw_resolution(run, rng)
    count = max(2, round(config.images_per_step * (run.space.resolutions[0] / resolution) ** 2))
    subnets = sandwich(run.space, resolution, rng, config.random_subnets)
    batch = make_batch(run.packs, config, resolution, count, run.step, rank)
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate_at(run.step, config.steps, config.learning_rate, config.warmup_steps)
    run.optimizer.zero_grad(set_to_none=True)
    losses = []
    for architecture in subnets:  # one backward for each subnet keeps one graph in memory at a time
        embeddings = run.model.image_encoder(batch.images, architecture)
        masks = run.model.decode(embeddings, batch.prompts)
        loss = prompt_loss(masks, batch.targets, config.points_per_image, balance_at(run.step / config.steps))
        (loss / len(subnets)).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
    if world > 1:
        _average_gradients(run.model, world)
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_norm)
    run.optimizer.step()
    run.losses = {
        "largest": losses[0],
        "smallest": losses[1],
        "random": sum(losses[2:]) / max(1, len(losses) - 2),
        "gradient_norm": norm.item(),
        "resolution": resolution,
    }
    return count


def _draw_resolution(run: Run, rng: random.Random) -> int:
    weights = run.config.resolution_weights or dict.fromkeys(run.space.resolutions, 1.0)
    return rng.choices(list(weights), list(weights.values()))[0]


def _average_gradients(model: torch.nn.Module, world: int) -> None:
    # NOTE: not DistributedDataParallel: a step runs several backward passes over different parts of the weights,
    # and DDP does not reduce what it takes for unused in the last one. All ranks run the same subnets, so the same
    # parameters have gradients everywhere and one flat sum is right (docs/decisions/0005).
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _start_distributed() -> tuple[int, int]:
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return dist.get_rank(), dist.get_world_size()


def _agreed(flag: bool, world: int) -> bool:
    """Return whether any rank raised the flag, so that all ranks act on the same step."""
    if world == 1:
        return flag
    shared = torch.tensor(float(flag))
    dist.all_reduce(shared)
    return bool(shared.item() > 0)


def _record(run: Run) -> dict[str, Any]:
    return {
        "space": run.space.model_dump(mode="json"),
        "space_fingerprint": run.space.fingerprint,
        "config": run.config.model_dump(mode="json", exclude={"data", "out"}),
        "packs": {pack.name: len(pack.records) for pack in run.packs},
        "step": run.step,
        "seconds": round(run.seconds, 1),
        "torch": torch.__version__,
    }


def _save_state(run: Run, rank: int) -> None:
    if rank == 0:
        tensors = {**run.model.state_dict(), **optimizer_tensors(run.optimizer, run.model)}
        save_checkpoint(run.config.out / STATE_FILE, "training", _record(run), tensors)


def _restore(run: Run, path: Path) -> None:
    checkpoint = load_checkpoint(path, "training")
    then, now = checkpoint.record["config"], _record(run)["config"]
    changed = [key for key in now if then.get(key) != now[key] and key not in MAY_CHANGE]
    if changed or checkpoint.record["space_fingerprint"] != run.space.fingerprint:
        what = ", ".join(changed) or "the search space"
        raise CheckpointError(f"{path} was written with another {what}; a resumed run must keep its configuration")
    load_weights(run.model, checkpoint.tensors, path)
    restore_optimizer(run.optimizer, run.model, checkpoint.tensors)
    run.step, run.seconds = checkpoint.record["step"], checkpoint.record["seconds"]


@dataclass
class _Stop:
    requested: bool = False


@contextmanager
def _stop_requests() -> Iterator[_Stop]:
    """Turn SIGTERM and Ctrl-C into a request that is met after the running step, with everything saved."""
    stop = _Stop()

    def request(number: int, frame: object) -> None:
        stop.requested = True

    previous = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _progress(run: Run, rank: int) -> Iterator[Any]:
    """Show a bar with loss, images/s and ETA on stderr, and append a row to the log every few steps."""
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("loss {task.fields[loss]}  {task.fields[rate]} images/s"),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=rank != 0 or not console.is_terminal) as bar:
        task = bar.add_task("train", total=run.config.steps, completed=run.step, loss="-", rate="-")
        started, seen, first = time.monotonic(), 0, run.step

        def report(images: int) -> None:
            nonlocal seen
            seen += images
            elapsed = time.monotonic() - started
            rate = seen / elapsed
            loss = "/".join(f"{run.losses[name]:.3f}" for name in ("largest", "smallest", "random"))
            bar.update(task, completed=run.step, loss=loss, rate=f"{rate:.1f}")
            if rank == 0 and run.step % LOG_EVERY == 0:
                _log(run, rate)
                if not console.is_terminal:
                    left = elapsed / (run.step - first) * (run.config.steps - run.step)
                    line = (
                        f"step {run.step}/{run.config.steps}  loss {loss}  {rate:.1f} images/s  eta {left / 60:.0f} min"
                    )
                    print(line, file=sys.stderr, flush=True)

        yield report


def _log(run: Run, rate: float) -> None:
    file = run.config.out / LOG_FILE
    row = {"step": run.step, "seconds": round(run.seconds, 1), "images_per_s": round(rate, 2)}
    row |= {name: round(value, 5) for name, value in run.losses.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = []
    if file.exists():  # rows past a checkpoint that was resumed from belong to steps that run again
        with file.open(newline="") as old:
            kept = [line for line in csv.DictReader(old) if int(line["step"]) < run.step]
    with file.open("w", newline="") as new:
        writer = csv.DictWriter(new, row.keys())
        writer.writeheader()
        writer.writerows([*kept, row])
