"""The search: a sampler proposes architectures, the tables judge them for free, accuracy is asked for the rest.

Objectives are accuracy and the latency on each device, budgets are constraints (``Trial.set_constraint`` of Optuna 5).
What the tables reject is told as failed before any accuracy is asked; no value is invented. An architecture is claimed
in the study before it is evaluated, so that no two workers evaluate the same one.
"""

import multiprocessing
import random
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from supersam.errors import UsageError
from supersam.results import Run
from supersam.search.accuracy import AccuracySource, SharedAccuracy
from supersam.search.halving import Pruned
from supersam.search.history import BEGAN, DIGEST, REASON, WORKER
from supersam.search.interrupts import Interrupts
from supersam.search.ledger import (
    ACCURACY,
    Ledger,
    accuracy_from_dict,
    accuracy_to_dict,
    is_dead,
    lost_trials,
    this_worker,
    unbegun_trials,
    worker_of,
)
from supersam.search.problem import Problem
from supersam.search.samplers import STATELESS, make_sampler
from supersam.search.storage import close, close_storage, has_heartbeat, open_storage, retry
from supersam.space import AnyArchitecture

STUDY = "search"
QUEUED = "queued"  # attribute of a study: the first architectures are all in it
PATIENCE = 20  # proposals for each trial before a small space counts as exhausted
STUCK = 10  # proposals in a row that led to nothing, before a random one is queued
RUNNING = (TrialState.RUNNING,)
LOOK_EVERY_S = 0.2  # for whether another worker's claim still stands
LOOK_FOR_LOST_S = 60.0  # for trials whose workers are gone and which the storage does not notice

optuna.logging.set_verbosity(optuna.logging.ERROR)


class NotEvaluated(Exception):
    """A proposal that needs no evaluation; its trial is told as failed."""


