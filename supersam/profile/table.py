"""From timings to a latency table: every entry is a weighted sum of times of items (``plan``)."""

import csv
import io
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from supersam import __version__
from supersam._paths import write_atomically
from supersam.errors import SuperSAMError
from supersam.latency import Entry, LatencyTable, Network, Quality, best_grade, fit_composition, variation_pct
from supersam.profile.plan import Derivation, Item, Plan, freed_derivation, isolated_derivation, isolated_item
from supersam.profile.protocol import Timing
from supersam.space import AnyArchitecture, Part, SearchSpace, load_space, shipped_spaces

LEAST_SHARE = 0.1  # of its time is the lower end of an interval at least: a time is positive
Timings = Mapping[str, Sequence[Timing]]  # by the name of the item, one for each round


def table_from_timings(
    plan: Plan, timings: Timings, sentinel: Sequence[Timing], header: Mapping[str, Any], forced: Sequence[str] = ()
) -> LatencyTable:
    """Return the table of everything that was timed.

    Args:
        sentinel: timings of the sentinel network over the whole run; how they vary is the noise floor.
        header: of the table: name, device, runtime, exporter, precision, threads, power, clock, host, sources,
            licence ...
        forced: what was overruled to measure at all.

    Raises:
        SuperSAMError: if an item was not timed, or a part must be timed alone (``doubtful``) and was not.
    """
    known = [one.part for one in plan.derivations]
    entries = {one.part.key: _measured(one, known, timings) for one in plan.derivations}
    networks = {
        architecture.digest: network_entry(timings[architecture.digest], architecture, plan.space, role)
        for role, architectures in _roles(plan)
        for architecture in architectures
    }
    quality = _quality(entries, sentinel, timings, forced)
    header = {"date": datetime.now(UTC).date().isoformat(), "agent": agent(), **header}
    draft = LatencyTable.model_validate(
        {
            **header,
            "schema": 2,
            "method": "measured",
            "grade": "D",
            "quality": quality,
            "entries": entries,
            "networks": networks,
        }
    )
    throttled = any(entry.throttled for entry in entries.values())
    grade = best_grade("measured", draft.date, draft.clock, draft.power, quality, throttled).grade
    calibration = [(one, networks[one.digest].ms) for one in plan.calibration]
    graded = draft.model_copy(update={"grade": grade})
    return graded.model_copy(update={"composition": fit_composition(graded, calibration)})


def doubtful(plan: Plan, timings: Timings) -> list[Item]:
    """Return parts that have to be timed alone: their differences are no larger than what these vary by."""
    return [isolated_item(one.part) for one in plan.derivations if not _is_clear(_values(one, timings))]


def network_entry(
    timings: Sequence[Timing],
    architecture: AnyArchitecture,
    space: SearchSpace | None,
    role: Literal["calibration", "held-out", "chosen", "known"],
) -> Network:
    """Return the entry of a whole network; ``space`` is one it is of, if any."""
    rounds = [timing.ms for timing in timings]
    return Network(
        **_statistics(rounds, timings, statistics.median(rounds)),
        scope="whole",
        role=role,
        space=space.name if space is not None and _is_shipped(space) else None,
        choices=dict(space.encode(architecture)) if space is not None else {},
    )


def agent() -> dict[str, str | None]:
    """Return which SuperSAM measures."""
    return {"version": __version__, "git_sha": _git_sha()}


