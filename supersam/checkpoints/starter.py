"""The shipped starter: supernet weights, the archive, and BatchNorm statistics of the archived subnets."""

from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from supersam._paths import starter_dir
from supersam.errors import CheckpointError
from supersam.sam.model import Sam
from supersam.space import AnyArchitecture

WEIGHTS = "starter.safetensors"
STATISTICS = "batch_norm.safetensors"  # "<digest>/<name>" -> statistics measured on train-fit


def load_starter() -> tuple[Sam, dict[str, Any]]:
    """Load the starter supernet, in single precision and evaluation mode."""
    from supersam.checkpoints.supernets import load_supernet

    return load_supernet(starter_dir() / WEIGHTS)


def starter_statistics(architecture: AnyArchitecture) -> dict[str, Tensor]:
    """Return the shipped BatchNorm statistics of a subnet; empty if it is not in the archive."""
    path = starter_dir() / STATISTICS
    if not path.is_file():
        return {}
    try:
        shipped = load_file(path)
    except (SafetensorError, OSError) as problem:
        raise CheckpointError(f"{path} is damaged ({problem}); reinstall supersam") from problem
    prefix = architecture.digest + "/"
    return {name.removeprefix(prefix): tensor for name, tensor in shipped.items() if name.startswith(prefix)}