@dataclass(frozen=True)
class Search:
    """One question and how it is answered."""

    run: Run
    problem: Problem
    accuracy: AccuracySource
    seed: int
    sampler: str = "auto"
    storage: str | None = None  # URL; None: SQLite in the run's folder
    study_name: str = STUDY
    judged_by: dict[str, Any] = field(
        default_factory=dict
    )  # what decides accuracies: weights of packs, hash of sources

    def open_study(self) -> optuna.Study:
        """Open the study, new or continued.

        Raises:
            UsageError: if the study in the storage is of another question.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = optuna.create_study(
                storage=open_storage(self.storage or self._local_storage()),
                study_name=self.study_name,
                directions=["maximize", *("minimize" for _ in self.problem.devices)],
                load_if_exists=True,
            )
            known = study.get_trials(deepcopy=False)
            if not known:
                study.set_metric_names(["accuracy", *(f"latency_ms {device.name}" for device in self.problem.devices)])
        self._check_same(study)
        return study

    def check(self) -> None:
        """Check that the study can be kept where it shall be, that nobody asks another question there, and the sampler.

        Nothing is made; call it before a run's folder is begun.

        Raises:
            UsageError: if the study in the storage is of another question.
            EnvironmentProblem: if nobody answers there, or a package the sampler needs is missing.
        """
        self.make_sampler(0)
        if self.storage is None:
            return
        storage = open_storage(self.storage)
        try:
            if self.study_name in optuna.get_all_study_names(storage):
                asked_before = optuna.load_study(study_name=self.study_name, storage=storage).user_attrs.get("question")
                self._refuse_other(asked_before)
        finally:
            close_storage(storage)

    def accept_tables(self) -> None:
        """Note in the study that latencies are those of other tables from now on."""
        storage = open_storage(self.storage or self._local_storage())
        try:
            if self.study_name in optuna.get_all_study_names(storage):
                study = optuna.load_study(study_name=self.study_name, storage=storage)
                before = study.user_attrs.get("question", {})
                study.set_user_attr("question", {**before, "tables": self._asked()["tables"]})
        finally:
            close_storage(storage)

    def make_sampler(self, n_known: int) -> BaseSampler:
        """Return the sampler of a worker that joins when ``n_known`` trials are there."""
        if self.sampler in STATELESS:
            return make_sampler(self.sampler, self.problem, self.seed)
        # The state of Optuna's own samplers is not stored, so who joins or goes on draws from a stream of its own.
        worker = multiprocessing.current_process().name
        if self.storage is not None:
            worker = f"{socket.gethostname()}/{worker}"  # processes of several machines have the same names
        seed = random.Random(f"{self.seed}/{n_known}/{worker}").randrange(2**31)
        return make_sampler(self.sampler, self.problem, seed)

    def _local_storage(self) -> str:
        return f"sqlite:///{self.run.study_file}"

    def _check_same(self, study: optuna.Study) -> None:
        before = study.user_attrs.get("question")
        if before is None:
            study.set_user_attr("question", self._asked())
        self._refuse_other(before)

    def _asked(self) -> dict[str, Any]:
        return {
            "space_fingerprint": self.problem.space.fingerprint,
            "tables": [device.fingerprint for device in self.problem.devices],
            "budgets_ms": [device.budget_ms for device in self.problem.devices],
            "risk": self.problem.risk,
            "limits": asdict(self.problem.limits),
            **self.judged_by,
        }

    def _refuse_other(self, before: dict[str, Any] | None) -> None:
        asked = self._asked()
        before = before or {}  # what an earlier version did not write down is not compared
        wrong = next((key for key in asked if key in before and before[key] != asked[key]), None)
        if wrong is not None:
            raise UsageError(
                f"the study {self.study_name!r} in this storage was made with other {wrong} "
                f"({before[wrong]}, now {asked[wrong]}); choose another --study NAME"
            )

    def prepare(self, first: Iterable[AnyArchitecture]) -> None:
        """Queue the first architectures if nobody has, and give the trials of dead workers to the living."""
        with Interrupts():
            study = self.open_study()
            trials = study.get_trials(deepcopy=False)
            if QUEUED not in study.user_attrs:
                for architecture in first:  # those that an interrupted beginning has queued are not queued again
                    study.enqueue_trial(self.problem.space.encode(architecture), skip_if_exists=bool(trials))
                study.set_user_attr(QUEUED, True)
            for trial in trials:
                if trial.state in RUNNING and is_dead(worker_of(trial)):
                    give_back(study, trial)
            give_back_lost(study)
            close(study)

    def optimize(self, n_trials: int, first: Iterable[AnyArchitecture], on_trial: Callable[[Ledger], None]) -> Ledger:
        """Evaluate architectures until ``n_trials`` different ones are known.

        Args:
            first: architectures to begin with, such as the extremes and what is known to be good.
            on_trial: called after every trial.
        """
        self.prepare(first)
        with Interrupts() as interrupts:
            worker = Worker(self, interrupts)
            recorder = Recorder(self, worker)

            def after(ledger: Ledger) -> None:
                recorder.write()
                on_trial(ledger)

            recorder.record()
            try:
                worker.work(n_trials, after)
                recorder.record()
            finally:
                close(worker.study)
        return worker.ledger


class Recorder:
    """Copies what the study knows into the run's folder, one line for each candidate."""

    def __init__(self, search: Search, worker: "Worker | None" = None) -> None:
        self.run = search.run
        self.study = worker.study if worker else search.open_study()
        recorded = {candidate.digest: candidate for candidate in search.run.candidates()}
        self.written = set(recorded)
        self._looked_at = 0  # candidates of the ledger, in its order
        self.ledger = worker.ledger if worker else Ledger(search.problem, recorded)

    def record(self) -> None:
        """Read the study and append the candidates that are not in the folder yet."""
        self.ledger.update(self.study)
        self.write()

    def write(self) -> None:
        """Append the candidates that are not in the folder yet."""
        fresh = list(islice(self.ledger.candidates, self._looked_at, None))
        self._looked_at += len(fresh)
        for digest in fresh:
            if digest in self.written:
                continue
            trial = self.ledger.trial_of[digest]
            began, ended = trial.datetime_start, trial.datetime_complete
            self.run.append(
                self.ledger.candidates[digest],
                trial=trial.number,
                at=ended.isoformat(timespec="milliseconds") if ended else None,
                seconds=round((ended - began).total_seconds(), 3) if began and ended else None,
            )
            self.written.add(digest)


