"""Supernets in files."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from supersam.checkpoints.files import load_checkpoint
from supersam.errors import CheckpointError
from supersam.sam.model import Sam
from supersam.space import SearchSpace
from supersam.supernet.supernet import Supernet

TRAINING = "training."  # begins the names of tensors of a training checkpoint that are not the model's
AVERAGE = TRAINING + "average."  # ... of those that are the moving average of the model's weights


def load_supernet(path: Path) -> tuple[Sam, dict[str, Any]]:
    """Load a supernet from a weights or training file, in single precision and evaluation mode.

    Of a training file with a moving average of the weights, the average is what is loaded.

    Returns:
        The model, whose ``image_encoder`` is a ``Supernet``, and the record of the file.

    Raises:
        CheckpointError: if the file holds something else or its weights do not fit its space.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.kind not in ("supernet", "training"):
        raise CheckpointError(f"{path} holds a {checkpoint.kind}, a supernet is needed here")
    try:
        space: SearchSpace = TypeAdapter(SearchSpace).validate_python(checkpoint.record["space"])
    except (KeyError, ValidationError) as problem:
        raise CheckpointError(f"{path} has no valid search space in its header") from problem
    model = Sam(Supernet(space))
    averages = {
        name.removeprefix(AVERAGE): tensor for name, tensor in checkpoint.tensors.items() if name.startswith(AVERAGE)
    }
    load_weights(model, {**checkpoint.tensors, **averages}, path)
    return model.eval(), checkpoint.record


def load_weights(model: Sam, tensors: dict[str, Tensor], path: Path) -> None:
    """Put the tensors of a checkpoint into a model; all must fit."""
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(TRAINING)}
    try:
        model.load_state_dict(own, strict=True)
    except RuntimeError as problem:
        first = str(problem).splitlines()[1].strip()
        raise CheckpointError(f"{path} does not fit its search space: {first}") from problem
