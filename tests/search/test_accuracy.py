"""Accuracies from the archive: measured where it has them, predicted with an honest error elsewhere."""

import random

import numpy as np
import pytest

from supersam.errors import MissingError
from supersam.results import Accuracy, Archive, load_archive
from supersam.search.accuracy import ArchiveAccuracy
from supersam.space import BLOCK_TYPES, load_space

SPACE = load_space("starter")


def invented_accuracy(architecture, rng=None) -> float:
    """An additive truth with an effect of block types, and noise if there is a generator."""
    value = 0.3 + 0.0002 * (architecture.resolution - 256)
    for number, stage in enumerate(architecture.stages):
        value += 0.01 * (number + 1) * list(BLOCK_TYPES).index(stage.block) + 0.0005 * stage.width + 0.004 * stage.depth
    return value + (rng.gauss(0, 0.005) if rng else 0)


def archive_of(count: int, seed: int = 0) -> Archive:
    rng = random.Random(seed)
    architectures = [SPACE.sample(rng) for _ in range(count)]
    return Archive({}, {a: Accuracy(invented_accuracy(a, rng), "measured", (0.0, 1.0), {}) for a in architectures})


def test_a_measured_architecture_keeps_its_measurement():
    archive = archive_of(60)
    source = ArchiveAccuracy(archive, SPACE)

    for architecture, accuracy in archive.measured.items():
        assert source(architecture) is accuracy


def test_predictions_follow_the_truth_and_their_error_is_what_was_announced():
    source = ArchiveAccuracy(archive_of(300), SPACE)
    rng = random.Random(1)
    fresh = [SPACE.sample(rng) for _ in range(300)]

    errors = np.array([source(a).value - invented_accuracy(a, rng) for a in fresh])

    assert all(source(a).source == "predicted" for a in fresh)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(source.error, rel=0.4)
    truths, predictions = zip(*((invented_accuracy(a), source(a).value) for a in fresh), strict=True)
    assert np.corrcoef(truths, predictions)[0, 1] > 0.95


def test_the_left_out_errors_are_those_of_really_leaving_one_out():
    archive = archive_of(40)
    source = ArchiveAccuracy(archive, SPACE)
    items = list(archive.measured.items())
    x = np.stack([source._features(a) for a, _ in items])
    y = np.array([accuracy.value for _, accuracy in items]) - np.mean([accuracy.value for _, accuracy in items])

    for left in (0, 7, 39):
        rest = np.arange(len(items)) != left
        weights = np.linalg.solve(x[rest].T @ x[rest] + np.eye(x.shape[1]), x[rest].T @ y[rest])
        assert source.left_out_errors[left] == pytest.approx(y[left] - x[left] @ weights, rel=1e-6)


def test_too_few_measurements_are_refused_with_the_way_out():
    with pytest.raises(MissingError, match="--data DIR"):
        ArchiveAccuracy(archive_of(5), SPACE)


def test_the_shipped_archive_predicts_within_its_own_spread():
    source = ArchiveAccuracy(load_archive(), SPACE)
    values = [accuracy.value for accuracy in source.measured.values()]

    assert len(values) >= 500
    assert source.error < np.std(values), "the prediction must beat the mean"
