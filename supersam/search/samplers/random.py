"""Random search: every choice drawn alike. What every other sampler has to beat."""

from optuna.samplers import BaseSampler, RandomSampler

from supersam.search.problem import Problem


def random(problem: Problem, seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)
