"""Measured accuracies on disk, by architecture, data and weights, so that no measurement is made twice."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from supersam._paths import cache_dir, write_atomically
from supersam.results import Accuracy


def data_fingerprint(folder: Path, splits: list[str]) -> str:
    """Return a hash of what would be read: annotation files whole, all other files by name and size."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
        if path.suffix == ".json" and any(path.stem.endswith(split) for split in splits):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class AccuracyCache:
    """The accuracies of one protocol: weights, data, split, images, masks, prompts."""

    def __init__(self, protocol: dict[str, Any], folder: Path | None = None) -> None:
        self.key = hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:20]
        self.folder = (folder or cache_dir() / "accuracy") / self.key
        self.protocol = protocol

    def get(self, digest: str) -> Accuracy | None:
        """Return what was measured, or None; a damaged file counts as none and is measured again."""
        try:
            content = json.loads((self.folder / f"{digest}.json").read_text())
            low, high = content["interval"]
            return Accuracy(float(content["value"]), "measured", (float(low), float(high)), content["packs"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, digest: str, accuracy: Accuracy) -> None:
        """Keep a measurement."""
        about = self.folder / "protocol.json"
        if not about.is_file():
            write_atomically(about, json.dumps(self.protocol, indent=1) + "\n")
        write_atomically(self.folder / f"{digest}.json", json.dumps(asdict(accuracy)) + "\n")
