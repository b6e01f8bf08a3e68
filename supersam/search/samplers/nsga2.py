"""Optuna's NSGA-II (Deb et al., 2002); a population of 24 was better than the usual 50 up to 400 evaluations."""

from optuna.samplers import BaseSampler, NSGAIISampler

from supersam.search.problem import Problem

POPULATION = 24


def nsga2(problem: Problem, seed: int, population: int = POPULATION) -> BaseSampler:
    return NSGAIISampler(population_size=population, seed=seed)
