"""How a search stands: its trials, and whether it is running, stalled, failed or finished."""

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from supersam.errors import SuperSAMError
from supersam.results import Candidate, Run
from supersam.results.study import Trial, read_trials

from .apart import best_of

PATIENCE_S = 60.0  # a run that was silent for less is running
PATIENCE_TRIALS = 10.0  # ... or for less than this many usual trials
SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Worker:
    """One process that evaluates."""

    name: str
    running: int
    ended: int


@dataclass(frozen=True)
class Progress:
    """A run as it stands."""

    state: str  # "running", "stalled", "failed" or "finished"
    says: str  # the same in a sentence
    trials: list[Trial]
    problem: str  # why the trials are not known
    counts: dict[str, int]  # by state, for people
    workers: list[Worker]
    seconds_per_trial: float | None
    silent_s: float
    best: Candidate | None  # within the budget; a predicted one only where no measured one is within it


def progress(run: Run, candidates: Sequence[Candidate], question: dict[str, Any], now: float | None = None) -> Progress:
    """Return how a run stands.

    Args:
        now: seconds since the epoch, for tests.
    """
    trials, problem = _trials(run, question)
    usual = [seconds for trial in trials if (seconds := trial.seconds) is not None]
    per_trial = median(usual) if usual else None
    silent = max(0.0, (time.time() if now is None else now) - _last_change(run))
    budget, risk = question.get("budget_ms"), str(question.get("risk", "upper"))
    within_ms = float(budget) if isinstance(budget, int | float) else math.inf
    best = best_of(candidates, within_ms, risk)
    state, says = _state(run, candidates, trials, best, silent, per_trial)
    return Progress(state, says, trials, problem, _counts(trials), _workers(trials), per_trial, silent, best)


def _trials(run: Run, question: dict[str, Any]) -> tuple[list[Trial], str]:
    storage, name = question.get("storage"), question.get("study")
    try:
        if not storage:
            return read_trials(run.study_file), ""
        if str(storage).startswith(SQLITE):
            return read_trials(Path(str(storage).removeprefix(SQLITE)), str(name)), ""
        return [], (
            f"the study is kept in {storage}, which only Optuna can read, and the dashboard never loads Optuna; the "
            "candidates are those that the search copies into the run's folder"
        )
    except SuperSAMError as problem:
        return [], " ".join(str(problem).split())


def _last_change(run: Run) -> float:
    log = run.study_file.with_name(run.study_file.name + "-wal")
    return max(_changed(file) for file in (run.question_file, run.candidates_file, run.study_file, log))


def _changed(file: Path) -> float:
    """Return when something was written to a file; SQLite makes an empty log when a study is only read."""
    try:
        found = file.stat()
    except OSError:
        return 0.0
    return found.st_mtime if found.st_size else 0.0


def _state(
    run: Run,
    candidates: Sequence[Candidate],
    trials: Sequence[Trial],
    best: Candidate | None,
    silent_s: float,
    per_trial_s: float | None,
) -> tuple[str, str]:
    if run.result_file.is_file():
        met = "" if best is not None else "; nothing met the budget"
        return "finished", f"Finished: {len(candidates)} evaluated subnets{met}."
    ago = _ago(silent_s)
    if silent_s <= max(PATIENCE_S, PATIENCE_TRIALS * (per_trial_s or 0.0)):
        return "running", f"Running: {len(candidates)} evaluated subnets, the last news came {ago} ago."
    ended = [trial for trial in trials if trial.state not in ("RUNNING", "WAITING")]
    if ended and not candidates:
        return "failed", f"Failed: {len(ended)} trials ended and none gave a candidate; silent for {ago}."
    return "stalled", f"Stalled: no news for {ago} and no result. Its process may have ended."


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


NAMES = {"COMPLETE": "evaluated", "RUNNING": "running", "WAITING": "waiting", "PRUNED": "pruned", "FAIL": "failed"}


def _counts(trials: Sequence[Trial]) -> dict[str, int]:
    """Return the trials by state; rejected ones are not failures of anything."""
    found = Counter("rejected" if trial.rejected else NAMES.get(trial.state, trial.state) for trial in trials)
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _workers(trials: Sequence[Trial]) -> list[Worker]:
    named = [trial for trial in trials if trial.worker]
    running = Counter(trial.worker for trial in named if trial.state == "RUNNING")
    return [
        Worker(name, running[name], n - running[name]) for name, n in sorted(Counter(t.worker for t in named).items())
    ]
