"""What a step does: a function of the configuration and the step, the same in every process."""

import random
from dataclasses import dataclass, replace

from supersam.space import AnyArchitecture, SearchSpace, architecture_from_dict
from supersam.train.config import Phase, TrainConfig
from supersam.train.loss_model import LossModel
from supersam.train.objective import Settings
from supersam.train.sampling import allowed_at, subnets_of_step, with_removal


@dataclass(frozen=True)
class StepPlan:
    """What a step does."""

    phase: Phase
    resolution: int
    images: int  # of each batch
    subnets: list[AnyArchitecture]  # of a sandwich the largest first
    settings: Settings


def plan_step(
    config: TrainConfig, space: SearchSpace, trained_space: SearchSpace, losses: LossModel, step: int
) -> StepPlan:
    """Draw the subnets and the rounds of prompts of a step.

    Args:
        trained_space: the space with the resolutions that are only trained at.
        losses: of the subnets so far, for attentive sampling; equal in every process.
    """
    phase, progress = config.phase_at(step), step / config.steps
    resolution = resolution_of_step(config, space, step)
    rng = random.Random(f"{config.seed}/{step}")
    corrects = rng.random() < phase.correction_probability
    distils = config.distillation is not None and config.distillation.active_at(progress)
    settings = Settings(
        balance=config.balance_at(progress),
        focal=config.focal_loss,
        correction_rounds=phase.correction_rounds if corrects else 0,
        give_masks=rng.random() < 0.5,
        seed=rng.getrandbits(31),
        supervised=config.distillation.supervised if config.distillation and distils else 1.0,
        inplace=phase.inplace,
        progress=progress,
    )
    if phase.subnets == "fixed":
        subnets = [replace(architecture_from_dict(config.architecture), resolution=resolution)]
    else:
        variables = allowed_at(trained_space.variables(), config.shrinking, progress)
        variables = with_removal(variables, config.removal_probability)
        subnets = subnets_of_step(trained_space, phase, resolution, rng, losses, config.attentive, variables)
    return StepPlan(phase, resolution, images_of_batch(config, space, resolution), subnets, settings)


def resolution_of_step(config: TrainConfig, space: SearchSpace, step: int) -> int:
    """Draw the resolution of a step."""
    rng = random.Random(f"{config.seed}/{step}/resolution")
    weights = resolution_weights(config.phase_at(step), space)
    return rng.choices(list(weights), list(weights.values()))[0]


def resolution_weights(phase: Phase, space: SearchSpace) -> dict[int, float]:
    """Return how often a phase draws each resolution; those of the space all alike where it does not say."""
    return phase.resolution_weights or dict.fromkeys(space.resolutions, 1.0)


def images_of_batch(config: TrainConfig, space: SearchSpace, resolution: int) -> int:
    """Return how many images a batch of a resolution has, so that all batches cost about the same.

    Two at least, for the statistics of BatchNorm, unless one is all that was asked for.
    """
    least = min(2, config.images_per_step)
    return max(least, round(config.images_per_step * (space.resolutions[0] / resolution) ** 2))
