"""What must hold of a search whatever the truth is: random accuracies, budgets, limits, devices and seeds."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage

from supersam.latency import load_table
from supersam.results import Accuracy, Candidate, Run, best_within, pareto_front
from supersam.search.feasible import fastest
from supersam.search.problem import REACH, Device
from supersam.search.report import why_fewer
from supersam.search.starts import corners
from supersam.search.study import Search

ONCE = settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
SAMPLERS = ["ehvi", "linas", "linas-dp", "nsga2", "random"]


@pytest.fixture(autouse=True, scope="module")
def in_memory():
    """Keep studies in memory: what is tested here is not the storage."""
    kept: dict[str, InMemoryStorage] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("supersam.search.study.open_storage", lambda url: kept.setdefault(url, InMemoryStorage()))
        yield


def quietly(ledger):
    """Report to nobody."""


def arbitrary(seed, steps):
    """Return an accuracy that is unlike anything a model expects, with ties where there are few steps."""

    def accuracy(architecture):
        rng = np.random.default_rng([seed, int(architecture.digest, 16)])
        value = float(rng.integers(0, steps)) / steps
        return Accuracy(value, "measured", (value, value))

    return accuracy


def search_in(folder, problem, accuracy, sampler, seed):
    run = Run(folder)
    run.start({})
    return Search(run, problem, accuracy, seed, sampler, f"memory:///{folder}")


@pytest.mark.parametrize("sampler", SAMPLERS)
@ONCE
@given(seed=st.integers(0, 999), steps=st.sampled_from([1, 3, 1000]))
def test_a_space_that_is_searched_to_its_end_gives_its_true_front(
    few, problem_of, everything, tmp_path_factory, sampler, seed, steps
):
    problem, accuracy = problem_of(few), arbitrary(seed, steps)
    known = [Candidate(one.architecture, accuracy(one.architecture), one.latency) for one in everything(problem)]
    search = search_in(tmp_path_factory.mktemp("run"), problem, accuracy, sampler, seed)

    ledger = search.optimize(few.size + 10, [], quietly)

    def shape(candidates):
        return [(one.latency.ms, one.accuracy.value) for one in pareto_front(candidates)]

    assert len(ledger.candidates) == few.size
    assert shape(ledger.candidates.values()) == shape(known)
    assert why_fewer(problem, ledger, few.size + 10).startswith(f"All {few.size} architectures")
    assert why_fewer(problem, ledger, few.size) == ""


@pytest.mark.parametrize("sampler", ["ehvi", "linas-dp", "nsga2"])
@ONCE
@given(share=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_the_best_within_any_budget_is_found_when_all_within_reach_is_evaluated(
    few, problem_of, everything, tmp_path_factory, sampler, share, seed
):
    accuracy = arbitrary(seed, 1000)
    bounds = sorted(one.latency.hi for one in everything(problem_of(few)))
    budget = bounds[round(share * (len(bounds) - 1))]
    problem = problem_of(few, budget)
    known = [Candidate(one.architecture, accuracy(one.architecture), one.latency) for one in everything(problem)]
    reachable = [one for one in known if one.latency.hi <= REACH * budget]
    search = search_in(tmp_path_factory.mktemp("run"), problem, accuracy, sampler, seed)

    ledger = search.optimize(few.size, [fastest(problem)], quietly)

    assert {one.digest for one in reachable} == ledger.candidates.keys()
    assert best_within(ledger.candidates.values(), budget) == best_within(known, budget)


@pytest.mark.parametrize("sampler", ["ehvi", "linas", "linas-dp", "nsga2"])
def test_a_budget_nothing_comes_near_ends_with_a_reason(few, problem_of, search_of, sampler):
    problem = problem_of(few, 1e-3)

    ledger = search_of(problem, sampler=sampler).optimize(10, corners(few), quietly)

    assert not ledger.candidates
    assert len(ledger.rejected) == few.size
    assert "rejected by the tables" in why_fewer(problem, ledger, 10)


def test_limits_that_leave_one_architecture_find_it(few, problem_of, search_of):
    from supersam.space import count

    least = count(few.smallest()).params / 1e6
    problem = problem_of(few, None, params_m=least * 1.0001)

    ledger = search_of(problem, sampler="auto").optimize(10, [], quietly)

    assert few.smallest().digest in ledger.candidates
    assert all(count(one.architecture).params / 1e6 <= least * 1.0001 for one in ledger.candidates.values())


@pytest.mark.parametrize("sampler", ["ehvi", "linas", "linas-dp", "nsga3"])
@ONCE
@given(factor=st.floats(0.3, 3.0), seed=st.integers(0, 99))
def test_several_devices_have_each_their_true_front_in_the_end(
    few, problem_of, everything, tmp_path_factory, sampler, factor, seed
):
    table = load_table("jetson-orin")
    scaled = table.composition.model_copy(update={"factor": table.composition.factor * factor})
    other = Device("other", table.model_copy(update={"composition": scaled}))
    problem, accuracy = problem_of(few, None, other), arbitrary(seed, 1000)
    search = search_in(tmp_path_factory.mktemp("run"), problem, accuracy, sampler, seed)

    ledger = search.optimize(few.size, [], quietly)

    assert len(ledger.candidates) == few.size
    assert all(one.also["other"].ms == pytest.approx(factor * one.latency.ms) for one in ledger.candidates.values())


@pytest.mark.parametrize("sampler", ["ehvi", "linas", "linas-dp"])
@ONCE
@given(seed=st.integers(0, 999), cut=st.integers(1, 24))
def test_a_search_that_is_cut_anywhere_goes_on_as_if_it_had_not_been(
    few, problem_of, tmp_path_factory, sampler, seed, cut
):
    problem, accuracy = problem_of(few, 3.0), arbitrary(seed, 20)
    whole = search_in(tmp_path_factory.mktemp("run"), problem, accuracy, sampler, seed).optimize(25, [], quietly)
    part = search_in(tmp_path_factory.mktemp("run"), problem, accuracy, sampler, seed)
    part.optimize(cut, [], quietly)

    assert list(part.optimize(25, [], quietly).candidates) == list(whole.candidates)
