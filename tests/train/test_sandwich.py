"""The sandwich rule covers dimensions and types."""

import random

import pytest

from supersam.space import load_space
from supersam.train.sandwich import sandwich


@pytest.mark.parametrize("name", ["starter", "sam-1024"])
def test_a_sandwich_has_the_largest_and_smallest_dimensions_and_two_random_ones(name):
    space = load_space(name)

    largest, smallest, *others = sandwich(space, space.resolutions[0], random.Random(0))

    for stage, allowed in zip(largest.stages, space.stages, strict=True):
        assert (stage.depth, stage.width, stage.ratio) == (allowed.depths[-1], allowed.widths[-1], allowed.ratios[-1])
    for stage, allowed in zip(smallest.stages, space.stages, strict=True):
        assert (stage.depth, stage.width, stage.ratio) == (allowed.depths[0], allowed.widths[0], allowed.ratios[0])
    assert len(others) == 2


def test_every_block_type_of_every_stage_occurs_in_every_step():
    space = load_space("starter")
    for seed in range(20):
        subnets = sandwich(space, 256, random.Random(seed))
        for number, allowed in enumerate(space.stages):
            assert {subnet.stages[number].block for subnet in subnets} == set(allowed.blocks)


def test_the_same_seed_gives_the_same_subnets_and_another_gives_others():
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
