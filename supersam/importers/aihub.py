"""Times of whole networks on Qualcomm's cloud devices: the ``perf.yaml`` of an AI Hub model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from supersam.errors import DamagedError, UsageError, suggest
from supersam.importers.conditions import Conditions, positive_ms, read_text, table_of
from supersam.latency import LatencyTable, Network

CHOICES = ("device", "runtime", "precision")


@dataclass(frozen=True)
class Row:
    """One network on one device."""

    network: str
    device: str
    runtime: str
    precision: str
    ms: float
    version: str
    unit: str  # NPU, GPU or CPU: where most of it ran
    layers: str
    job: str


def import_aihub(files: Sequence[Path], conditions: Conditions) -> LatencyTable:
    """Return the table of the networks of some ``perf.yaml`` on one device, by one runtime, at one precision.

    ``conditions`` says which; what the files leave no choice in may be left out.

    Raises:
        DamagedError: if a row cannot be used, with file and line.
        UsageError: if there is nothing of the kind, or more than one.
    """
    rows = [row for path in files for row in _rows(path)]
    if not rows:
        raise DamagedError(f"{files[0]}:1: there is no time in this file; is it a perf.yaml of AI Hub?")
    for choice in CHOICES:
        rows = _choose(rows, choice, getattr(conditions, choice))
    versions = dict.fromkeys(row.version for row in rows)
    if len(versions) > 1:
        raise UsageError(
            f"these files are of different tools ({'; '.join(versions)}); import them into tables of their own"
        )
    first = rows[0]
    return table_of(
        replace(conditions, device=first.device, runtime=first.runtime, precision=first.precision),
        networks=_networks(rows),
        defaults={
            "kind": "npu" if all(row.unit == "NPU" for row in rows) else "soc",
            "runtime_version": first.version,
        },
        clock="published",
        source="Qualcomm AI Hub: " + ", ".join(f"{path.parent.name}/{path.name}" for path in files),
        note="single figures of a cloud device: neither what they are (mean or median) nor their spread is stated",
    )


def _networks(rows: list[Row]) -> dict[str, Network]:
    found: dict[str, Network] = {}
    for row in rows:
        if row.network in found:
            raise UsageError(f"{row.network} is in the files twice; import one of them")
        source = f"job {row.job}; mostly on the {row.unit}; {row.layers}"
        found[row.network] = Network(ms=row.ms, lo=row.ms, hi=row.ms, method="measured", source=source)
    return found


def _choose(rows: list[Row], choice: str, wanted: str) -> list[Row]:
    there = list(dict.fromkeys(getattr(row, choice) for row in rows))
    if wanted:
        found = [row for row in rows if getattr(row, choice).lower() == wanted.lower()]
        if not found:
            raise UsageError(f"no {choice} {wanted!r} here.{suggest(wanted, there)} There are: {', '.join(there)}")
        return found
    if len(there) > 1:
        raise UsageError(f"say which {choice}, with --{choice}: {', '.join(there)}")
    return rows


def _rows(path: Path) -> Iterator[Row]:
    """Yield every job that passed; failed ones have no time."""
    text = read_text(path)
    try:
        content, tree = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise DamagedError(f"{path}:{line}: this is no YAML") from problem
    try:
        for precision, kind in content["precisions"].items():
            for network, component in kind["components"].items():
                for device, runtimes in (component.get("performance_metrics") or {}).items():
                    for runtime, job in runtimes.items():
                        keys = ("precisions", precision, "components", network, "performance_metrics", device, runtime)
                        if job.get("job_status", "Passed") == "Passed":
                            yield _row(path, tree, keys, job)
    except (AttributeError, KeyError, TypeError) as problem:
        raise DamagedError(f"{path}:1: this is no perf.yaml of AI Hub ({problem!r})") from problem


def _row(path: Path, tree: Any, keys: tuple[str, ...], job: dict[str, Any]) -> Row:
    _, precision, _, network, _, device, runtime = keys
    name = "inference_time_milliseconds"
    ms = positive_ms(job.get(name), path, _line(tree, (*keys, name)), name)
    layers = job.get("layer_counts") or {}
    return Row(
        network=str(network),
        device=str(device),
        runtime=str(runtime),
        precision=str(precision),
        ms=ms,
        version=", ".join(f"{tool} {version}" for tool, version in (job.get("tool_versions") or {}).items()),
        unit=str(job.get("primary_compute_unit", "not stated")),
        layers=", ".join(f"{count} layers {where}" for where, count in layers.items()),
        job=str(job.get("job_id", "not stated")),
    )


def _line(node: Any, keys: Sequence[str]) -> int:
    """Return the line (from 1) of what these keys lead to, or of the last one that is there."""
    line = node.start_mark.line + 1
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((name, value) for name, value in pairs if name.value == str(key)), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line
