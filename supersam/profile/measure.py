"""Measure a search space on this machine and write its latency table (docs/profiling.md).

Every item is timed in several rounds, each in an order of its own, with one network, the sentinel, timed over and over
between them: how much that one varies is the noise below which no difference means anything. Each round prepares
every item anew, so that what depends on where memory happens to lie is averaged too, and no more than one item is
in memory.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from supersam.errors import EnvironmentProblem, SuperSAMError
from supersam.latency import LatencyTable, Network
from supersam.profile import machine
from supersam.profile.journal import SENTINEL, Journal
from supersam.profile.plan import Item, Plan
from supersam.profile.protocol import Clock, Protocol, Timing, now, seconds_needed, time_call
from supersam.profile.runtimes import Call, Exported, Runtime
from supersam.profile.table import doubtful, network_entry, table_from_timings
from supersam.space import AnyArchitecture, SearchSpace

PRECISION = "fp32"
INPUT = "one image as an array in memory, float32, NCHW; copying it is counted"
ATTEMPTS = 3  # at a timing during which the clock moved
PREPARE_SHARE = 0.5  # of what the sentinel takes to prepare: most items are smaller

OnItem = Callable[[str], None]


def ignore(name: str) -> None:
    """Do nothing: for measurements without a progress bar."""


@dataclass(frozen=True)
class Collector:
    """Times items with one runtime, by one protocol, into one journal."""

    runtime: Runtime
    protocol: Protocol
    journal: Journal
    clock: Clock = now
    on_item: OnItem = ignore

    def collect(self, items: Sequence[Item], sentinel: Item, first_sentinel: int = 0) -> None:
        """Time what is not in the journal yet, round by round.

        Raises:
            EnvironmentProblem: if the runtime fails; what was timed is kept.
        """
        self.journal.watch(sentinel.name)
        place = first_sentinel
        for number in range(self.protocol.rounds):
            for at, item in enumerate(random.Random(f"order/{number}").sample(list(items), len(items))):
                if at % self.protocol.sentinel_every == 0:
                    self._once(sentinel, SENTINEL, place)
                    place += 1
                self._once(item, item.name, number)
                self.on_item(item.name)

    def _once(self, item: Item, name: str, at: int) -> None:
        if self.journal.has(name, at):
            return
        try:
            timing = self.time(item)
        except SuperSAMError:
            raise
        except Exception as problem:
            raise EnvironmentProblem(
                f"{self.runtime.name} failed at {item.name}: {_first_line(problem)}; what was timed is kept in "
                f"{self.journal.path}, the same command goes on from there"
            ) from problem
        self.journal.add(name, at, timing)

    def time(self, item: Item) -> Timing:
        """Prepare an item and time it, again if the clock of the core moved meanwhile."""
        call = self.runtime.prepare(Exported(item))
        _check_output(call, item)
        for _ in range(ATTEMPTS):
            before = machine.read_clocks()
            timing = time_call(call, self.protocol, self.clock)
            after = machine.read_clocks()
            if before.throttled == after.throttled and not before.change(after):
                return timing
        return replace(timing, throttled=True)


def profile(
    device: str,
    plan: Plan,
    runtime: Runtime,
    protocol: Protocol,
    journal_file: Path,
    on_item: OnItem = ignore,
    forced: Sequence[str] = (),
    clock: Clock = now,
) -> tuple[LatencyTable, Journal]:
    """Measure a plan and return its table, and the journal with every timing behind it.

    Args:
        device: the name of the table.
        journal_file: an interrupted measurement goes on from it.
        on_item: called with its name after every item of every round.
        forced: what was overruled to measure at all; what the journal says of earlier calls joins it.
    """
    conditions = conditions_of(runtime, protocol)
    journal = Journal(journal_file, conditions)
    forced = journal.overrule(forced)
    collector = Collector(runtime, protocol, journal, clock, on_item)
    collector.collect(plan.items, plan.sentinel)
    alone = doubtful(plan, journal.timings)
    collector.collect(alone, plan.sentinel, first_sentinel=len(journal.timings[SENTINEL]))
    command = f"supersam profile --device {device} --space {plan.space.name} --runtime {runtime.name}"
    timings = journal.timings
    sentinel = timings.pop(SENTINEL)
    header = {
        **conditions,
        "name": device,
        "sources": (f"measured here: {command} --clock {protocol.clock} --rounds {protocol.rounds}",),
        "licence": "CC0-1.0",
    }
    return table_from_timings(plan, timings, sentinel, header, forced), journal


def conditions_of(runtime: Runtime, protocol: Protocol) -> dict[str, Any]:
    """Return the conditions of a measurement, by the names that a table's header has."""
    return {
        "device": machine.device().model_dump(),
        "runtime": runtime.about().model_dump(),
        "exporter": runtime.exporter,
        "precision": PRECISION,
        "batch": 1,
        "threads": 1,
        "input": INPUT,
        "power": machine.power().model_dump(),
        "clock": protocol.clock,
        "host": machine.host(),
    }


def time_networks(
    architectures: Iterable[AnyArchitecture],
    space: SearchSpace | None,
    runtime: Runtime,
    protocol: Protocol,
    journal_file: Path,
    on_item: OnItem = ignore,
    clock: Clock = now,
) -> dict[str, Network]:
    """Time whole networks in interleaved rounds and return their entries by digest.

    The first of them is the sentinel. The journal is left in place for the caller to remove.
    """
    wholes = [Item(architecture=architecture) for architecture in dict.fromkeys(architectures)]
    journal = Journal(journal_file, conditions_of(runtime, protocol))
    if wholes:
        Collector(runtime, protocol, journal, clock, on_item).collect(wholes, wholes[0])
    timings = journal.timings
    return {
        item.name: network_entry(timings[item.name], item.architecture, space, "chosen")
        for item in wholes
        if item.architecture is not None
    }


def estimate_seconds(plan: Plan, runtime: Runtime, protocol: Protocol, clock: Clock = now) -> float:
    """Return about how long a plan takes: every item at the speed, in MACs, of the sentinel."""
    quick = replace(protocol, samples=3, seconds=0.0, warm_up_seconds=0.1)
    start = clock().wall
    call = runtime.prepare(Exported(plan.sentinel))
    call()
    prepare = PREPARE_SHARE * (clock().wall - start) / 1e9
    ms_per_gmac = time_call(call, quick, clock).wall_ms / plan.sentinel.gmacs
    items = plan.items
    sentinels = len(items) // protocol.sentinel_every + 1
    timed = (*items, *[plan.sentinel] * sentinels)
    return protocol.rounds * sum(prepare + seconds_needed(ms_per_gmac * item.gmacs, protocol) for item in timed)


def _check_output(call: Call, item: Item) -> None:
    """Refuse numbers that no network has: infinite ones, and ones so small that arithmetic slows down."""
    output = np.asarray(call())
    if not np.isfinite(output).all() or not np.abs(output).max() > np.finfo(np.float32).tiny:
        raise SuperSAMError(f"{item.name} puts out no sound numbers; its time would be that of another arithmetic")


def _first_line(problem: Exception) -> str:
    lines = str(problem).strip().splitlines()
    return lines[0] if lines else type(problem).__name__
