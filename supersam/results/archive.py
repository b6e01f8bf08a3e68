"""The archive: subnets of the starter space whose accuracy was measured on real images, shipped as data.

It lets a search run on a machine without images, and says for each number what it was measured on.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from supersam._paths import starter_dir
from supersam.errors import DamagedError, MissingError, SearchSpaceError
from supersam.results.candidate import Accuracy
from supersam.space import AnyArchitecture, architecture_from_dict

ARCHIVE_FILE = "archive.json"


@dataclass(frozen=True)
class Archive:
    """Measured accuracies of one set of weights."""

    protocol: dict[str, Any]  # weights, data, split, masks, command, date
    measured: dict[AnyArchitecture, Accuracy]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that was measured, and how."""
        found = {architecture.digest: asdict(accuracy) for architecture, accuracy in self.measured.items()}
        return hashlib.sha256(json.dumps([self.protocol, found], sort_keys=True).encode()).hexdigest()

    def find(self, digest: str) -> AnyArchitecture | None:
        """Return the architecture with this digest."""
        return next((architecture for architecture in self.measured if architecture.digest == digest), None)


def load_archive(path: Path | None = None) -> Archive:
    """Load an archive (default: the shipped one).

    Raises:
        MissingError: if there is none.
        DamagedError: if it cannot be read.
    """
    path = path or starter_dir() / ARCHIVE_FILE
    if not path.is_file():
        raise MissingError(f"there is no archive {path}")
    try:
        content = json.loads(path.read_text())
        measured = {
            architecture_from_dict(entry["architecture"]): Accuracy(
                entry["accuracy"], "measured", tuple(entry["interval"]), entry["packs"]
            )
            for entry in content["measured"]
        }
        return Archive(content["protocol"], measured)
    except (KeyError, TypeError, ValueError, SearchSpaceError) as problem:
        raise DamagedError(f"archive {path} is damaged ({problem!r})") from problem
