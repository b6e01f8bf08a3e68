"""``supersam search --measure K``: the chosen subnets timed whole on this machine, beside what a table predicted."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supersam.cli._output import print_table, say

if TYPE_CHECKING:
    from supersam.latency import LatencyTable
    from supersam.profile.protocol import Protocol
    from supersam.profile.runtimes import Runtime
    from supersam.results import Run
    from supersam.results.timed import Timed
    from supersam.search.problem import Problem
    from supersam.space import AnyArchitecture

SETTLE_S = 180.0  # a search or an export loads the machine itself; the load that the kernel tells falls slowly
FALLBACKS = ("onnxruntime", "torch")  # for tables of runtimes that are not of this machine


def check_machine(problem: "Problem", force: bool) -> None:
    """Refuse before a search begins what could not be measured after it.

    Raises:
        EnvironmentProblem: if a runtime is not installed, or the machine is busy and that is not forced.
    """
    from supersam.profile import machine

    for device in problem.devices:
        runtime_of(device.table)
    machine.require_quiet(force)


def runtime_of(table: "LatencyTable") -> "Runtime":
    """Return the table's own runtime where it is one of this machine, else the first that works."""
    from supersam.errors import EnvironmentProblem
    from supersam.profile.runtimes import RUNTIMES, find_runtime

    if table.runtime.name in RUNTIMES:
        return find_runtime(table.runtime.name)
    for name in FALLBACKS[:-1]:
        try:
            return find_runtime(name)
        except EnvironmentProblem:
            continue
    return find_runtime(FALLBACKS[-1])


def chosen(found: dict[str, Any], most: int, risk: str) -> "list[AnyArchitecture]":
    """Return the best of a device's answer and the next best of its front.

    Within the budget the most accurate come first, beyond it the nearest; predicted ones follow the measured.
    """
    from supersam.space import architecture_from_dict

    budget = float("inf") if found["budget_ms"] is None else found["budget_ms"]

    def rank(one: dict[str, Any]) -> tuple[bool, float]:
        bound = one["latency_ms"] if risk == "median" else one["latency_interval_ms"][1]
        return (True, bound) if bound > budget else (False, -one["accuracy"])

    predicted = (found.get("predicted") or {}).get("front", [])
    best = [found["best"]] if found["best"] else []
    ordered = [*best, *sorted(found["front"], key=rank), *sorted(predicted, key=rank)]
    return list(dict.fromkeys(architecture_from_dict(one["architecture"]) for one in ordered))[:most]


def measure_here(run: "Run", problem: "Problem", answer: dict[str, Any], most: int, force: bool) -> "list[Timed]":
    """Time the chosen subnets of every device, keep the times in the run's folder and return them.

    An interrupted measurement goes on from its journal in the run's folder.

    Raises:
        EnvironmentProblem: if the machine is busy and that is not forced, or a runtime fails.
    """
    from supersam.profile import machine
    from supersam.profile.protocol import Protocol
    from supersam.results.timed import save_timed

    forced = machine.require_quiet(force, SETTLE_S)
    timed = []
    with _one_core():
        for device in problem.devices:
            architectures = chosen(answer["devices"][device.name], most, problem.risk)
            table, runtime = device.table, runtime_of(device.table)
            protocol = Protocol(clock="wall" if table.clock == "wall" else "cpu")
            say(f"timing {len(architectures)} subnets for {device.name} with {runtime.name} on {machine.cpu_name()}")
            journal = run.folder / f"timed-{table.name}.partial.jsonl"
            one = _time(device.name, table, runtime, protocol, architectures, problem, journal, forced)
            timed.append(one)
            save_timed(run.folder, [one])
            journal.unlink(missing_ok=True)
    return timed


def _time(
    name: str,
    table: "LatencyTable",
    runtime: "Runtime",
    protocol: "Protocol",
    architectures: "Sequence[AnyArchitecture]",
    problem: "Problem",
    journal: Path,
    forced: tuple[str, ...],
) -> "Timed":
    from supersam.latency import same_conditions
    from supersam.profile.measure import conditions_of, time_networks
    from supersam.results.timed import Prediction, Timed, TimedSubnet

    networks = time_networks(architectures, problem.space, runtime, protocol, journal)
    conditions = conditions_of(runtime, protocol)
    subnets = [
        TimedSubnet(
            digest=one.digest, predicted=Prediction.of(table.predict(one)), measured=networks[one.digest]
        )
        for one in architectures
    ]  # fmt: skip
    return Timed(
        device=name,
        table=table.name,
        table_is=f"{table.device}, {table.runtime}, {table.precision}",
        host=conditions["host"],
        runtime=conditions["runtime"],
        precision=conditions["precision"],
        clock=protocol.clock,
        date=datetime.now(UTC).date().isoformat(),
        differs=same_conditions(table, conditions),
        noise_floor_pct=_noise(journal, conditions),
        forced=forced,
        subnets=tuple(subnets),
    )


def _noise(journal: Path, conditions: dict[str, Any]) -> float | None:
    """Return by how much per cent the sentinel varied; None where it was timed once."""
    from supersam.latency import variation_pct
    from supersam.profile.journal import SENTINEL, Journal

    return variation_pct([timing.ms for timing in Journal(journal, conditions).timings.get(SENTINEL, [])])


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process on one core while it measures."""
    from supersam.profile import machine

    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    machine.pin()
    try:
        yield
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)


def show_timed(timed: "Iterable[Timed]") -> None:
    """Print predicted beside measured; how far they differ only where the times can judge the table."""
    for one in timed:
        print(f"\n{one.device}: predicted by {one.table} ({one.table_is}), measured here ({one.here})")
        head = [
            "digest",
            "predicted ms [90 %]",
            "measured here ms [rounds]",
            *(["prediction is"] if one.judges else []),
        ]
        rows = []
        for subnet in one.subnets:
            row = [subnet.digest, _interval(subnet.predicted), _interval(subnet.measured)]
            inside = "" if subnet.is_inside else ", outside its interval"
            rows.append([*row, *([f"{subnet.error:+.1%}{inside}"] if one.judges else [])])
        print_table(head, rows)
        for line in _notes(one):
            print(line)


def _notes(one: "Timed") -> Iterator[str]:
    if one.noise_floor_pct is not None:
        yield f"noise floor {one.noise_floor_pct:.1f} % (one subnet timed again and again)"
    if not one.judges:
        yield (
            f"These times are of this machine under conditions that are not the table's ({one.differs}): they do not "
            "judge the prediction."
        )
    if one.forced:
        yield f"measured all the same (--force): {'; '.join(one.forced)}"


def _interval(found: Any) -> str:
    return f"{found.ms:.3g} [{found.lo:.3g}-{found.hi:.3g}]"
