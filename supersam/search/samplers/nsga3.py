"""Optuna's NSGA-III (Deb and Jain, 2014), meant for three objectives or more: several devices."""

from optuna.samplers import BaseSampler, NSGAIIISampler

from supersam.search.problem import Problem

POPULATION = 24


def nsga3(problem: Problem, seed: int, population: int = POPULATION) -> BaseSampler:
    return NSGAIIISampler(population_size=population, seed=seed)
