"""What the pages read: runs, the archive and latency tables, each kept until its file changes. No Dash here."""

import hashlib
import shlex
from pathlib import Path

from supersam._paths import starter_dir
from supersam.latency import shipped_tables
from supersam.results import Candidate, pareto_front
from supersam.results.archive import ARCHIVE_FILE

from . import sources
from .devices import Device, read_device, recorded_device
from .file_cache import FileCache, stamp
from .sources import Contents, Source


class Data:
    """Everything on disk that the pages show."""

    def __init__(self, runs: Path, tables: Path | None = None, archive: Path | None = None) -> None:
        """Read runs from a folder, tables and the archive from where they are shipped unless told otherwise."""
        self.runs = runs
        self._tables = tables
        self._archive = archive or starter_dir() / ARCHIVE_FILE
        self._cache = FileCache()

    @property
    def first_run(self) -> str:
        """A folder for a first run, quoted for a shell."""
        return shlex.quote(str(self.runs / "first"))

    def sources(self) -> list[Source]:
        """Return the runs, newest first, then the archive."""
        return sources.list_sources(self.runs, self._archive)

    def contents(self, source: Source) -> Contents:
        """Return what a source holds.

        Raises:
            DamagedError: if it cannot be read.
        """
        return self._cache.get(("contents", source.key), source.stamp, lambda: sources.read(source))

    def tables(self) -> list[Device]:
        """Return every device with a table."""
        return [self._table(name, path) for name, path in shipped_tables(self._tables).items()]

    def _table(self, name: str, path: Path) -> Device:
        stamped = stamp([path])
        return self._cache.get(("table", name), stamped, lambda: read_device(name, path, stamped))

    def devices(self, source: Source) -> dict[str, tuple[Device, str]]:
        """Return the devices of a source by key, each with the reason why it cannot be used, if any.

        A run keeps the latencies of the device it was made for, so it can be shown even where that
        device's table is not.
        """
        devices = {device.key: (device, self._why_not(source, device)) for device in self.tables()}
        asked = source.asked.device
        if asked and not any(asked in (d.key, *d.aliases) for d, reason in devices.values() if not reason):
            recorded = recorded_device(asked, source.stamp)
            devices[recorded.key] = (recorded, "")
        return devices

    def _why_not(self, source: Source, device: Device) -> str:
        found = self.contents(source).found
        key, stamped = ("why not", source.key, device.key), (source.stamp, device.stamp)
        return self._cache.get(key, stamped, lambda: device.why_not(one.architecture for one in found))

    def candidates(self, source: Source, device: Device) -> list[Candidate]:
        """Return every candidate of a source with its latency on a device."""
        key, stamped = ("candidates", source.key, device.key), (source.stamp, device.stamp)
        return self._cache.get(key, stamped, lambda: device.candidates(self.contents(source).found))

    def front(self, source: Source, device: Device) -> list[Candidate]:
        """Return the Pareto front of a source on a device."""
        key, stamped = ("front", source.key, device.key), (source.stamp, device.stamp)
        return self._cache.get(key, stamped, lambda: pareto_front(self.candidates(source, device)))

    def revision(self) -> str:
        """Return a short text that changes when anything on disk does."""
        paths = list(shipped_tables(self._tables).values())
        content = [(source.key, source.stamp) for source in self.sources()], stamp(paths), [p.name for p in paths]
        return hashlib.sha256(repr(content).encode()).hexdigest()[:16]
