"""Subnets as models of their own: taken out of the supernet, saved, and loaded without it."""

import copy
from pathlib import Path
from typing import Any

from torch import Tensor

from supersam.checkpoints.files import Checkpoint, load_checkpoint, save_checkpoint
from supersam.errors import CheckpointError, SearchSpaceError
from supersam.sam.model import Sam
from supersam.space import AnyArchitecture, architecture_from_dict, count
from supersam.supernet.encoder import build_encoder


def extract_subnet(model: Sam, architecture: AnyArchitecture, statistics: dict[str, Tensor] | None = None) -> Sam:
    """Return a plain copy of a subnet with its decoder, in evaluation mode.

    Args:
        model: its ``image_encoder`` is a ``Supernet``.
        statistics: BatchNorm statistics of this subnet by name, if they are known.
    """
    encoder = model.image_encoder.extract(architecture)  # type: ignore[operator]
    if statistics:
        encoder.load_state_dict(statistics, strict=False)
    subnet = Sam(encoder)
    subnet.prompt_encoder = copy.deepcopy(model.prompt_encoder)
    subnet.mask_decoder = copy.deepcopy(model.mask_decoder)
    return subnet.eval()


def save_subnet(path: Path, subnet: Sam, architecture: AnyArchitecture, provenance: dict[str, Any]) -> str:
    """Write a subnet and return the SHA-256 of the file; names of tensors are those of the original SAM."""
    record = {"architecture": architecture.to_dict(), "digest": architecture.digest, "provenance": provenance}
    return save_checkpoint(path, "subnet", record, subnet.state_dict())


def _check_size(architecture: AnyArchitecture, checkpoint: Checkpoint) -> None:
    """Refuse a header whose network is larger than what the file holds before memory is asked for it."""
    depth = sum(stage.depth for stage in getattr(architecture, "stages", ()))
    held = sum(tensor.numel() for tensor in checkpoint.tensors.values())
    if depth > len(checkpoint.tensors) or count(architecture).params > held:
        raise CheckpointError(
            f"{checkpoint.path} does not fit the architecture in its header, a network larger than the file"
        )


def load_subnet(path: Path) -> tuple[Sam, AnyArchitecture, dict[str, Any]]:
    """Load a subnet into plain modules.

    Returns:
        The model in evaluation mode, its architecture and the record of the file.

    Raises:
        CheckpointError: if the weights do not fit the architecture in the header.
    """
    checkpoint = load_checkpoint(path, "subnet")
    try:
        architecture = architecture_from_dict(checkpoint.record["architecture"])
        _check_size(architecture, checkpoint)
        subnet = Sam(build_encoder(architecture))
    except (KeyError, SearchSpaceError, ArithmeticError, AssertionError, RuntimeError, ValueError) as problem:
        raise CheckpointError(f"{path} has no valid architecture in its header ({problem})") from problem
    try:
        subnet.load_state_dict(checkpoint.tensors, strict=True)
    except RuntimeError as problem:
        first = str(problem).splitlines()[1].strip()
        raise CheckpointError(f"{path} does not fit the architecture in its header: {first}") from problem
    return subnet.eval(), architecture, checkpoint.record
