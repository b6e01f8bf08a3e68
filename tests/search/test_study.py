"""The search against a truth that can be enumerated, its claims, its limits and what it leaves in a run's folder."""

import json

import optuna
import pytest
from optuna.trial import TrialState

from supersam.errors import EnvironmentProblem, UsageError
from supersam.latency import load_table
from supersam.results import Run, best_within, hypervolume, pareto_front
from supersam.search.feasible import fastest
from supersam.search.halving import Pruned
from supersam.search.history import History
from supersam.search.ledger import Ledger
from supersam.search.memory import memory_mb
from supersam.search.problem import REACH, Device
from supersam.search.starts import corners
from supersam.search.study import Search, Worker, give_back
from supersam.space import count


def quietly(ledger):
    """Report to nobody."""


def test_the_search_nears_the_true_front_and_finds_the_best_within_the_budget(space, problem_of, search_of, everything):
    problem = problem_of(space, 2.2)
    known = list(everything(problem))

    ledger = search_of(problem, sampler="auto").optimize(60, corners(space), quietly)

    best = best_within(ledger.candidates.values(), 2.2)
    assert best.accuracy.value >= best_within(known, 2.2).accuracy.value - 0.002
    reachable = [candidate for candidate in known if candidate.latency.hi <= 2.2]
    true = hypervolume(pareto_front(reachable), 3.0, 0.4)
    assert hypervolume(pareto_front(ledger.candidates.values()), 3.0, 0.4) > 0.98 * true


@pytest.mark.parametrize("sampler", ["auto", "nsga2", "random"])
def test_no_architecture_is_evaluated_twice(space, problem_of, search_of, truth, sampler):
    asked = []

    def counted(architecture):
        asked.append(architecture.digest)
        return truth(architecture)

    ledger = search_of(problem_of(space, 5.0), counted, sampler=sampler).optimize(40, [], quietly)

    assert len(asked) == len(set(asked)) == len(ledger.candidates) == 40


def test_what_is_far_beyond_the_budget_is_rejected_before_any_accuracy_is_asked(space, problem_of, search_of, truth):
    budget = problem_of(space).bound_ms(problem_of(space).latencies(fastest(problem_of(space)))[0]) * 1.1
    problem = problem_of(space, budget)

    def never_slow(architecture):
        assert problem.latencies(architecture)[0].hi <= REACH * budget
        return truth(architecture)

    search = search_of(problem, never_slow)
    ledger = search.optimize(12, [space.largest()], quietly)

    assert space.largest() in ledger.rejected
    assert all(problem.latencies(architecture)[0].hi > REACH * budget for architecture in ledger.rejected)
    trial = search.open_study().trials[0]
    assert (trial.state, trial.values) == (TrialState.FAIL, None)
    assert trial.user_attrs["rejected"] == "slower than 2 budgets"


def test_a_budget_is_a_constraint_of_optunas_own(space, problem_of, search_of):
    search = search_of(problem_of(space, 1.5))
    search.optimize(15, [], quietly)

    for trial in search.open_study().trials:
        if trial.state is TrialState.COMPLETE:
            latency = search.problem.latencies(space.decode(trial.params))[0]
            assert trial.constraints == {"budget jetson-orin": pytest.approx(latency.hi - 1.5)}


def test_limits_of_size_are_kept(space, problem_of, search_of):
    middle = space.smallest()
    limits = {"params_m": 0.6, "gmacs": 0.4, "memory_mb": memory_mb(middle) * 2.5}
    problem = problem_of(space, None, **limits)

    ledger = search_of(problem, sampler="auto").optimize(25, [space.largest(), middle], quietly)

    assert len(ledger.candidates) >= 20
    for candidate in ledger.candidates.values():
        ops = count(candidate.architecture)
        assert ops.params / 1e6 <= 0.6
        assert ops.gmacs <= 0.4
        assert memory_mb(candidate.architecture) <= limits["memory_mb"]
    assert "is over" in ledger.rejected[space.largest()]


def test_an_encoder_that_is_larger_needs_more_memory(space):
    weights = 4 * count(space.smallest()).params / 1e6

    assert weights < memory_mb(space.smallest()) < memory_mb(space.largest())


