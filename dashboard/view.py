"""What Explore shows for one set of choices: pure information, no components."""

from dataclasses import dataclass, field
from functools import cached_property

from supersam.latency import Latency
from supersam.results import Candidate
from supersam.results.timed import Timed

from .apart import PREDICTED, Fronts
from .cloud import Cloud
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
    fronts: Fronts
    cloud: Cloud  # of the candidates
    best: Candidate | None  # within the budget; a predicted one only where no measured one is within it
    query: str  # of the URL, without the subnet
    notices: list[str]
    filters: Filters = NONE
    whole: Contents = field(default_factory=lambda: Contents(()))  # before the filters
    overlay: str = "off"  # which published models stand beside ours
    rows: str = "front"  # what the table lists: "front" or "all"
    published: list[Published] = field(default_factory=list)  # those of the device, that fit and that do not
    switch: Switch | None = None  # against the device that was left
    compared: list[Candidate] = field(default_factory=list)
    timed: list[Timed] = field(default_factory=list)  # whole subnets of this source, on some machine

    def fits(self, candidate: Candidate) -> bool:
        """Return whether a candidate is within the budget; without one, everything is."""
        return self.budget_ms is None or candidate.bound_ms(self.risk) <= self.budget_ms

    @cached_property
    def headline(self) -> Candidate:
        """What is shown until the reader selects something: the best, or the least that is over the budget."""
        return self.best or min(self.candidates, key=lambda candidate: candidate.bound_ms(self.risk))

    @property
    def front(self) -> list[Candidate]:
        """The front of measured accuracies, or of predicted ones where nothing is measured."""
        return self.fronts.main

    @cached_property
    def front_digests(self) -> frozenset[str]:
        """Who is on the front of its own kind of accuracy."""
        return frozenset(candidate.digest for candidate in (*self.fronts.main, *self.fronts.predicted))

    def place(self, candidate: Candidate) -> str:
        """Return where a candidate stands, in words."""
        if self.filters.restricts and self.find(candidate.digest) is None:
            return "left out by the filters"
        if candidate.digest not in self.front_digests:
            return "dominated"
        is_apart = bool(self.fronts.predicted) and candidate.accuracy.source == PREDICTED
        return "on the predicted front" if is_apart else "on the front"

    @property
    def listed(self) -> list[Candidate]:
        """The front and, if its narrow interval alone makes it the best, a candidate beside it."""
        return self._with_best(self.fronts.main)

    @property
    def listed_apart(self) -> list[Candidate]:
        """The same of the predicted front, where there is one beside the measured."""
        return self._with_best(self.fronts.predicted)

    def _with_best(self, front: list[Candidate]) -> list[Candidate]:
        is_beside = (
            self.best is not None
            and self.best.digest not in self.front_digests
            and any(one.accuracy.source == self.best.accuracy.source for one in front[:1])
        )
        beside = [self.best] if is_beside and self.best is not None else []
        return sorted([*front, *beside], key=lambda candidate: candidate.latency.ms)

    @cached_property
    def dominated(self) -> list[Candidate]:
        """Everyone who is not listed with a front, the most accurate first."""
        listed = {candidate.digest for candidate in (*self.listed, *self.listed_apart)}
        rest = (candidate for candidate in self.candidates if candidate.digest not in listed)
        return sorted(rest, key=lambda candidate: (-candidate.accuracy.value, candidate.latency.ms))

    def find(self, digest: object) -> Candidate | None:
        return next((candidate for candidate in self.candidates if candidate.digest == digest), None)

    def find_left_out(self, digest: object) -> Candidate | None:
        """Return a candidate that the filters leave out."""
        if not self.filters.restricts:
            return None
        one = next((one for one in self.found if one.architecture.digest == digest), None)
        return None if one is None else Candidate(one.architecture, one.accuracy, self.device.latency(one))

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