def write_rows(path: Path, timings: Timings) -> None:
    """Write every timing as a line of a CSV file, in one piece."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["item", "round", "ms", "wall_ms", "cpu_ms", "samples", "dropped", "throttled"])
    for name, rounds in timings.items():
        for number, t in enumerate(rounds):
            times = (f"{ms:.6g}" for ms in (t.ms, t.wall_ms, t.cpu_ms))
            writer.writerow([name, number, *times, t.samples, t.dropped, int(t.throttled)])
    write_atomically(path, text.getvalue())


def _roles(plan: Plan) -> list[tuple[Literal["calibration", "held-out"], tuple[AnyArchitecture, ...]]]:
    return [("calibration", plan.calibration), ("held-out", plan.held_out)]


def _measured(derivation: Derivation, known: list[Part], timings: Timings) -> Entry:
    """Return the entry of a part: from context if that is clear, else from the part alone."""
    part, values = derivation.part, _values(derivation, timings)
    if _is_clear(values) or derivation == isolated_derivation(part):
        return _entry(derivation, timings)
    in_context = statistics.median(values)
    if isolated_item(part).name not in timings:
        if in_context > 0:
            return _entry(derivation, timings)
        raise SuperSAMError(
            f"{part.key} takes {in_context:.3g} ms as a difference of longer times; it must be timed alone"
        )
    freed = freed_derivation(part, known)
    found = freed if _is_clear(_values(freed, timings)) else isolated_derivation(part)
    less = ", less input and output" if len(found.terms) > 1 else ""
    why = f"in context {in_context:.4g} ms, within its noise; timed alone instead{less}"
    return _entry(found, timings).model_copy(update={"source": why})


def _entry(derivation: Derivation, timings: Timings) -> Entry:
    fields = _statistics(
        _values(derivation, timings), timings[derivation.terms[0][1].name], _combined(derivation, timings)
    )
    return Entry(**fields, scope=derivation.scope)


def _values(derivation: Derivation, timings: Timings) -> list[float]:
    """Return the part's time by each round."""
    columns = [[timing.ms for timing in _of(item, timings)] for _, item in derivation.terms]
    weights = [weight for weight, _ in derivation.terms]
    return [sum(w * ms for w, ms in zip(weights, row, strict=True)) for row in zip(*columns, strict=False)]


def _combined(derivation: Derivation, timings: Timings) -> float:
    """Return the part's time by the medians over the rounds."""
    return sum(weight * statistics.median(t.ms for t in _of(item, timings)) for weight, item in derivation.terms)


def _of(item: Item, timings: Timings) -> Sequence[Timing]:
    found = timings.get(item.name)
    if not found:
        raise SuperSAMError(f"{item.name} was not timed; give the same command again to go on")
    return found


def _is_clear(values: list[float]) -> bool:
    """Return whether rounds agree on a time: all positive, and no further apart than the time itself."""
    return min(values) > 0 and max(values) - min(values) <= statistics.median(values)


def _statistics(values: list[float], timings: Sequence[Timing], ms: float) -> dict[str, Any]:
    """Return the fields of an entry; quantiles are those of the longest item behind it, scaled to the part."""
    ms = ms if ms > 0 else statistics.median(values)

    def scaled(name: str) -> float:
        return round(ms * statistics.median(getattr(timing, name) / timing.ms for timing in timings), 6)

    return {
        "ms": round(ms, 6),
        "lo": round(max(min(*values, ms), LEAST_SHARE * ms), 6),
        "hi": round(max(*values, ms), 6),
        "method": "measured",
        "rounds": tuple(round(value, 6) for value in values if value > 0),
        "samples": sum(timing.samples for timing in timings),
        "p25": scaled("p25"),
        "p75": scaled("p75"),
        "p99": scaled("p99"),
        "throttled": any(timing.throttled for timing in timings),
    }


def _quality(entries: dict[str, Entry], sentinel: Sequence[Timing], timings: Timings, forced: Sequence[str]) -> Quality:
    varies = [found for entry in entries.values() if (found := variation_pct(entry.rounds)) is not None]
    noise = variation_pct([timing.ms for timing in sentinel])
    taken = [timing for found in timings.values() for timing in found]
    dropped = sum(timing.dropped for timing in taken) / max(1, sum(timing.dropped + timing.samples for timing in taken))
    slower = statistics.median(timing.wall_ms / timing.cpu_ms for timing in taken)
    return Quality(
        repeat_cv_median_pct=round(statistics.median(varies), 3) if varies else None,
        repeat_cv_p90_pct=round(float(np.quantile(varies, 0.9)), 3) if varies else None,
        noise_floor_pct=None if noise is None else round(noise, 3),
        clock_note=f"wall time {slower:.3f} times CPU time (median); {100 * dropped:.1f} % of the samples dropped",
        forced=tuple(forced),
    )


def _is_shipped(space: SearchSpace) -> bool:
    return space.name in shipped_spaces() and load_space(space.name).fingerprint == space.fingerprint


def _git_sha(file: Path = Path(__file__)) -> str | None:
    """Return the commit of the checkout a file is of; None for an installed package, also inside another repository."""
    try:
        _git(file.parent, "ls-files", "--error-unmatch", file.name)
        return _git(file.parent, "rev-parse", "HEAD") or None
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *command: str) -> str:
    done = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
