"""Latency tables: what every part of an encoder takes on one device, with where each number is from.

A table is a JSON file (``latency_tables/README.md`` describes it). The latency of an encoder is the sum over its
parts times the table's factor; no network is built. Intervals are composed as if all errors went the same way,
which is the careful reading: the upper bound is the sum of the upper bounds.
"""

import json
from collections.abc import Iterable
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from supersam._paths import data_dir, write_atomically
from supersam._yaml import explain
from supersam.errors import LatencyTableError, MissingEntryError, MissingError, UsageError, suggest
from supersam.space import AnyArchitecture, Part, SearchSpace, parts

SCHEMA = 1
Method = Literal["measured", "interpolated", "transferred", "estimated"]
METHODS: tuple[Method, ...] = ("measured", "interpolated", "transferred", "estimated")  # from best to worst


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Entry(_Model):
    """The time of one part for one image."""

    ms: float = Field(gt=0)
    lo: float = Field(gt=0)  # 90 % interval of the true time
    hi: float = Field(gt=0)
    method: Method
    samples: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> "Entry":
        if not self.lo <= self.ms <= self.hi:
            raise ValueError(f"the interval [{self.lo}, {self.hi}] does not hold {self.ms}")
        return self


class Estimator(_Model):
    """Time from counted operations, for a device nobody here has: a non-negative linear model of ``Ops``."""

    ms_per_kernel: float = Field(ge=0)
    ms_per_dense_gmac: float = Field(ge=0)
    ms_per_depthwise_gmac: float = Field(ge=0)
    ms_per_traffic_mb: float = Field(ge=0)
    bytes_per_element: int = Field(gt=0)
    spread: float = Field(ge=1)  # the 90 % interval is [t / spread, t * spread]
    spread_of_kind: dict[str, float] = {}  # for kinds of part not among the calibration rows
    calibration_rows: int = Field(gt=0)

    @model_validator(mode="after")
    def _says_something(self) -> "Estimator":
        if self.ms_per_kernel <= 0:
            raise ValueError("ms_per_kernel must be positive: no part runs in no time")
        narrow = [kind for kind, spread in self.spread_of_kind.items() if spread < 1]
        if narrow:
            raise ValueError(f"spread_of_kind.{narrow[0]} must be at least 1")
        return self

    def estimate(self, part: Part) -> Entry:
        """Return the estimated time of a part."""
        ops = part.ops
        ms = (
            self.ms_per_kernel * ops.kernels
            + self.ms_per_dense_gmac * ops.dense_macs / 1e9
            + self.ms_per_depthwise_gmac * ops.depthwise_macs / 1e9
            + self.ms_per_traffic_mb * ops.traffic * self.bytes_per_element / 1e6
        )
        spread = self.spread_of_kind.get(part.kind, self.spread)
        return Entry(ms=ms, lo=ms / spread, hi=ms * spread, method="estimated")


class Composition(_Model):
    """How parts add up to a whole, checked on whole networks where there was a device to check on."""

    factor: float = Field(default=1.0, gt=0)  # median of measured / sum of parts
    spread: float = Field(default=1.0, ge=1)  # 90 % split-conformal interval of whole networks around factor * sum
    calibration_networks: int = Field(default=0, ge=0)
    note: str = ""


class Latency(NamedTuple):
    """The time of a whole encoder for one image, in milliseconds, with its 90 % interval."""

    ms: float
    lo: float
    hi: float
    method: Method


