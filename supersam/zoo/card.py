"""The card of a published system: who made it, under which licence, and its figures, each with its source.

A figure is never a number alone: it names a source of ``sources.yaml``, whose kind says how far to trust it.
Figures of different kinds, and of different protocols, stand beside each other and are never averaged or mixed.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA = 1
NAME = r"^[a-z0-9][a-z0-9.-]*$"
USUAL_SIDE = 1024  # pixels of SAM's input

Number = TypeVar("Number", int, float)


class Kind(StrEnum):
    """How a figure is known."""

    PUBLISHED = "published"  # by the authors of this or another system, in their paper or repository
    SECONDARY = "secondary"  # measured or transcribed by a third party
    COUNTED = "counted"  # by arithmetic or by building the released code; nothing was timed or evaluated
    MEASURED = "measured"  # by this project, with the command that repeats it


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(_Model):
    """Where figures are from."""

    kind: Kind
    what: str = Field(min_length=1)  # address, place in it, state or date
    command: str = ""  # what repeats a measurement

    @model_validator(mode="after")
    def _can_be_repeated(self) -> "Source":
        if self.kind is Kind.MEASURED and not self.command:
            raise ValueError("a measured source needs the command that repeats it")
        return self


class _Figure(_Model):
    source: str  # a key of sources.yaml
    note: str = ""


class Cost(_Figure):
    """Parameters or multiply-accumulates."""

    value: float = Field(gt=0)  # millions of parameters, or GMACs for one image
    scope: str  # "encoder", "whole", ...
    resolution: int | None = Field(default=None, gt=0)  # pixels a side


class Range(NamedTuple):
    """What the encoders of one system cost, from the smallest to the largest; nothing if no source tells."""

    values: tuple[float, ...] = ()  # the least and the most, once if they are the same
    resolutions: tuple[int, ...] = ()  # pixels a side that they are for, as far as they are stated

    @property
    def least(self) -> float | None:
        return self.values[0] if self.values else None

    @property
    def at(self) -> str:
        """The input for people, where it is not the usual 1024 pixels."""
        return "" if self.resolutions in ((), (USUAL_SIDE,)) else f"{' to '.join(map(str, self.resolutions))}px"


def encoder_range(costs: Iterable[Cost]) -> Range:
    """Return the range over the sizes of an encoder, by the first source that says something: sources are not mixed."""
    found = [cost for cost in costs if cost.scope == "encoder" and "without attention" not in cost.note]
    mine = [cost for cost in found if cost.source == found[0].source]
    return Range(
        _ends(cost.value for cost in mine), _ends(cost.resolution for cost in mine if cost.resolution is not None)
    )


def _ends(values: Iterable[Number]) -> tuple[Number, ...]:
    ordered = sorted(values)
    return tuple(dict.fromkeys((ordered[0], ordered[-1]))) if ordered else ()


class Accuracy(_Figure):
    """One number of one benchmark; numbers of different protocols cannot be compared."""

    dataset: str
    prompt: str
    metric: str
    value: float
    protocol: str = ""


class Latency(_Figure):
    """One timing, or that it did not run."""

    device: str
    scope: str
    runtime: str = ""  # empty: not stated, as in the fields below
    precision: str = ""
    batch: int | None = Field(default=None, gt=0)
    resolution: int | None = Field(default=None, gt=0)
    ms: float | None = Field(default=None, gt=0)  # for one image
    highest_ms: float | None = Field(default=None, gt=0)  # where the source gives a range; ms is its other end
    images_per_s: float | None = Field(default=None, gt=0)
    outcome: str = ""  # such as "out of memory"

    @model_validator(mode="after")
    def _says_one_thing(self) -> "Latency":
        if sum(value is not None for value in (self.ms, self.images_per_s)) + bool(self.outcome) != 1:
            raise ValueError("a latency has exactly one of ms, images_per_s and outcome")
        if self.highest_ms is not None and (self.ms is None or self.highest_ms < self.ms):
            raise ValueError("highest_ms must be at least ms")
        return self

    @property
    def time(self) -> str:
        """What was found, for people, such as ``8.2 ms`` or ``449 images/s``."""
        if self.ms is None:
            return self.outcome or f"{self.images_per_s:g} images/s"
        return f"{self.ms:g} ms" if self.highest_ms is None else f"{self.ms:g} to {self.highest_ms:g} ms"


class Statement(_Figure):
    """Something else its authors or others say in numbers, such as a speed-up."""

    what: str
    value: str


class Paper(_Model):
    """What to cite."""

    title: str = ""
    venue: str = ""
    arxiv: str | None = Field(default=None, pattern=r"^\d{4}\.\d{5}$")
    doi: str | None = None


class Licence(_Model):
    """Of code and weights; ``terms`` is the stricter of the two, for filters."""

    terms: Literal["permissive", "copyleft", "non-commercial", "custom", "not stated"]
    code: str = ""  # empty: not stated
    weights: str = ""
    note: str = ""


class Checkpoint(_Model):
    """A released file."""

    file: str
    url: str = ""
    format: str = ""
    mb: float | None = Field(default=None, gt=0)  # 10⁶ bytes
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    source: str


class Encoder(_Model):
    """The image encoder, as far as the sources tell."""

    what: str = ""
    resolution: int | None = Field(default=None, gt=0)  # pixels a side of its usual input
    timm: tuple[str, ...] = ()  # the nearest models of timm
    timm_match: Literal["exact", "with changes", "nearest", "none"] | None = None  # None: not known


class Card(_Model):
    """One published system."""

    schema_version: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=NAME)
    title: str
    family: str
    category: Literal[
        "model",
        "supernet",
        "search",
        "pruning",
        "quantization",
        "compiler",
        "prompting",
        "video",
        "volumetric",
        "decoder",
    ]
    year: int | None = Field(default=None, ge=2023)
    summary: str = Field(min_length=20)
    paper: Paper = Paper()
    repository: str = ""
    licence: Licence
    tasks: tuple[str, ...] = ()
    encoder: Encoder = Encoder()
    checkpoints: tuple[Checkpoint, ...] = ()
    params_m: tuple[Cost, ...] = ()
    gmacs: tuple[Cost, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    latency: tuple[Latency, ...] = ()
    statements: tuple[Statement, ...] = ()

    @property
    def figures(self) -> tuple[Cost | Accuracy | Latency | Statement, ...]:
        """Every figure of the card."""
        return (*self.params_m, *self.gmacs, *self.accuracy, *self.latency, *self.statements)

    @property
    def named_sources(self) -> tuple[str, ...]:
        """The keys of every source of the card, of released files too, each once."""
        return tuple(dict.fromkeys(one.source for one in (*self.figures, *self.checkpoints)))

    @property
    def encoder_params(self) -> Range:
        """Parameters of the encoder in millions."""
        return encoder_range(self.params_m)

    @property
    def encoder_gmacs(self) -> Range:
        """GMACs of the encoder, attention included."""
        return encoder_range(self.gmacs)

    @property
    def citation(self) -> str:
        """What to cite, in one line; empty if the sources name no publication."""
        number = f"arXiv {self.paper.arxiv}" if self.paper.arxiv else f"doi {self.paper.doi}" if self.paper.doi else ""
        venue = self.paper.venue if self.paper.venue.lower() != "arxiv" else ""
        return ". ".join(part for part in (self.paper.title or self.title, venue, number) if part)
