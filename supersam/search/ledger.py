"""What a study knows, by architecture: the one place that decides what was evaluated, rejected or is being evaluated.

Everything is in the study itself, so any number of workers, and a run that is continued, see the same.
"""

import os
import socket
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from supersam.results import Accuracy, Candidate
from supersam.search.history import BEGAN, DIGEST, REACHED, REASON, WORKER
from supersam.search.problem import Problem
from supersam.space import AnyArchitecture

ACCURACY = "accuracy"  # attribute of a trial: the fields of ``Accuracy``
UNBEGUN_S = 60.0  # between taking a trial and signing it, which is a matter of milliseconds
LOST_AFTER_S, LOST_FACTOR = 600.0, 10.0  # at least so long, and so many times the slowest evaluation
OPEN = (TrialState.RUNNING, TrialState.WAITING)


class Ledger:
    """Candidates, rejections and claims of a study, read anew but only where it changed."""

    def __init__(self, problem: Problem, recorded: dict[str, Candidate] | None = None) -> None:
        self.problem = problem
        self.candidates: dict[str, Candidate] = {}
        self.trial_of: dict[str, FrozenTrial] = {}
        self.rejected: dict[AnyArchitecture, str] = {}
        self.pruned: set[str] = set()
        self.reached: dict[int, list[list[float]]] = {}  # by trial: latency and accuracy after a part of the images
        self.n_proposals = 0
        self._recorded = recorded or {}  # for runs of versions that kept accuracies in the run's folder only
        self._read: set[int] = set()
        self._first_open = 0
        self._claims: dict[int, FrozenTrial] = {}  # open trials that claim an architecture, by number

    def update(self, study: optuna.Study) -> list[Candidate]:
        """Read the study and return the candidates that are new, in the order of their trials."""
        trials = study.get_trials(deepcopy=False)
        self.n_proposals = len(trials)
        before = len(self.candidates)
        self._claims, contiguous = {}, True
        for trial in trials[self._first_open :]:
            if trial.state in OPEN:
                contiguous = False
                if DIGEST in trial.user_attrs:
                    self._claims[trial.number] = trial
                continue
            if trial.number not in self._read:
                self._read.add(trial.number)
                self._finish(trial)
            if contiguous:
                self._first_open = trial.number + 1
                self._read.discard(trial.number)
        return list(self.candidates.values())[before:]

    def is_judged(self, digest: str) -> bool:
        """Return whether an architecture was evaluated or given up."""
        return digest in self.candidates or digest in self.pruned

    def is_retried(self, number: int) -> bool:
        """Return whether a trial with a claim is done once more because its first worker died."""
        return number in self._claims and is_retried(self._claims[number])

    def must_wait(self, digest: str, number: int) -> bool:
        """Return whether another trial claims an architecture and trial ``number`` has to give way or wait.

        One that is done once more for a dead worker goes before those that wait, and before later ones of its kind.
        """
        retried = self.is_retried(number)
        for theirs, trial in self._claims.items():
            if theirs == number or trial.user_attrs[DIGEST] != digest:
                continue
            after_me = trial.state is TrialState.WAITING or (theirs > number and is_retried(trial))
            if not (retried and after_me):
                return True
        return False

    def _finish(self, trial: FrozenTrial) -> None:
        if len(trial.params) < len(self.problem.encoding.names):
            return
        architecture = self.problem.space.decode(trial.params)
        digest = architecture.digest
        if REACHED in trial.user_attrs and trial.state is not TrialState.FAIL:
            self.reached[trial.number] = trial.user_attrs[REACHED]
        if REASON in trial.user_attrs:
            self.rejected[architecture] = trial.user_attrs[REASON]
        elif trial.state is TrialState.PRUNED:
            self.pruned.add(digest)
        elif trial.state is TrialState.COMPLETE and digest not in self.candidates:
            accuracy = self._accuracy(trial, digest)
            if accuracy is not None:
                latency, *others = self.problem.latencies(architecture)
                also = {d.name: found for d, found in zip(self.problem.devices[1:], others, strict=True)}
                self.candidates[digest] = Candidate(architecture, accuracy, latency, also)
                self.trial_of[digest] = trial

    def _accuracy(self, trial: FrozenTrial, digest: str) -> Accuracy | None:
        if ACCURACY in trial.user_attrs:
            return accuracy_from_dict(trial.user_attrs[ACCURACY])
        return self._recorded[digest].accuracy if digest in self._recorded else None


def is_retried(trial: FrozenTrial) -> bool:
    """Return whether a trial is done once more because its first worker died."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return RetryHeartbeatStaleTrialCallback.retried_trial_number(trial) is not None


def accuracy_to_dict(accuracy: Accuracy) -> dict[str, Any]:
    """Return the fields as an attribute of a trial."""
    return asdict(accuracy)


def accuracy_from_dict(content: dict[str, Any]) -> Accuracy:
    """Rebuild an accuracy from its fields, as an attribute of a trial or a file holds them."""
    low, high = content["interval"]
    return Accuracy(float(content["value"]), content["source"], (float(low), float(high)), content["packs"])


def this_worker() -> str:
    """Return the name of this process among all machines."""
    return worker_name(os.getpid())


def worker_name(pid: int | None) -> str:
    """Return the name of a process of this machine among all machines."""
    return f"{socket.gethostname()}:{pid}"


def is_dead(worker: str) -> bool:
    """Return whether a worker was a process of this machine that is no more; of other machines nobody here knows."""
    host, _, pid = worker.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def lost_trials(trials: Sequence[FrozenTrial], now: float) -> list[FrozenTrial]:
    """Return the open trials that run so much longer than any that ended that their workers must be gone.

    For storages without heartbeats, where nothing else is known of workers on other machines.

    Args:
        now: seconds since 1970.
    """
    done = (trial for trial in trials if trial.state is TrialState.COMPLETE)
    took = [(t.datetime_complete - t.datetime_start).total_seconds() for t in done]  # type: ignore[operator]
    patience = max(LOST_AFTER_S, LOST_FACTOR * max(took, default=0.0))
    running = (trial for trial in trials if trial.state is TrialState.RUNNING)
    return [trial for trial in running if now - trial.user_attrs.get(BEGAN, now) > patience]


def unbegun_trials(trials: Sequence[FrozenTrial], now: float) -> list[FrozenTrial]:
    """Return the open trials that nobody has signed for long: their workers died between taking and beginning them.

    No storage notices these, because no heart has beaten for them yet.

    Args:
        now: seconds since 1970.
    """
    unsigned = (trial for trial in trials if trial.state is TrialState.RUNNING and WORKER not in trial.user_attrs)
    return [trial for trial in unsigned if trial.datetime_start and now - trial.datetime_start.timestamp() > UNBEGUN_S]


def worker_of(trial: FrozenTrial) -> str:
    """Return which worker runs a trial."""
    found: str = trial.user_attrs.get(WORKER, "")
    return found
