"""What workers of one study learn from each other, and what becomes of trials whose workers are gone."""

import time
from datetime import timedelta

import pytest
from optuna.trial import TrialState

from supersam.errors import UsageError
from supersam.results import Run
from supersam.search.halving import FIRST, Halving, Pruned
from supersam.search.history import BEGAN, WORKER
from supersam.search.learning import LEAST, LearningAccuracy, round_number
from supersam.search.ledger import LOST_AFTER_S, LOST_FACTOR, lost_trials
from supersam.search.storage import has_heartbeat
from supersam.search.study import Search, Worker, give_back, give_back_lost


def quietly(ledger):
    """Report to nobody."""


class Halved:
    """A measurement in rungs, given up like one on images."""

    def __init__(self, problem, truth):
        self.truth, self.halving = truth, Halving(lambda a: [problem.latencies(a)[0].ms])

    def __call__(self, architecture):
        bad = int(architecture.digest, 16) % 2
        for rung in range(2):
            self.halving.check(rung, architecture, self.truth(architecture).value - bad, 4)
        return self.truth(architecture)

    def learn_from(self, ledger):
        self.halving.learn_from(ledger.reached.values())

    def notes(self):
        return {"reached": self.halving.reached} if self.halving.reached else {}


def test_a_worker_that_joins_judges_by_what_all_others_saw(space, problem_of, search_of, truth):
    problem = problem_of(space)
    search_of(problem, Halved(problem, truth), sampler="auto").optimize(30, [], quietly)

    joined = Halved(problem, truth)
    search_of(problem, joined, sampler="auto").optimize(31, [], quietly)

    assert len(joined.halving.seen[0]) == 31
    alone = Halved(problem, truth)
    search_of(problem, alone, sampler="auto", folder="alone").optimize(31, [], quietly)
    assert alone.halving.seen == joined.halving.seen


def test_halving_forgets_what_it_reached_last_when_it_learns(space, rng):
    halving = Halving(lambda architecture: [1.0])
    halving.check(0, space.sample(rng), 0.5, 4)
    halving.check(1, space.sample(rng), 0.6, 8)
    assert halving.reached == [(1.0, 0.5), (1.0, 0.6)]

    halving.learn_from([[[1.0, 0.9]]] * FIRST)

    assert halving.reached == []
    assert [len(seen) for seen in halving.seen] == [FIRST, 0]
    with pytest.raises(Pruned):
        halving.check(0, space.sample(rng), 0.1, 4)


def test_measurements_of_all_workers_are_learnt_from_and_counted(space, problem_of, search_of, truth):
    problem = problem_of(space)
    asked = []

    def measure(architecture):
        asked.append(architecture.digest)
        return truth(architecture)

    search_of(problem, LearningAccuracy(measure, problem, 30)).optimize(40, [], quietly)
    begun = len(asked)
    source = LearningAccuracy(measure, problem, 30)  # of a worker that joins, or of a search that is continued
    ledger = search_of(problem, source).optimize(60, [], quietly)

    measured = [one for one in ledger.candidates.values() if one.accuracy.source == "measured"]
    assert LEAST <= begun <= len(asked) == len(measured) <= 30
    assert source.measured.keys() == {one.architecture for one in measured}


def test_a_model_follows_from_the_measurements_alone(space, problem_of, truth, rng):
    problem = problem_of(space)
    known = list(dict.fromkeys(space.sample(rng) for _ in range(50)))
    wanted = known.pop()
    grown, joined = (LearningAccuracy(truth, problem, 1000) for _ in range(2))
    for at, architecture in enumerate(known):
        grown.measure_now(architecture)
        if at > LEAST:
            grown.predict(wanted)
    joined.measured = {architecture: truth(architecture) for architecture in known}

    assert grown.predict(wanted).value == pytest.approx(joined.predict(wanted).value, abs=1e-9)
    assert [round_number(n) for n in (24, 27, 28, 33, 200)] == [24, 24, 28, 33, 192]


def open_trial(study, space, architecture, **noted):
    study.enqueue_trial(space.encode(architecture))
    trial = study.ask()
    for name, allowed in space.variables().items():
        trial.suggest_categorical(name, allowed)
    for name, value in {"digest": architecture.digest, "worker": "elsewhere:1", **noted}.items():
        trial.set_user_attr(name, value)
    return trial


def test_without_heartbeats_a_trial_that_runs_hopelessly_long_is_given_to_another(space, problem_of, search_of, truth):
    search = search_of(problem_of(space))
    search.prepare([])
    study = search.open_study()
    assert not has_heartbeat(study)
    gone = open_trial(study, space, space.smallest(), began=time.time() - LOST_AFTER_S - 1)
    alive = open_trial(study, space, space.largest(), began=time.time())

    ledger = search.optimize(2, [], quietly)

    trials = search.open_study().trials
    assert trials[gone.number].state is TrialState.FAIL
    assert trials[alive.number].state is TrialState.RUNNING
    assert space.smallest().digest in ledger.candidates


