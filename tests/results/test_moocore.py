"""Fronts and hypervolumes against moocore's, on random points with ties and duplicates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supersam.latency import Latency
from supersam.results import Accuracy, Candidate, hypervolume, pareto_front
from supersam.search.evolution import ranks
from supersam.search.exact_front import front_order
from supersam.space import load_space

moocore = pytest.importorskip("moocore")
ARCHITECTURE = load_space("starter").smallest()
GRID = st.tuples(st.integers(1, 8), st.integers(0, 8))  # coarse, so that many points tie in one number or in both
FREE = st.tuples(st.floats(0.01, 100), st.floats(0, 1))
CLOUDS = st.lists(GRID, min_size=1, max_size=40) | st.lists(FREE, min_size=1, max_size=40)


def candidate(point) -> Candidate:
    ms, value = map(float, point)
    return Candidate(ARCHITECTURE, Accuracy(value, "measured", (value, value)), Latency(ms, ms, ms, "measured"))


def minimised(points) -> np.ndarray:
    return np.array([(ms, -value) for ms, value in points], dtype=float)


@settings(max_examples=60, deadline=None)
@given(CLOUDS)
def test_the_front_is_moocores(points):
    front = [(one.latency.ms, one.accuracy.value) for one in pareto_front(map(candidate, points))]

    data = minimised(points)
    theirs = data[moocore.is_nondominated(data, keep_weakly=False)]
    assert sorted(front) == sorted((ms, -value) for ms, value in theirs)
    assert len(front) == len(set(front))


@settings(max_examples=60, deadline=None)
@given(CLOUDS, st.floats(0.5, 120), st.floats(-0.5, 9))
def test_the_hypervolume_is_moocores(points, slowest, lowest):
    mine = hypervolume(pareto_front(map(candidate, points)), slowest, lowest)

    theirs = moocore.hypervolume(minimised(points), ref=[slowest, -lowest])
    assert mine == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(CLOUDS)
def test_the_front_of_arrays_is_moocores(points):
    ms, value = np.array(points, dtype=float).T

    order = front_order(value, ms)

    data = minimised(points)
    theirs = data[moocore.is_nondominated(data, keep_weakly=False)]
    assert sorted(zip(ms[order], value[order], strict=True)) == sorted((a, -b) for a, b in theirs)
    assert list(ms[order]) == sorted(ms[order])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*(st.integers(0, 5) for _ in range(3))), min_size=1, max_size=30))
def test_ranks_of_fronts_are_moocores(points):
    data = np.array(points, dtype=float)

    assert list(ranks(data)) == list(moocore.pareto_rank(data))
