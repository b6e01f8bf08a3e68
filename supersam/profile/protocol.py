"""How one model is timed: warm up until it is stable, then samples on two clocks (docs/profiling.md)."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from supersam._garbage import without_garbage_collection
from supersam.errors import UsageError

WINDOW = 10  # calls whose median is compared with that of the calls before
STABLE = 0.01  # relative change of that median
MOST_WALL_PER_CPU = 1.05  # more, and somebody else had the core
PATIENCE = 5  # times the planned time, where too many samples are dropped

ClockName = Literal["cpu", "wall"]


class Instant(NamedTuple):
    """A reading of both clocks in nanoseconds."""

    wall: int
    cpu: int


Clock = Callable[[], Instant]


def now() -> Instant:
    """Read both clocks; the CPU's is that of the process with all its threads."""
    return Instant(time.perf_counter_ns(), time.process_time_ns())


@dataclass(frozen=True)
class Protocol:
    """What a measurement consists of."""

    clock: ClockName = "cpu"  # the one that counts; the other is recorded beside it
    rounds: int = 3
    samples: int = 10  # at least, of each item in each round
    seconds: float = 0.08  # at least, likewise
    warm_up_seconds: float = 1.0  # at most: calls of up to 50 ms are seen twice ten times
    sentinel_every: int = 20  # items

    def __post_init__(self) -> None:
        if self.clock not in ("cpu", "wall"):
            raise UsageError(f"unknown clock {self.clock!r}; there are: cpu, wall")
        if self.rounds < 1 or self.samples < 1:
            raise UsageError(f"rounds and samples are at least 1, got {self.rounds} and {self.samples}")


@dataclass(frozen=True)
class Timing:
    """One item in one round, milliseconds of one call."""

    ms: float  # median on the clock that counts
    wall_ms: float
    cpu_ms: float
    p25: float
    p75: float
    p99: float
    samples: int
    dropped: int = 0  # samples that another process disturbed
    throttled: bool = False


def time_call(call: Callable[[], object], protocol: Protocol, clock: Clock = now) -> Timing:
    """Time a call that has run once already."""
    with without_garbage_collection():
        _warm_up(call, protocol, clock)
        taken = list(_samples(call, protocol, clock))
    kept = [sample for sample in taken if _undisturbed(sample, protocol)]
    if len(kept) < protocol.samples:  # too few to tell a median by: all count, and none is called dropped
        kept = taken
    wall = sorted(sample.wall / 1e6 for sample in kept)
    cpu = sorted(sample.cpu / 1e6 for sample in kept)
    counted = cpu if protocol.clock == "cpu" else wall
    return Timing(
        ms=statistics.median(counted),
        wall_ms=statistics.median(wall),
        cpu_ms=statistics.median(cpu),
        p25=_quantile(counted, 0.25),
        p75=_quantile(counted, 0.75),
        p99=_quantile(counted, 0.99),
        samples=len(kept),
        dropped=len(taken) - len(kept),
    )


def seconds_needed(ms: float, protocol: Protocol) -> float:
    """Return how long it takes to time a call of this length once."""
    warm_up = min(protocol.warm_up_seconds, 2 * WINDOW * ms / 1e3)
    return warm_up + max(protocol.seconds, protocol.samples * ms / 1e3)


def _warm_up(call: Callable[[], object], protocol: Protocol, clock: Clock) -> None:
    calls: list[int] = []
    start = clock().wall
    while clock().wall - start < 1e9 * protocol.warm_up_seconds:
        calls.append(_time_once(call, clock).cpu)
        if len(calls) >= 2 * WINDOW:
            before = statistics.median(calls[-2 * WINDOW : -WINDOW])
            if abs(statistics.median(calls[-WINDOW:]) - before) < STABLE * before:
                return


def _samples(call: Callable[[], object], protocol: Protocol, clock: Clock) -> Iterator[Instant]:
    start, enough, taken = clock().wall, 0, 0
    while True:
        sample = _time_once(call, clock)
        yield sample
        taken += 1
        enough += _undisturbed(sample, protocol)
        spent = (clock().wall - start) / 1e9
        if enough >= protocol.samples and spent >= protocol.seconds:
            return
        if taken >= PATIENCE * protocol.samples and spent >= PATIENCE * protocol.seconds:
            return


def _time_once(call: Callable[[], object], clock: Clock) -> Instant:
    start = clock()
    call()
    end = clock()
    return Instant(end.wall - start.wall, end.cpu - start.cpu)


def _undisturbed(sample: Instant, protocol: Protocol) -> bool:
    return protocol.clock == "cpu" or sample.wall <= MOST_WALL_PER_CPU * sample.cpu


def _quantile(ordered: list[float], share: float) -> float:
    """Return a quantile of sorted numbers, interpolated as numpy does."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
