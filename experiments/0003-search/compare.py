"""Compare ways to search where every answer is known.

    python experiments/0003-search/compare.py run --truth archive:supersam/starter/archive.json --budgets
    python experiments/0003-search/compare.py run --truth graph:arxiv
    python experiments/0003-search/compare.py report      # results.csv, figure.png, the tables of the README

Two questions are asked of every competitor: the whole front (hypervolume), and with ``--budgets`` the most accurate
within each of five budgets (regret). Rejections by the table are free for all alike: what is more than twice over the
budget is answered with nothing and not counted. A row is written to rows.csv when a run ends, so this can be stopped
and continued; ``run --estimate`` says how long the rest will take, by the runs there are.
"""

import argparse
import time
from collections import defaultdict
from dataclasses import replace
from functools import cache
from typing import Any

from records import HERE, Records, spread, table, write_between

import numpy as np  # isort: skip  # after records, which says how many threads it may use
from competitors import COMPETITORS, LONGER, MOST, NSGA2, missing, run_one  # isort: skip
from truth import Truth, load_truth  # isort: skip

from supersam._paths import write_atomically
from supersam.search.samplers import DEFAULT

AT = (25, 50, 75, 100, 150, 200, 300, 400)
LEVELS = (0.95, 0.98, 0.99)
WITHIN = 100  # evaluations within a budget
ABOUT = ["truth", "name", "budget_ms", "seed", "evaluations", "cpu_seconds"]
COLUMNS = [*ABOUT, *(f"at_{k}" for k in AT), *(f"to_{level}" for level in LEVELS)]
KEY = ("truth", "name", "budget_ms", "seed")
FIGURE, RESULTS = HERE / "figure.png", HERE / "results.csv"


def records() -> Records:
    return Records(HERE / "rows.csv", COLUMNS)


def run(chosen: argparse.Namespace) -> None:
    """Run what is missing, or say how long that will take."""
    truth = load_truth(chosen.truth, chosen.device, chosen.space)
    kept = records()
    done = kept.keys(*KEY)
    names = [name for name in chosen.names.split(",") if _usable(name, truth)]
    budgets = ["", *map(str, truth.best_within)] if chosen.budgets else [""]
    tasks = [
        (chosen.truth, chosen.device, chosen.space, name, budget, seed, min(n, MOST.get(name, n)))
        for seed in range(chosen.seeds)
        for name in names
        for budget in budgets
        for n in [WITHIN if budget else chosen.evaluations * LONGER.get(name, 1)]
        if (truth.name, name, budget, str(seed)) not in done and not (budget and name in MOST)
    ]
    _estimate(tasks, kept.rows(), chosen.processes)
    if chosen.estimate:
        return
    for number, row in enumerate(spread(evaluate, tasks, chosen.processes), start=1):
        kept.append(row)
        shown = f"{row['name']:22s} seed {row['seed']} budget {row['budget_ms'] or '-'} {row['cpu_seconds']} s"
        print(f"{number}/{len(tasks)} {shown}", flush=True)


def _usable(name: str, truth: Truth) -> bool:
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
        f"{len(tasks)} runs; {len(known)} of them about {seconds / processes / 3600:.2f} h of {processes} cores{rest}"
    )


@cache
def _truth(what: str, device: str, space: str) -> Truth:
    return load_truth(what, device, space)


def evaluate(task: tuple[Any, ...]) -> dict[str, Any]:
    """Return one run: hypervolume or regret after some numbers of evaluations."""
    what, device, space, name, budget, seed, n = task
    truth = _truth(what, device, space)
    asked = replace(truth.problem.devices[0], budget_ms=float(budget) if budget else None)
    began = time.process_time()
    points = run_one(name, truth, replace(truth.problem, devices=(asked,)), seed, n)
    row = dict(zip(ABOUT, (truth.name, name, budget, seed, len(points), 0.0), strict=True))
    row["cpu_seconds"] = round(time.process_time() - began, 2)
    if budget:
        return row | {f"at_{k}": round(regret(truth, float(budget), points[:k]), 6) for k in AT if k <= len(points)}
    areas = [truth.hypervolume(points[:k, 0], points[:k, 1]) for k in range(1, len(points) + 1)]
    row |= {f"at_{k}": round(areas[k - 1], 5) for k in AT if k <= len(areas)}
    return row | {f"to_{level}": first_at(areas, level) for level in LEVELS}