def test_several_devices_have_a_front_each(space, problem_of, search_of, tmp_path):
    table = load_table("jetson-orin")
    other = Device(
        "twice", table.model_copy(update={"composition": table.composition.model_copy(update={"factor": 2.0})}), 3.0
    )
    problem = problem_of(space, 1.5, other)

    search = search_of(problem, sampler="auto")
    ledger = search.optimize(25, [], quietly)

    for candidate in ledger.candidates.values():
        assert candidate.also["twice"].ms == pytest.approx(2 * candidate.latency.ms)
    assert len(search.open_study().directions) == 3
    assert Run(tmp_path / "run").candidates()[0].also.keys() == {"twice"}


def test_the_search_of_an_exhausted_space_ends(few, problem_of, search_of):
    for sampler in ("auto", "nsga2"):
        search = search_of(problem_of(few), sampler=sampler, folder=sampler)

        ledger = search.optimize(40, [], quietly)

        assert len(ledger.candidates) == few.size


def test_the_fastest_is_the_fastest_of_all(space, problem_of, everything):
    problem = problem_of(space)

    assert problem.latencies(fastest(problem))[0].hi == pytest.approx(min(c.latency.hi for c in everything(problem)))


def test_the_same_seed_gives_the_same_search_and_a_continued_one_is_the_same(space, problem_of, search_of):
    problem = problem_of(space, 3.0)
    whole = search_of(problem, sampler="auto", folder="whole").optimize(30, corners(space), quietly)
    search_of(problem, sampler="auto").optimize(17, corners(space), quietly)
    continued = search_of(problem, sampler="auto").optimize(30, corners(space), quietly)

    assert list(continued.candidates) == list(whole.candidates)


def test_what_was_evaluated_and_not_written_is_written_by_who_goes_on(space, problem_of, search_of, tmp_path):
    problem = problem_of(space, 3.0)
    search_of(problem).optimize(10, [], quietly)
    run = Run(tmp_path / "run")
    lines = run.candidates_file.read_text().splitlines(keepends=True)
    run.candidates_file.write_text("".join(lines[:4]))

    search_of(problem).optimize(12, [], quietly)

    found = [json.loads(line) for line in run.candidates_file.read_text().splitlines()]
    assert len(found) == len({one["digest"] for one in found}) == 12
    assert {one["trial"] for one in found} >= {json.loads(line)["trial"] for line in lines}
    assert all(one["seconds"] >= 0 and "T" in one["at"] for one in found)


def test_a_study_of_another_question_is_not_joined(space, problem_of, search_of, tmp_path):
    url = f"journal:///{tmp_path}/shared.journal"
    search_of(problem_of(space, 3.0), storage=url).optimize(3, [], quietly)

    with pytest.raises(UsageError, match="other budgets_ms"):
        search_of(problem_of(space, 4.0), storage=url).optimize(3, [], quietly)


