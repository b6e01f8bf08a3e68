"""Optuna's tree-structured Parzen estimator for several objectives (https://arxiv.org/abs/2003.02193)."""

from optuna.samplers import BaseSampler, TPESampler

from supersam.search.problem import Problem

N_START = 15


def tpe(problem: Problem, seed: int) -> BaseSampler:
    return TPESampler(seed=seed, n_startup_trials=N_START, multivariate=True)
