"""One step of a training: which subnets on which images, their backward passes, the update of the weights."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from supersam.errors import DivergedError
from supersam.train.batches import Batch
from supersam.train.config import Phase
from supersam.train.engine import mean, synchronized
from supersam.train.optimizer import set_learning_rate
from supersam.train.plan import StepPlan, plan_step
from supersam.train.sharding import whole
from supersam.train.state import Run


def train_step(run: Run, objective: nn.Module, batches: list[Batch]) -> int:
    """Run the subnets of a step on its batches, update the weights and return the images of all processes."""
    config, group = run.config, run.group
    plan = plan_step(config, run.space, run.trained_space, run.losses_of_subnets, run.step)
    rate = set_learning_rate(run.optimizer, run.step, config.steps, config.optimization)
    run.optimizer.zero_grad(set_to_none=True)
    accumulate = config.engine.accumulate
    losses = torch.zeros(len(plan.subnets), dtype=torch.float64)
    for index, batch in enumerate(batches):
        number = group.rank * accumulate + index
        moved = batch.to(group.device, config.engine.channels_last)
        losses += _backward(run, objective, plan, moved, number, last_batch=index == accumulate - 1) / accumulate
    gradients = nn.utils.clip_grad_norm_(run.objective.parameters(), config.optimization.clip_norm)
    norm = whole(gradients).item()
    if not math.isfinite(norm):  # the same in every process; the weights and the last checkpoint are still good
        raise DivergedError(
            f"the gradient of step {run.step} is {norm}; the checkpoint from before is kept: lower "
            "optimization.learning_rate, or set engine.autocast: none, and start again from its weights"
        )
    run.optimizer.step()
    if run.average is not None:
        run.average.update(run.step)
    shared = [mean(loss, group) for loss in losses.tolist()]
    for architecture, loss in zip(plan.subnets, shared, strict=True):
        run.losses_of_subnets.update(architecture, loss)
    run.losses = {
        **_named(plan.phase, shared),
        "resolution": plan.resolution,
        "learning_rate": rate,
        "gradient_norm": norm,
    }
    return plan.images * accumulate * group.world


def _backward(run: Run, objective: nn.Module, plan: StepPlan, batch: Batch, number: int, last_batch: bool) -> Tensor:
    """Run every subnet on a batch, one graph in memory at a time, and return their losses."""
    settings = replace(plan.settings, seed=plan.settings.seed + number)
    torch.manual_seed(settings.seed)  # of stochastic depth
    target = run.objective.teach(batch, settings)
    losses, largest = torch.zeros(len(plan.subnets), dtype=torch.float64), None
    for index, architecture in enumerate(plan.subnets):
        last = last_batch and index == len(plan.subnets) - 1
        with synchronized(objective, last):
            outcome = objective(batch, architecture, settings, target, largest)
            (outcome.loss / (len(plan.subnets) * run.config.engine.accumulate)).backward()
        if index == 0 and settings.inplace.active:
            largest = outcome
        losses[index] = outcome.alone.item()
    return losses


def _named(phase: Phase, losses: list[float]) -> dict[str, float]:
    named = {"loss": sum(losses) / len(losses)}
    if phase.subnets == "sandwich":
        named |= dict(zip(("largest", "smallest"), losses, strict=False))  # one, while shrinking allows no more
        if len(losses) > 2:
            named["random"] = sum(losses[2:]) / (len(losses) - 2)
    return named
