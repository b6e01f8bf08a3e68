"""Ways to search, all behind one interface: propose a row, be told its accuracy and latency."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from supersam.search.encoding import Rows
from supersam.search.problem import Problem
from supersam.search.samplers import make_sampler
from supersam.search.samplers.linas import LINASSampler
from supersam.search.samplers.nsga2 import nsga2

Row = np.ndarray
Answer = tuple[float, float, float]  # accuracy, latency in ms, upper bound in ms
Evaluate = Callable[[Row], Answer | None]  # None: rejected by the table, costs nothing

optuna.logging.set_verbosity(optuna.logging.ERROR)


def with_optuna(sampler: optuna.samplers.BaseSampler, problem: Problem) -> Callable[[Evaluate], Iterator[None]]:
    """Search with an Optuna sampler as ``supersam search`` does: what was told before is told as failed."""

    def run(evaluate: Evaluate) -> Iterator[None]:
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        encoding = problem.encoding
        known: set[bytes] = set()
        budget = problem.devices[0].budget_ms
        while True:
            trial = study.ask()
            params = {name: trial.suggest_categorical(name, values) for name, values in encoding.variables.items()}
            row = encoding.row(params)
            answer = None if row.tobytes() in known else evaluate(row)
            if answer is None:
                if row.tobytes() not in known:
                    trial.set_user_attr("rejected", "slow")
                known.add(row.tobytes())
                study.tell(trial, state=TrialState.FAIL)
                yield
                continue
            known.add(row.tobytes())
            if budget is not None:
                trial.set_constraint("budget", answer[2] - budget)
            study.tell(trial, answer[:2])
            yield

    return run


def regularised_evolution(problem: Problem, seed: int, population: int = 50, sample: int = 10) -> Any:
    """Ageing evolution (https://arxiv.org/abs/1802.01548) on a random weighting of accuracy and log latency."""

    def run(evaluate: Evaluate) -> Iterator[None]:
        rng, encoding = np.random.default_rng(seed), problem.encoding
        alive: deque[tuple[Row, float, float]] = deque()
        while True:
            if len(alive) < population:
                row = encoding.random(rng, 1)[0]
            else:
                weight = rng.random()
                group = [alive[int(at)] for at in rng.choice(len(alive), sample, replace=False)]
                accuracies, latencies = (np.array([one[i] for one in group]) for i in (1, 2))
                score = weight * _scaled(accuracies) - (1 - weight) * _scaled(latencies)
                row = encoding.mutate(group[int(score.argmax())][0][None], rng)[0]
            answer = evaluate(row)
            if answer is not None:
                alive.append((row, answer[0], float(np.log(answer[1]))))
                if len(alive) > population:
                    alive.popleft()
            yield

    return run


def _scaled(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (np.ptp(values) + 1e-12)


def pymoo_nsga2(problem: Problem, seed: int, population: int = 50) -> Any:
    """pymoo's NSGA-II on whole numbers, as DyNAS-T's evolutionary search uses it."""

    def run(evaluate: Evaluate) -> Iterator[None]:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem as PymooProblem
        from pymoo.operators.crossover.sbx import SBX
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.repair.rounding import RoundingRepair
        from pymoo.operators.sampling.rnd import IntegerRandomSampling

        sizes = problem.encoding.sizes
        space = PymooProblem(n_var=len(sizes), n_obj=2, xl=np.zeros(len(sizes)), xu=sizes - 1, vtype=int)
        algorithm = NSGA2(
            pop_size=population,
            sampling=IntegerRandomSampling(),
            crossover=SBX(prob=0.9, eta=3.0, vtype=float, repair=RoundingRepair()),
            mutation=PM(prob=1 / len(sizes), eta=3.0, vtype=float, repair=RoundingRepair()),
            eliminate_duplicates=True,
        )
        algorithm.setup(space, termination=("n_gen", 10**6), seed=seed, verbose=False)
        while True:
            infills = algorithm.ask()
            found = []
            for row in infills.get("X").astype(np.int16):
                answer = evaluate(problem.encoding.canonical(row[None])[0])
                found.append((0.0, 1e6) if answer is None else (-answer[0], answer[1]))
                yield
            infills.set("F", np.array(found))
            algorithm.tell(infills=infills)

    return run


def syne_tune_morea(problem: Problem, seed: int, population: int = 50) -> Any:
    """syne-tune's multi-objective regularised evolution, asked and told by hand."""

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
                search.on_trial_complete(number, config, [-answer[0], answer[1]])
            number += 1
            yield

    return run


def published_linas(problem: Problem, seed: int) -> Any:
    """LINAS as published: 50 random first, ridge on single choices, 50 a round (https://arxiv.org/abs/2205.10358)."""
    return with_optuna(LINASSampler(problem, seed, population=50, pairs=False), problem)


COMPETITORS: dict[str, Callable[[Problem, int], Any]] = {
    name: (lambda problem, seed, name=name: with_optuna(make_sampler(name, problem, seed), problem))
    for name in ("ehvi", "linas", "linas-dp", "nsga2", "nsga3", "tpe", "gp", "random", "nni-evolution", "nni-tpe")
} | {
    "nsga2-50": lambda problem, seed: with_optuna(nsga2(problem, seed, 50), problem),
    "linas-published": published_linas,
    "regularised-evolution": regularised_evolution,
    "pymoo-nsga2": pymoo_nsga2,
    "syne-tune-morea": syne_tune_morea,
}


def run_one(
    name: str, problem: Problem, accuracy: Callable[[Rows], np.ndarray], latency: Any, bound: Any, seed: int, n: int
) -> np.ndarray:
    """Return (evaluations, 3): accuracy, latency and its upper bound in the order of evaluation.

    What was evaluated before is answered from memory and not counted.
    """
    answers: dict[bytes, Answer] = {}

    def evaluate(row: Row) -> Answer | None:
        key = row.astype(np.int16).tobytes()
        if key not in answers:
            if not problem.reachable(row[None])[0]:
                return None
            answers[key] = (float(accuracy(row[None])[0]), float(latency(row[None])[0]), float(bound(row[None])[0]))
        return answers[key]

    search = COMPETITORS[name](problem, seed)(evaluate)
    proposals = 0
    while len(answers) < n and proposals < 40 * n:
        next(search)
        proposals += 1
    return np.array(list(answers.values()))[:n]
