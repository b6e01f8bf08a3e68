"""The devices: one latency table each, and the device a run was made for if no table says its latencies."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from supersam.errors import SuperSAMError
from supersam.latency import INTERVAL, Latency, LatencyTable, read_table
from supersam.results import Candidate
from supersam.space import Part

from .file_cache import Stamp
from .part_sums import PartSums
from .sources import Contents, Found, one_line

RECORDED = "recorded"
DIGITS = 1e-5  # of a recorded latency


@dataclass(frozen=True)
class Device:
    """A device by its table, or, without one, by the latencies a run recorded."""

    key: str  # in the URL: the name of the table
    stamp: Stamp
    table: LatencyTable | None = None
    recorded_on: str = ""  # the device a run names, if this is what the run recorded
    is_changed: bool = False  # ... and the table of that name is another by now
    problem: str = ""  # why the table cannot be used

    @property
    def name(self) -> str:
        return f"{self.recorded_on} as recorded" if self.is_changed else self.recorded_on or self.key

    @property
    def aliases(self) -> tuple[str, ...]:
        """Its other names; that inside a file may not be the file's."""
        return (self.table.name, *self.table.aliases) if self.table else ()

    @property
    def batch(self) -> int:
        """How many images at a time were timed; of more than one the times are throughput, not latency."""
        return self.table.batch if self.table else 1

    @property
    def is_throughput(self) -> bool:
        return self.batch > 1

    @property
    def label(self) -> str:
        """The name for people, marked where a time is not a latency."""
        return f"{self.name} · throughput" if self.is_throughput else self.name

    @property
    def quantity(self) -> str:
        """What its milliseconds are."""
        return "time per image" if self.is_throughput else "latency"

    @property
    def interval(self) -> str:
        """What the bounds of its latencies are."""
        return self.table.interval if self.table else INTERVAL

    @property
    def distrust(self) -> tuple[bool, str]:
        """The order in which devices are preferred where none is asked for: latencies first, the best grade first."""
        return self.is_throughput, self.table.grade if self.table else "none"

    @cached_property
    def fingerprint(self) -> str:
        """The hash of the table that a run writes down; empty without one."""
        return self.table.fingerprint if self.table else ""

    @property
    def estimates(self) -> bool:
        return self.table is not None and self.table.estimator is not None

    def why_not(self, sums: PartSums) -> str:
        """Return why this device has no latency for some of the encoders, or an empty string."""
        if self.problem or self.table is None:
            return self.problem
        missing = sums.missing(self.table)
        if not missing:
            return ""
        return f"lacks {len(missing)} parts of these subnets, such as {missing[0].key}"

    def latency(self, found: Found) -> Latency:
        """Return the latency of one architecture here; ``why_not`` says whether there is one."""
        if self.table is not None:
            return self.table.predict(found.architecture)
        assert found.recorded is not None
        return found.recorded

    def candidates(self, contents: Contents) -> list[Candidate]:
        """Return every candidate with its latency here."""
        if self.table is None:
            return [Candidate(one.architecture, one.accuracy, self.latency(one)) for one in contents.found]
        latencies = contents.sums.latencies(self.table)
        return [
            Candidate(one.architecture, one.accuracy, latency)
            for one, latency in zip(contents.found, latencies, strict=True)
        ]

    def is_as_recorded(self, contents: Contents) -> bool:
        """Return whether a run recorded the latencies that this device has."""
        pairs = zip(self.candidates(contents), contents.found, strict=True)
        return all(one.recorded is None or _agree(here.latency, one.recorded) for here, one in pairs)

    def parts_ms(self, parts: Iterable[Part]) -> float | None:
        """Return what some parts take together within a whole network, if the device has a table."""
        table = self.table
        return None if table is None else sum(table.of_part(part).ms for part in parts)


def _agree(one: Latency, other: Latency) -> bool:
    """Return whether two latencies are the same to the digits that a run writes down."""
    return all(math.isclose(a, b, rel_tol=DIGITS) for a, b in zip(one[:3], other[:3], strict=True))


def read_device(name: str, path: Path, stamped: Stamp) -> Device:
    """Read a device from its table; a damaged table is a device with a problem."""
    try:
        return Device(name, stamped, read_table(path))
    except (SuperSAMError, OSError) as problem:
        return Device(name, stamped, problem=f"its table is damaged: {one_line(problem)}")


def usable_as(devices: Mapping[str, tuple[Device, str]], name: str | None) -> list[Device]:
    """Return the devices of a name, be it another one of theirs, that can be used: each comes with why it cannot."""
    return [device for device, reason in devices.values() if name in (device.key, *device.aliases) and not reason]


def recorded_device(name: str, stamped: Stamp, is_changed: bool = False) -> Device:
    """Return the device whose latencies a run recorded.

    Args:
        is_changed: whether the table of this name is another by now.
    """
    stem = name.removesuffix(".json").rpartition("/")[2]
    return Device(RECORDED, stamped, recorded_on=stem, is_changed=is_changed)
