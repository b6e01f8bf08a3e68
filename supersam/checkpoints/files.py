"""Checkpoints: safetensors with one JSON record in the header, so nothing in them can be executed.

The record says what the file is (``kind``), which space or architecture it belongs to and where it came from.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from supersam import __version__
from supersam._paths import write_atomically
from supersam.errors import CheckpointError, MissingError

FORMAT = 1
KINDS = ("supernet", "training", "subnet")
RECORD = "supersam"
PYTORCH = (".pth", ".pt", ".bin", ".ckpt")


@dataclass(frozen=True)
class Checkpoint:
    """The content of a file."""

    path: Path
    kind: str
    record: dict[str, Any]
    tensors: dict[str, Tensor]


def save_checkpoint(path: Path, kind: str, record: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """Write a checkpoint in one piece and return its SHA-256."""
    header = {"kind": kind, "format": FORMAT, "version": __version__, **record}
    owned = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(owned, metadata={RECORD: json.dumps(header, sort_keys=True)})
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def load_checkpoint(path: Path, kind: str | None = None) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        MissingError: if there is no such file.
        CheckpointError: if it is damaged, not ours, of another kind or from a newer version.
    """
    if not path.is_file():
        raise MissingError(f"there is no checkpoint {path}")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(RECORD)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as problem:
        if path.suffix in PYTORCH:
            raise CheckpointError(
                f"{path} is a file of PyTorch; what is read here is .safetensors of `supersam train` or `extract` (an "
                "official SAM belongs in a training: initial.weights or distillation.teacher)"
            ) from problem
        raise CheckpointError(f"{path} is damaged or not a safetensors file ({problem})") from problem
    if text is None:
        raise CheckpointError(f"{path} is a safetensors file but was not written by SuperSAM (no record in its header)")
    try:
        record = json.loads(text)
        found, version = record["kind"], int(record["format"])
    except (KeyError, TypeError, ValueError, RecursionError) as problem:
        raise CheckpointError(f"{path} has a damaged header ({problem!r})") from problem
    if version > FORMAT:
        raise CheckpointError(f"{path} has format {version}, this version reads up to {FORMAT}: upgrade supersam")
    if kind is not None and found != kind:
        raise CheckpointError(f"{path} holds a {found}, a {kind} is needed here")
    return Checkpoint(path, found, record, tensors)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
