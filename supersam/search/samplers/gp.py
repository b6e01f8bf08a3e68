"""Optuna's Gaussian process with expected hypervolume improvement; needs torch and some seconds for each proposal."""

from optuna.samplers import BaseSampler, GPSampler

from supersam.search.problem import Problem

N_START = 16


def gp(problem: Problem, seed: int) -> BaseSampler:
    return GPSampler(seed=seed, n_startup_trials=N_START)
