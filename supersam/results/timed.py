"""Whole subnets of a run timed on the machine at hand, beside what the run's tables predicted: ``timed.json``.

Readers ignore fields they do not know.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from supersam._paths import write_atomically
from supersam._yaml import explain
from supersam.errors import DamagedError
from supersam.latency import METHODS, Latency, Network, Runtime

TIMED_SCHEMA = 1
FILE = "timed.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Prediction(_Record):
    """What a table said, in milliseconds with its 90 % interval."""

    ms: float
    lo: float
    hi: float
    method: str

    @staticmethod
    def of(latency: Latency) -> "Prediction":
        assert latency.method in METHODS
        return Prediction(ms=latency.ms, lo=latency.lo, hi=latency.hi, method=latency.method)


class TimedSubnet(_Record):
    """One subnet: the prediction and the time of the whole network."""

    digest: str
    predicted: Prediction
    measured: Network

    @property
    def error(self) -> float:
        """How far the prediction is off, as a share of the time; it says something only on the table's machine."""
        return self.predicted.ms / self.measured.ms - 1

    @property
    def is_inside(self) -> bool:
        """Whether the time is in the predicted interval."""
        return self.predicted.lo <= self.measured.ms <= self.predicted.hi


class Timed(_Record):
    """The subnets chosen on one device of a search, timed whole on one machine."""

    device: str  # as the search names it
    table: str
    table_is: str  # for people: device, runtime and precision of the table
    host: dict[str, Any]  # the machine that timed; nothing that names its owner
    runtime: Runtime
    precision: str
    clock: str
    date: str
    differs: str | None  # how these conditions differ from the table's; None: not at all, so it can be judged
    noise_floor_pct: float | None = None  # of one of the subnets timed again and again
    forced: tuple[str, ...] = ()  # what spoke against measuring and was overruled
    subnets: tuple[TimedSubnet, ...] = ()

    @property
    def here(self) -> str:
        """The machine that timed, with runtime and precision, for people."""
        return f"{self.host.get('cpu') or 'unknown machine'}, {self.runtime}, {self.precision}"

    @property
    def judges(self) -> bool:
        """Whether the times are of the table's own machine and conditions."""
        return self.differs is None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON; errors only where the times can judge the table."""
        content = self.model_dump(mode="json")
        for found, subnet in zip(content["subnets"], self.subnets, strict=True):
            found["error"] = round(subnet.error, 5) if self.judges else None
            found["within_interval"] = subnet.is_inside if self.judges else None
        return content


def save_timed(folder: Path, timed: list[Timed]) -> None:
    """Write what was timed into a run's folder, in place of what was timed before on the same devices."""
    devices = {one.device for one in timed}
    kept = [one for one in load_timed(folder) if one.device not in devices]
    content = {"schema": TIMED_SCHEMA, "devices": [one.to_dict() for one in (*kept, *timed)]}
    write_atomically(folder / FILE, json.dumps(content, indent=1) + "\n")


def load_timed(folder: Path) -> list[Timed]:
    """Return what was timed of a run, one record for each device; nothing if nothing was.

    Raises:
        DamagedError: if the file is damaged or from a newer version.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema, devices = int(content["schema"]), list(content["devices"])
    except (KeyError, TypeError, ValueError) as problem:
        raise DamagedError(f"{path} is damaged ({problem!r})") from problem
    if schema > TIMED_SCHEMA:
        raise DamagedError(f"{path} was written by a newer version (schema {schema}); upgrade supersam")
    try:
        return [Timed.model_validate(one) for one in devices]
    except ValidationError as problem:
        raise DamagedError(f"{path} is damaged: {explain(problem)}") from problem
