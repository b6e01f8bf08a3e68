"""The Gaussian process, the acquisition and the inner evolution against definitions."""

import numpy as np
import pytest

from supersam.search.acquisition import expected_hypervolume_improvement, expected_improvement
from supersam.search.evolution import best_first, crowding, evolve, ranks
from supersam.search.exact_front import front_order
from supersam.search.predictor import Features, Predictor
from supersam.space import load_space


@pytest.fixture(scope="module")
def fitted():
    """A predictor of an invented function, with fresh rows to try it on."""
    from supersam.latency import load_table
    from supersam.search.problem import Device, Problem

    problem = Problem(load_space("starter"), (Device("d", load_table("jetson-orin")),))
    rng = np.random.default_rng(0)
    effects = [rng.normal(size=size) for size in problem.encoding.sizes]

    def truth(rows):
        single = sum(effect[rows[:, column]] for column, effect in enumerate(effects))
        return 0.5 + 0.02 * single + 0.03 * (rows[:, 1] == rows[:, 5]) + rng.normal(0, 0.002, len(rows))

    rows = problem.encoding.random(rng, 120)
    fresh = problem.encoding.random(rng, 300)
    return problem, Predictor(Features(problem)).fit(rows, truth(rows)), rows, truth(rows), fresh, truth(fresh)


def test_predictions_follow_the_truth_and_their_spread_is_honest(fitted):
    _, predictor, _, _, fresh, values = fitted

    mean, spread = predictor.predict(fresh)

    assert np.corrcoef(mean, values)[0, 1] > 0.95
    covered = np.abs(mean - values) < 1.96 * np.sqrt(spread**2 + 0.002**2)
    assert covered.mean() > 0.85


def test_what_was_observed_is_more_certain_than_what_was_not(fitted):
    _, predictor, rows, _, fresh, _ = fitted

    assert predictor.predict(rows)[1].mean() < predictor.predict(fresh)[1].mean()


def test_left_out_errors_are_those_of_really_leaving_one_out(fitted):
    _problem, predictor, rows, accuracy, _, _ = fitted
    model = Predictor(predictor.features)
    model._strengths = predictor._strengths
    errors, _ = model.fit(rows, accuracy, tune=False).left_out()
    mean, scale = model._mean, model._scale
    for left in (0, 60):
        rest = np.arange(len(rows)) != left
        other = Predictor(predictor.features)
        other._strengths = predictor._strengths
        other.fit(rows[rest], accuracy[rest], tune=False)
        other._mean, other._scale = mean, scale  # the standardisation is not part of what is left out
        target = (accuracy[rest] - mean) / scale
        kernel = other._kernel(rows[rest], other._linear, other._sizes)
        weights = np.linalg.solve(kernel + np.exp(other._strengths[-1]) * np.eye(rest.sum()), target)
        cross = other._kernel(rows[[left]], other._weighted(rows[[left]]), other.features.sizes(rows[[left]]))
        assert errors[left] == pytest.approx(accuracy[left] - mean - scale * float(cross[0] @ weights), abs=1e-6)


def test_shares_of_effects_add_up(fitted):
    strengths = fitted[1].strengths()

    assert sum(strengths.values()) == pytest.approx(1)
    assert {"block", "block with width", "neighbouring types", "size", "everything", "noise"} <= strengths.keys()


def test_expected_improvement_is_the_mean_of_draws():
    draws = np.random.default_rng(0).normal(0.3, 0.2, 400_000)

    found = expected_improvement(np.array([0.3]), np.array([0.2]), 0.45)

    assert found[0] == pytest.approx(np.maximum(draws - 0.45, 0).mean(), rel=0.02)


@pytest.mark.parametrize("cost", [0.5, 2.5, 4.5, 7.0])
def test_expected_hypervolume_improvement_is_the_mean_over_draws(cost):
    front_value, front_cost = np.array([0.2, 0.5, 0.6, 0.4]), np.array([1.0, 3.0, 5.0, 4.0])

    def area(values, costs, lowest=0.1, most=6.0):
        inside = (values > lowest) & (costs < most)
        order = front_order(values[inside], costs[inside])
        v, c = values[inside][order], costs[inside][order]
        return float(((np.append(c[1:], most) - c) * (v - lowest)).sum())

    draws = np.random.default_rng(1).normal(0.5, 0.1, 4000)
    before = area(front_value, front_cost)
    gains = [area(np.append(front_value, draw), np.append(front_cost, cost)) - before for draw in draws]

    found = expected_hypervolume_improvement(
        np.array([0.5]), np.array([0.1]), np.array([cost]), front_value, front_cost, 0.1, 6.0
    )

    assert found[0] == pytest.approx(np.mean(gains), rel=0.05, abs=1e-9)


def test_ranks_are_those_of_peeling_fronts_off():
    points = np.random.default_rng(0).integers(0, 6, (40, 3)).astype(float)
    rank = ranks(points)

    for one, mine in zip(points, rank, strict=True):
        dominating = [rank[i] for i, other in enumerate(points) if (other <= one).all() and (other < one).any()]
        assert mine == (max(dominating) + 1 if dominating else 0)
    assert np.isinf(crowding(points[:1])).all()
    assert sorted(best_first(points)) == list(range(40))


def test_evolution_nears_the_front_of_a_known_function(space, problem_of):
    problem = problem_of(space)
    rng = np.random.default_rng(0)

    def objectives(rows):
        return np.stack([rows.sum(axis=1), -rows.sum(axis=1)], axis=1).astype(float)

    last = evolve(problem.encoding, objectives, problem.encoding.random(rng, 8), rng, 24, 30)

    totals = set(last.sum(axis=1))
    assert {0, int((problem.encoding.sizes - 1).sum())} <= totals
