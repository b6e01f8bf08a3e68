"""Ways to search, all behind one interface: ask for a row, be told which one was evaluated and what came of it."""

from collections import deque
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState
from tabular import GraphEncoding, PoolEncoding
from truth import Truth

from supersam.search.encoding import Encoding, Rows, total
from supersam.search.problem import Problem
from supersam.search.samplers import make_sampler
from supersam.search.samplers.linas import LINASSampler
from supersam.search.samplers.nsga2 import nsga2
from supersam.search.samplers.tpe import tpe

Row = np.ndarray


class Answer(NamedTuple):
    """What an evaluation tells."""

    row: Row  # what was evaluated; on a list of architectures the nearest there is to what was asked
    accuracy: float
    ms: float
    over: float  # milliseconds over the budget, 0 without one


Evaluate = Callable[[Row], Answer | None]  # None: rejected by the table, costs nothing
Search = Callable[[Evaluate], Iterator[None]]  # one step for each proposal

MANY_NAMES = (PoolEncoding, GraphEncoding)

optuna.logging.set_verbosity(optuna.logging.ERROR)


def with_optuna(
    sampler: optuna.samplers.BaseSampler, problem: Problem, accuracy_alone: bool = False, insists: bool = False
) -> Search:
    """Search with an Optuna sampler as ``supersam search`` does: what was told before is told as failed.

    Args:
        accuracy_alone: latency is no objective, and what the table says is over the budget is told as failed too.
        insists: what is asked again is answered where many names are one network, not told as failed: on a list of
            architectures by the next nearest, on graphs from memory.
    """
    n_objectives = 1 if accuracy_alone else 2

    def run(evaluate: Evaluate) -> Iterator[None]:
        study = optuna.create_study(directions=["maximize", "minimize"][:n_objectives], sampler=sampler)
        encoding = problem.encoding
        known: set[bytes] = set()
        while True:
            trial = study.ask()
            params = {name: trial.suggest_categorical(name, values) for name, values in encoding.variables.items()}
            row = encoding.row(params)
            again = row.tobytes() in known and not (insists and isinstance(encoding, MANY_NAMES))
            free = again or (accuracy_alone and _is_over(problem, row))
            answer = None if free else evaluate(row)
            known.add(row.tobytes())
            if answer is None:
                trial.set_user_attr("rejected", "slow or known")
                study.tell(trial, state=TrialState.FAIL)
            elif (answer.row != row).any():
                _tell_other(study, trial, encoding, answer, problem.devices[0].budget_ms is not None)
                known.add(answer.row.tobytes())
            else:
                if problem.devices[0].budget_ms is not None:
                    trial.set_constraint("budget", answer.over)
                study.tell(trial, (answer.accuracy, answer.ms)[:n_objectives])
            yield

    return run


def _is_over(problem: Problem, row: Row) -> bool:
    budget_ms = problem.devices[0].budget_ms
    return budget_ms is not None and bool(total(problem.bound_terms[0], row[None])[0] > budget_ms)


def _tell_other(study: Any, trial: Any, encoding: Encoding, answer: Answer, constrained: bool) -> None:
    """Tell a study about the row that was evaluated in place of the one a trial asked for."""
    study.tell(trial, state=TrialState.FAIL)
    asked = study.get_trials(deepcopy=False)[trial.number]  # with copies every evaluation would cost more than the last
    params = encoding.choices(answer.row)
    told = optuna.create_trial(
        params=params,
        distributions={name: CategoricalDistribution(values) for name, values in encoding.variables.items()},
        values=(answer.accuracy, answer.ms)[: len(study.directions)],
        system_attrs=asked.system_attrs,  # to which generation it belongs
        **({"constraints": {"budget": answer.over}} if constrained else {}),
    )
    study.add_trial(told)


def regularised_evolution(problem: Problem, seed: int, population: int = 50, sample: int = 10) -> Search:
    """Ageing evolution (https://arxiv.org/abs/1802.01548) on a random weighting of accuracy and log latency.

    Within a budget it is told the accuracy alone, and what is over the budget loses against what is not.
    """

    def run(evaluate: Evaluate) -> Iterator[None]:
        rng, encoding = np.random.default_rng(seed), problem.encoding
        alive: deque[Answer] = deque()
        while True:
            if len(alive) < population:
                row = encoding.random(rng, 1)[0]
            else:
                group = [alive[int(at)] for at in rng.choice(len(alive), sample, replace=False)]
                row = encoding.mutate(_fittest(group, problem, rng).row[None], rng)[0]
            answer = evaluate(row)
            if answer is not None:
                alive.append(answer)
                if len(alive) > population:
                    alive.popleft()
            yield

    return run


