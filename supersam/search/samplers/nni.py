"""NNI's tuners by name (``supersam.search.nni``)."""

from optuna.samplers import BaseSampler

from supersam.search.nni import NNISampler
from supersam.search.problem import Problem


def evolution(problem: Problem, seed: int) -> BaseSampler:
    return NNISampler(problem, seed, "evolution")


def tpe(problem: Problem, seed: int) -> BaseSampler:
    return NNISampler(problem, seed, "tpe")


def random(problem: Problem, seed: int) -> BaseSampler:
    return NNISampler(problem, seed, "random")
