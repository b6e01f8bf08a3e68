"""Which subnets a step runs: sandwiches cover dimensions and types, shrinking opens them, attention prefers."""

import random
from collections import Counter

import pytest

from supersam.space import load_space
from supersam.space.parts import count
from supersam.train.config import Attentive, Phase, Shrinking
from supersam.train.loss_model import LossModel
from supersam.train.sampling import SAME_COST, allowed_at, attentive, sandwich, subnets_of_step, uniform


@pytest.mark.parametrize("name", ["starter", "sam-1024"])
def test_a_sandwich_has_the_largest_and_smallest_dimensions_and_two_random_ones(name):
    space = load_space(name)

    largest, smallest, *others = sandwich(space, space.resolutions[0], random.Random(0))

    for stage, allowed in zip(largest.stages, space.stages, strict=True):
        assert (stage.depth, stage.width, stage.ratio) == (allowed.depths[-1], allowed.widths[-1], allowed.ratios[-1])
    for stage, allowed in zip(smallest.stages, space.stages, strict=True):
        assert (stage.depth, stage.width, stage.ratio) == (allowed.depths[0], allowed.widths[0], allowed.ratios[0])
    assert len(others) == 2


def test_every_block_type_of_every_stage_occurs_in_every_sandwich():
    space = load_space("starter")
    for seed in range(20):
        subnets = sandwich(space, 256, random.Random(seed))
        for number, allowed in enumerate(space.stages):
            assert {subnet.stages[number].block for subnet in subnets} == set(allowed.blocks)


@pytest.mark.parametrize("n_random", [0, 1, 5])
def test_a_sandwich_has_as_many_random_subnets_as_are_asked_for(tiny_staged, n_random):
    assert len(sandwich(tiny_staged, 64, random.Random(0), n_random)) == 2 + n_random


def test_the_same_random_numbers_give_the_same_subnets_and_others_give_others():
    space = load_space("starter")

    once, again, other = (sandwich(space, 384, random.Random(f"0/{step}")) for step in (7, 7, 8))

    assert once == again
    assert once != other
    assert {subnet.resolution for subnet in once} == {384}


def test_a_plain_vit_space_gives_the_whole_network_and_the_smallest():
    space = load_space("supersam-vit-b")

    largest, smallest, *_ = sandwich(space, 1024, random.Random(0))

    assert largest == space.largest()
    assert smallest == space.smallest()


def test_uniform_sampling_draws_every_choice_about_as_often(tiny_space, rng):
    drawn = [tiny_space.encode(uniform(tiny_space, 128, rng)) for _ in range(400)]

    assert {choices["resolution"] for choices in drawn} == {128}
    for name, allowed in tiny_space.variables().items():
        if name != "resolution" and not name.endswith(".heads"):  # a removed layer has no heads of its own
            seen = Counter(choices[name] for choices in drawn)
            assert all(abs(seen[value] / 400 - 1 / len(allowed)) < 0.12 for value in allowed), name


def test_shrinking_opens_one_dimension_after_another(tiny_staged):
    shrinking = Shrinking(order=("depth", "ratio", "width"), until=0.6)
    everything = tiny_staged.variables()

    def opened(progress):
        allowed = allowed_at(everything, shrinking, progress)
        assert allowed.keys() == everything.keys()
        return [kind for kind in shrinking.order if all(allowed[n] == everything[n] for n in allowed if kind in n)]

    assert [opened(progress) for progress in (0, 0.19, 0.21, 0.39, 0.41, 0.59)] == [
        *[[]] * 2,
        *[["depth"]] * 2,
        *[["depth", "ratio"]] * 2,
    ]
    assert opened(0.6) == opened(1.0) == ["depth", "ratio", "width"]


def test_what_is_not_opened_yet_is_at_its_largest_and_types_are_free(tiny_staged, rng):
    allowed = allowed_at(tiny_staged.variables(), Shrinking(), 0.0)

    for subnet in [*sandwich(tiny_staged, 64, rng, variables=allowed), uniform(tiny_staged, 64, rng, allowed)]:
        for stage, choices in zip(subnet.stages, tiny_staged.stages, strict=True):
            assert (stage.depth, stage.width) == (choices.depths[-1], choices.widths[-1])
    assert allowed["stage1.block"] == tiny_staged.stages[0].blocks


def test_without_shrinking_everything_is_elastic(tiny_space):
    assert allowed_at(tiny_space.variables(), None, 0.0) == tiny_space.variables()


@pytest.fixture
def knows_depth(tiny_staged):
    """A loss model that has learned that depth in the third stage lowers the loss."""
    losses, rng = LossModel(tiny_staged), random.Random(1)
    for _ in range(300):
        subnet = uniform(tiny_staged, 64, rng)
        losses.update(subnet, 2.0 - 0.5 * (subnet.stages[2].depth == 3))
    return losses


@pytest.mark.parametrize(("choose", "depths"), [("best", {3}), ("worst", {1}), ("both", {1, 3})])
def test_attentive_sampling_takes_the_best_or_the_worst_of_subnets_of_one_cost(
    tiny_staged, knows_depth, choose, depths
):
    config = Attentive(candidates=8, choose=choose, warmup_steps=100)

    seeds = range(30)
    chosen = [attentive(tiny_staged, 64, random.Random(seed), knows_depth, config) for seed in seeds]
    first = [uniform(tiny_staged, 64, random.Random(seed)) for seed in seeds]

    assert chosen == [attentive(tiny_staged, 64, random.Random(seed), knows_depth, config) for seed in seeds]
    for one, other in zip(chosen, first, strict=True):
        assert abs(count(one).gmacs / count(other).gmacs - 1) <= SAME_COST
    seen = Counter(subnet.stages[2].depth for subnet in chosen)
    assert sum(seen[depth] for depth in depths) >= 25
    assert all(seen[depth] >= 5 for depth in depths)


def test_attentive_sampling_is_uniform_while_the_prediction_learns(tiny_staged, knows_depth):
    config = Attentive(warmup_steps=knows_depth.seen + 1)

    for seed in range(5):
        found = attentive(tiny_staged, 64, random.Random(seed), knows_depth, config)
        assert found == uniform(tiny_staged, 64, random.Random(seed))


def test_what_shrinking_leaves_the_same_runs_once(tiny_vit, rng):
    allowed = allowed_at(tiny_vit.variables(), Shrinking(order=("mlp",)), 0.0)
    only = {name: choices[-1:] for name, choices in allowed.items()}

    found = subnets_of_step(tiny_vit, Phase(subnets="sandwich"), 64, rng, LossModel(tiny_vit), Attentive(), only)

    assert len(found) == 1


@pytest.mark.parametrize(("rule", "number"), [("sandwich", 4), ("uniform", 1), ("attentive", 1)])
def test_a_phase_says_how_many_subnets_a_step_has(tiny_space, rng, rule, number):
    losses = LossModel(tiny_space)
    found = subnets_of_step(tiny_space, Phase(subnets=rule), 64, rng, losses, Attentive(), tiny_space.variables())

    assert len(found) == number
    assert all(tiny_space.contains(subnet) for subnet in found)
