"""Optuna's NSGA-II (Deb et al., 2002); in experiments/0003-search 24 is better than 50, and 12 better or worse."""

from optuna.samplers import BaseSampler, NSGAIISampler

from supersam.search.problem import Problem

POPULATION = 24


def nsga2(problem: Problem, seed: int, population: int = POPULATION) -> BaseSampler:
    return NSGAIISampler(population_size=population, seed=seed)
