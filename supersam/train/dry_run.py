"""What a training would cost, before it begins: counts, memory, a few real steps, and a look at the data."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from supersam.data.loader import inspect
from supersam.data.skipped import LEAST_SEEN
from supersam.data.sources import describe
from supersam.sam.model import Prompts, Sam
from supersam.space.ops import EMBEDDING
from supersam.space.parts import count
from supersam.supernet.supernet import Supernet
from supersam.train.config import TrainConfig
from supersam.train.distillation_config import Lesson
from supersam.train.engine import Workers, gathered, wait, workers
from supersam.train.folder import check_folder, nearest
from supersam.train.objective import Outcome
from supersam.train.plan import StepPlan, images_of_batch, plan_step, resolution_weights
from supersam.train.setup import build
from supersam.train.state import Run
from supersam.train.step import train_step

LOOKED_AT = 64  # images of every source
TRIED = 3  # steps of every phase, after one that is not timed
DRAWN = 64  # steps of every phase whose subnets are counted
PASSES = 3  # a backward pass takes twice the arithmetic of a forward pass


@dataclass(frozen=True)
class PhaseCost:
    """What the steps of a phase cost one process."""

    steps: int
    gmacs_per_step: float  # mean; forward and backward, encoder and decoder
    decoder_share: float  # of these
    seconds_per_step: tuple[float, float, float]  # least, median, most by the steps that were tried


@dataclass(frozen=True)
class Plan:
    """What a training would cost."""

    parameters: int
    state_bytes: int  # weights, gradients, moments and average, of one process
    activation_bytes: int  # of the largest subnet in the most demanding step
    checkpointing_counted: bool  # in activation_bytes, which only a GPU measures; elsewhere they are without it
    not_counted: str  # what of GMACs and bytes is missing; empty: nothing
    phases: list[PhaseCost]
    data: list[str]
    skipped: dict[str, Any]
    skipped_summary: str

    @property
    def hours(self) -> tuple[float, float, float]:
        """Return how long it would take: least, median, most."""
        low, middle, high = (
            sum(phase.steps * phase.seconds_per_step[number] for phase in self.phases) / 3600 for number in range(3)
        )
        return low, middle, high

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {**asdict(self), "hours": self.hours}


def dry_run(config: TrainConfig) -> Plan:
    """Build a run, take a few steps of every phase and keep nothing.

    Raises:
        ConfigError: if the run's folder cannot be written.
        DataError: if too much of the data is damaged.
    """
    check_folder(config.out)
    with workers(config.engine) as group, _without_a_trace(config, group) as tried:
        run, objective = build(tried, group)
        skipped = inspect(run.feed.sources, LOOKED_AT)
        skipped.check(config.max_skipped_share, least_masks=LEAST_SEEN)  # of every image all were looked at
        ends = [math.ceil(phase.until * config.steps) for phase in config.phases]
        stretches = list(zip([0, *ends], ends, strict=False))
        phases = [_cost(run, objective, *stretch) for stretch in stretches]
        parameters = sum(parameter.numel() for parameter in objective.parameters())
        on_gpu = group.device.type == "cuda"
        return Plan(
            parameters,
            state_bytes(parameters, config, group.world, gathered_is_activation=on_gpu),
            max(_activation_bytes(run, *stretch) for stretch in stretches),
            on_gpu,
            _not_counted(run),
            phases,
            [describe(source) for source in run.feed.sources],
            skipped.to_dict(),
            skipped.summary(),
        )


def state_bytes(parameters: int, config: TrainConfig, world: int, gathered_is_activation: bool = False) -> int:
    """Return what a process holds besides activations, in bytes (docs/decisions/0005).

    Args:
        gathered_is_activation: whether the whole weights and gradients that FSDP holds in a step are counted there.
    """
    copies = 4.0 + bool(config.optimization.ema)  # weights, gradients, two moments, average
    if world > 1 and config.engine.strategy == "fsdp":
        copies = copies / world + (0 if gathered_is_activation else 2)
    elif world > 1:
        copies += 1  # the buckets of DDP's exchange
    return round(4 * copies * parameters)


@contextmanager
def _without_a_trace(config: TrainConfig, group: Workers) -> Iterator[TrainConfig]:
    """Let the seeded shapes go where a run would be, which every process sees, and delete them at the end."""
    if str(config.data) != "synthetic":
        yield config
        return
    place = nearest(config.out)
    with TemporaryDirectory(dir=place, prefix=".supersam-") if group.first else nullcontext("") as own:
        yield config.model_copy(update={"out": Path(gathered(own, group)[0])})
        wait(group)


def _cost(run: Run, objective: torch.nn.Module, begins: int, ends: int) -> PhaseCost:
    if begins == ends:
        return PhaseCost(0, 0.0, 0.0, (0.0, 0.0, 0.0))
    drawn = [begins + (ends - begins) * number // DRAWN for number in range(DRAWN)]
    plans = [_plan_at(run, step) for step in drawn]
    encoder = [_encoder_gmacs(plan) for plan in plans]
    decoder = [_decoder_gmacs(run, plan) for plan in plans]
    times = []
    arithmetic = [sum(both) for both in zip(encoder, decoder, strict=True)]
    mean = sum(arithmetic) / DRAWN
    for number in range(0, DRAWN, DRAWN // (TRIED + 1))[: TRIED + 1]:
        run.step = step = drawn[number]
        feed = run.feed.batches(step)
        ahead = next(feed) if run.config.engine.loader_workers else None  # workers prepare them beside the training
        started = time.perf_counter()
        train_step(run, objective, ahead or next(feed))
        # steps differ by resolution, subnets and rounds of clicks: what was timed stands for the mean of the phase
        times.append((time.perf_counter() - started) * mean / arithmetic[number])
    timed = times[1:]
    batches = run.config.engine.accumulate
    return PhaseCost(
        ends - begins,
        PASSES * batches * mean,
        sum(decoder) / sum(arithmetic),
        (min(timed), statistics.median(timed), max(timed)),
    )


def _plan_at(run: Run, step: int) -> StepPlan:
    return plan_step(run.config, run.space, run.trained_space, run.losses_of_subnets, step)


def _encoder_gmacs(plan: StepPlan) -> float:
    return plan.images * sum(count(architecture).gmacs for architecture in plan.subnets)


def _decoder_gmacs(run: Run, plan: StepPlan) -> float:
    settings, distillation = plan.settings, run.config.distillation
    prompts = run.config.points_per_image + run.config.boxes_per_image
    rounds = 1 + settings.correction_rounds if settings.supervised or settings.inplace.masks else 0
    lesson = distillation.prompts if distillation else None
    if lesson and lesson.weight_at(settings.progress):
        rounds += 1 + lesson.rounds
    return plan.images * len(plan.subnets) * rounds * decoder_gmacs(plan.resolution, prompts)


@cache
def decoder_gmacs(resolution: int, prompts: int = 1) -> float:
    """Return the multiplications of decoding the prompts of one image, in 1e9, counted by torch on the meta device."""
    with torch.device("meta"):
        model = Sam(torch.nn.Identity())
        side = resolution // 16
        embedding, boxes = torch.empty(1, EMBEDDING, side, side), torch.empty(1, prompts, 4)
        with FlopCounterMode(display=False) as counter:
            model.decode(embedding, Prompts(boxes=boxes))
    return counter.get_total_flops() / 2 / 1e9


def _activation_bytes(run: Run, begins: int, ends: int) -> int:
    """Return what the largest graph of a phase keeps, by running it once."""
    if begins == ends:
        return 0
    return max(_bytes_of(run, plan) for plan in _most_demanding(run, begins, ends))


def _bytes_of(run: Run, plan: StepPlan) -> int:
    largest = run.trained_space.decode(
        {**run.trained_space.encode(run.trained_space.largest()), "resolution": plan.resolution}
    )
    batch = next(run.feed.samples(plan.resolution, plan.images)).to(run.group.device)
    target = run.objective.teach(batch, plan.settings)
    forward = partial(run.objective, batch, largest, plan.settings, target)
    return _allocated_bytes(run, forward) if run.group.device.type == "cuda" else _saved_bytes(run, forward)


def _allocated_bytes(run: Run, forward: Callable[[], Outcome]) -> int:
    """Return the most that a forward and a backward pass allocate on the GPU besides the gradients they leave."""
    forward().loss.backward()  # so that the gradients are there before
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    forward().loss.backward()
    peak = torch.cuda.max_memory_allocated()
    run.optimizer.zero_grad()
    return peak - before


def _saved_bytes(run: Run, forward: Callable[[], Outcome]) -> int:
    """Return the bytes of all tensors that autograd keeps of a forward pass.

    Without activation checkpointing, whose savings the hooks of autograd do not see.
    """
    kept: dict[int, int] = {}
    own: set[int] = set()

    def note(tensor: Tensor) -> Tensor:
        if not own:  # only now, because FSDP gathers the whole weights when the pass begins
            own.update(parameter.untyped_storage().data_ptr() for parameter in run.objective.parameters())
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    supernet = cast(Supernet, run.model.image_encoder)
    recomputes, supernet.recomputes = supernet.recomputes, False
    with saved_tensors_hooks(note, lambda tensor: tensor):
        outcome = forward()
    supernet.recomputes = recomputes
    total = sum(size for pointer, size in kept.items() if pointer not in own)
    del outcome
    return total


def _most_demanding(run: Run, begins: int, ends: int) -> list[StepPlan]:
    """Return a step of a phase for each set of what is learned in it, with the most pixels and all corrections."""
    config, space = run.config, run.space
    weights = resolution_weights(config.phase_at(begins), space)
    images = {side: images_of_batch(config, space, side) for side, weight in weights.items() if weight}
    resolution = max(images, key=lambda side: (images[side] * side**2, side))
    plans = {}
    for step in _turns(config, begins, ends):
        plan = _plan_at(run, step)
        rounds = plan.phase.correction_rounds if plan.phase.correction_probability else 0
        settings = replace(plan.settings, correction_rounds=rounds, give_masks=True)
        learned = settings.supervised, *(lesson.weight_at(settings.progress) > 0 for lesson in _lessons(config))
        plans[learned] = replace(plan, resolution=resolution, images=images[resolution], settings=settings)
    return list(plans.values())


def _turns(config: TrainConfig, begins: int, ends: int) -> list[int]:
    """Return the steps of a phase at which a lesson begins or has ended, with the first and the last."""
    turns = [math.ceil(at * config.steps) for lesson in _lessons(config) for at in (lesson.start, lesson.stop)]
    return [begins, *(step for step in turns if begins < step < ends), ends - 1]


def _lessons(config: TrainConfig) -> list[Lesson]:
    return config.distillation.lessons if config.distillation else []


def _not_counted(run: Run) -> str:
    if run.distiller is None:
        return ""
    teacher = run.distiller.teacher
    size = sum(tensor.numel() * tensor.element_size() for tensor in teacher.state_dict().values())
    return f"the teacher {teacher.name} ({size / 1e9:.2f} GB of weights, its arithmetic and activations)"
