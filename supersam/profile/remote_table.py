"""The latency table of a device at the other end of ssh: the same plan as on this machine, timed by the agent there."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from supersam.errors import EnvironmentProblem
from supersam.latency import Device, LatencyTable, Power, Runtime
from supersam.profile.agent import mode_of
from supersam.profile.device_runtimes import DeviceRuntime, device_runtime
from supersam.profile.link import Target
from supersam.profile.plan import Derivation, Item, Plan
from supersam.profile.protocol import ClockName, Timing
from supersam.profile.remote import DeviceJournal, DeviceTiming, Job, Progress, measure_on
from supersam.profile.table import Timings, doubtful, table_from_timings
from supersam.space import parts

HOST_FACTS = (
    "cpu",
    "cpus",
    "system",
    "kernel",
    "python",
    "tegra_release",
    "nvidia_smi",
)  # nothing that names its owner


@dataclass(frozen=True)
class Wanted:
    """What a user asks of a device."""

    runtime: str  # of ``DEVICE_RUNTIMES``
    precision: str = ""  # empty: the runtime's usual one
    clock: ClockName = "wall"  # of runtimes that are timed on the CPU and tell both
    threads: int = 1
    rounds: int = 3
    options: tuple[str, ...] = ()
    opset: int | None = None  # of ONNX files; None: the exporter's own choice

    def counts_cpu_time(self, runtime: DeviceRuntime) -> bool:
        """Return whether CPU time counts: where it is asked for and told, and the CPU is what computes."""
        return self.clock == "cpu" and runtime.tells_cpu_time and set(self.options) <= {"CPUExecutionProvider"}


@dataclass
class Measured:
    """All that came home of one or more jobs."""

    timings: dict[str, list[DeviceTiming]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    states: list[dict[str, Any]] = field(default_factory=list)
    forced: dict[str, None] = field(default_factory=dict)
    date: str = ""  # on which the first of them began

    def add(self, found: DeviceJournal) -> None:
        for timing in found.timings:
            self.timings.setdefault(timing.name, []).append(timing)
        self.failed |= found.failed
        self.states += found.states
        self.forced |= dict.fromkeys(found.forced)
        self.date = self.date or found.date


def profile_remote(
    device: str,
    plan: Plan,
    wanted: Wanted,
    target: Target,
    journal: Path,
    *,
    force: bool = False,
    on_progress: Progress = lambda stage, done, total, name: None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[LatencyTable, Timings]:
    """Measure a plan on a device and return its table, and every timing behind it.

    A network that cannot be measured there is told; the table then lacks the parts that need it.

    Args:
        device: the name of the table.
        journal: what came home so far, here; a second one beside it for parts that must be timed alone.

    Raises:
        EnvironmentProblem: if the device does not answer, is busy, in another mode, or can measure nothing.
        UsageError: if the runtime or the precision is unknown.
    """
    runtime = device_runtime(wanted.runtime).with_opset(wanted.opset)
    precision = wanted.precision or runtime.precisions[0]
    runtime.check(precision)
    counts_cpu = wanted.counts_cpu_time(runtime)
    if wanted.clock == "cpu" and not counts_cpu:
        say(f"times are by the runtime's own clock; {wanted.runtime} tells no CPU time of what computes")
    items = {item.name: item for item in (plan.sentinel, *plan.items)}
    measured = Measured()

    def collect(these: Iterable[Item], file: Path, advise: bool = True) -> None:
        items.update((item.name, item) for item in these)
        names = dict.fromkeys([plan.sentinel.name, *(item.name for item in these)])
        job = _job(runtime, wanted, precision, tuple(names), plan.sentinel.name)
        found = measure_on(
            target,
            job,
            lambda name: runtime.convert(items[name], precision),
            file,
            force=force,
            advise=advise,
            on_progress=on_progress,
            say=say,
        )
        measured.add(found)
        for name, message in found.failed.items():
            say(f"left out: {name}: {message}")

    collect(plan.items, journal)
    timings = _by_item(measured, counts_cpu)
    left = _without(plan, measured.failed)
    if not left.derivations:
        name, message = next(iter(measured.failed.items()))
        raise EnvironmentProblem(f"{target.address} could measure no part; the first was {name}: {message}")
    alone = doubtful(left, timings)
    if alone:
        collect(alone, alone_journal(journal), advise=False)
        _refuse_two_modes(measured.states, alone_journal(journal))
        timings = _by_item(measured, counts_cpu)
        left = _without(left, measured.failed, [item.name for item in alone])
    sentinel = [_timing(timing, counts_cpu) for timing in measured.timings.get(plan.sentinel.name, [])]
    header = _header(device, plan, wanted, runtime, precision, measured)
    table = table_from_timings(left, timings, sentinel, header, tuple(measured.forced))
    return _with_what_is_known(table, measured, runtime), timings


def _refuse_two_modes(states: list[dict[str, Any]], journal: Path) -> None:
    """Refuse parts that were timed alone in another mode than the rest.

    Raises:
        EnvironmentProblem: naming what to remove.
    """
    modes = [mode_of(defaultdict(lambda: None, state)) for state in states]
    differing = [key for key in modes[0] if any(mode[key] != modes[0][key] for mode in modes)]
    if differing:
        raise EnvironmentProblem(
            f"the device was in two modes while it was measured ({', '.join(differing)}); to measure the parts alone "
            f"again in the first one, remove {journal} and its folder on the device"
        )


def alone_journal(journal: Path) -> Path:
    """Return the file of the measurements of parts that had to be timed alone."""
    return journal.with_name(journal.name.replace(".partial", "-alone.partial"))


def _job(runtime: DeviceRuntime, wanted: Wanted, precision: str, names: tuple[str, ...], sentinel: str) -> Job:
    return Job(
        runtime=wanted.runtime,
        precision=precision,
        names=names,
        sentinel=sentinel,
        suffix=runtime.suffix,
        rounds=runtime.builds * math.ceil(wanted.rounds / runtime.builds),  # as many of each build
        threads=wanted.threads if runtime.kind == "cpu" else None,
        options=wanted.options,
        opset=wanted.opset,
        maker=runtime.maker(),
        least_s=runtime.least_s,
        least_samples=runtime.least_samples,
        warm_up_s=runtime.warm_up_s,
    )


def _timing(found: DeviceTiming, counts_cpu: bool) -> Timing:
    """Return a timing in the terms of this machine's own; what a runtime does not tell repeats what it tells."""
    scale = 1.0
    if counts_cpu and found.cpu_ms:
        scale = found.cpu_ms / found.ms
    return Timing(
        ms=scale * found.ms,
        wall_ms=found.ms,
        cpu_ms=found.cpu_ms or found.ms,
        p25=scale * (found.p25 or found.ms),
        p75=scale * (found.p75 or found.ms),
        p99=scale * (found.p99 or found.ms),
        samples=found.samples,
        dropped=(found.samples_all or found.samples) - found.samples,
        throttled=found.throttled,
    )


