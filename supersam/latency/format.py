"""What a latency table is made of: entries, networks, and the conditions under which they were timed.

``latency_tables/README.md`` explains every field. The models refuse what they do not know, and numbers that cannot
be times.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from supersam.errors import LatencyTableError
from supersam.space import AnyArchitecture, load_space

Method = Literal["measured", "interpolated", "transferred", "estimated"]
METHODS: tuple[Method, ...] = ("measured", "interpolated", "transferred", "estimated")  # from best to worst
Scope = Literal["chain", "border", "isolated", "whole", "counted"]
Clock = Literal["wall", "cpu", "gpu_event", "trtexec_gpu", "published"]
Grade = Literal["A", "B", "C", "D", "E"]
MOST_MS = 1e9  # more is a damaged number, and sums of them would not be finite


class Fault(ValueError):
    """What is wrong with a table, and at which key."""

    def __init__(self, problem: str, *where: str) -> None:
        super().__init__(problem)
        self.where = where


class Model(BaseModel):
    """Frozen, with known keys and finite numbers only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Entry(Model):
    """The time of one part for one image."""

    ms: float = Field(gt=0, le=MOST_MS)  # median of the medians of the rounds
    lo: float = Field(gt=0, le=MOST_MS)  # measured: range of the rounds; else 90 % interval of the true time
    hi: float = Field(gt=0, le=MOST_MS)
    method: Method
    scope: Scope = "counted"
    rounds: tuple[float, ...] = ()  # the median of each round, ms
    samples: int = Field(default=0, ge=0)
    p25: float | None = Field(default=None, gt=0)
    p75: float | None = Field(default=None, gt=0)
    p99: float | None = Field(default=None, gt=0)
    throttled: bool = False
    derived_from: tuple[str, ...] = ()
    source: str = ""

    @model_validator(mode="after")
    def _interval_holds_the_time(self) -> "Entry":
        if not self.lo <= self.ms <= self.hi:
            raise Fault(f"the interval [{self.lo}, {self.hi}] does not hold {self.ms}", "lo")
        if self.method in ("transferred", "estimated") and self.lo == self.hi:
            raise Fault(f"what is {self.method} needs an interval wider than a point", "lo")
        if any(ms <= 0 for ms in self.rounds):
            raise Fault(f"rounds must be positive, got {min(self.rounds)}", "rounds")
        return self


class Network(Entry):
    """The time of a whole network on the device."""

    scope: Scope = "whole"
    role: Literal["calibration", "held-out", "chosen", "known"] = "known"
    space: str | None = None  # the search space it is of
    choices: dict[str, int | str] = {}  # of that space

    def architecture(self) -> AnyArchitecture | None:
        """Return the architecture; None for a network that is not one of a search space.

        Raises:
            UsageError: if the space or a choice is unknown here.
            LatencyTableError: if a choice is missing.
        """
        if self.space is None:
            return None
        try:
            return load_space(self.space).decode(self.choices)
        except KeyError as missing:
            raise LatencyTableError(f"a network of {self.space} lacks the choice {missing}") from None


class Device(Model):
    """The machine."""

    name: str = Field(min_length=1)  # for people
    sku: str = ""
    kind: str = Field(pattern=r"^[a-z][a-z0-9-]*$")  # "cpu", "gpu", "npu", "phone" ...

    def __str__(self) -> str:
        return self.name


class Runtime(Model):
    """What ran the network."""

    name: str = Field(min_length=1)  # "onnxruntime", "torch", "torch-compile", "openvino", "tensorrt" ...
    version: str = ""
    provider: str = ""
    options: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip()


class Power(Model):
    """The power mode and the clocks; None is not known."""

    mode: str
    clocks_locked: bool | None = None
    governor: str | None = None
    gpu_mhz: float | None = Field(default=None, gt=0)
    memory_mhz: float | None = Field(default=None, gt=0)
    note: str = ""

    @property
    def states_clocks(self) -> bool:
        """Whether anything is known of the clocks; that they were free is something."""
        return not (self.clocks_locked is None and self.governor is None and self.gpu_mhz is None)


class Quality(Model):
    """How well it could be timed; None is not known."""

    repeat_cv_median_pct: float | None = Field(default=None, ge=0)  # coefficient of variation over the rounds
    repeat_cv_p90_pct: float | None = Field(default=None, ge=0)
    noise_floor_pct: float | None = Field(default=None, ge=0)  # that of the sentinel network over the whole run
    clock_note: str = ""
    forced: tuple[str, ...] = ()  # what was refused and overruled


class Composition(Model):
    """How parts add up to a whole, fitted on whole networks where there was a device to time them."""

    factor: float = Field(default=1.0, gt=0, le=1e3)  # of the kinds that are not in factor_per_kind
    factor_per_kind: dict[str, float] = {}
    spread: float = Field(default=1.0, ge=1, le=1e3)  # of the 90 % interval, as a factor
    calibration_networks: int = Field(default=0, ge=0)
    note: str = ""

    @model_validator(mode="after")
    def _factors_are_positive(self) -> "Composition":
        for kind, factor in self.factor_per_kind.items():
            if not 0 < factor <= 1e3:
                raise Fault(f"a factor must be positive, at most 1000, got {factor}", "factor_per_kind", kind)
        return self

    def of(self, kind: str) -> float:
        """Return the factor of a kind of part."""
        return self.factor_per_kind.get(kind, self.factor)


class Transfer(Model):
    """Where times carried over from another device come from: how they were mapped, and how well that did."""

    source: str = Field(min_length=1)  # name of the table of the other device
    law: str = Field(min_length=1)  # how, in words
    coefficients: dict[str, float] = Field(min_length=1)  # of the law
    valid_from_ms: float | None = Field(default=None, gt=0)  # of the networks behind it, on the other device
    valid_to_ms: float | None = Field(default=None, gt=0)
    spread: float = Field(gt=1, le=1e3)  # 90 % interval of a network that was not among them, as a factor
    networks: int = Field(gt=0)
    note: str = ""
