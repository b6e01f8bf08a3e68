"""Times of whole networks from ``trtexec``: the JSON of ``--exportTimes``, and of ``--exportProfile``."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from supersam.errors import DamagedError, UsageError
from supersam.importers.conditions import Conditions, positive_ms, read_text, table_of
from supersam.latency import LatencyTable, Network
from supersam.latency.lines import line_of


@dataclass(frozen=True)
class Profile:
    """Times of layers, timed while profiling, which slows a network down."""

    layers: int
    ms: float  # their sum
    stat: str  # "median", or "mean" of TensorRT before 8.5
    reformatting: float  # share of the time spent on changing layouts


def import_trtexec(files: Sequence[Path], conditions: Conditions, network: str = "") -> LatencyTable:
    """Return the table of networks timed by ``trtexec``.

    Args:
        files: of ``--exportTimes`` and ``--exportProfile``, told apart by what is in them. Several times of one
            network are rounds.
        network: what all files are about; without it each file of times is a network with the file's name.

    Raises:
        DamagedError: if a row cannot be used, with file and line.
        UsageError: if it is not clear which network a profile is of.
    """
    times: dict[str, list[list[float]]] = {}
    profiles: dict[str, Profile] = {}
    for path in files:
        rows, text = _rows(path)
        if isinstance(rows[0], dict) and "count" in rows[0]:
            profiles[network or path.stem] = _profile(path, rows, text)
        else:
            times.setdefault(network or path.stem, []).append(_times(path, rows, text))
    if len(times) == 1 and len(profiles) == 1:  # times.json profile.json are of one network
        profiles = dict(zip(times, profiles.values(), strict=True))
    stray = profiles.keys() - times.keys()
    if times and stray:
        raise UsageError(f"which network is the profile {sorted(stray)[0]!r} of? Say it with --network NAME")
    networks = {name: _timed(rounds, profiles.get(name)) for name, rounds in times.items()}
    networks |= {name: _profiled(profiles[name]) for name in stray}
    notes = ["runs of one engine: another build may choose other kernels"]
    if stray:
        notes = ["sums over the layers of a profile; profiling slows a network down"]
        if any(profiles[name].stat == "mean" for name in stray):
            notes.append("means, not medians: this TensorRT told no median")
    return table_of(
        conditions,
        networks=networks,
        defaults={"runtime": "tensorrt", "kind": "gpu"},
        clock="trtexec_gpu",
        source="trtexec: " + ", ".join(path.name for path in files),
        note="; ".join(notes),
        input="whether copies to the device were made is not in the files; only computing is counted",
    )


def _timed(rounds: list[list[float]], profile: Profile | None) -> Network:
    medians = [statistics.median(times) for times in rounds]
    every = np.array([ms for times in rounds for ms in times])
    ms = statistics.median(medians)
    lo, p25, p75, hi, p99 = (float(q) for q in np.quantile(every, (0.05, 0.25, 0.75, 0.95, 0.99)))
    if len(rounds) > 1:
        lo, hi = min(medians), max(medians)
    source = f"GPU time of {len(every)} runs in {len(rounds)} file{'s' * (len(rounds) > 1)}"
    if profile is not None:
        source += f"; {profile.layers} layers, {100 * profile.reformatting:.1f} % of their time reformatting"
    return Network(
        ms=ms,
        lo=min(lo, ms),
        hi=max(hi, ms),
        method="measured",
        rounds=tuple(medians),
        samples=len(every),
        p25=p25,
        p75=p75,
        p99=p99,
        source=source,
    )


def _profiled(profile: Profile) -> Network:
    source = f"sum of the {profile.stat}s of {profile.layers} layers, stat={profile.stat}"
    return Network(ms=profile.ms, lo=profile.ms, hi=profile.ms, method="measured", source=source)


def _rows(path: Path) -> tuple[list[Any], str]:
    text = read_text(path)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as problem:  # also an integer of thousands of digits
        line = getattr(problem, "lineno", 1)
        raise DamagedError(f"{path}:{line}: this is no JSON of trtexec ({problem})") from problem
    if not isinstance(rows, list) or not rows:
        raise DamagedError(f"{path}:1: trtexec writes a list of runs or of layers, this is none, or an empty one")
    return rows, text


def _times(path: Path, rows: list[Any], text: str) -> list[float]:
    found = []
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or "computeMs" not in row:
            line = line_of(text, (str(number),))
            raise DamagedError(f"{path}:{line}: a run of trtexec --exportTimes has computeMs, this has none")
        try:
            found.append(positive_ms(row["computeMs"], path, 0, "computeMs"))
        except DamagedError:  # only now, as finding a line takes as long as reading the file
            line = line_of(text, (str(number), "computeMs"))
            positive_ms(row["computeMs"], path, line, "computeMs")
    return found


def _profile(path: Path, rows: list[Any], text: str) -> Profile:
    layers = rows[1:]
    stat, key = (
        ("median", "medianMs")
        if all("medianMs" in row for row in layers if isinstance(row, dict))
        else ("mean", "averageMs")
    )
    total, reformatting = 0.0, 0.0
    for number, row in enumerate(layers, start=1):
        ms = row.get(key) if isinstance(row, dict) else None
        if isinstance(ms, bool) or not isinstance(ms, float | int) or not 0 <= ms < math.inf:
            line = line_of(text, (str(number), key))
            raise DamagedError(f"{path}:{line}: {key} of layer {number} is {ms!r}, not a time")
        total += ms
        reformatting += ms * ("reformat" in str(row.get("name", "")).lower())
    positive_ms(total, path, 1, "the sum over the layers")
    return Profile(len(layers), total, stat, reformatting / total)
