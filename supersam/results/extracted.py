"""Extracted subnets: checkpoints in a folder of runs, known by the record in their header.

Only the header is read, by the published layout of safetensors (eight bytes of length, then JSON), so a listing
loads no weights and executes nothing.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from supersam.errors import CheckpointError, SearchSpaceError
from supersam.space import AnyArchitecture, architecture_from_dict

LONGEST_HEADER = 10_000_000  # bytes; those of our files have some ten thousand
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Extracted:
    """One file of an extracted subnet."""

    path: Path
    architecture: AnyArchitecture
    size: int  # bytes

    @property
    def key(self) -> str:
        """A name for URLs that tells nothing about the disk."""
        return hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:16]

    @property
    def digest(self) -> str:
        return self.architecture.digest


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder and in the folders directly below it; links are not followed."""
    found = [*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*/*{SUFFIX}")]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def read_extracted(path: Path) -> Extracted:
    """Read which subnet a file holds.

    Raises:
        CheckpointError: if it is damaged or not an extracted subnet.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= LONGEST_HEADER:
                raise CheckpointError(f"{path} is not a safetensors file (its header would have {length} bytes)")
            header = json.loads(file.read(length))
        record = json.loads(header["__metadata__"]["supersam"])
        if record["kind"] != "subnet":
            raise CheckpointError(f"{path} holds a {record['kind']}, not an extracted subnet")
        return Extracted(path, architecture_from_dict(record["architecture"]), path.stat().st_size)
    except (OSError, KeyError, TypeError, ValueError, SearchSpaceError) as problem:
        raise CheckpointError(f"{path} is damaged or was not written by `supersam extract` ({problem!r})") from problem


def list_extracted(files: Iterable[Path]) -> list[Extracted]:
    """Return the extracted subnets among some files, without those that are something else."""
    found = []
    for path in files:
        try:
            found.append(read_extracted(path))
        except CheckpointError:
            continue
    return found
