"""Accuracy predicted from the archive, without torch."""

import random

import numpy as np
import pytest

from supersam.errors import MissingError
from supersam.results import Accuracy, Archive, load_archive
from supersam.results.ridge import LEAST_MEASURED, RidgeAccuracy
from supersam.space import load_space

SPACE = load_space("starter")


def archive_of(n: int) -> Archive:
    """An archive whose accuracy is 0.3 plus 0.1 where stage 1 is a vit; invented."""
    rng = random.Random(0)
    found = {}
    while len(found) < n:
        one = SPACE.sample(rng)
        value = 0.3 + 0.1 * (SPACE.encode(one)["stage1.block"] == "vit")
        found[one] = Accuracy(value, "measured", (value - 0.01, value + 0.01))
    return Archive({}, found)


def test_what_was_measured_is_given_as_it_is():
    archive = archive_of(60)
    model = RidgeAccuracy(archive, SPACE)

    assert all(model(one) == accuracy for one, accuracy in archive.measured.items())


def test_a_rule_in_the_measurements_is_learned():
    model = RidgeAccuracy(archive_of(400), SPACE)
    rng = random.Random(1)
    others = [one for one in (SPACE.sample(rng) for _ in range(40)) if one not in model.measured]

    for one in others:
        found = model(one)
        expected = 0.4 if SPACE.encode(one)["stage1.block"] == "vit" else 0.3
        assert found.source == "predicted"
        assert found.value == pytest.approx(expected, abs=0.02)
        assert found.interval[0] <= found.value <= found.interval[1]
    assert model.error < 0.02


def test_the_error_is_that_of_subnets_left_out():
    archive = archive_of(LEAST_MEASURED + 10)
    model = RidgeAccuracy(archive, SPACE)
    one = next(iter(archive.measured))
    rest = Archive({}, {other: accuracy for other, accuracy in archive.measured.items() if other != one})
    # The closed form keeps the mean of all, so it is near to refitting and not equal.
    refitted = archive.measured[one].value - RidgeAccuracy(rest, SPACE)(one).value

    features = np.stack([model._features(other) for other in archive.measured])
    leverage = features[0] @ np.linalg.inv(features.T @ features + np.eye(features.shape[1])) @ features[0]
    residual = archive.measured[one].value - model._mean - features[0] @ model._weights
    assert residual / (1 - leverage) == pytest.approx(refitted, abs=0.01)


def test_the_shipped_archive_predicts_its_space():
    model = RidgeAccuracy(load_archive(), SPACE)
    found = model(SPACE.largest())

    assert 0 < found.value < 1
    assert model.error < 0.03


def test_too_few_measurements_are_said(tells):
    with tells(MissingError, "5 measured subnets of starter", LEAST_MEASURED):
        RidgeAccuracy(archive_of(5), SPACE)
