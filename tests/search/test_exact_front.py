"""Looked-up sums against the tables, and the exact front against enumeration."""

import numpy as np
import pytest

from supersam.search.encoding import Encoding, Term, total, unique
from supersam.search.exact_front import exact_front, front_order
from supersam.search.ridge import Ridge, pairs_of
from supersam.space import count, load_space


@pytest.fixture(params=["space", "vit_space"])
def any_space(request):
    return request.getfixturevalue(request.param)


def test_rows_and_architectures_are_each_others_names(any_space, rng):
    encoding = Encoding(any_space)
    architectures = [any_space.sample(rng) for _ in range(50)]

    rows = encoding.rows(architectures)

    assert [encoding.architecture(row) for row in rows] == architectures
    assert encoding.choices(rows[0]).keys() == any_space.variables().keys()


def test_equal_networks_have_equal_rows(vit_space):
    encoding = Encoding(vit_space)
    rows = encoding.random(np.random.default_rng(0), 300)

    digests = {encoding.architecture(row).digest for row in rows}

    assert len(unique(rows)) == len(digests) < 300
    changed = encoding.mutate(rows, np.random.default_rng(1))
    assert (encoding.canonical(changed.copy()) == changed).all()
    assert ((changed >= 0) & (changed < encoding.sizes)).all()


@pytest.mark.parametrize("name", ["starter", "supersam-vit-b"])
def test_looked_up_sums_are_those_of_the_tables(problem_of, name):
    problem = problem_of(load_space(name), 30.0)
    rows = problem.encoding.random(np.random.default_rng(0), 40)
    architectures = [problem.encoding.architecture(row) for row in rows]
    latencies = [problem.latencies(architecture)[0] for architecture in architectures]

    assert total(problem.median_terms[0], rows) == pytest.approx([latency.ms for latency in latencies])
    assert total(problem.bound_terms[0], rows) == pytest.approx([latency.hi for latency in latencies])
    assert total(problem.size_terms["gmacs"], rows) == pytest.approx([count(a).gmacs for a in architectures])
    assert total(problem.size_terms["params_m"], rows) == pytest.approx([count(a).params / 1e6 for a in architectures])


@pytest.mark.parametrize("seed", range(4))
def test_the_exact_front_is_that_of_enumeration(any_space, problem_of, seed):
    problem = problem_of(any_space)
    encoding, rng = problem.encoding, np.random.default_rng(seed)
    columns = [(column,) for column in range(len(encoding.sizes))] + pairs_of(encoding)
    value = [Term(c, rng.normal(size=[int(encoding.sizes[i]) for i in c])) for c in columns]
    cost = problem.median_terms[0]
    grid = np.indices(encoding.sizes).reshape(len(encoding.sizes), -1).T.astype(np.int16)
    grid = unique(encoding.canonical(grid))
    cap = float(np.median(total(cost, grid)))

    rows = exact_front(encoding, value, cost, cap)

    values, costs = total(value, grid), total(cost, grid)
    within = np.flatnonzero(costs <= cap + 1e-12)
    true = within[front_order(values[within], costs[within])]
    found_values, found_costs = total(value, rows), total(cost, rows)
    for one in true:  # layers of equal shape cost the same but for rounding, so ties are compared loosely
        assert ((found_values >= values[one] - 1e-9) & (found_costs <= costs[one] + 1e-9)).any()
    for best, price in zip(found_values, found_costs, strict=True):
        assert not ((values > best + 1e-9) & (costs < price - 1e-9)).any()


def test_the_exact_front_refuses_what_links_stages_that_are_not_neighbours(space, problem_of):
    problem = problem_of(space)
    columns = (problem.encoding.column("stage1.block"), problem.encoding.column("stage3.block"))

    with pytest.raises(ValueError, match="not neighbours"):
        exact_front(problem.encoding, [Term(columns, np.zeros((2, 2)))], problem.median_terms[0], np.inf)


def test_nothing_within_the_cap_gives_an_empty_front(space, problem_of):
    problem = problem_of(space)

    assert len(exact_front(problem.encoding, [], problem.median_terms[0], 0.0)) == 0


@pytest.mark.parametrize("count", [12, 400])
def test_a_ridge_regression_is_the_solution_of_its_normal_equations(space, problem_of, count):
    problem, rng = problem_of(space), np.random.default_rng(0)
    rows = problem.encoding.random(rng, count)
    accuracy = rng.normal(size=count)
    ridge = Ridge(problem.encoding, pairs=True).fit(rows, accuracy)

    # At the minimum, half the gradient of the loss is zero for each weight: weight = sum of residuals where it is on.
    residual = accuracy - ridge.predict(rows)
    for term in ridge.terms:
        for index in np.ndindex(term.values.shape):
            here = (rows[:, list(term.columns)] == index).all(axis=1)
            assert term.values[index] == pytest.approx(residual[here].sum(), abs=1e-8)