def test_a_beginning_that_was_interrupted_is_completed_when_the_search_goes_on(space, problem_of, search_of):
    search = search_of(problem_of(space))
    first = corners(space)

    def interrupted():
        yield from first[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search.prepare(interrupted())
    for _ in range(2):
        search.prepare(first)

    queued = [trial.system_attrs["fixed_params"] for trial in search.open_study().trials]
    assert queued == [space.encode(architecture) for architecture in first]


def test_a_claim_of_another_worker_is_respected_and_its_result_is_not_lost(space, problem_of, search_of, truth):
    problem = problem_of(space)
    search = search_of(problem)
    search.prepare([])
    study = search.open_study()
    wanted = space.encode(space.smallest())
    study.enqueue_trial(wanted)
    theirs = study.ask()
    for name, allowed in space.variables().items():
        theirs.suggest_categorical(name, allowed)
    theirs.set_user_attr("digest", space.smallest().digest)
    asked = []

    def counted(architecture):
        asked.append(architecture.digest)
        return truth(architecture)

    study.enqueue_trial(wanted)
    mine = search_of(problem, counted)
    Worker(mine).work(3, quietly)

    assert space.smallest().digest not in asked
    study.tell(theirs, [0.9, 1.0])


def test_the_trial_of_a_dead_worker_is_done_again_with_what_it_left(space, problem_of, search_of, truth):
    problem = problem_of(space)
    search = search_of(problem)
    search.prepare([])
    study = search.open_study()
    study.enqueue_trial(space.encode(space.smallest()))
    dead = study.ask()
    for name, allowed in space.variables().items():
        dead.suggest_categorical(name, allowed)
    dead.set_user_attr("digest", space.smallest().digest)
    dead.set_user_attr("worker", "a-machine-elsewhere:1")
    give_back(study, study.trials[dead.number])
    give_back(study, study.trials[dead.number])  # of several that notice, one acts

    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    ledger = Ledger(problem)
    Worker(search).work(2, quietly)
    ledger.update(search.open_study())
    assert space.smallest().digest in ledger.candidates
    assert ledger.candidates[space.smallest().digest].accuracy == truth(space.smallest())


def test_what_is_given_up_is_told_as_pruned_and_not_asked_again(space, problem_of, search_of, truth):
    asked = []

    def picky(architecture):
        asked.append(architecture.digest)
        if len(asked) % 2:
            raise Pruned("too low")
        return truth(architecture)

    search = search_of(problem_of(space), picky, sampler="nsga2")
    ledger = search.optimize(30, [], quietly)

    assert len(asked) == len(set(asked)) == 30
    assert len(ledger.pruned) == 15
    states = [trial.state for trial in search.open_study().trials]
    assert states.count(TrialState.PRUNED) == states.count(TrialState.COMPLETE) == 15


@pytest.mark.parametrize("sampler", ["auto", "tpe", "linas"])
def test_samplers_live_with_pruned_trials(space, problem_of, search_of, truth, sampler):
    def picky(architecture):
        if int(architecture.digest, 16) % 3 == 0:
            raise Pruned("too low")
        return truth(architecture)

    ledger = search_of(problem_of(space, 3.0), picky, sampler=sampler).optimize(30, [], quietly)

    assert ledger.pruned
    assert len(ledger.candidates) + len(ledger.pruned) == 30


def test_a_plan_is_made_without_what_was_given_up_before_it(space, problem_of, search_of, truth):
    def picky(architecture):
        if int(architecture.digest, 16) % 3 == 0:
            raise Pruned("too low")
        return truth(architecture)

    problem = problem_of(space)
    search = search_of(problem, picky)
    search.optimize(30, [], quietly)
    history, study = History(problem), search.open_study()
    history.update(study)

    for n in (0, 5, history.n):
        last = sorted(t.number for t in study.trials if t.state is TrialState.COMPLETE)[:n][-1:] or [-1]
        before = [t for t in study.trials[: last[0] + 1] if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        assert history.judged(n) == {problem.encoding.row(trial.params).tobytes() for trial in before}
    assert len(history.judged(history.n)) > history.n


@pytest.mark.parametrize("problem", [EnvironmentProblem("too little memory"), KeyboardInterrupt()], ids=type)
def test_what_was_being_evaluated_when_a_search_ended_is_evaluated_when_it_goes_on(
    problem, space, problem_of, search_of, truth
):
    first, asked = list(corners(space)), []

    def fails_once(architecture):
        asked.append(architecture.digest)
        if len(asked) == 2:
            raise problem
        return truth(architecture)

    search = search_of(problem_of(space), fails_once)
    with pytest.raises(type(problem)):
        search.optimize(len(first), first, quietly)
    ledger = search.optimize(len(first), first, quietly)

    assert next(iter(ledger.candidates)) == asked[0]
    assert sorted(ledger.candidates) == sorted(one.digest for one in first)
    assert asked.count(asked[1]) == 2
    assert len(asked) == len(first) + 1


def test_an_error_of_an_evaluation_is_not_swallowed(space, problem_of, search_of):
    def broken(architecture):
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        search_of(problem_of(space), broken).optimize(3, [], quietly)


def test_a_run_in_its_own_folder_is_sqlite(few, problem_of, tmp_path, truth):
    run = Run(tmp_path / "run")
    run.start({})

    Search(run, problem_of(few), truth, 0, "random").optimize(3, [], quietly)

    study = optuna.load_study(study_name="search", storage=f"sqlite:///{run.study_file}")
    assert len([trial for trial in study.trials if trial.state is TrialState.COMPLETE]) == 3
