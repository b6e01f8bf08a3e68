"""Which subnets a training step runs: the sandwich rule (https://arxiv.org/abs/1903.05134), covering all types.

Of four subnets one has the largest dimensions, one the smallest, two random ones. Which block type is "largest"
has no answer, so types are dealt instead: in every stage the four subnets get a random permutation of its types,
and every type of a stage learns in every step (docs/decisions/0004).
"""

import random
from typing import Any

from supersam.space import AnyArchitecture, SearchSpace


def sandwich(space: SearchSpace, resolution: int, rng: random.Random, n_random: int = 2) -> list[AnyArchitecture]:
    """Return the largest, the smallest and ``n_random`` random subnets at a resolution."""
    n_subnets = 2 + n_random
    variables = space.variables()
    dealt = {name: _deal(choices, n_subnets, rng) for name, choices in variables.items() if name.endswith(".block")}
    subnets = []
    for number in range(n_subnets):
        choices: dict[str, Any] = {"resolution": resolution}
        for name, allowed in variables.items():
            if name in dealt:
                choices[name] = dealt[name][number]
            elif name != "resolution":
                choices[name] = (allowed[-1], allowed[0])[number] if number < 2 else rng.choice(allowed)
        subnets.append(space.decode(choices))
    return subnets


def _deal(choices: tuple[str, ...], count: int, rng: random.Random) -> list[str]:
    dealt: list[str] = []
    while len(dealt) < count:
        dealt += rng.sample(choices, len(choices))
    return dealt[:count]
