"""Compare ways to search where every answer is known.

    python experiments/0003-search/compare.py run --truth synthetic:0 --budgets
    python experiments/0003-search/compare.py run --truth graph:arxiv --budgets --seeds 5 --processes 1
    python experiments/0003-search/compare.py report      # results.csv, figure.png, the tables of the README

Two questions are asked of every competitor: the whole front (hypervolume), and with ``--budgets`` the most accurate
within each of five budgets (regret). Rejections by the table are free for all alike: what is more than twice over the
budget is answered with nothing and not counted. A row is written to rows.csv when a run ends, so this can be stopped
and continued; ``run --estimate`` says how long the rest will take, by the runs there are. One seed of all comes before
the next, so that what there is when it is stopped is a fair comparison of fewer seeds.
"""

import argparse
import time
from collections import defaultdict
from dataclasses import replace
from functools import cache
from typing import Any

from records import HERE, Records, spread, stoppable

import numpy as np  # isort: skip  # after records, which says how many threads it may use
from competitors import COMPETITORS, LONGER, MOST, ONLY_WITHIN, missing, run_one  # isort: skip
from truth import Truth, load_truth  # isort: skip
from verdict import AT, LEVELS, WITHIN, report  # isort: skip

ABOUT = ["truth", "name", "budget_ms", "seed", "evaluations", "cpu_seconds"]
COLUMNS = [*ABOUT, *(f"at_{k}" for k in AT), *(f"to_{level}" for level in LEVELS)]
KEY = ("truth", "name", "budget_ms", "seed")


def records() -> Records:
    return Records(HERE / "rows.csv", COLUMNS)


def run(chosen: argparse.Namespace) -> None:
    """Run what is missing, or say how long that will take."""
    truth = load_truth(chosen.truth, chosen.device, chosen.space)
    kept = records()
    tasks = tasks_of(chosen, truth, kept.keys(*KEY))
    _estimate(tasks, kept.rows(), chosen.processes)
    if chosen.estimate:
        return
    for number, row in enumerate(spread(evaluate, tasks, chosen.processes), start=1):
        kept.append(row)
        shown = f"{row['name']:22s} seed {row['seed']} budget {row['budget_ms'] or '-'} {row['cpu_seconds']} s"
        print(f"{number}/{len(tasks)} {shown}", flush=True)


def tasks_of(chosen: argparse.Namespace, truth: Truth, done: set[tuple[str, ...]]) -> list[tuple[Any, ...]]:
    """Return what is to do: truth, device, space, name, budget, seed, evaluations."""
    names = [name for name in chosen.names.split(",") if _usable(name, truth)]
    budgets = ["", *map(str, truth.best_within)] if chosen.budgets else [""]
    return [
        (chosen.truth, chosen.device, chosen.space, name, budget, seed, min(n, MOST.get(name, n)))
        for seed in range(chosen.seeds)
        for name in names
        for budget in budgets
        for n in [WITHIN if budget else chosen.evaluations * LONGER.get(name, 1)]
        if (truth.name, name, budget, str(seed)) not in done
        and not (budget and name in MOST)
        and not (not budget and name in ONLY_WITHIN)
    ]


def _usable(name: str, truth: Truth) -> bool:
    if name not in COMPETITORS:
        raise SystemExit(f"no competitor {name!r}; there are {', '.join(COMPETITORS)}")
    why = f"needs {missing(name)}" if missing(name) else truth.leaves_out.get(name, "")
    if why:
        print(f"{name} is left out: {why}")
    return not why


def _estimate(tasks: list[tuple[Any, ...]], rows: list[dict[str, str]], processes: int) -> None:
    """Say how much CPU the rest takes, by the seconds for each evaluation of the runs there are."""
    spent: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for row in rows:
        spent[row["name"], bool(row["budget_ms"])].append(float(row["cpu_seconds"]) / max(1, int(row["evaluations"])))
    known = [task for task in tasks if (task[3], bool(task[4])) in spent]
    seconds = sum(float(np.mean(spent[task[3], bool(task[4])])) * task[6] for task in known)
    rest = (
        f", and {len(tasks) - len(known)} runs of a kind that has not been run yet" if len(known) < len(tasks) else ""
    )
    print(
        f"{len(tasks)} runs; {len(known)} of them about {seconds / 3600 / processes:.2f} h of {processes} cores{rest}"
    )


@cache
def _truth(what: str, device: str, space: str) -> Truth:
    return load_truth(what, device, space)


def evaluate(task: tuple[Any, ...]) -> dict[str, Any]:
    """Return one run: hypervolume or regret after some numbers of evaluations.

    Who finds nothing new any more before all evaluations are made keeps what was found: a run that gave up counts.
    """
    what, device, space, name, budget, seed, n = task
    truth = _truth(what, device, space)
    asked = replace(truth.problem.devices[0], budget_ms=float(budget) if budget else None)
    began = time.process_time()
    points = run_one(name, truth, replace(truth.problem, devices=(asked,)), seed, n)
    row = dict(zip(ABOUT, (truth.name, name, budget, seed, len(points), 0.0), strict=True))
    row["cpu_seconds"] = round(time.process_time() - began, 2)
    if budget:
        return row | {f"at_{k}": round(regret(truth, float(budget), points[:k]), 6) for k in AT if k <= n}
    areas = [truth.hypervolume(points[:k, 0], points[:k, 1]) for k in range(1, len(points) + 1)]
    row |= {f"at_{k}": round(areas[min(k, len(areas)) - 1], 5) for k in AT if k <= n}
    return row | {f"to_{level}": first_at(areas, level) for level in LEVELS}


def first_at(areas: list[float], level: float) -> int | None:
    """Return after how many evaluations a level was reached, or None."""
    return next((k for k, area in enumerate(areas, start=1) if area >= level), None)


def regret(truth: Truth, budget: float, points: np.ndarray) -> float:
    """Return how far the best found within a budget is below the best there is."""
    within = points[points[:, 2] <= budget]
    lowest = float(truth.front_accuracy.min())
    return truth.best_within[budget] - (float(within[:, 0].max()) if len(within) else lowest)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument(
        "--truth", default="synthetic:0", help="synthetic:SEED, graph:NAME, archive[:PATH], surrogate[:PATH]"
    )
    parser.add_argument("--device", default="jetson-orin")
    parser.add_argument("--space", default="starter")
    parser.add_argument("--names", default=",".join(COMPETITORS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--budgets", action="store_true", help="also the best within five budgets")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    parser.add_argument("--estimate", action="store_true", help="only say how long it will take")
    arguments = parser.parse_args()
    with stoppable():
        run(arguments) if arguments.what == "run" else report(records().rows())
