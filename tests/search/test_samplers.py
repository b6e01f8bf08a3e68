"""What every sampler must do, whatever its method."""

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from supersam.errors import UsageError
from supersam.latency import load_table
from supersam.results import hypervolume, pareto_front
from supersam.search.encoding import total, unique
from supersam.search.history import History
from supersam.search.predictor import Features, Predictor
from supersam.search.problem import REACH, Device
from supersam.search.samplers import SAMPLERS, make_sampler
from supersam.search.samplers.ehvi import Acquisition
from supersam.search.samplers.linas import LINASSampler

OWN = ["ehvi", "linas", "linas-dp"]
LIGHT = [name for name in SAMPLERS if name not in ("gp", "auto") and not name.startswith("nni-")]


def run_study(sampler, problem, truth, n, n_objectives=1):
    """Ask and tell ``n`` trials by hand, rejecting what the table rejects."""
    study = optuna.create_study(directions=["maximize"] + ["minimize"] * n_objectives, sampler=sampler)
    for _ in range(n):
        trial = study.ask()
        choices = {k: trial.suggest_categorical(k, v) for k, v in problem.space.variables().items()}
        architecture = problem.space.decode(choices)
        latencies = problem.latencies(architecture)
        if problem.why_rejected(architecture, latencies):
            trial.set_user_attr("rejected", "slow")
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, [truth(architecture).value, *(latency.ms for latency in latencies)])
    return study


@pytest.mark.parametrize("name", LIGHT)
def test_a_sampler_repeats_itself_with_the_same_seed_and_not_with_another(space, problem_of, truth, name):
    problem = problem_of(space, 3.0)

    def proposals(seed):
        return [trial.params for trial in run_study(make_sampler(name, problem, seed), problem, truth, 28).trials]

    assert proposals(1) == proposals(1) != proposals(2)


@pytest.mark.parametrize("name", OWN)
def test_a_model_sampler_proposes_nothing_twice_and_nothing_out_of_reach(space, problem_of, truth, name):
    problem = problem_of(space, 1.5)
    study = run_study(make_sampler(name, problem, 0), problem, truth, 60)

    rows = problem.encoding.rows([problem.space.decode(trial.params) for trial in study.trials])
    assert len(unique(rows)) == 60
    assert problem.reachable(rows).all()
    assert all(trial.state is TrialState.COMPLETE for trial in study.trials)


@pytest.mark.parametrize("name", OWN)
def test_a_model_sampler_beats_random_on_the_small_space(space, problem_of, truth, everything, name):
    problem = problem_of(space, 3.0)
    known = list(everything(problem))
    accuracy = {found.digest: found for found in known}

    def found_by(name):
        trials = run_study(make_sampler(name, problem, 0), problem, truth, 40).trials
        return [accuracy[problem.space.decode(t.params).digest] for t in trials if t.state is TrialState.COMPLETE]

    def area(candidates):
        return hypervolume(pareto_front(candidates), 4.0, 0.4)

    assert area(found_by(name)) > area(found_by("random"))
    assert area(found_by(name)) > (0.985 if name == "ehvi" else 0.96) * area(
        [one for one in known if one.latency.hi <= REACH * 3.0]
    )


@pytest.mark.parametrize("name", OWN)
def test_a_model_sampler_goes_on_as_if_it_had_not_been_interrupted(space, problem_of, truth, name):
    problem = problem_of(space, 3.0)
    whole = run_study(make_sampler(name, problem, 3), problem, truth, 40)
    begun = run_study(make_sampler(name, problem, 3), problem, truth, 27)
    begun.sampler = make_sampler(name, problem, 3)
    for _ in range(13):
        trial = begun.ask()
        choices = {k: trial.suggest_categorical(k, v) for k, v in problem.space.variables().items()}
        architecture = problem.space.decode(choices)
        begun.tell(trial, [truth(architecture).value, problem.latencies(architecture)[0].ms])

    assert [trial.params for trial in begun.trials] == [trial.params for trial in whole.trials]