def first_at(areas: list[float], level: float) -> int | None:
    """Return after how many evaluations a level was reached, or None."""
    return next((k for k, area in enumerate(areas, start=1) if area >= level), None)


def regret(truth: Truth, budget: float, points: np.ndarray) -> float:
    """Return how far the best found within a budget is below the best there is."""
    within = points[points[:, 2] <= budget]
    lowest = float(truth.front_accuracy.min())
    return truth.best_within[budget] - (float(within[:, 0].max()) if len(within) else lowest)


Quartiles = tuple[float, float, float]  # median, first and third quartile


def quartiles(values: list[float]) -> Quartiles:
    """Return median and quartiles as values that occurred; what was never reached is infinite."""
    ordered = sorted(values)
    low, middle, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.25, 0.5, 0.75))
    return middle, low, high


def summarise(rows: list[dict[str, str]]) -> dict[tuple[str, str, str, str], tuple[Quartiles, int]]:
    """Return (truth, name, measure, at) -> quartiles over the runs and how many they are."""
    values: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        measure = "regret" if row["budget_ms"] else "hypervolume"
        for k in AT:
            if row[f"at_{k}"]:
                values[row["truth"], row["name"], measure, str(k)].append(float(row[f"at_{k}"]))
        if not row["budget_ms"]:
            values[row["truth"], row["name"], "evaluations", "made"].append(float(row["evaluations"]))
        for level in LEVELS if not row["budget_ms"] else ():
            reached = row[f"to_{level}"]
            values[row["truth"], row["name"], "evaluations to", str(level)].append(
                float(reached) if reached else np.inf
            )
    return {key: (quartiles(found), len(found)) for key, found in values.items()}


def report() -> None:
    """Write medians with quartiles, draw hypervolume over evaluations, fill in the README."""
    found = summarise(records().rows())
    lines = ["truth,name,measure,at,median,q25,q75,runs"]
    for (truth, name, measure, at), (values, n) in sorted(found.items()):
        lines.append(",".join([truth, name, measure, at, *(f"{value:g}" for value in values), str(n)]))
    write_atomically(RESULTS, "\n".join(lines) + "\n")
    draw(found)
    write_between("results", readme(found))


def readme(found: dict[tuple[str, str, str, str], tuple[Quartiles, int]]) -> list[str]:
    """Return the tables of the README: one for each truth, and what became of the goals."""
    lines: list[str] = []
    for truth in sorted({key[0] for key in found}):
        names = sorted({key[1] for key in found if key[0] == truth}, key=list(COMPETITORS).index)
        runs = sorted({n for key, (_, n) in found.items() if key[0] == truth and key[2] == "hypervolume"})
        lines += ["", f"**{truth}**, {'-'.join(map(str, runs))} seeds; median (quartiles)", ""]
        lines += table(_HEAD, [_line(found, truth, name) for name in names])
        lines += ["", *goals(found, truth, names)]
    return [*lines, "", "![missing hypervolume over evaluations](figure.png)"]


_HEAD = ["", *(f"share at {k}" for k in (50, 100, 200)), *(f"evaluations to {x:.0%}" for x in LEVELS), "regret at 100"]


def _line(found: dict[tuple[str, str, str, str], tuple[Quartiles, int]], truth: str, name: str) -> list[str]:
    def cell(measure: str, at: str, digits: int) -> str:
        if (truth, name, measure, at) not in found:
            return "-"
        middle, low, high = (
            f"{x:.{digits}f}" if np.isfinite(x) else "never" for x in found[truth, name, measure, at][0]
        )
        return f"{middle} ({low}, {high})"

    shares = [cell("hypervolume", str(k), 3) for k in (50, 100, 200)]
    return [f"`{name}`", *shares, *(cell("evaluations to", str(x), 0) for x in LEVELS), cell("regret", "100", 4)]