def _by_item(measured: Measured, counts_cpu: bool) -> dict[str, list[Timing]]:
    """Return one timing for each round of every item; the sentinel has more, the first one of a round counts."""
    found: dict[str, list[Timing]] = {}
    for name, timings in measured.timings.items():
        first: dict[int, DeviceTiming] = {}
        for timing in timings:
            first.setdefault(timing.round, timing)
        found[name] = [_timing(first[number], counts_cpu) for number in sorted(first)]
    return found


def _without(plan: Plan, failed: Mapping[str, str], alone: Sequence[str] = ()) -> Plan:
    """Return a plan without what needs a network that failed; encoders with such a part are not fitted on.

    Args:
        alone: parts whose differences said nothing: they need their own timing.
    """

    def can(derivation: Derivation) -> bool:
        needs = [item.name for _, item in derivation.terms]
        needs += [derivation.part.key] if derivation.part.key in alone else []
        return not any(name in failed for name in needs)

    derivations = tuple(filter(can, plan.derivations))
    known = {derivation.part for derivation in derivations}
    timed = [one for one in plan.calibration if one.digest not in failed]
    usable = tuple(one for one in timed if known.issuperset(parts(one)))
    others = [one for one in (*timed, *plan.held_out) if one.digest not in failed and one not in usable]
    return replace(plan, derivations=derivations, calibration=usable, held_out=tuple(others))


