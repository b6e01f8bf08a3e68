"""Everything a run needs, made from its configuration."""

import torch
from pydantic import ValidationError
from torch import nn

from supersam.data.records import Pack
from supersam.data.skipped import Skipped
from supersam.data.sources import Data, Source, open_sources
from supersam.data.synthetic import write_pack
from supersam.errors import ConfigError
from supersam.sam.model import Sam
from supersam.space import SearchSpace, load_space
from supersam.supernet.supernet import Supernet
from supersam.train.config import TrainConfig
from supersam.train.distillation import build_distiller
from supersam.train.ema import WeightAverage
from supersam.train.engine import Workers, reduced_precision, wait, wrap
from supersam.train.feed import Feed
from supersam.train.initial import load_initial
from supersam.train.loss_model import LossModel
from supersam.train.objective import Objective
from supersam.train.optimizer import make_optimizer
from supersam.train.state import Run


def build(config: TrainConfig, group: Workers, resume: bool = False) -> tuple[Run, nn.Module]:
    """Make everything a run needs, and the module that its steps call.

    Weights are fresh or those of ``initial``; a run that is resumed gets its own afterwards.
    """
    space = load_space(config.space)
    trained_space = check_space(space, config)
    skipped = Skipped()
    sources = open_sources(_shared_synthetic(config, group), config.split, skipped)
    _check_masks(sources, config)
    feed = Feed(sources, config, space, group)
    feed.skipped.merge(skipped)
    torch.manual_seed(config.seed)
    supernet = Supernet(space)
    supernet.stochastic_depth = config.optimization.stochastic_depth
    supernet.recomputes = config.engine.activation_checkpointing
    model = Sam(supernet).train().to(group.device)
    origin = None
    if config.initial is not None and not resume:
        batches = (batch.to(group.device) for batch in feed.samples(space.resolutions[-1], 2))
        origin = load_initial(model, config.initial, batches)
    distiller = None
    if config.distillation is not None:
        packs = _packs(sources, cached=config.distillation.cache is not None)
        distiller = build_distiller(config.distillation, space, model, packs, config.augmentation)
        distiller.to(group.device)
        feed.teacher_resolution = distiller.teacher_resolution
    objective = Objective(model, reduced_precision(config.engine, group), config.engine.compile, distiller)
    wrapped = wrap(objective, config.engine, group)
    optimizer = make_optimizer(objective, config.optimization)
    average = WeightAverage(model, config.optimization.ema) if config.optimization.ema else None
    run = Run(
        config,
        space,
        trained_space,
        objective,
        optimizer,
        LossModel(trained_space),
        average,
        feed,
        group,
        distiller,
        origin,
    )
    return run, wrapped


def check_space(space: SearchSpace, config: TrainConfig) -> SearchSpace:
    """Return the space with the resolutions it is trained at.

    Raises:
        ConfigError: if the configuration names what the space has not.
    """
    _check_shrinking(space, config)
    _check_removal(space, config)
    return _with_training_resolutions(space, config)


def _with_training_resolutions(space: SearchSpace, config: TrainConfig) -> SearchSpace:
    """Return the space with the resolutions that are only trained at: weights do not depend on them."""
    asked = {resolution for phase in config.phases for resolution in phase.resolution_weights}
    resolutions = tuple(sorted({*space.resolutions, *asked}))
    try:
        return type(space).model_validate({**space.model_dump(), "resolutions": resolutions})
    except ValidationError as problem:
        reason = problem.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"resolution_weights do not fit the space {space.name}: {reason}") from problem


def _check_shrinking(space: SearchSpace, config: TrainConfig) -> None:
    known = {name.rpartition(".")[2] for name in space.variables() if "." in name} - {"block"}
    wrong = [name for name in config.shrinking.order if name not in known] if config.shrinking else []
    if wrong:
        raise ConfigError(
            f"shrinking.order names {', '.join(wrong)}, which {space.name} has not (there: {', '.join(sorted(known))})"
        )


def _check_removal(space: SearchSpace, config: TrainConfig) -> None:
    if config.removal_probability is not None and not any(name.endswith(".mlp") for name in space.variables()):
        raise ConfigError(
            f"removal_probability is of plain ViTs, and {space.name} has no layer to remove; leave it out"
        )


def _check_masks(sources: list[Source], config: TrainConfig) -> None:
    without = [source.name for source in sources if isinstance(source, Pack) and not source.has_masks]
    learned = config.distillation is None or config.distillation.needs_masks
    if without and (learned or (config.initial and config.initial.reorder == "taylor")):
        raise ConfigError(
            f"{without[0]} has no masks to learn from; distil from a teacher for the whole training with "
            "`distillation: {supervised: 0}` (and not `reorder: taylor`), or give images with masks"
        )


def _packs(sources: list[Source], cached: bool) -> list[Pack]:
    packs = [source for source in sources if isinstance(source, Pack)]
    if cached and len(packs) < len(sources):
        name = next(source.name for source in sources if not isinstance(source, Pack))
        raise ConfigError(
            f"distillation.cache holds embeddings of images in folders, and {name} is a stream of shards; unpack it, "
            "or leave out `cache`: then the teacher runs in every step"
        )
    return packs


def _shared_synthetic(config: TrainConfig, group: Workers) -> Data:
    """Let the first process write the seeded shapes and the others wait for them."""
    if str(config.data) != "synthetic":
        return config.data
    folder = config.out / "synthetic"
    if group.first:
        write_pack(folder)
    wait(group)
    return folder
