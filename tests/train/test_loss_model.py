"""The prediction of a subnet's loss: it learns to rank, forgets, and survives a checkpoint."""

import random

import pytest
from scipy.stats import kendalltau

from supersam.train.loss_model import FORGETTING, LossModel
from supersam.train.sampling import uniform


def loss_of(space, subnet, rng):
    """A loss that falls with every dimension, differs between types, and is noisy."""
    choices = space.encode(subnet)
    places = [space.variables()[name].index(value) / len(space.variables()[name]) for name, value in choices.items()]
    return 1.5 - 0.1 * sum(places) + rng.gauss(0, 0.02)


@pytest.fixture
def taught(tiny_space):
    losses, rng = LossModel(tiny_space), random.Random(0)
    for _ in range(400):
        subnet = uniform(tiny_space, rng.choice(tiny_space.resolutions), rng)
        losses.update(subnet, loss_of(tiny_space, subnet, rng))
    return losses


def test_it_learns_to_rank_subnets_it_has_not_seen(tiny_space, taught):
    rng = random.Random(99)
    unseen = [uniform(tiny_space, 128, rng) for _ in range(60)]

    tau = kendalltau([taught.predict(one) for one in unseen], [loss_of(tiny_space, one, rng) for one in unseen])

    assert tau.statistic > 0.75


def test_it_knows_nothing_at_first_and_counts_what_it_saw(tiny_space, taught):
    assert LossModel(tiny_space).predict(tiny_space.largest()) == 0
    assert (LossModel(tiny_space).seen, taught.seen) == (0, 400)


def test_its_state_gives_the_same_predictions_again_and_goes_on_alike(tiny_space, taught):
    other = LossModel(tiny_space)
    other.restore({name: tensor.clone() for name, tensor in taught.tensors().items()})

    for model in (taught, other):
        model.update(tiny_space.smallest(), 3.0)
    assert other.predict(tiny_space.smallest()) == taught.predict(tiny_space.smallest())
    assert other.seen == taught.seen == 401


def test_what_was_seen_long_ago_counts_less(tiny_space):
    losses, subnet = LossModel(tiny_space), tiny_space.largest()
    for _ in range(1000):
        losses.update(subnet, 2.0)
    for _ in range(1000):
        losses.update(subnet, 1.0)

    assert 1.0 < losses.predict(subnet) < 1.0 + 2 * FORGETTING**1000
