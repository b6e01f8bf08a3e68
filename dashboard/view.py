"""What Explore shows for one set of choices: pure information, no components."""

import math
from dataclasses import dataclass, field
from functools import cached_property

from supersam.latency import Latency
from supersam.results import Candidate, best_within

from .devices import Device
from .filters import NONE, Filters
from .part_sums import PartSums
from .published import Published
from .sources import Contents, Found, Source
from .switch import Switch


@dataclass(frozen=True)
class View:
    """One source on one device under one budget."""

    sources: list[Source]
    devices: dict[str, tuple[Device, str]]  # with the reason why it cannot be used, if any
    source: Source
    device: Device
    budget_ms: float | None
    budget_problem: str
    risk: str  # what of the latency is compared with the budget: "upper" or "median"
    found: tuple[Found, ...]
    candidates: list[Candidate]  # the same, with their latency on the device
    front: list[Candidate]
    query: str  # of the URL, without the subnet
    notices: list[str]
    filters: Filters = NONE
    whole: Contents = field(default_factory=lambda: Contents(()))  # before the filters
    overlay: str = "off"  # which published models stand beside ours
    published: list[Published] = field(default_factory=list)  # those of the device, that fit and that do not
    switch: Switch | None = None  # against the device that was left
    compared: list[Candidate] = field(default_factory=list)

    def fits(self, candidate: Candidate) -> bool:
        """Return whether a candidate is within the budget; without one, everything is."""
        return self.budget_ms is None or candidate.bound_ms(self.risk) <= self.budget_ms

    @cached_property
    def best(self) -> Candidate | None:
        """The most accurate candidate within the budget."""
        return best_within(self.candidates, math.inf if self.budget_ms is None else self.budget_ms, self.risk)

    @cached_property
    def headline(self) -> Candidate:
        """What is shown until the reader selects something: the best, or the least that is over the budget."""
        return self.best or min(self.candidates, key=lambda candidate: candidate.bound_ms(self.risk))

    @cached_property
    def front_digests(self) -> frozenset[str]:
        return frozenset(candidate.digest for candidate in self.front)

    @property
    def listed(self) -> list[Candidate]:
        """The front and, if its narrow interval alone makes it the best, a candidate beside it."""
        beside = [] if self.best is None or self.best.digest in self.front_digests else [self.best]
        return sorted([*self.front, *beside], key=lambda candidate: candidate.latency.ms)

    def find(self, digest: object) -> Candidate | None:
        return next((candidate for candidate in self.candidates if candidate.digest == digest), None)

    def latency_on(self, device: Device, candidate: Candidate) -> Latency:
        """Return the latency of a candidate on another device."""
        if device.table is not None:
            return device.table.predict(candidate.architecture)
        return device.latency(next(one for one in self.found if one.architecture == candidate.architecture))

    def try_latency(self, device: Device, candidate: Candidate) -> Latency | None:
        """Return the same, or None where the device says nothing about it."""
        if device.why_not(PartSums([candidate.architecture])):
            return None
        return self.latency_on(device, candidate)


@dataclass(frozen=True)
class Nothing:
    """There is nothing to draw, and this is what to do about it."""

    title: str
    text: str
    command: str
    sources: list[Source]
    notices: list[str]
    source: Source | None = None
    devices: dict[str, tuple[Device, str]] = field(default_factory=dict)
    whole: Contents = field(default_factory=lambda: Contents(()))
    filters: Filters = NONE
    query: str = ""  # of the URL