def _fittest(group: list[Answer], problem: Problem, rng: np.random.Generator) -> Answer:
    if problem.devices[0].budget_ms is not None:
        return max(group, key=lambda one: (-max(0.0, one.over), one.accuracy))
    weight = rng.random()
    accuracy, cost = (np.array(values) for values in ([a.accuracy for a in group], [np.log(a.ms) for a in group]))
    return group[int((weight * _scaled(accuracy) - (1 - weight) * _scaled(cost)).argmax())]


def _scaled(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (np.ptp(values) + 1e-12)


def pymoo_nsga2(problem: Problem, seed: int, population: int = 50) -> Search:
    """pymoo's NSGA-II, the search of DyNAS-T, with the operators pymoo's manual gives for whole numbers.

    (DyNAS-T's own setting mutates two individuals in a hundred since pymoo 0.6.) A budget is its constraint.
    """

    def run(evaluate: Evaluate) -> Iterator[None]:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem as PymooProblem
        from pymoo.operators.crossover.sbx import SBX
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.repair.rounding import RoundingRepair
        from pymoo.operators.sampling.rnd import IntegerRandomSampling

        sizes = problem.encoding.sizes
        bounds = {"xl": np.zeros(len(sizes)), "xu": sizes - 1, "vtype": int}
        space = PymooProblem(n_var=len(sizes), n_obj=2, n_ieq_constr=1, **bounds)
        algorithm = NSGA2(
            pop_size=population,
            sampling=IntegerRandomSampling(),
            crossover=SBX(prob=0.9, eta=3.0, vtype=float, repair=RoundingRepair()),
            mutation=PM(prob=1.0, prob_var=1 / len(sizes), eta=3.0, vtype=float, repair=RoundingRepair()),
            eliminate_duplicates=True,
        )
        algorithm.setup(space, termination=("n_gen", 10**6), seed=seed, verbose=False)
        while True:
            infills = algorithm.ask()
            rows, found, over = infills.get("X").astype(np.int16), [], []
            for at, row in enumerate(rows):
                answer = evaluate(problem.encoding.canonical(row[None])[0])
                rows[at] = row if answer is None else answer.row
                found.append((0.0, 1e6) if answer is None else (-answer.accuracy, answer.ms))
                over.append([1e6 if answer is None else answer.over])
                yield
            infills.set("X", rows.astype(int), "F", np.array(found), "G", np.array(over))
            algorithm.tell(infills=infills)

    return run


def syne_tune_morea(problem: Problem, seed: int, population: int = 50) -> Search:
    """syne-tune's multi-objective regularised evolution, asked and told by hand; it knows no constraints."""

    def run(evaluate: Evaluate) -> Iterator[None]:
        from syne_tune.config_space import choice
        from syne_tune.optimizer.schedulers.multiobjective import MultiObjectiveRegularizedEvolution

        names = problem.encoding.names
        space = {name: choice(list(range(int(size)))) for name, size in zip(names, problem.encoding.sizes)}
        search = MultiObjectiveRegularizedEvolution(space, population_size=population, random_seed=seed)
        number = 0
        while True:
            config = search.suggest()
            row = np.array([config[name] for name in names], dtype=np.int16)
            answer = evaluate(problem.encoding.canonical(row[None])[0])
            if answer is not None:
                told = dict(zip(names, map(int, answer.row), strict=True))
                search.on_trial_complete(number, told, [-answer.accuracy, answer.ms])
            number += 1
            yield

    return run


class PublishedLINAS(LINASSampler):
    """LINAS as published (https://arxiv.org/abs/2205.10358): 50 random first, ridge on single choices, 50 a round.

    The inner search evaluates 20,000, as DyNAS-T's does on most supernets. Latency is looked up and nothing is
    evaluated twice, which it did not do.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem, seed, population=50, pairs=False, inner=(50, 400))

    def start(self, rng: np.random.Generator) -> Rows:
        return self.problem.random(rng, 16)


def published_linas(problem: Problem, seed: int) -> Search:
    return with_optuna(PublishedLINAS(problem, seed), problem)


def tpe_accuracy(problem: Problem, seed: int) -> Search:
    """TPE on accuracy alone, for budgets: what is over the budget is known beforehand and costs nothing."""
    return with_optuna(tpe(problem, seed), problem, accuracy_alone=True)


def gaussian_process(problem: Problem, seed: int) -> Search:
    """Optuna's Gaussian process, which asks for the same until it knows about it."""
    return with_optuna(make_sampler("gp", problem, seed), problem, insists=True)


def _sampler(name: str) -> Callable[[Problem, int], Search]:
    return lambda problem, seed: with_optuna(make_sampler(name, problem, seed), problem)


def _nsga2(population: int) -> Callable[[Problem, int], Search]:
    return lambda problem, seed: with_optuna(nsga2(problem, seed, population), problem)


NSGA2 = {"nsga2-12": 12, "nsga2": 24, "nsga2-50": 50, "nsga2-100": 100}
COMPETITORS: dict[str, Callable[[Problem, int], Search]] = {
    **{name: _sampler(name) for name in ("ehvi", "linas", "linas-dp")},
    "linas-published": published_linas,
    **{name: _nsga2(population) for name, population in NSGA2.items()},
    **{name: _sampler(name) for name in ("nsga3", "tpe")},
    "tpe-accuracy": tpe_accuracy,
    "random": _sampler("random"),
    "regularised-evolution": regularised_evolution,
    "pymoo-nsga2": pymoo_nsga2,
    "syne-tune-morea": syne_tune_morea,
    **{name: _sampler(name) for name in ("nni-evolution", "nni-tpe", "nni-random")},
    "gp": gaussian_process,
}
NEEDS = {"pymoo-nsga2": "pymoo", "syne-tune-morea": "syne_tune", "gp": "torch"} | {
    f"nni-{tuner}": "nni" for tuner in ("evolution", "tpe", "random")
}
MOST = {"gp": 100}  # evaluations of what takes seconds for each
# Times the evaluations, to see when they are where the default was: the goals are a quarter and two thirds.
LONGER = dict.fromkeys((*NSGA2, "pymoo-nsga2"), 4) | {"linas-published": 2}
ONLY_WITHIN = ("tpe-accuracy",)  # budgets; has no front to look for


def missing(name: str) -> str:
    """Return the package a competitor needs and that is not installed, or an empty string."""
    needed = NEEDS.get(name, "")
    return needed if needed and find_spec(needed) is None else ""


def run_one(name: str, truth: Truth, problem: Problem, seed: int, n: int) -> np.ndarray:
    """Return (evaluations, 3): accuracy, latency and its upper bound in the order of evaluation.

    What was evaluated before is answered from memory and not counted. Where the space is a list of architectures, the
    nearest one that is not evaluated yet answers for what is asked.
    """
    found: dict[bytes, np.ndarray] = {}
    budget_ms = problem.devices[0].budget_ms
    pool = problem.encoding.pool if isinstance(problem.encoding, PoolEncoding) else None
    left = problem.reachable(pool.rows) if pool else np.zeros(0, dtype=bool)
    most = min(n, int(left.sum())) if pool else n

    def evaluate(row: Row) -> Answer | None:
        if pool is not None:
            at = pool.nearest(row, left)
            if at is None:
                return None
            left[at] = False
            row = pool.rows[at]
        key = row.astype(np.int16).tobytes()
        if key not in found:
            if not problem.reachable(row[None])[0]:
                return None
            one = row[None]
            found[key] = np.array([truth.accuracy(one)[0], truth.latency(one)[0], truth.bound(one)[0]])
        accuracy, ms, bound = map(float, found[key])
        return Answer(row, accuracy, ms, bound - budget_ms if budget_ms is not None else 0.0)

    search = COMPETITORS[name](problem, seed)(evaluate)
    proposals = 0
    while len(found) < most and proposals < 40 * n:
        next(search)
        proposals += 1
    return np.array(list(found.values())).reshape(-1, 3)[:most]
