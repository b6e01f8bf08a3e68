"""Latency tables: what every part of an encoder takes on one device, with where each number is from.

A table is a JSON file (``latency_tables/README.md`` describes it). The latency of an encoder is the sum over its
parts, each times the factor of its kind; no network is built (docs/decisions/0014-composition.md).
"""

import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from supersam._paths import write_atomically
from supersam.errors import MissingEntryError
from supersam.latency.estimator import Estimator
from supersam.latency.format import (
    METHODS,
    Clock,
    Composition,
    Device,
    Entry,
    Fault,
    Grade,
    Method,
    Model,
    Network,
    Power,
    Quality,
    Runtime,
    Transfer,
)
from supersam.latency.grade import Verdict, best_grade
from supersam.latency.interpolate import Grid
from supersam.space import AnyArchitecture, Part, SearchSpace, parts
from supersam.space.parts import part_from_key
from supersam.space.terms import space_parts

SCHEMA = 2
INTERVAL = "90 % interval"
ROUNDS = "range of rounds"  # what was timed has, a part or a whole network
SUMMED = "summed range of rounds"
NAME = r"^[a-z0-9][a-z0-9.-]*$"


class Latency(NamedTuple):
    """The time of an encoder or a part for one image, in milliseconds, with its 90 % interval."""

    ms: float
    lo: float
    hi: float
    method: Method


