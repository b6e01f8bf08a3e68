"""Downloads of extracted checkpoints: by keys that this program made, never by a path from a URL."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, abort, send_file

from supersam.results.extracted import Extracted, checkpoint_files, list_extracted

from .file_cache import FileCache, stamp

ROUTE = "/checkpoint/"


@dataclass(frozen=True)
class Download:
    """One file that can be downloaded."""

    file: Extracted
    place: str  # within the folder of runs
    sha256: str

    @property
    def digest(self) -> str:
        return self.file.digest

    @property
    def describes(self) -> str:
        return self.file.architecture.describe()

    @property
    def size(self) -> int:
        return self.file.size

    @property
    def name(self) -> str:
        return self.file.path.name

    @property
    def address(self) -> str:
        return ROUTE + self.file.key


class Downloads:
    """The extracted checkpoints of a folder of runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cache = FileCache()

    def all(self) -> list[Download]:
        """Return what can be downloaded; a file is read again only when it changed."""
        return [one for path in checkpoint_files(self.folder) for one in self._cached(path)]

    def find(self, key: str) -> Download | None:
        """Return the file of a key."""
        return next((one for one in self.all() if one.file.key == key), None)

    def _cached(self, path: Path) -> list[Download]:
        return self._cache.get(path, stamp([path]), lambda: self._read(path))

    def _read(self, path: Path) -> list[Download]:
        place = str(path.relative_to(self.folder))
        return [Download(found, place, _sha256(path)) for found in list_extracted([path])]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def offer(server: Flask, downloads: Downloads) -> None:
    """Add the route of the downloads to a server."""

    def download(key: str) -> Response:
        found = downloads.find(key)
        if found is None:
            abort(404)
        return send_file(found.file.path.resolve(), as_attachment=True, download_name=found.name)

    server.add_url_rule(f"{ROUTE}<key>", "checkpoint", download)