class LatencyTable(_Model):
    """One device with one runtime at one precision."""

    schema_version: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    aliases: tuple[str, ...] = ()
    device: str
    runtime: str
    precision: str
    threads: int | None = None
    power_mode: str
    clock: str  # which clock timed it, or "published"
    method: Method
    grade: Literal["A", "B", "C", "D", "E"]
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    host: dict[str, Any] = {}
    sources: tuple[str, ...] = Field(min_length=1)
    licence: str
    note: str = ""
    composition: Composition = Composition()
    estimator: Estimator | None = None
    entries: dict[str, Entry] = {}

    def predict(self, architecture: AnyArchitecture) -> Latency:
        """Return the latency of an encoder.

        Raises:
            LatencyTableError: if a part has no entry and the table has no estimator.
        """
        try:
            found = [self._entry(part) for part in parts(architecture)]
        except KeyError:
            missing = self.missing([architecture])
            raise MissingEntryError(
                f"table {self.name} has no entry for {len(missing)} parts of {architecture.digest}, "
                f"the first is {missing[0].key}; measure them with: supersam profile --device {self.name} --space SPACE"
            ) from None
        factor, spread = self.composition.factor, self.composition.spread
        return Latency(
            ms=factor * sum(entry.ms for entry in found),
            lo=factor * sum(entry.lo for entry in found) / spread,
            hi=factor * sum(entry.hi for entry in found) * spread,
            method=max((entry.method for entry in found), key=METHODS.index),
        )

    def of_part(self, part: Part) -> Latency:
        """Return what a part adds to the latency of an encoder.

        Raises:
            MissingEntryError: if the table says nothing about it.
        """
        try:
            entry = self._entry(part)
        except KeyError:
            raise MissingEntryError(
                f"table {self.name} has no entry for {part.key}; "
                f"measure it with: supersam profile --device {self.name} --space SPACE"
            ) from None
        factor, spread = self.composition.factor, self.composition.spread
        return Latency(factor * entry.ms, factor * entry.lo / spread, factor * entry.hi * spread, entry.method)

    def missing(self, architectures: Iterable[AnyArchitecture]) -> list[Part]:
        """Return the parts this table says nothing about."""
        if self.estimator is not None:
            return []
        wanted = dict.fromkeys(part for architecture in architectures for part in parts(architecture))
        return [part for part in wanted if part.key not in self.entries]

    def covers(self, space: SearchSpace) -> bool:
        """Return whether every architecture of a space has a latency."""
        return self.estimator is not None or all(part.key in self.entries for part in space_parts(space))

    def _entry(self, part: Part) -> Entry:
        found = self.entries.get(part.key)
        if found is None:
            if self.estimator is None:
                raise KeyError(part.key)
            found = self.estimator.estimate(part)
        return found

    def to_json(self) -> str:
        """Return the text of the file: one entry a line, so that differences read well."""
        content = self.model_dump(mode="json", by_alias=True, exclude={"entries"})
        head = json.dumps(content, indent=1)[:-2]
        lines = (
            f"  {json.dumps(key)}: {json.dumps(entry.model_dump(mode='json'))}" for key, entry in self.entries.items()
        )
        return head + ',\n "entries": {\n' + ",\n".join(lines) + "\n }\n}\n"

    def save(self, path: Path) -> None:
        """Write the table in one piece."""
        write_atomically(path, self.to_json())


def space_parts(space: SearchSpace) -> list[Part]:
    """Return every part that occurs in some architecture of a space.

    Each part depends on a few variables only, so it is enough to vary neighbouring stages together.
    """
    variables = space.variables()
    base = {name: choices[0] for name, choices in variables.items()}
    groups = sorted({name.split(".")[0] for name in variables if "." in name})
    found: dict[Part, None] = {}
    for resolution in space.resolutions:
        for group in groups:
            names = [name for name in variables if name.startswith(group + ".")]
            for combination in _combinations({name: variables[name] for name in names}):
                choices = base | {"resolution": resolution} | combination
                found |= dict.fromkeys(parts(space.decode(choices)))
        for left, right in pairwise(groups):
            widths = {f"{g}.width": variables.get(f"{g}.width", ()) for g in (left, right)}
            if all(widths.values()):
                for combination in _combinations(widths):
                    found |= dict.fromkeys(parts(space.decode(base | {"resolution": resolution} | combination)))
    return list(found)


def _combinations(variables: dict[str, tuple[Any, ...]]) -> Iterable[dict[str, Any]]:
    for values in product(*variables.values()):
        yield dict(zip(variables, values, strict=True))


def read_table(path: Path) -> LatencyTable:
    """Read a table from its file.

    Raises:
        MissingError: if there is no such file.
        LatencyTableError: if it is damaged or from a newer version.
    """
    if not path.is_file():
        raise MissingError(f"there is no latency table {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as problem:
        raise LatencyTableError(f"latency table {path} is damaged ({problem})") from problem
    if isinstance(content, dict) and isinstance(content.get("schema"), int) and content["schema"] > SCHEMA:
        raise LatencyTableError(f"latency table {path} has schema {content['schema']}, this version reads {SCHEMA}")
    try:
        return LatencyTable.model_validate(content)
    except ValidationError as problem:
        raise LatencyTableError(f"latency table {path} is damaged: {explain(problem)}") from problem


def shipped_tables(folder: Path | None = None) -> dict[str, Path]:
    """Return the tables of a folder (default: the shipped ones) by name."""
    return {path.stem: path for path in sorted((folder or data_dir("latency_tables")).glob("*.json"))}


def load_table(device: str, folder: Path | None = None) -> LatencyTable:
    """Load the table of a device by name, alias or path.

    Raises:
        UsageError: if no table has this name.
    """
    if device.endswith(".json"):
        return read_table(Path(device))
    tables = shipped_tables(folder)
    if device in tables:
        return read_table(tables[device])
    names = list(tables)
    damaged: LatencyTableError | None = None
    for path in tables.values():
        try:
            table = read_table(path)
        except LatencyTableError as problem:  # of a device that may not be the one asked for
            damaged = problem
            continue
        if device in table.aliases:
            return table
        names += table.aliases
    if damaged is not None:
        raise damaged
    raise UsageError(
        f"unknown device {device!r}.{suggest(device, names)} Devices: {', '.join(sorted(names))}. "
        "List them with: supersam devices; add your own with: supersam profile --device NAME"
    )