def _header(
    device: str, plan: Plan, wanted: Wanted, runtime: DeviceRuntime, precision: str, measured: Measured
) -> dict[str, Any]:
    state = measured.states[0]
    command = f"supersam profile --device {device} --space {plan.space.name} --ssh ... --runtime {wanted.runtime}"
    command += "" if wanted.opset is None else f" --opset {wanted.opset}"
    host: dict[str, Any] = {key: state[key] for key in HOST_FACTS if state.get(key)}
    fingerprint = hashlib.sha256("\n".join(f"{key} {value}" for key, value in host.items()).encode()).hexdigest()
    heat = [max(one["temperatures_c"].values()) for one in measured.states if one["temperatures_c"]]
    return {
        "name": device,
        **({"date": measured.date} if measured.date else {}),
        "device": _device(state, runtime.kind_with(wanted.options)).model_dump(),
        "runtime": Runtime(
            name=runtime.name,
            version=state["runtime_version"],
            provider=", ".join(wanted.options) if runtime.name in ("onnxruntime", "coreml") else "",
            options={} if runtime.name in ("onnxruntime", "coreml") else {"arguments": list(wanted.options)},
        ).model_dump(),
        "exporter": runtime.exporter(),
        "precision": precision,
        "threads": wanted.threads if runtime.kind == "cpu" else None,
        "input": runtime.input,
        "power": _power(state).model_dump(),
        "clock": "cpu" if wanted.counts_cpu_time(runtime) else runtime.clock,
        "host": {**host, "temperatures_c": heat, "fingerprint_sha256": fingerprint},
        "sources": (f"measured by {command} --rounds {wanted.rounds}",),
        "licence": "CC0-1.0",
    }


def _device(state: dict[str, Any], kind: str) -> Device:
    """Return what computes: a card by its own name; a Jetson's GPU is part of the board."""
    card = state["nvidia_smi"].split(",")[0].strip()
    of_board = state["model"] or state["cpu"] or "unknown"
    return Device(name=card if kind == "gpu" and card and not state["tegra_release"] else of_board, kind=kind)


def _power(state: dict[str, Any]) -> Power:
    mhz = state["clocks_mhz"]
    governor = state["governor"] or None
    return Power(
        mode=state["power_mode"] or (f"governor {governor}" if governor else "not controlled"),
        clocks_locked=state["clocks_locked"],
        governor=governor,
        gpu_mhz=mhz["gpu"][2] if "gpu" in mhz and state["clocks_locked"] else None,  # a free clock idles now
        memory_mhz=mhz["memory"][2] if "memory" in mhz and state["clocks_locked"] else None,
        note="" if mhz else "the kernel shows no clocks",
    )


def _with_what_is_known(table: LatencyTable, measured: Measured, runtime: DeviceRuntime) -> LatencyTable:
    """Say nothing of CPU time and quantiles where the runtime told none, and say which parts are missing."""
    taken = [timing for timings in measured.timings.values() for timing in timings]
    update: dict[str, Any] = {}
    if not runtime.tells_cpu_time:
        update["quality"] = table.quality.model_copy(update={"clock_note": runtime.input})
    if any(timing.p25 is None for timing in taken):
        bare = {"p25": None, "p75": None, "p99": None}
        update["entries"] = {key: entry.model_copy(update=bare) for key, entry in table.entries.items()}
        update["networks"] = {key: entry.model_copy(update=bare) for key, entry in table.networks.items()}
    notes = [f"{len(measured.failed)} networks could not be measured"] if measured.failed else []
    if any(timing.stat == "mean" for timing in taken):
        notes.append("the runtime tells the mean of a round, not its median")
    if notes:
        update["note"] = "; ".join(notes)
    return table.model_copy(update=update)
