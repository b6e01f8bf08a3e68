"""The search: Optuna proposes architectures, the latency table judges them for free, accuracy is asked for the rest.

Two objectives, accuracy and latency, with the budget as a constraint (``Trial.set_constraint`` of Optuna 5).
Architectures far beyond the budget are told as failed before any accuracy is asked; no value is invented.
"""

import random
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import optuna
import sqlalchemy
from optuna.trial import Trial, TrialState

from supersam.latency import LatencyTable
from supersam.results import Candidate, Run
from supersam.search.accuracy import AccuracySource
from supersam.space import AnyArchitecture, SearchSpace

POPULATION = 24
STUDY = "search"
REACH = 2.0  # the front is followed up to this many budgets, to show what a larger one would buy
PATIENCE = 20  # proposals for each trial before a small space counts as exhausted

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass
class Progress:
    """What a search knows so far."""

    candidates: dict[str, Candidate] = field(default_factory=dict)
    rejected: set[AnyArchitecture] = field(default_factory=set)  # too slow to be asked for an accuracy

    @property
    def n_trials(self) -> int:
        """The number of different architectures judged."""
        return len(self.candidates) + len(self.rejected)


@dataclass(frozen=True)
class Search:
    """One question and how it is answered."""

    run: Run
    space: SearchSpace
    table: LatencyTable
    budget_ms: float
    risk: str
    accuracy: AccuracySource
    seed: int

    def open_study(self) -> optuna.Study:
        """Open the run's study, new or continued."""
        study = optuna.create_study(
            storage=_sqlite(self.run), study_name=STUDY, directions=["maximize", "minimize"], load_if_exists=True
        )
        # A sampler's random state is not stored, so a continued run draws from a stream of its own.
        seed = random.Random(f"{self.seed}/{len(study.get_trials(deepcopy=False))}").randrange(2**31)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
            study.set_metric_names(["accuracy", "latency_ms"])
        return study

    def optimize(
        self, n_trials: int, first: Iterable[AnyArchitecture], on_trial: Callable[[Progress], None]
    ) -> Progress:
        """Judge architectures until ``n_trials`` different ones are known.

        Args:
            first: architectures to begin with, such as the extremes and what is known to be good.
            on_trial: called after every trial.
        """
        study = self.open_study()
        progress = self._known(study)
        if progress.n_trials == 0:
            for architecture in first:
                study.enqueue_trial(self.space.encode(architecture))
        proposals = 0
        while progress.n_trials < n_trials and proposals < PATIENCE * n_trials:
            proposals += 1
            self._judge(study, study.ask(), progress)
            on_trial(progress)
        return progress

    def _judge(self, study: optuna.Study, trial: Trial, progress: Progress) -> None:
        choices = {name: trial.suggest_categorical(name, allowed) for name, allowed in self.space.variables().items()}
        architecture = self.space.decode(choices)
        trial.set_user_attr("digest", architecture.digest)
        candidate = progress.candidates.get(architecture.digest)
        if candidate is None:
            if bound_ms(self.table, architecture, self.risk) > REACH * self.budget_ms:
                progress.rejected.add(architecture)
                study.tell(trial, state=TrialState.FAIL)
                return
            candidate = Candidate(architecture, self.accuracy(architecture), self.table.predict(architecture))
            self.run.append(candidate)
            progress.candidates[architecture.digest] = candidate
        trial.set_constraint("budget", candidate.bound_ms(self.risk) - self.budget_ms)
        study.tell(trial, [candidate.accuracy.value, candidate.latency.ms])

    def _known(self, study: optuna.Study) -> Progress:
        """Return what a run that is continued found before."""
        candidates = {candidate.digest: candidate for candidate in self.run.candidates()}
        variables = self.space.variables()
        rejected = {
            self.space.decode(trial.params)
            for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
            if trial.params.keys() == variables.keys()
        }
        return Progress(candidates, {a for a in rejected if a.digest not in candidates})


def _sqlite(run: Run) -> optuna.storages.RDBStorage:
    storage = optuna.storages.RDBStorage(f"sqlite:///{run.study_file}", engine_kwargs={"connect_args": {"timeout": 60}})

    # Half of a trial's time is waiting for the disk; in this mode a power cut can lose the last trials, not the file.
    @sqlalchemy.event.listens_for(storage.engine, "connect")
    def _relax(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    storage.engine.dispose()  # connections made before the listener
    return storage


def bound_ms(table: LatencyTable, architecture: AnyArchitecture, risk: str) -> float:
    """Return what is compared with a budget: the upper bound of the latency, or its median."""
    latency = table.predict(architecture)
    return latency.ms if risk == "median" else latency.hi


def fastest(space: SearchSpace, table: LatencyTable, risk: str) -> AnyArchitecture:
    """Return an architecture that no single change makes faster, to know at once whether a budget can be met."""
    variables = space.variables()
    choices = space.encode(space.smallest())
    best = bound_ms(table, space.decode(choices), risk)
    improved = True
    while improved:
        improved = False
        for name, allowed in variables.items():
            for choice in allowed:
                bound = bound_ms(table, space.decode(choices | {name: choice}), risk)
                if bound < best:
                    best, choices, improved = bound, choices | {name: choice}, True
    return space.decode(choices)


def seeds_of(space: SearchSpace, known: dict[AnyArchitecture, Any], count: int = 16) -> list[AnyArchitecture]:
    """Return what a search begins with: the extremes, one of each single block type, the best that is known."""
    starts: dict[AnyArchitecture, None] = {space.smallest(): None, space.largest(): None}
    variables = space.variables()
    blocks = next((choices for name, choices in variables.items() if name.endswith(".block")), ())
    for block in blocks:
        for end in (0, -1):
            choices = {name: allowed[end] for name, allowed in variables.items()}
            choices |= {name: block for name in variables if name.endswith(".block") and block in variables[name]}
            starts[space.decode(choices)] = None
    best = sorted(known, key=lambda architecture: -known[architecture].value)[:count]
    return list(dict.fromkeys([*starts, *best]))
