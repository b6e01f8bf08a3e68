"""Where the weights of a training start: an official SAM or a supernet of before, sorted by importance on request."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch.distributed as dist
from torch import Tensor, nn

from supersam._paths import starter_dir
from supersam.checkpoints.files import file_sha256
from supersam.checkpoints.official import is_official, load_decoder, load_encoder, read_official
from supersam.checkpoints.starter import WEIGHTS
from supersam.checkpoints.supernets import load_supernet
from supersam.errors import CheckpointError, ConfigError, DataError, SearchSpaceError
from supersam.sam.model import Sam
from supersam.space import ViTSpace
from supersam.supernet.reorder import Group, Scores, groups, magnitude, reorder, taylor, wanda, widest_encoder
from supersam.supernet.supernet import Supernet
from supersam.train.initial_config import Initial
from supersam.train.losses import prompt_loss

if TYPE_CHECKING:  # the batches know the configuration, and that knows this section
    from supersam.train.batches import Batch

STARTER = Path("starter")


def load_initial(model: Sam, config: Initial, batches: Iterable["Batch"]) -> dict[str, Any]:
    """Put the initial weights into a supernet and sort its units; call it once, at the start of a run.

    Parameters keep their identity, so an optimizer may exist; a copy such as an average of weights is made after.

    Args:
        model: its ``image_encoder`` is a ``Supernet``; its device is that of the batches.
        batches: calibration images with prompts and targets, as for training and at the largest resolution. No more
            are drawn than ``calibration_images`` need, and none without a ``reorder`` that looks at images.

    Returns:
        What was loaded, for the record of the checkpoints: the name of the file, its SHA-256 and the re-ordering.

    Raises:
        MissingError: if there is no such file.
        CheckpointError: if it is damaged, or its weights do not fit.
        ConfigError: if the configuration asks for what the space cannot do.
    """
    path = starter_dir() / WEIGHTS if config.weights == STARTER else config.weights
    if is_official(path):
        _load_official(model, path, config)
    else:
        _load_supernet(model, path, config)
    if config.reorder is not None:
        sort_units(model, config, batches)
    return {"weights": path.name, "sha256": file_sha256(path), "parts": config.parts, "reorder": config.reorder}


def sort_units(model: Sam, config: Initial, batches: Iterable["Batch"]) -> None:
    """Sort MLP units and heads by importance; the largest subnet computes what it did.

    With several processes the scores of the first decide, so that all of them sort alike.

    Raises:
        SearchSpaceError: if the space has nothing to sort.
        DataError: if there are no calibration images.
        CheckpointError: if the weights give scores that are not numbers.
    """
    encoder = widest_encoder(_supernet(model))
    layers = groups(encoder)
    scores = _scores(model, encoder, layers, config, _limited(batches, config.calibration_images))
    for name, score in scores.items():
        if not score.isfinite().all():
            raise CheckpointError(f"{config.weights} gives no finite {config.reorder} score in {name}")
        if dist.is_initialized():
            dist.broadcast(score, 0)
    reorder(layers, scores)


def _scores(
    model: Sam, encoder: nn.Module, layers: dict[str, Group], config: Initial, batches: Iterator["Batch"]
) -> Scores:
    if config.reorder == "magnitude":
        return magnitude(layers)
    _use_statistics_of_batches(encoder)
    if config.reorder == "wanda":
        return wanda(layers, encoder, (batch.images for batch in batches))
    return taylor(layers, (_loss(model, encoder, batch) for batch in batches))


def _use_statistics_of_batches(encoder: nn.Module) -> None:
    """Let BatchNorm normalise each batch by itself: the statistics of a supernet belong to no subnet."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = module.running_var = None


def _loss(model: Sam, encoder: nn.Module, batch: "Batch") -> Tensor:
    return prompt_loss(model.decode(encoder(batch.images), batch.prompts), batch.targets, batch.n_points)


def _limited(batches: Iterable["Batch"], n_images: int) -> Iterator["Batch"]:
    seen = 0
    for batch in batches:
        yield batch
        seen += len(batch.images)
        if seen >= n_images:
            return
    if seen == 0:
        raise DataError("there are no images to calibrate the re-ordering on; give `data`, or use reorder: magnitude")


def _supernet(model: Sam) -> Supernet:
    return cast(Supernet, model.image_encoder)


def _load_official(model: Sam, path: Path, config: Initial) -> None:
    official = read_official(path)
    if config.parts == "all":
        space = _supernet(model).space
        if not isinstance(space, ViTSpace):
            raise ConfigError(
                f"{path} is an official SAM and the space {space.name!r} has no plain ViT to put its encoder in; "
                "choose the space supersam-vit-b, or initial.parts: decoder"
            )
        load_encoder(_supernet(model), official)
    load_decoder(model, official)


def _load_supernet(model: Sam, path: Path, config: Initial) -> None:
    found, _ = load_supernet(path)
    model.prompt_encoder.load_state_dict(found.prompt_encoder.state_dict())
    model.mask_decoder.load_state_dict(found.mask_decoder.state_dict())
    if config.parts == "decoder":
        return
    theirs, ours = _supernet(found).space, _supernet(model).space
    try:
        if theirs.head_dim != ours.head_dim:
            raise ValueError(f"heads of {theirs.head_dim} channels, not {ours.head_dim}")
        model.image_encoder.load_state_dict(_supernet(model).parts_of(_supernet(found)), strict=True)
    except (RuntimeError, ValueError, SearchSpaceError) as problem:
        why = str(problem).splitlines()[-1].strip()
        raise SearchSpaceError(
            f"{path} holds the space {theirs.name!r}, {ours.name!r} differs ({why[:200]})"
        ) from problem
