"""A search begins with all that is known to be good, so that no answer is worse than the archive."""

import itertools

import pytest

from supersam.latency import load_table
from supersam.results import Candidate, best_within, pareto_front
from supersam.search.feasible import lightest, unmet
from supersam.search.memory import memory_mb
from supersam.search.problem import Device
from supersam.search.starts import corners, starts_of


def all_of(space):
    variables = space.variables()
    for choice in itertools.product(*variables.values()):
        yield space.decode(dict(zip(variables, choice, strict=True)))


def test_the_corners_are_the_extremes_and_those_of_each_single_type(space):
    found = corners(space)

    assert space.smallest() in found
    assert space.largest() in found
    assert len(found) == len(set(found))
    assert all(space.contains(architecture) for architecture in found)


@pytest.mark.parametrize("share", [0.3, 0.6, None])
def test_the_best_known_within_the_budget_and_the_known_front_are_among_the_first(space, problem_of, truth, share):
    known = {architecture: truth(architecture) for architecture in all_of(space)}
    table = load_table("jetson-orin")
    bounds = sorted(table.predict(architecture).hi for architecture in known)
    budget = None if share is None else bounds[int(share * len(bounds))]
    problem = problem_of(space, budget)

    found = starts_of(problem, known)

    candidates = [Candidate(a, accuracy, table.predict(a)) for a, accuracy in known.items()]
    within = [one for one in candidates if budget is None or one.latency.hi <= budget]
    wanted = {one.architecture for one in pareto_front(within)}
    assert wanted <= set(found)
    assert len(found) == len(set(found)) < len(known)
    if budget is not None:
        best = best_within(candidates, budget)
        assert best is not None
        assert best.architecture in found[:34]  # the fastest, the best of all, the best within the budget


def test_the_fronts_of_all_devices_are_known_at_once(space, problem_of, truth):
    known = {architecture: truth(architecture) for architecture in all_of(space)}
    other = Device("cpu-x86-1t", load_table("cpu-x86-1t"))

    found = starts_of(problem_of(space, None, other), known)

    front = pareto_front(Candidate(a, accuracy, other.table.predict(a)) for a, accuracy in known.items())
    assert {one.architecture for one in front} <= set(found)


def test_what_breaks_a_limit_of_size_or_is_of_another_space_is_left_out(space, few, problem_of, truth):
    known = {architecture: truth(architecture) for architecture in all_of(space)}

    found = starts_of(problem_of(few, None, params_m=0.2), known)

    assert set(found) & set(known) <= {*corners(few)} | {a for a in known if few.contains(a)}
    assert all(few.contains(architecture) for architecture in found)


def test_without_anything_known_the_fastest_comes_first(space, problem_of):
    problem = problem_of(space)

    found = starts_of(problem, {})

    assert found[0] == min(all_of(space), key=lambda a: problem.latencies(a)[0].hi)
    assert set(corners(space)) <= set(found)


def test_the_lightest_is_the_least_of_all_and_a_limit_below_it_is_not_searched_for(space, problem_of):
    least = min(memory_mb(architecture) for architecture in all_of(space))

    assert memory_mb(lightest(space)) == least
    assert unmet(problem_of(space, None, memory_mb=least)) is None
    found = unmet(problem_of(space, None, memory_mb=0.9 * least))
    assert found is not None
    assert "MB of memory" in found.why
    assert found.nearest == lightest(space)


def test_the_lightest_of_a_plain_vit_is_its_smallest(vit_space):
    assert memory_mb(lightest(vit_space)) == min(memory_mb(architecture) for architecture in all_of(vit_space))
