"""What the pages read: runs, the archive and latency tables, each kept until its file changes. No Dash here."""

import hashlib
import shlex
from pathlib import Path

from supersam._paths import starter_dir
from supersam.errors import SuperSAMError
from supersam.latency import shipped_tables
from supersam.results import Candidate, Run, load_archive
from supersam.results.archive import ARCHIVE_FILE
from supersam.results.ridge import RidgeAccuracy
from supersam.results.timed import FILE as TIMED_FILE
from supersam.results.timed import Timed, load_timed
from supersam.space import SearchSpace, load_space, shipped_spaces
from supersam.zoo import Zoo, load_zoo

from . import apart, sources
from .cloud import Cloud, cloud
from .columns import Column, columns
from .coverage import Coverage, coverage
from .devices import Device, read_device, recorded_device, usable_as
from .downloads import Downloads
from .file_cache import FileCache, stamp
from .sources import Contents, Found, Source
from .switch import Switch, switch


class Data:
    """Everything on disk that the pages show."""

    def __init__(self, runs: Path, tables: Path | None = None, archive: Path | None = None) -> None:
        """Read runs from a folder, tables and the archive from where they are shipped unless told otherwise."""
        self.runs = runs
        self.downloads = Downloads(runs)
        self._tables = tables
        self._archive = archive or starter_dir() / ARCHIVE_FILE
        self._cache = FileCache()

    @property
    def zoo(self) -> Zoo:
        """The published systems."""
        return load_zoo()

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

    def spaces(self) -> list[SearchSpace]:
        """Return the shipped search spaces."""
        return [load_space(name) for name in shipped_spaces()]

    @property
    def starter(self) -> SearchSpace:
        """The space of the archive."""
        return self._cache.get("starter", (), lambda: load_space("starter"))

    def predictor(self) -> RidgeAccuracy:
        """Return what predicts accuracies from the archive.

        Raises:
            SuperSAMError: if there is no archive or it has too little.
        """
        stamped = stamp([self._archive])
        return self._cache.get("predictor", stamped, lambda: RidgeAccuracy(load_archive(self._archive), self.starter))

    def evaluated(self) -> list[tuple[str, Found]]:
        """Return every measured subnet of the archive and of the runs that can be read, with its source."""
        found: list[tuple[str, Found]] = []
        for source in self.sources():
            try:
                found += [(source.key, one) for one in self.contents(source).found if one.accuracy.source == "measured"]
            except SuperSAMError:  # said where the run is shown
                continue
        return found

    def coverage(self, device: Device) -> list[Coverage]:
        """Return how much of each shipped search space a device's table knows."""
        table = device.table
        if table is None:
            return []
        return self._cache.get(
            ("coverage", device.key), device.stamp, lambda: [coverage(table, space) for space in self.spaces()]
        )

    def devices(self, source: Source) -> dict[str, tuple[Device, str]]:
        """Return the devices of a source by key, throughput last, each with the reason why it cannot be used, if any.

        A run keeps the latencies of the device it was made for, so it can be shown even where that
        device's table is not, or is another by now.
        """
        tables = sorted(self.tables(), key=lambda device: device.is_throughput)
        devices = {device.key: (device, self._why_not(source, device)) for device in tables}
        asked = source.asked.device
        own = usable_as(devices, asked)
        if asked and not any(self._is_as_recorded(source, device) for device in own):
            recorded = recorded_device(asked, source.stamp, is_changed=bool(own))
            devices[recorded.key] = (recorded, "")
        return devices

    def _is_as_recorded(self, source: Source, device: Device) -> bool:
        """Return whether a table gives the latencies of a run, be it that very table or one that differs in words."""
        if source.asked.table_sha256 in (None, device.fingerprint):
            return True
        key, stamped = ("as recorded", source.key, device.key), (source.stamp, device.stamp)
        return self._cache.get(key, stamped, lambda: device.is_as_recorded(self.contents(source)))

    def _why_not(self, source: Source, device: Device) -> str:
        key, stamped = ("why not", source.key, device.key), (source.stamp, device.stamp)
        return self._cache.get(key, stamped, lambda: device.why_not(self.contents(source).sums))

    def candidates(self, source: Source, device: Device) -> list[Candidate]:
        """Return every candidate of a source with its latency on a device."""
        key, stamped = ("candidates", source.key, device.key), (source.stamp, device.stamp)
        return self._cache.get(key, stamped, lambda: device.candidates(self.contents(source)))

    def run_candidates(self, source: Source) -> list[Candidate]:
        """Return the candidates of a run in the order in which they were found, with the latencies it recorded."""

        def make() -> list[Candidate]:
            found = self.contents(source).found
            return [Candidate(one.architecture, one.accuracy, one.recorded) for one in found if one.recorded]

        return self._cache.get(("run", source.key), source.stamp, make)

    def run_columns(self, source: Source) -> dict[str, Column]:
        """Return the same as columns of numbers."""
        return self._cache.get(("columns", source.key), source.stamp, lambda: columns(self.run_candidates(source)))

    def fronts(self, source: Source, device: Device) -> apart.Fronts:
        """Return the Pareto fronts of a source on a device."""
        key, stamped = ("fronts", source.key, device.key), (source.stamp, device.stamp)
        return self._cache.get(key, stamped, lambda: apart.fronts(self.candidates(source, device)))

    def best(self, source: Source, device: Device, budget_ms: float, risk: str) -> Candidate | None:
        """Return the best of a source within a budget on a device; the last answer for each device is kept."""
        key, stamped = ("best", source.key, device.key), (source.stamp, device.stamp, budget_ms, risk)
        return self._cache.get(key, stamped, lambda: apart.best_of(self.candidates(source, device), budget_ms, risk))

    def cloud(self, source: Source, device: Device) -> Cloud:
        """Return what a figure of a source on a device needs of all its candidates, of which there is at least one."""
        key, stamped = ("cloud", source.key, device.key), (source.stamp, device.stamp)
        return self._cache.get(
            key, stamped, lambda: cloud(self.candidates(source, device), self.fronts(source, device))
        )

    def switch(self, source: Source, before: Device, after: Device) -> Switch:
        """Return what another device changes for all candidates of a source."""
        key = ("switch", source.key, before.key, after.key)
        sides = [(one.label, self.candidates(source, one), self.fronts(source, one).main) for one in (before, after)]
        return self._cache.get(key, (source.stamp, before.stamp, after.stamp), lambda: switch(*sides))

    def timed(self, source: Source) -> list[Timed]:
        """Return which subnets of a run were timed whole, and where.

        Raises:
            DamagedError: if the record of it is damaged.
        """
        if source.is_archive:
            return []
        stamped = stamp([source.file / TIMED_FILE])
        return self._cache.get(("timed", source.key), stamped, lambda: load_timed(source.file))

    def revision(self) -> str:
        """Return a short text that changes when anything on disk does."""
        paths = list(shipped_tables(self._tables).values())
        runs = [(source.key, source.stamp, stamp(_news(source))) for source in self.sources()]
        content = runs, stamp(paths), [path.name for path in paths]
        return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def _news(source: Source) -> list[Path]:
    """Return the files of a run that change without a new candidate: trials, times and the result."""
    if source.is_archive:
        return []
    run = Run(source.file)
    wal = run.study_file.with_name("study.db-wal")
    return [run.study_file, wal, run.result_file, run.folder / TIMED_FILE]
