"""Candidates with numbers made up for the tests."""

import random
from collections.abc import Callable

import pytest

from supersam.latency import Latency
from supersam.results import Accuracy, Candidate
from supersam.space import load_space


@pytest.fixture
def candidate() -> Callable[..., Candidate]:
    """Make a candidate of given latency and accuracy; every one has another architecture."""
    space, rng = load_space("starter"), random.Random(0)

    def make(ms: float, value: float, hi: float | None = None) -> Candidate:
        accuracy = Accuracy(value, "measured", (value - 0.02, value + 0.02), {"birds": {"box": value}})
        return Candidate(space.sample(rng), accuracy, Latency(ms, 0.9 * ms, 1.1 * ms if hi is None else hi, "measured"))

    return make