class LatencyTable(Model):
    """One device with one runtime at one precision."""

    schema_version: Literal[2] = Field(alias="schema")
    name: str = Field(pattern=NAME)
    aliases: tuple[str, ...] = ()
    device: Device
    runtime: Runtime
    exporter: str  # what made the runtime's file of the network; "none" where there is none
    precision: str
    batch: int = Field(default=1, gt=0)  # images at a time; all times are for one of them
    threads: int | None = Field(default=None, gt=0)
    input: str = ""  # what is fed, and what is left out, such as the copy to the device
    power: Power
    clock: Clock
    method: Literal["measured", "transferred", "estimated"]
    grade: Grade
    date: str | None = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    host: dict[str, Any] = Field(default={})
    agent: dict[str, str | None] = Field(default={})
    quality: Quality = Quality()
    sources: tuple[str, ...] = Field(min_length=1)
    licence: str
    note: str = ""
    composition: Composition = Composition()
    estimator: Estimator | None = None
    transfer: Transfer | None = None
    entries: dict[str, Entry] = Field(default={})
    networks: dict[str, Network] = Field(default={})

    @field_validator("date")
    @classmethod
    def _date_is_a_day(cls, date: str | None) -> str | None:
        try:
            datetime.date.fromisoformat(date or "2000-01-01")
        except ValueError:
            raise Fault(f"{date} is no day of the calendar") from None
        return date

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.batch > 1 and self.clock != "published":
            raise Fault(f"one image at a time is timed here, not {self.batch}", "batch")
        has_origin = self.estimator is not None or self.transfer is not None
        for key, entry in self.entries.items():
            try:
                part_from_key(key)
            except ValueError as problem:
                raise Fault(str(problem), "entries", key) from None
            if entry.method != self.method:
                why = f"an entry that is {entry.method} in a table that is {self.method}"
                raise Fault(f"{why}; methods are never mixed", "entries", key, "method")
            if entry.method != "measured" and not entry.derived_from and not has_origin:
                raise Fault(f"what is {entry.method} must say what from (derived_from)", "entries", key)
        for name, network in self.networks.items():
            if network.method == "interpolated":
                raise Fault("a network is timed or predicted, never interpolated", "networks", name, "method")
            if network.role in ("calibration", "held-out") and network.method != "measured":
                raise Fault(f"a network for {network.role} must be measured", "networks", name, "method")
        best = self.best_grade
        if self.grade < best.grade:
            raise Fault(f"grade {self.grade} is too good, at best {best.grade}: {best.why}", "grade")
        return self

    @property
    def best_grade(self) -> Verdict:
        """The best grade that the header allows, and why it is no better."""
        throttled = any(entry.throttled for entry in self.entries.values())
        return best_grade(self.method, self.date, self.clock, self.power, self.quality, throttled)

    @property
    def fingerprint(self) -> str:
        """The hash that a run writes down, which is that of the file ``save`` writes."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def interval(self) -> str:
        """What the bounds of an encoder's latency are: how far off sums of measured parts are, only networks tell."""
        is_known = self.method != "measured" or self.composition.calibration_networks > 0
        return INTERVAL if is_known else SUMMED

    def entry(self, part: Part) -> Entry | None:
        """Return the time of a part alone: stored, interpolated or estimated; None if nothing is known."""
        stored = self.entries.get(part.key)
        if stored is not None:
            return stored
        if self.estimator is not None and self.method != "measured":  # it knows more than two neighbours
            return self.estimator.estimate(part)
        between = self._grid.between(part)
        if between is None and self.estimator is not None:
            return self.estimator.estimate(part)
        return between

    def of_part(self, part: Part) -> Latency:
        """Return what a part adds to the latency of an encoder; ``predict`` is the sum over its parts.

        Where whole networks gave the spread it already holds the noise of single timings, so measured entries
        then count without their own intervals.

        Raises:
            MissingEntryError: if the table says nothing about it.
        """
        entry = self.entry(part)
        if entry is None:
            raise MissingEntryError(f"table {self.name} has no entry for {self._lacks(part)}; {self._remedy()}")
        composition = self.composition
        factor, spread = composition.of(part.kind), composition.spread
        certain = composition.calibration_networks > 0 and entry.method == "measured"
        lo, hi = (entry.ms, entry.ms) if certain else (entry.lo, entry.hi)
        return Latency(factor * entry.ms, factor * lo / spread, factor * hi * spread, entry.method)

    def predict(self, architecture: AnyArchitecture) -> Latency:
        """Return the latency of an encoder.

        Raises:
            MissingEntryError: if the table says nothing about a part.
        """
        try:
            found = [self.of_part(part) for part in parts(architecture)]
        except MissingEntryError:
            missing = self.missing([architecture])
            raise MissingEntryError(
                f"table {self.name} has no entry for {len(missing)} parts of {architecture.digest}, "
                f"the first is {self._lacks(missing[0])}; {self._remedy()}"
            ) from None
        return Latency(
            ms=sum(one.ms for one in found),
            lo=sum(one.lo for one in found),
            hi=sum(one.hi for one in found),
            method=max((one.method for one in found), key=METHODS.index),
        )

    def missing(self, architectures: Iterable[AnyArchitecture]) -> list[Part]:
        """Return the parts this table says nothing about, each once."""
        wanted = dict.fromkeys(part for architecture in architectures for part in parts(architecture))
        return [part for part in wanted if not self.knows(part)]

    def knows(self, part: Part) -> bool:
        """Return whether there is a time for a part."""
        return self.estimator is not None or part.key in self.entries or self._grid.between(part) is not None

    def covers(self, space: SearchSpace) -> bool:
        """Return whether every architecture of a space has a latency."""
        return all(self.knows(part) for part in space_parts(space))

    @cached_property
    def _grid(self) -> Grid:
        return Grid(self.entries)

    def _lacks(self, part: Part) -> str:
        """Name a part, and what is known around it."""
        known = self._grid.known_around(part)
        return f"{part.key} ({known})" if known else part.key

    def _remedy(self) -> str:
        if not self.entries and self.networks:
            return "it has whole networks only and predicts nothing"
        return f"measure it with: supersam profile --device {self.name} --space SPACE"

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed; what was derived from the old entries does not go along."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("_grid", None)
        return copied

    def to_json(self) -> str:
        """Return the text of the file: one entry a line, so that differences read well."""
        content = self.model_dump(mode="json", by_alias=True, exclude={"entries", "networks"})
        head = json.dumps(content, indent=1)[:-2]
        return head + _section("entries", self.entries) + _section("networks", self.networks) + "\n}\n"

    def save(self, path: Path) -> None:
        """Write the table in one piece."""
        write_atomically(path, self.to_json())


def _section(name: str, entries: Mapping[str, Entry]) -> str:
    """Return a dictionary of entries, one a line, without what is at its default."""
    lines = (
        f"  {json.dumps(key)}: {json.dumps(entry.model_dump(mode='json', exclude_defaults=True))}"
        for key, entry in entries.items()
    )
    body = ",\n".join(lines)
    return f',\n "{name}": {{\n{body}\n }}' if entries else f',\n "{name}": {{}}'
