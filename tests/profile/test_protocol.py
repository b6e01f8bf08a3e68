"""One call, timed on clocks that the test moves."""

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import chain, repeat

import numpy as np
import pytest

from supersam.errors import UsageError
from supersam.profile.protocol import Instant, Protocol, _quantile, seconds_needed, time_call

Tells = Callable[..., AbstractContextManager[None]]


class Calls:
    """A call that takes what it is told, in milliseconds of wall and CPU time."""

    def __init__(self, durations: Iterator[tuple[float, float]]) -> None:
        self.durations = durations
        self.wall = self.cpu = self.number = 0

    def __call__(self) -> None:
        wall, cpu = next(self.durations)
        self.number += 1
        self.wall += round(1e6 * wall)
        self.cpu += round(1e6 * cpu)

    def clock(self) -> Instant:
        return Instant(self.wall, self.cpu)


def alike(*ms: float) -> Iterator[tuple[float, float]]:
    return ((one, one) for one in ms)


COLD = Protocol(samples=5, seconds=0.0, warm_up_seconds=0.0)


def test_time_is_the_median_of_the_samples() -> None:
    calls = Calls(alike(9, 11, 7, 30, 8, 99))

    found = time_call(calls, COLD, calls.clock)

    assert (found.ms, found.wall_ms, found.cpu_ms, found.samples, found.dropped) == (9, 9, 9, 5, 0)
    assert calls.number == 5
    assert (found.p25, found.p75) == (8, 11)
    assert 29 < found.p99 < 30


def test_short_calls_are_sampled_for_long_enough() -> None:
    calls = Calls(repeat((2.0, 2.0)))

    assert time_call(calls, Protocol(samples=5, seconds=0.05, warm_up_seconds=0.0), calls.clock).samples == 25


def test_warm_up_ends_when_the_median_settles() -> None:
    falling = [100 - number for number in range(30)]
    calls = Calls(alike(*falling, *[50.0] * 40, 7.0))

    found = time_call(calls, Protocol(samples=5, seconds=0.0, warm_up_seconds=60.0), calls.clock)

    assert found.ms == 50
    assert 46 <= calls.number - 5 <= 50  # two windows of ten, the first of them mostly settled


def test_warm_up_that_never_settles_is_cut_short() -> None:
    growing = Calls((1.1**number, 1.1**number) for number in range(10_000))

    time_call(growing, Protocol(samples=1, seconds=0.0, warm_up_seconds=0.5), growing.clock)

    assert growing.number < 60


def test_both_clocks_are_recorded_and_the_asked_one_counts() -> None:
    slow = chain([(4.0, 2.0)] * 2, [(2.0, 2.0)] * 8)

    calls = Calls(slow)
    by_cpu = time_call(calls, Protocol(clock="cpu", samples=3, seconds=0.0, warm_up_seconds=0.0), calls.clock)

    assert (by_cpu.ms, by_cpu.cpu_ms, by_cpu.wall_ms, by_cpu.dropped) == (2, 2, 4, 0)


def test_samples_during_which_somebody_else_had_the_core_are_dropped_by_wall_clock() -> None:
    calls = Calls(chain([(4.0, 2.0), (2.2, 2.0)], [(2.08, 2.0)] * 8))

    found = time_call(calls, Protocol(clock="wall", samples=3, seconds=0.0, warm_up_seconds=0.0), calls.clock)

    assert (found.ms, found.samples, found.dropped) == (pytest.approx(2.08), 3, 2)


def test_machine_that_is_never_alone_ends_all_the_same() -> None:
    calls = Calls(repeat((9.0, 3.0)))

    found = time_call(calls, Protocol(clock="wall", samples=4, seconds=0.0, warm_up_seconds=0.0), calls.clock)

    assert found.ms == 9
    assert found.samples == 20


def test_machine_that_is_hardly_ever_alone_is_not_judged_by_the_few_samples_it_was() -> None:
    calls = Calls(chain([(3.0, 3.0)] * 3, repeat((9.0, 3.0))))

    found = time_call(calls, Protocol(clock="wall", samples=4, seconds=0.0, warm_up_seconds=0.0), calls.clock)

    assert (found.ms, found.wall_ms, found.cpu_ms) == (9, 9, 3)
    assert (found.samples, found.dropped) == (20, 0)


def test_garbage_is_not_collected_meanwhile() -> None:
    seen: list[bool] = []
    calls = Calls(repeat((1.0, 1.0)))

    def call() -> None:
        seen.append(gc.isenabled())
        calls()

    assert gc.isenabled()
    time_call(call, COLD, calls.clock)

    assert gc.isenabled()
    assert not any(seen)


def test_quantiles_are_those_of_numpy() -> None:
    values = sorted([3.0, 9.0, 4.0, 4.5, 7.25])

    for share in (0.0, 0.25, 0.5, 0.75, 0.99, 1.0):
        assert _quantile(values, share) == pytest.approx(float(np.quantile(values, share)))
    assert _quantile([2.0], 0.99) == 2


def test_estimate_grows_with_the_call_and_never_falls_below_the_least() -> None:
    protocol = Protocol(samples=10, seconds=0.1, warm_up_seconds=0.2)

    assert seconds_needed(0.001, protocol) == pytest.approx(0.1, rel=0.01)
    assert seconds_needed(100, protocol) == pytest.approx(0.2 + 1.0)


@pytest.mark.parametrize("options", [{"clock": "sun"}, {"rounds": 0}, {"samples": 0}])
def test_protocol_that_measures_nothing_is_refused(options: dict[str, str], tells: Tells) -> None:
    with tells(UsageError, next(iter(options.values()))):
        Protocol(**options)  # type: ignore[arg-type]
