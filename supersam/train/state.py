"""What a training run changes, and how it is saved and put back: safetensors, in one piece or not at all."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic_core import to_jsonable_python
from torch import Tensor

from supersam.checkpoints.files import load_checkpoint, save_checkpoint
from supersam.checkpoints.supernets import TRAINING, load_weights
from supersam.data.skipped import Skipped
from supersam.data.sources import describe
from supersam.errors import CheckpointError
from supersam.sam.model import Sam
from supersam.space import SearchSpace
from supersam.train.config import TrainConfig
from supersam.train.distillation import Distiller
from supersam.train.ema import WeightAverage
from supersam.train.engine import Workers, gathered, wait
from supersam.train.feed import Feed, Positions
from supersam.train.loss_model import LossModel
from supersam.train.objective import Objective
from supersam.train.optimizer import optimizer_tensors, restore_optimizer
from supersam.train.sharding import collected, sharded_like

STATE_FILE = "training.safetensors"
WEIGHTS_FILE = "weights.safetensors"
LOSS_MODEL = TRAINING + "loss_model."
PROJECTIONS = TRAINING + "projections."

# A run may be extended or cut (its schedule follows), and computed elsewhere.
MAY_CHANGE = ("steps", "checkpoint_minutes", "tensorboard", "cache_gb", "max_skipped_share")
PATHS: Any = {  # of a machine; what is there is compared
    "space": True,
    "data": True,
    "out": True,
    "initial": {"weights"},
    "distillation": {"teacher", "cache"},
}
ENGINE_MUST_STAY = ("autocast",)
DEFAULTS = {
    key: to_jsonable_python(field.default) for key, field in TrainConfig.model_fields.items() if not field.is_required()
}


@dataclass
class Run:
    """Everything a training run changes."""

    config: TrainConfig
    space: SearchSpace
    trained_space: SearchSpace  # with the resolutions that are only trained at
    objective: Objective  # what learns: the model, and what only the training needs
    optimizer: torch.optim.Optimizer
    losses_of_subnets: LossModel
    average: WeightAverage | None
    feed: Feed
    group: Workers
    distiller: Distiller | None = None
    origin: dict[str, Any] | None = None  # of the initial weights
    step: int = 0
    seconds: float = 0.0  # spent on training, over all resumptions
    images: int = 0  # drawn by all processes so far
    losses: dict[str, float] = field(default_factory=dict)

    @property
    def model(self) -> Sam:
        """The supernet with its decoder."""
        return self.objective.model


def save_state(run: Run) -> None:
    """Write everything needed to go on as if nothing had happened."""
    tensors = run.model.state_dict() | optimizer_tensors(run.optimizer, run.objective)
    tensors |= {f"{PROJECTIONS}{name}": tensor for name, tensor in _projections(run).items()}
    if run.average is not None:
        tensors |= run.average.tensors()
    tensors |= {f"{LOSS_MODEL}{name}": tensor for name, tensor in run.losses_of_subnets.tensors().items()}
    kept = collected(tensors, run.group.first)
    record = record_of(run) | {
        "streams": gathered(run.feed.positions, run.group),
        "skipped": gathered(run.feed.skipped.to_dict(), run.group),
    }
    if run.group.first:
        save_checkpoint(run.config.out / STATE_FILE, "training", record, kept)
    wait(run.group)  # torchrun ends the first process soon after another one has ended


def save_weights(run: Run, path: Path) -> None:
    """Write the model alone, in half precision; the average of the weights where there is one."""
    tensors = run.model.state_dict() | (run.average.by_name() if run.average is not None else {})
    kept = collected(tensors, run.group.first)
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in kept.items()}
    if run.group.first:
        save_checkpoint(path, "supernet", record_of(run), halves)


def restore(run: Run, path: Path) -> None:
    """Put a saved state into a run of the same configuration.

    Raises:
        CheckpointError: if the state belongs to another configuration.
    """
    checkpoint = load_checkpoint(path, "training")
    record, tensors = checkpoint.record, checkpoint.tensors
    changed = changes(record["config"], record_of(run)["config"])
    if changed or record["space_fingerprint"] != run.space.fingerprint:
        what = ", ".join(changed) or "the search space"
        raise CheckpointError(f"{path} was written with another {what}; a resumed run must keep its configuration")
    batches = run.group.world * run.config.engine.accumulate
    if record["batches_per_step"] != batches:
        raise CheckpointError(
            f"{path} was trained with {record['batches_per_step']} batches a step (processes x engine.accumulate), "
            f"this is {batches}; change engine.accumulate to keep the number"
        )
    if record["distillation"] != record_of(run)["distillation"]:
        raise CheckpointError(f"{path} was trained with another teacher (distillation.teacher or its cache)")
    if record["data"] != record_of(run)["data"]:
        raise CheckpointError(f"{path} was trained on other data ({'; '.join(record['data'])}); give the same")
    streams = _own_streams(run, record, path)
    own = run.model.state_dict()
    load_weights(run.model, {name: sharded_like(tensors[name], own[name]) for name in own if name in tensors}, path)
    restore_optimizer(run.optimizer, run.objective, tensors)
    if run.average is not None:
        run.average.restore(tensors)
    run.losses_of_subnets.restore(_beginning(LOSS_MODEL, tensors))
    for name, tensor in _projections(run).items():
        tensor.copy_(sharded_like(tensors[f"{PROJECTIONS}{name}"], tensor))
    run.feed.positions, run.origin = streams, record["origin"]
    if len(record["skipped"]) == run.group.world:
        run.feed.skipped = Skipped.from_dict(record["skipped"][run.group.rank])
    run.step, run.seconds, run.images = record["step"], record["seconds"], record["images"]


def remove_unfinished(folder: Path) -> None:
    """Delete what a process that was killed while it wrote has left; its files are not read by anything."""
    for name in (STATE_FILE, WEIGHTS_FILE):
        for leftover in folder.glob(f".{name}.*"):
            leftover.unlink(missing_ok=True)


def record_of(run: Run) -> dict[str, Any]:
    """Return what a file says about where it came from."""
    return {
        "space": run.space.model_dump(mode="json"),
        "space_fingerprint": run.space.fingerprint,
        "config": portable(run.config),
        "data": [describe(source) for source in run.feed.sources],
        "batches_per_step": run.group.world * run.config.engine.accumulate,
        "step": run.step,
        "seconds": round(run.seconds, 1),
        "images": run.images,
        "origin": run.origin,
        "distillation": None if run.distiller is None else run.distiller.record,
        "torch": torch.__version__,
    }


def _own_streams(run: Run, record: dict[str, Any], path: Path) -> Positions:
    """Return how far this process had read its streams, whose parts depend on who reads them."""
    if not any(record["streams"]):
        return {}
    then, now = record["config"]["engine"], run.config.engine
    keys = ("accumulate", "loader_workers")
    if len(record["streams"]) != run.group.world or any(then[key] != getattr(now, key) for key in keys):
        raise CheckpointError(
            f"{path} was trained on streams by {len(record['streams'])} processes with engine.accumulate "
            f"{then['accumulate']} and engine.loader_workers {then['loader_workers']}; resume it with the same"
        )
    return record["streams"][run.group.rank]


def _projections(run: Run) -> dict[str, Tensor]:
    projections = run.objective.projections
    return {} if projections is None else {name: part.detach() for name, part in projections.named_parameters()}


def _beginning(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def portable(config: TrainConfig) -> dict[str, Any]:
    """Return a configuration as a file keeps it: without the paths of this machine."""
    return config.model_dump(mode="json", exclude=PATHS)


def changes(then: dict[str, Any], now: dict[str, Any], may_change: Collection[str] = MAY_CHANGE) -> list[str]:
    """Return the keys that would have given other weights, of two configurations as files keep them.

    A key that has come into the format since ``then`` was written had its default.
    """
    then = DEFAULTS | then
    changed = [key for key in now if key not in (*may_change, "engine") and then.get(key) != now[key]]
    engine = then.get("engine", {})
    changed += [
        f"engine.{key}" for key, value in now["engine"].items() if key in ENGINE_MUST_STAY and engine.get(key) != value
    ]
    return changed