@pytest.mark.parametrize("name", [*OWN, "nsga2", "nsga3"])
def test_layers_that_are_left_out_and_several_devices_are_handled(vit_space, problem_of, truth, name):
    second = Device("cpu", load_table("jetson-orin"), 5.0)
    problem = problem_of(vit_space, 5.0, second)

    study = run_study(make_sampler(name, problem, 0), problem, truth, 40, n_objectives=2)

    digests = [problem.space.decode(trial.params).digest for trial in study.trials]
    if name in OWN:
        assert len(set(digests)) == len(digests)
    assert len(set(digests)) > 20


@pytest.mark.parametrize("name", OWN)
def test_an_exhausted_space_is_no_error(few, problem_of, truth, name):
    problem = problem_of(few)
    study = run_study(make_sampler(name, problem, 0), problem, truth, few.size + 3)

    assert len({problem.space.decode(trial.params).digest for trial in study.trials}) == few.size == 32


def test_what_another_worker_is_evaluating_is_not_proposed(space, problem_of, truth):
    problem = problem_of(space, 3.0)
    study = run_study(make_sampler("ehvi", problem, 0), problem, truth, 20)
    open_trials = []
    for _ in range(12):
        trial = study.ask()
        for name, allowed in problem.space.variables().items():
            trial.suggest_categorical(name, allowed)
        open_trials.append(trial.params)
        study.sampler = make_sampler("ehvi", problem, 0)  # of another worker

    assert len({str(params) for params in open_trials}) == 12
    history = History(problem)
    history.update(study)
    assert len(history.taken) == 32
    assert history.n == 20


def test_queued_trials_are_taken_as_they_are(space, problem_of, truth):
    problem = problem_of(space, 3.0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=make_sampler("ehvi", problem, 0))
    wanted = problem.space.encode(problem.space.largest())
    study.enqueue_trial(wanted)

    trial = study.ask()

    assert {k: trial.suggest_categorical(k, v) for k, v in problem.space.variables().items()} == wanted


def test_a_partly_queued_trial_is_completed(space, problem_of):
    problem = problem_of(space, 3.0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=make_sampler("ehvi", problem, 0))
    study.enqueue_trial({"resolution": 384})

    trial = study.ask()
    found = {k: trial.suggest_categorical(k, v) for k, v in problem.space.variables().items()}

    assert found["resolution"] == 384
    assert problem.space.contains(problem.space.decode(found))


def test_linas_as_published_learns_single_choices_in_rounds_of_50(space, problem_of):
    sampler = LINASSampler(problem_of(space), 0, population=50, pairs=False)

    assert (sampler.n_start, sampler.batch(100)) == (50, 50)


def test_every_listed_sampler_can_be_made_and_an_unknown_one_is_named(space, problem_of):
    problem = problem_of(space, 3.0)

    for name in LIGHT:
        assert isinstance(make_sampler(name, problem, 0), optuna.samplers.BaseSampler)
    with pytest.raises(UsageError, match="Did you mean 'linas'"):
        make_sampler("lina", problem, 0)


def test_optunas_gaussian_process_searches_too(few, problem_of, truth):
    pytest.importorskip("torch").set_num_threads(1)

    study = run_study(make_sampler("gp", problem_of(few, 3.0), 0), problem_of(few, 3.0), truth, 18)

    assert len(study.trials) == 18


@pytest.mark.parametrize("budget_ms", [None, 1.5])
def test_lazy_choices_are_those_of_looking_at_every_row_every_time(space, problem_of, truth, budget_ms):
    problem = problem_of(space, budget_ms)
    rng = np.random.default_rng(0)
    rows, others = np.split(unique(problem.random(rng, 200)), [30])
    accuracy = np.array([truth(problem.encoding.architecture(row)).value for row in rows])
    cost = total(problem.median_terms[0], rows)
    predictor = Predictor(Features(problem)).fit(rows, accuracy)

    def search():
        return Acquisition(problem, predictor, rows, accuracy, cost, 0, 4.0)

    chosen, plain, left = search().choose(others, 12), search(), list(range(len(others)))
    for turn, row in enumerate(chosen):
        mean, spread = predictor.predict(others[left])
        wish = plain._gain if turn % 2 and budget_ms is not None else plain._area
        best = left.pop(int(wish(mean, spread, others[left]).argmax()))
        assert (others[best] == row).all()
        one = others[best : best + 1]
        plain._suppose(*predictor.predict(one), one)