def test_slow_evaluations_make_the_others_patient(space, problem_of, search_of, truth):
    search = search_of(problem_of(space))
    search.optimize(1, [], quietly)
    study = search.open_study()
    open_trial(study, space, space.smallest(), began=1000.0)
    done, running = study.trials[0], study.trials[-1]
    done.datetime_complete = done.datetime_start + timedelta(seconds=LOST_AFTER_S)

    assert lost_trials([done, running], 1000.0 + LOST_FACTOR * LOST_AFTER_S + 1) == [running]
    assert lost_trials([done, running], 1000.0 + LOST_FACTOR * LOST_AFTER_S - 1) == []


def test_a_database_has_heartbeats_of_its_own(few, problem_of, truth, tmp_path):
    run = Run(tmp_path / "run")
    run.start({})
    study = Search(run, problem_of(few), truth, 0, "random").open_study()

    assert has_heartbeat(study)
    give_back_lost(study)  # nothing to do
    assert study.trials == []


@pytest.fixture(params=["sqlite", "journal"])
def queued(request, few, problem_of, truth, tmp_path):
    """A study with heartbeats and one without, in which the smallest architecture is queued."""
    run = Run(tmp_path / "run")
    run.start({})
    url = None if request.param == "sqlite" else f"journal:///{tmp_path}/study.log"
    study = Search(run, problem_of(few), truth, 0, "random", url).open_study()
    study.enqueue_trial(few.encode(few.smallest()))
    return study


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed")
def test_a_queued_trial_that_a_dead_worker_took_and_never_began_is_queued_again(few, queued, monkeypatch):
    queued.ask()  # and then it was killed

    give_back_lost(queued)
    assert [trial.state for trial in queued.trials] == [TrialState.RUNNING], "too soon to tell"
    monkeypatch.setattr("supersam.search.ledger.UNBEGUN_S", -1.0)
    give_back_lost(queued)

    assert [trial.state for trial in queued.trials] == [TrialState.FAIL, TrialState.WAITING]
    assert queued.ask().suggest_categorical("resolution", few.resolutions) == few.smallest().resolution
    waiting = queued.trials[-1].system_attrs["fixed_params"]
    assert waiting == few.encode(few.smallest())


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed")
def test_a_retried_trial_whose_second_worker_dies_before_it_begins_is_queued_again(queued, monkeypatch):
    first = queued.ask()
    first.set_user_attr(WORKER, "elsewhere:1")
    first.set_user_attr(BEGAN, 0.0)
    give_back(queued, queued.trials[0])
    queued.ask()  # and then it was killed too

    assert not lost_trials(queued.trials, time.time()), "it was taken only now"
    monkeypatch.setattr("supersam.search.ledger.UNBEGUN_S", -1.0)
    give_back_lost(queued)

    assert [trial.state for trial in queued.trials] == [TrialState.FAIL, TrialState.FAIL, TrialState.WAITING]


def test_a_worker_whose_trial_was_given_to_another_meanwhile_goes_on(space, problem_of, search_of, truth):
    taken = []

    def slow(architecture):
        if not taken:
            study = search_of(problem_of(space)).open_study()
            running = next(trial for trial in study.trials if trial.state is TrialState.RUNNING)
            study.tell(running.number, state=TrialState.FAIL)
            taken.append(architecture.digest)
        return truth(architecture)

    search = search_of(problem_of(space), slow)
    Worker(search).work(5, quietly)

    states = [trial.state for trial in search.open_study().trials]
    assert states[0] is TrialState.FAIL
    assert states.count(TrialState.COMPLETE) == 5


def test_a_worker_whose_trial_was_given_away_before_it_began_goes_on(space, problem_of, search_of, truth, monkeypatch):
    given = []

    def begin(self, *arguments):
        if not given:
            given.append(True)
            self.study.tell(self.study.trials[0].number, state=TrialState.FAIL)
        return evaluated(self, *arguments)

    evaluated = Worker._evaluated
    monkeypatch.setattr(Worker, "_evaluated", begin)
    search = search_of(problem_of(space), truth)

    Worker(search).work(5, quietly)

    states = [trial.state for trial in search.open_study().trials]
    assert states[0] is TrialState.FAIL
    assert states.count(TrialState.COMPLETE) == 5


def test_a_study_of_another_question_is_refused_before_anything_is_begun(space, problem_of, search_of, tmp_path):
    url = f"journal:///{tmp_path}/shared.journal"
    search_of(problem_of(space, 3.0), storage=url).optimize(2, [], quietly)
    other = Search(Run(tmp_path / "other"), problem_of(space, 4.0), lambda a: None, 0, "random", url)

    with pytest.raises(UsageError, match="other budgets_ms"):
        other.check()
    assert not (tmp_path / "other").exists()
    search_of(problem_of(space, 3.0), storage=url).check()
    search_of(problem_of(space, 3.0), storage=f"journal:///{tmp_path}/new.journal").check()
