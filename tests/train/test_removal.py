"""How often the layers of a plain ViT are removed."""

import random

from supersam.space import load_space
from supersam.train.sampling import uniform, with_removal


def depth_of_draws(probability: float | None) -> float:
    space, rng = load_space("supersam-vit-b"), random.Random(0)
    variables = with_removal(space.variables(), probability)
    return sum(len(uniform(space, 1024, rng, variables).layers) for _ in range(400)) / 400


def test_half_of_the_removable_layers_are_left_out_as_in_the_paper():
    n_removable = len(set(load_space("supersam-vit-b").removable_layers))

    assert abs(depth_of_draws(0.5) - (12 - n_removable / 2)) < 0.2
    assert depth_of_draws(None) > depth_of_draws(0.5) + 1


def test_a_probability_of_nothing_removes_nothing():
    assert depth_of_draws(0.0) == 12


def test_the_largest_and_the_smallest_choice_stay_at_the_ends():
    variables = load_space("supersam-vit-b").variables()

    weighted = with_removal(variables, 0.5)

    assert {name: (choices[0], choices[-1]) for name, choices in weighted.items()} == {
        name: (choices[0], choices[-1]) for name, choices in variables.items()
    }