class Worker:
    """Takes proposals from the study, evaluates them and tells the study, one after the other."""

    def __init__(self, search: Search, interrupts: Interrupts | None = None) -> None:
        self.search, self.problem = search, search.problem
        self.interrupts = interrupts or Interrupts()
        self.study = search.open_study()
        self.study.sampler = search.make_sampler(len(self.study.get_trials(deepcopy=False)))
        self.ledger = Ledger(search.problem, {one.digest: one for one in search.run.candidates()})
        self.stuck = 0
        self._beats = has_heartbeat(self.study)
        self._looked = time.monotonic()
        self._taken = False  # whether the present trial was given to another worker meanwhile

    def work(self, n_trials: int, on_trial: Callable[[Ledger], None]) -> None:
        """Work until ``n_trials`` are evaluated by all workers together, or nothing new is found."""

        def after(study: optuna.Study, trial: FrozenTrial) -> None:
            self.ledger.update(study)
            on_trial(self.ledger)
            self._look_for_lost()
            if self._is_done(n_trials):
                study.stop()
            self.stuck = 0 if trial.state is not TrialState.FAIL else self.stuck + 1
            if self.stuck and self.stuck % STUCK == 0:
                self._queue_another(trial.number)
            self.interrupts.check()

        self.ledger.update(self.study)
        while not self._is_done(n_trials):
            try:
                self.study.optimize(self._objective, catch=(NotEvaluated,), callbacks=[after])
                return
            except ValueError:  # Optuna's, for a trial that has been told already
                if not self._taken:
                    raise
                self._taken = False
                self.ledger.update(self.study)

    def _is_done(self, n_trials: int) -> bool:
        judged = len(self.ledger.candidates) + len(self.ledger.rejected) + len(self.ledger.pruned)
        enough = len(self.ledger.candidates) + len(self.ledger.pruned) >= n_trials
        return enough or judged >= self.problem.space.size or self.ledger.n_proposals >= PATIENCE * n_trials

    def _look_for_lost(self) -> None:
        if time.monotonic() - self._looked > LOOK_FOR_LOST_S:
            self._looked = time.monotonic()
            give_back_lost(self.study)

    def _queue_another(self, number: int) -> None:
        """Queue a random architecture nobody has judged, so that a sampler that repeats itself gets on."""
        rows = self.problem.random(np.random.default_rng([self.search.seed, number]), 16)
        for architecture in map(self.problem.encoding.architecture, rows):
            if not self.ledger.is_judged(architecture.digest) and architecture not in self.ledger.rejected:
                self.study.enqueue_trial(self.problem.space.encode(architecture))
                return

    def _objective(self, trial: Trial) -> Sequence[float]:
        try:
            return self._evaluated(trial)
        except optuna.exceptions.UpdateFinishedTrialError as problem:  # given to another worker before it was begun
            self._taken = True
            raise NotEvaluated from problem

    def _evaluated(self, trial: Trial) -> Sequence[float]:
        if self._beats:
            self.study._storage.record_heartbeat(trial._trial_id)  # at once: who dies before the first is not noticed
        trial.set_user_attr(WORKER, this_worker())
        if not self._beats:
            trial.set_user_attr(BEGAN, time.time())
        variables = self.problem.space.variables()
        choices = {name: trial.suggest_categorical(name, allowed) for name, allowed in variables.items()}
        architecture = self.problem.space.decode(choices)
        latencies = self.problem.latencies(architecture)
        self._claim(trial, architecture, self.problem.why_rejected(architecture, latencies))
        try:
            accuracy = self._accuracy(trial, architecture)
        except Pruned as pruned:
            trial.set_user_attr("pruned", str(pruned))
            raise optuna.TrialPruned from pruned
        except NotEvaluated:
            raise
        except BaseException:  # no memory, data that is gone, Ctrl-C: what was to be evaluated is not lost with it
            if not self._taken:
                retry(self.study, self.study._storage.get_trial(trial._trial_id))
            raise
        for device, over in self.problem.over_budget(latencies).items():
            trial.set_constraint(f"budget {device}", over)
        return accuracy, *(latency.ms for latency in latencies)

    def _claim(self, trial: Trial, architecture: AnyArchitecture, why_rejected: str) -> None:
        """Claim an architecture for this trial.

        A claim is written first and the others' are read after it. So of two workers at least one sees the other's
        claim and gives way; if both do, the architecture is merely proposed again later. A trial that is done once
        more for a dead worker does not give way but waits, so that it is not lost.
        """
        if why_rejected:
            trial.set_user_attr(REASON, why_rejected)
            raise NotEvaluated
        digest = architecture.digest
        if self.ledger.is_judged(digest):
            raise NotEvaluated
        trial.set_user_attr(DIGEST, digest)
        self.ledger.update(self.study)
        while self.ledger.must_wait(digest, trial.number):
            if not self.ledger.is_retried(trial.number):
                raise NotEvaluated
            with self.interrupts.allowed():
                time.sleep(LOOK_EVERY_S)
            self.ledger.update(self.study)
        if self.ledger.is_judged(digest):
            raise NotEvaluated

    def _accuracy(self, trial: Trial, architecture: AnyArchitecture) -> float:
        """Return the accuracy, which a worker that died may have left behind."""
        left = trial.user_attrs.get(ACCURACY)
        if left:
            return accuracy_from_dict(left).value
        source = self.search.accuracy
        if isinstance(source, SharedAccuracy):
            source.learn_from(self.ledger)
        try:
            with self.interrupts.allowed():
                accuracy = source(architecture)
        finally:
            # This trial alone: to read all open ones is what limits a search of many workers.
            self._taken = self.study._storage.get_trial(trial._trial_id).state is not TrialState.RUNNING
            if isinstance(source, SharedAccuracy) and not self._taken:
                for name, value in source.notes().items():
                    trial.set_user_attr(name, value)
        if self._taken:
            raise NotEvaluated
        trial.set_user_attr(ACCURACY, accuracy_to_dict(accuracy))
        return accuracy.value


def give_back(study: optuna.Study, trial: FrozenTrial) -> None:
    """Fail the trial of a dead worker and queue it once more; of several that try, one does it."""
    try:
        study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        return  # another was faster
    if trial.params or "fixed_params" in trial.system_attrs:  # else it had not been proposed yet
        retry(study, trial)


def give_back_lost(study: optuna.Study) -> None:
    """Queue the trials once more that nobody has begun; where the storage has no heartbeats, also those that run on."""
    trials, now = study.get_trials(deepcopy=False), time.time()
    for trial in unbegun_trials(trials, now) + ([] if has_heartbeat(study) else lost_trials(trials, now)):
        give_back(study, trial)
