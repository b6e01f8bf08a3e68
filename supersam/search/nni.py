"""NNI's tuners as samplers (https://github.com/microsoft/nni, 3.0): evolution, TPE and random, in this process.

An optional extra (``pip install 'supersam[nni]'``). NNI knows one objective, so where there is a budget the tuner is
told the accuracy, less what is over the budget, and without one a weighting of accuracy and latency drawn for each
trial. Its node server and web page are not used.
"""

import logging
import math
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from supersam.errors import EnvironmentProblem, UsageError
from supersam.search.problem import Problem
from supersam.space import SearchSpace

TUNERS = {
    "evolution": ("nni.algorithms.hpo.evolution_tuner", "EvolutionTuner"),
    "tpe": ("nni.algorithms.hpo.tpe_tuner", "TpeTuner"),
    "random": ("nni.algorithms.hpo.random_tuner", "RandomTuner"),
}
OVER_BUDGET = 0.1  # accuracy that one budget over the budget costs
LATENCY = 0.1  # weight of a factor of e in latency against one of accuracy, without a budget


def to_search_space(space: SearchSpace) -> dict[str, dict[str, Any]]:
    """Return a space in NNI's JSON: every variable is a ``choice``."""
    return {name: {"_type": "choice", "_value": list(choices)} for name, choices in space.variables().items()}


def make_tuner(name: str, space: SearchSpace, seed: int) -> Any:
    """Return a tuner of NNI that proposes choices of a space.

    Raises:
        UsageError: if NNI has no such tuner here.
        EnvironmentProblem: if NNI is not installed.
    """
    if name not in TUNERS:
        raise UsageError(f"unknown tuner {name!r} (there: {', '.join(TUNERS)})")
    from importlib import import_module

    module, kind = TUNERS[name]
    try:
        maker = getattr(import_module(module), kind)
    except ImportError as problem:
        raise EnvironmentProblem(
            f"nni-{name} needs a package that is not installed ({problem}); get it with: pip install 'supersam[nni]'"
        ) from problem
    logging.getLogger("nni").setLevel(logging.WARNING)  # it writes to stdout, which is for data
    if name == "evolution":
        import random

        random.seed(seed)  # the tuner draws from the global generators and takes no seed
        np.random.seed(seed)
        tuner = maker(optimize_mode="maximize", population_size=32)
    else:
        tuner = maker(seed=seed) if name == "random" else maker(optimize_mode="maximize", seed=seed)
    tuner.update_search_space(to_search_space(space))
    return tuner


class NNISampler(BaseSampler):  # type: ignore[misc]
    """Hands the proposals of an NNI tuner to Optuna, and Optuna's answers to the tuner."""

    def __init__(self, problem: Problem, seed: int, tuner: str) -> None:
        if len(problem.devices) > 1:
            raise UsageError(f"nni-{tuner} knows one device; search one after the other, or choose another --sampler")
        self.problem, self.seed = problem, seed
        self.tuner = make_tuner(tuner, problem.space, seed)
        self._asked: set[int] = set()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        queued = trial.system_attrs.get("fixed_params", {})
        variables = self.problem.space.variables()
        if variables.keys() <= {*queued, *trial.params}:
            return {}
        return {name: CategoricalDistribution(choices) for name, choices in variables.items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        self._asked.add(trial.number)
        found: dict[str, Any] = self.tuner.generate_parameters(trial.number)
        return found

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        choices = self.problem.space.variables()[param_name]
        return choices[int(np.random.default_rng([self.seed, trial.number]).integers(len(choices)))]

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        if trial.number not in self._asked:
            return
        self._asked.discard(trial.number)
        if state is TrialState.COMPLETE:
            self.tuner.receive_trial_result(trial.number, trial.params, self._score(trial, values))
        else:
            self.tuner.trial_end(trial.number, False)

    def _score(self, trial: FrozenTrial, values: Any) -> float:
        accuracy, ms = float(values[0]), float(values[1])
        device = self.problem.devices[0]
        if device.budget_ms is None:
            weight = np.random.default_rng([self.seed, trial.number]).random()
            return weight * accuracy - (1 - weight) * LATENCY * math.log(ms)
        latency = self.problem.latencies(self.problem.space.decode(trial.params))[0]
        return accuracy - OVER_BUDGET * max(0.0, self.problem.bound_ms(latency) / device.budget_ms - 1)
