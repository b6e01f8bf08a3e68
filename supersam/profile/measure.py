"""Measure every part of a search space on this machine and write its latency table.

Times are those of the process's own CPU clock on one thread: on a shared machine the wall clock mostly tells
what the neighbours do. Parts are measured in several rounds in random order; the median of the rounds' medians
counts. Whole random encoders are measured in the same rounds: they give the factor between a sum of parts and
the whole, and the interval.
"""

import json
import math
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from supersam.errors import DamagedError, UsageError
from supersam.latency import Composition, Entry, LatencyTable, space_parts
from supersam.profile.modules import build_part, build_whole
from supersam.profile.runtimes import Call, check_runtime, prepare, runtime_version
from supersam.space import AnyArchitecture, Part, SearchSpace

ROUNDS = 3
LEAST_SECONDS = 0.05  # of each item in each round
LEAST_SAMPLES = 5
WARM_UP = 2
CALIBRATION_NETWORKS = 12
COVERAGE = 0.9


@dataclass(frozen=True)
class Item:
    """Something to be timed: a part, or a whole encoder."""

    name: str
    build: Callable[[], tuple[torch.nn.Module, torch.Tensor]]


def profile(
    device: str,
    space: SearchSpace,
    runtime: str,
    journal: Path,
    on_item: Callable[[str], None] = lambda name: None,
    rounds: int = ROUNDS,
    networks: int = CALIBRATION_NETWORKS,
) -> LatencyTable:
    """Measure a space and return its table.

    Args:
        journal: every measurement is appended here, so that an interrupted run goes on where it was.
        on_item: called after every measurement of an item in a round.
    """
    check_runtime(runtime)
    torch.set_num_threads(1)
    parts = space_parts(space)
    wholes = _calibration_networks(space, networks)
    items = [Item(part.key, lambda part=part: build_part(part)) for part in parts]  # type: ignore[misc]
    items += [Item(a.digest, lambda a=a: build_whole(a)) for a in wholes]  # type: ignore[misc]
    header = {"device": device, "runtime": runtime_version(runtime), "space": space.fingerprint, "items": len(items)}
    done = _read_journal(journal, header)
    calls: dict[str, Call] = {}
    for number in range(rounds):
        order = random.Random(f"{device}/{number}").sample(items, len(items))
        for item in order:
            if len(done.get(item.name, [])) > number:
                on_item(item.name)
                continue
            if item.name not in calls:
                calls[item.name] = prepare(runtime, *item.build())
            median, samples = _time(calls[item.name])
            done.setdefault(item.name, []).append(median)
            _append(journal, {"name": item.name, "ms": median, "samples": samples})
            on_item(item.name)
    return _table(device, runtime, parts, wholes, done)


def _calibration_networks(space: SearchSpace, count: int) -> list[AnyArchitecture]:
    rng = random.Random(f"calibration/{space.fingerprint}")
    return [space.sample(rng) for _ in range(count)]


def _time(call: Call) -> tuple[float, int]:
    """Return the median CPU time of a call in milliseconds, and the number of samples."""
    for _ in range(WARM_UP):
        call()
    samples: list[float] = []
    while len(samples) < LEAST_SAMPLES or sum(samples) < 1e3 * LEAST_SECONDS:
        start = time.process_time_ns()
        call()
        samples.append((time.process_time_ns() - start) / 1e6)
    return statistics.median(samples), len(samples)


def _table(
    device: str, runtime: str, parts: list[Part], wholes: list[AnyArchitecture], done: dict[str, list[float]]
) -> LatencyTable:
    medians = {name: statistics.median(rounds) for name, rounds in done.items()}
    entries = {part.key: _entry(medians[part.key], done[part.key]) for part in parts}
    now = datetime.now(UTC).date().isoformat()
    noise = statistics.median(_variation(rounds) for rounds in done.values())
    draft = LatencyTable(
        schema=1,
        name=device,
        device=_cpu_name(),
        runtime=runtime_version(runtime),
        precision="fp32",
        threads=1,
        power_mode="not controlled",
        clock="process CPU time",
        method="measured",
        grade="B" if noise <= 0.03 else "C" if noise <= 0.07 else "D",
        date=now,
        host={"cpu": _cpu_name(), "cpus": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()[0]},
        sources=(f"measured here: supersam profile --device {device} --runtime {runtime}",),
        licence="CC0-1.0",
        note=f"median variation between rounds {100 * noise:.1f} %",
        entries=entries,
    )
    return draft.model_copy(update={"composition": _composition(draft, wholes, medians)})


def _entry(ms: float, rounds: list[float]) -> Entry:
    return Entry(ms=ms, lo=min(rounds), hi=max(rounds), method="measured", samples=len(rounds))


def _composition(draft: LatencyTable, wholes: list[AnyArchitecture], medians: dict[str, float]) -> Composition:
    """Fit the factor between sums and wholes, and the split-conformal spread of what is left."""
    if not wholes:
        return Composition(note="no whole networks measured")
    logs = sorted(math.log(medians[a.digest] / draft.predict(a).ms) for a in wholes)
    factor = math.exp(statistics.median(logs))
    residuals = sorted(abs(value - math.log(factor)) for value in logs)
    rank = min(len(residuals), math.ceil(COVERAGE * (len(residuals) + 1)))
    return Composition(
        factor=factor,
        spread=math.exp(residuals[rank - 1]),
        calibration_networks=len(wholes),
        note="factor: median of whole / sum of parts; spread: split-conformal over the same whole networks",
    )


def _variation(rounds: list[float]) -> float:
    return statistics.stdev(rounds) / statistics.mean(rounds) if len(rounds) > 1 else 0.0


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _read_journal(journal: Path, header: dict[str, Any]) -> dict[str, list[float]]:
    if not journal.exists():
        _append(journal, header)
        return {}
    lines = journal.read_text().splitlines(keepends=True)
    if not lines or lines[0] != json.dumps(header) + "\n":
        raise UsageError(f"{journal} belongs to another measurement; remove it or choose another --out")
    if not lines[-1].endswith("\n"):  # torn by a crash: drop it, so that the next line starts clean
        lines.pop()
        journal.write_text("".join(lines))
    done: dict[str, list[float]] = {}
    for number, line in enumerate(lines[1:], start=2):
        try:
            entry = json.loads(line)
            done.setdefault(str(entry["name"]), []).append(float(entry["ms"]))
        except (KeyError, TypeError, ValueError) as problem:
            raise DamagedError(
                f"{journal} line {number} is damaged ({problem!r}); remove it to start again"
            ) from problem
    return done


def _append(journal: Path, entry: dict[str, Any]) -> None:
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a") as file:
        file.write(json.dumps(entry) + "\n")