def goals(found: dict[tuple[str, str, str, str], tuple[Quartiles, int]], truth: str, names: list[str]) -> list[str]:
    """Return what became of the goals on one truth, by medians."""

    def median(name: str, measure: str, at: str) -> float:
        return found[truth, name, measure, at][0][0] if (truth, name, measure, at) in found else float("nan")

    def reached(name: str) -> tuple[float, bool]:
        """Return after how many evaluations 98 % was reached, or how many were made in vain; and whether it was."""
        found = median(name, "evaluations to", "0.98")
        return (found, True) if not np.isinf(found) else (median(name, "evaluations", "made"), False)

    mine = median(DEFAULT, "evaluations to", "0.98")
    populations = [reached(name) for name in (*NSGA2, "pymoo-nsga2") if name in names]
    genetic = min(populations, key=lambda one: (not one[1], one[0]), default=(float("nan"), True))
    published = reached("linas-published")
    lines = []
    for (other, there), who, most in (
        (genetic, "NSGA-II's best population", 1 / 4),
        (published, "LINAS as published", 2 / 3),
    ):
        met = _met(mine, most * other)
        shown = _many(other) if there else f"more than {other:.0f}"
        undecided = not there and met != "met" and np.isfinite(mine)
        verdict = "not decided" if undecided else met
        lines.append(f"- 98 %: `{DEFAULT}` {_many(mine)}, {who} {shown}; goal at most {most:.0%}: {verdict}")
    ours, tpe = (median(name, "regret", "100") for name in (DEFAULT, "tpe"))
    lines.append(f"- regret at 100: `{DEFAULT}` {ours:.4f}, TPE {tpe:.4f}; goal at most half: {_met(ours, tpe / 2)}")
    best = {}
    for k in ("50", "100", "200"):
        there = [(median(name, "hypervolume", k), name) for name in names]
        best |= (
            {k: max(one for one in there if np.isfinite(one[0]))} if any(np.isfinite(one[0]) for one in there) else {}
        )
    return [*lines, "- best: " + ", ".join(f"at {k} `{name}` {value:.3f}" for k, (value, name) in best.items())]


def _many(value: float) -> str:
    return "not run" if np.isnan(value) else f"{value:.0f}" if np.isfinite(value) else "never"


def _met(mine: float, most: float) -> str:
    if np.isnan(mine) or np.isnan(most):
        return "not known"
    return "met" if np.isfinite(mine) and mine <= most else "**missed**"


def draw(found: dict[tuple[str, str, str, str], tuple[Quartiles, int]]) -> None:
    """Draw the missing hypervolume over evaluations, one panel for each truth."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    truths = sorted({truth for truth, _, measure, _ in found if measure == "hypervolume"})
    figure, axes = plt.subplots(1, max(1, len(truths)), figsize=(6 * max(1, len(truths)), 4.5), squeeze=False)
    for axis, truth in zip(axes[0], truths, strict=False):
        for name in sorted({n for t, n, measure, _ in found if (t, measure) == (truth, "hypervolume")}):
            ks = [k for k in AT if (truth, name, "hypervolume", str(k)) in found]
            curves = [found[truth, name, "hypervolume", str(k)][0] for k in ks]
            middle, low, high = (np.maximum(1e-4, 1 - np.array(one)) for one in zip(*curves, strict=True))
            (line,) = axis.plot(ks, middle, label=name)
            axis.fill_between(ks, low, high, alpha=0.15, color=line.get_color())
        axis.set(xscale="log", yscale="log", xlabel="evaluations", ylabel="missing hypervolume", title=truth)
        axis.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(FIGURE, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument(
        "--truth", default="synthetic:0", help="archive:PATH, graph:NAME, surrogate:PATH, synthetic:SEED"
    )
    parser.add_argument("--device", default="jetson-orin")
    parser.add_argument("--space", default="starter")
    parser.add_argument("--names", default=",".join(COMPETITORS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--budgets", action="store_true", help="also the best within five budgets")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--estimate", action="store_true", help="only say how long it will take")
    arguments = parser.parse_args()
    run(arguments) if arguments.what == "run" else report()
