"""What a study has found so far, as arrays; read anew from the storage, but only what is new."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from supersam.search.encoding import Rows, Vector
from supersam.search.problem import Problem

DIGEST, REASON, WORKER = "digest", "rejected", "worker"  # attributes of a trial
REACHED = "reached"  # another: latency and accuracy after a part of the images, rung by rung
BEGAN = "began"  # another, where the storage has no heartbeats: when it began, in seconds since 1970


class History:
    """The evaluated architectures of a study in the order of their trials, and those that are being evaluated."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.taken: set[bytes] = set()  # rows nobody need propose again: evaluated, rejected or being evaluated
        self._read: dict[int, tuple[np.ndarray, float, list[float]] | None] = {}  # finished trials by number
        self._settled: set[bytes] = set()
        self._given_up: dict[int, bytes] = {}  # rows that were given up after a part of the images, by trial
        self._first_open = 0
        self._n = 0
        self._arrays: tuple[int, Rows, Vector, Vector] | None = None

    def update(self, study: Study, ignore: int = -1) -> None:
        """Read the study; ``ignore`` is the number of the trial that is being proposed."""
        trials = study.get_trials(deepcopy=False)
        pending = set()
        contiguous = True
        for trial in trials[self._first_open :]:
            if trial.number in self._read:
                continue
            if trial.state.is_finished():
                self._finish(trial)
                if contiguous:
                    self._first_open = trial.number + 1
                continue
            contiguous = False
            if trial.number != ignore:
                key = self._key(trial)
                pending |= {key} if key else set()
        self.taken = self._settled | pending if pending else self._settled

    def _finish(self, trial: FrozenTrial) -> None:
        key = self._key(trial)
        complete = trial.state is TrialState.COMPLETE and key is not None and key not in self._settled
        self._read[trial.number] = None
        if complete:
            row = np.frombuffer(key or b"", dtype=np.int16)
            self._read[trial.number] = (row, trial.values[0], trial.values[1:])
            self._arrays = None
            self._n += 1
        if key is not None and trial.state is TrialState.PRUNED:
            self._given_up[trial.number] = key
        if key is not None and (complete or trial.state is TrialState.PRUNED or REASON in trial.user_attrs):
            self._settled.add(key)

    def _key(self, trial: FrozenTrial) -> bytes | None:
        params: Mapping[str, Any] = trial.params
        if len(params) < len(self.problem.encoding.names):
            return None
        return self.problem.encoding.row(params).tobytes()

    @property
    def n(self) -> int:
        """The number of evaluated architectures."""
        return self._n

    def arrays(self) -> tuple[Rows, Vector, Vector]:
        """Return rows (n, variables), accuracies (n,) and latencies in milliseconds (n, devices), by trial number."""
        if self._arrays is None:
            known = [entry for _, entry in sorted(self._read.items()) if entry is not None]
            width, n_devices = len(self.problem.encoding.names), len(self.problem.devices)
            rows = np.array([row for row, _, _ in known], dtype=np.int16).reshape(-1, width)
            accuracy = np.array([value for _, value, _ in known], dtype=np.float64)
            latency = np.array([values for _, _, values in known], dtype=np.float64).reshape(-1, n_devices)
            self._arrays = (len(known), rows, accuracy, latency)
        return self._arrays[1], self._arrays[2], self._arrays[3]

    def judged(self, n: int) -> set[bytes]:
        """Return the rows of the first ``n`` evaluations and of what was given up before the last of them."""
        numbers = sorted(number for number, entry in self._read.items() if entry is not None)[:n]
        last = numbers[-1] if numbers else -1
        rows = {row.tobytes() for row in self.arrays()[0][:n]}
        return rows | {key for number, key in self._given_up.items() if number < last}

    def is_new(self, row: np.ndarray) -> bool:
        """Return whether nobody has taken this row."""
        return row.astype(np.int16).tobytes() not in self.taken
