"""The devices: one latency table each, and the device a run was made for if its table is not here."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from supersam.errors import SuperSAMError
from supersam.latency import Latency, LatencyTable, read_table
from supersam.results import Candidate
from supersam.space import Part

from .file_cache import Stamp
from .part_sums import PartSums
from .sources import Contents, Found, one_line

RECORDED = "recorded"


@dataclass(frozen=True)
class Device:
    """A device by its table, or, without one, by the latencies a run recorded."""

    key: str  # in the URL: the name of the table
    stamp: Stamp
    table: LatencyTable | None = None
    recorded_on: str = ""  # the device a run names, if this is what the run recorded
    problem: str = ""  # why the table cannot be used

    @property
    def name(self) -> str:
        return self.recorded_on or self.key

    @property
    def aliases(self) -> tuple[str, ...]:
        return self.table.aliases if self.table else ()

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
    def distrust(self) -> tuple[bool, str]:
        """The order in which devices are preferred where none is asked for: latencies first, the best grade first."""
        return self.is_throughput, self.table.grade if self.table else "none"

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

    def parts_ms(self, parts: Iterable[Part]) -> float | None:
        """Return what some parts take together within a whole network, if the device has a table."""
        table = self.table
        return None if table is None else sum(table.of_part(part).ms for part in parts)


def read_device(name: str, path: Path, stamped: Stamp) -> Device:
    """Read a device from its table; a damaged table is a device with a problem."""
    try:
        return Device(name, stamped, read_table(path))
    except (SuperSAMError, OSError) as problem:
        return Device(name, stamped, problem=f"its table is damaged: {one_line(problem)}")


def recorded_device(name: str, stamped: Stamp) -> Device:
    """Return the device whose latencies a run recorded."""
    return Device(RECORDED, stamped, recorded_on=name.removesuffix(".json").rpartition("/")[2])
