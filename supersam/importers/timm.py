"""Times of timm's models: the CSV files of its ``benchmark.py``, whose names are the conditions of the measurement."""

import re
from collections import Counter
from pathlib import Path

from supersam.errors import DamagedError, UsageError
from supersam.importers.conditions import Conditions, positive_ms, table_of
from supersam.importers.rows import read_rows
from supersam.latency import LatencyTable, Network

COLUMNS = ("model", "infer_img_size", "infer_step_time", "infer_batch_size")
NAME = re.compile(
    r"benchmark-infer-(?P<precision>[^-]+)-(?P<layout>[^-]+)-pt(?P<torch>\d+)-(?P<platform>[^-]+)-(?P<device>.+?)"
    r"(?P<dynamo>-dynamo)?$"
)


def import_timm(path: Path, conditions: Conditions) -> LatencyTable:
    """Return the table of the models, each with its input's side in pixels, that were run one image at a time.

    The time of an image within a batch is throughput, not latency, so rows of larger batches are left out.

    Raises:
        DamagedError: if a row cannot be used, with file and line.
        UsageError: if no row is of one image.
    """
    columns, rows = read_rows(path)
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise DamagedError(f"{path}:1: timm's benchmark has a column {missing[0]!r}, this has none")
    networks: dict[str, Network] = {}
    batches: Counter[str] = Counter()
    for line, row in rows:
        ms = positive_ms(row["infer_step_time"], path, line, "infer_step_time")
        batches[row["infer_batch_size"]] += 1
        if row["infer_batch_size"] != "1":
            continue
        name = f"{row['model']}@{row['infer_img_size']}"
        if name in networks:
            raise DamagedError(f"{path}:{line}: {name} is there twice")
        source = "mean over the steps"
        networks[name] = Network(ms=ms, lo=ms, hi=ms, method="measured", source=source)
    if not networks:
        there = ", ".join(f"{batch} ({count} rows)" for batch, count in batches.most_common()) or "none"
        raise UsageError(f"{path} has no row of batch size 1, and larger batches give no latency; there are: {there}")
    left_out = batches.total() - len(networks)
    return table_of(
        conditions,
        networks=networks,
        defaults=_defaults(path),
        clock="published",
        source=f"timm benchmark: {path.name}",
        note="means without spread" + (f"; {left_out} rows of larger batches left out" if left_out else ""),
        input="one image in the device's memory",
    )


def _defaults(path: Path) -> dict[str, str]:
    """Return what the file's name says."""
    found = NAME.match(path.stem)
    if found is None:
        return {"runtime": "torch"}
    version = found["torch"]  # 240 is 2.4.0, 2110 is 2.11.0
    return {
        "device": found["device"],
        "kind": "cpu" if found["platform"] == "cpu" else "gpu",
        "runtime": "torch-compile" if found["dynamo"] else "torch",
        "runtime_version": f"{version[0]}.{version[1:-1]}.{version[-1]}",
        "precision": found["precision"],
    }
