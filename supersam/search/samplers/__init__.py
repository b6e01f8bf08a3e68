"""Samplers by name; each is an Optuna sampler, so that storage, resume and dashboard are shared."""

import warnings
from collections.abc import Callable
from importlib import import_module

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler

from supersam.errors import UsageError, suggest
from supersam.search.problem import Problem

DEFAULT = "ehvi"  # experiments/0003-search
SAMPLERS: dict[str, tuple[str, str]] = {  # name -> its maker, what it is
    "auto": (f"{DEFAULT}:EHVISampler", f"the best in experiments/0003-search: {DEFAULT}"),
    "ehvi": ("ehvi:EHVISampler", "expected hypervolume improvement, Gaussian process, exact latency"),
    "linas": ("linas:LINASSampler", "NSGA-II on a ridge regression that is refitted (LINAS)"),
    "linas-dp": ("linas_dp:LINASExactSampler", "the exact front of a ridge regression, by dynamic programming"),
    "nsga2": ("nsga2:nsga2", "Optuna's NSGA-II"),
    "nsga3": ("nsga3:nsga3", "Optuna's NSGA-III"),
    "tpe": ("tpe:tpe", "Optuna's tree-structured Parzen estimator"),
    "gp": ("gp:gp", "Optuna's Gaussian process (needs torch, slow)"),
    "random": ("random:random", "every choice drawn alike"),
    "nni-evolution": ("nni:evolution", "NNI's evolution, one objective (needs the extra nni)"),
    "nni-tpe": ("nni:tpe", "NNI's TPE, one objective (needs the extra nni)"),
    "nni-random": ("nni:random", "NNI's random tuner (needs the extra nni)"),
}
STATELESS = ("auto", "ehvi", "linas", "linas-dp")  # proposals follow from the seed and the study alone


def make_sampler(name: str, problem: Problem, seed: int) -> BaseSampler:
    """Return the sampler of this name.

    Raises:
        UsageError: if there is none.
    """
    if name not in SAMPLERS:
        known = ", ".join(SAMPLERS)
        raise UsageError(f"unknown sampler {name!r} (there: {known}).{suggest(name, list(SAMPLERS))}")
    module, _, maker = SAMPLERS[name][0].partition(":")
    make: Callable[[Problem, int], BaseSampler] = getattr(import_module(f"{__name__}.{module}"), maker)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return make(problem, seed)
