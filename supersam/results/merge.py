"""Several runs of one question as one."""

import shutil
from pathlib import Path
from typing import Any

from supersam.errors import UsageError
from supersam.results.candidate import Candidate
from supersam.results.run import Run

ALIKE = (
    "space_fingerprint", "table_sha256", "accuracy", "objective", "weights", "accuracy_sha256", "limits", "risk",
)  # fmt: skip


def merge(runs: list[Run], folder: Path) -> Run:
    """Write the candidates of all runs as a run of its own; of one architecture, a measured accuracy wins.

    The question is that of the first run, ``merged_from`` names all. There is no study: the run cannot go on.

    Raises:
        UsageError: if the runs are not comparable, or the folder holds a run.
    """
    merged = Run(folder)
    if merged.exists:
        raise UsageError(f"{folder} holds a run already; choose another --out")
    questions = [run.question() for run in runs]
    for run, question in zip(runs[1:], questions[1:], strict=True):
        for key in ALIKE:
            if key in question and key in questions[0] and question[key] != questions[0][key]:  # else: earlier version
                raise UsageError(f"{run.folder} and {runs[0].folder} differ in {key} and cannot be merged")
        if _devices(question) != _devices(questions[0]):
            raise UsageError(f"{run.folder} and {runs[0].folder} differ in their devices and cannot be merged")
    found: dict[str, Candidate] = {}
    for run in runs:
        for candidate in run.candidates():
            before = found.get(candidate.digest)
            if before is None or (before.accuracy.source == "predicted" and candidate.accuracy.source == "measured"):
                found[candidate.digest] = candidate
    merged.start({**questions[0], "merged_from": [str(run.folder) for run in runs]})
    if runs[0].tables_dir.is_dir():
        shutil.copytree(runs[0].tables_dir, merged.tables_dir, dirs_exist_ok=True)
    for candidate in found.values():
        merged.append(candidate)
    return merged


def _devices(question: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Return the devices with their tables; budgets may differ, latencies may not be missing."""
    return [(one.get("device"), one.get("table_sha256")) for one in question.get("devices", ())]
