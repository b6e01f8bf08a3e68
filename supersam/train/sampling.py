"""Which subnets a training step runs.

- sandwich (https://arxiv.org/abs/1903.05134): the largest, the smallest and some random ones;
- uniform, one a step (https://arxiv.org/abs/1904.00420);
- attentive, one a step, the best or the worst of several of one cost (https://arxiv.org/abs/2011.09011);
- fixed: one subnet alone, to compare with.

Which block type is "largest" has no answer, so types are dealt: in every stage the subnets of a sandwich get a random
permutation of its types, so that of at least as many subnets as types every type learns in every sandwich
(docs/decisions/0004). A draw is a function of the step's random numbers and of the predicted losses alone, so every
process draws the same.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from supersam.space import AnyArchitecture, SearchSpace
from supersam.space.parts import count
from supersam.train.config import Attentive, Phase, Shrinking
from supersam.train.loss_model import LossModel

Choices = Mapping[str, Sequence[Any]]

SAME_COST = 0.15  # relative distance in MACs within which subnets are compared
MORE_DRAWS = 8  # candidates are drawn this many times as often as they are wanted


def allowed_at(variables: Choices, shrinking: Shrinking | None, progress: float) -> Choices:
    """Return what is elastic at a point of the training, 0 to 1; the rest is at its largest."""
    if shrinking is None or progress >= shrinking.until:
        return variables
    share = progress / shrinking.until * len(shrinking.order)  # the first stretch trains the largest alone
    fixed = shrinking.order[int(share) :]
    return {name: allowed[-1:] if name.rpartition(".")[2] in fixed else allowed for name, allowed in variables.items()}


def with_removal(variables: Choices, probability: float | None) -> Choices:
    """Return choices of which a uniform draw removes each removable layer (``mlp`` 0) with a probability.

    0.5 is that of SuperSAM (https://arxiv.org/abs/2501.08504); None leaves removal as likely as any other choice.
    """
    if probability is None:
        return variables
    weighted = dict(variables)
    for name, allowed in variables.items():
        if name.endswith(".mlp") and 0 in allowed[:1] and len(allowed) > 1:
            kept = allowed[1:]
            times = round(1000 * probability), max(1, round(1000 * (1 - probability) / len(kept)))
            weighted[name] = [0] * times[0] + [width for width in kept for _ in range(times[1])]
    return weighted


def sandwich(
    space: SearchSpace,
    resolution: int,
    rng: random.Random,
    n_random: int = 2,
    variables: Choices | None = None,
) -> list[AnyArchitecture]:
    """Return the largest, the smallest and ``n_random`` random subnets at a resolution."""
    n_subnets = 2 + n_random
    variables = space.variables() if variables is None else variables
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


def uniform(
    space: SearchSpace, resolution: int, rng: random.Random, variables: Choices | None = None
) -> AnyArchitecture:
    """Return one random subnet at a resolution."""
    variables = space.variables() if variables is None else variables
    choices = {name: rng.choice(allowed) for name, allowed in variables.items() if name != "resolution"}
    return space.decode({**choices, "resolution": resolution})


def attentive(
    space: SearchSpace,
    resolution: int,
    rng: random.Random,
    losses: LossModel,
    config: Attentive,
    variables: Choices | None = None,
) -> AnyArchitecture:
    """Return the subnet of the lowest (or highest) predicted loss among random ones of one cost."""
    first = uniform(space, resolution, rng, variables)
    if losses.seen < config.warmup_steps:
        return first
    cost = count(first).gmacs
    drawn = (uniform(space, resolution, rng, variables) for _ in range(MORE_DRAWS * config.candidates))
    alike = [one for one in drawn if abs(count(one).gmacs / cost - 1) <= SAME_COST]
    candidates = [first, *alike][: config.candidates]
    best = {"best": True, "worst": False, "both": rng.random() < 0.5}[config.choose]
    return (min if best else max)(candidates, key=losses.predict)


def subnets_of_step(
    space: SearchSpace,
    phase: Phase,
    resolution: int,
    rng: random.Random,
    losses: LossModel,
    attentive_config: Attentive,
    variables: Choices,
) -> list[AnyArchitecture]:
    """Return the subnets of a step, the largest first if there is one."""
    if phase.subnets == "sandwich":
        drawn = sandwich(space, resolution, rng, phase.random_subnets, variables)
        return list(dict.fromkeys(drawn))  # while shrinking allows little, some are the same
    if phase.subnets == "attentive":
        return [attentive(space, resolution, rng, losses, attentive_config, variables)]
    return [uniform(space, resolution, rng, variables)]


def _deal(choices: Sequence[str], count: int, rng: random.Random) -> list[str]:
    dealt: list[str] = []
    while len(dealt) < count:
        dealt += rng.sample(choices, len(choices))
    return dealt[:count]
