"""Compare ways to search where every answer is known.

    python experiments/0003-search/compare.py run --truth ARCHIVE.json --seeds 20     # rows to rows.jsonl, goes on
    python experiments/0003-search/compare.py table                                  # results.csv and figure.png

``--truth synthetic:N`` is an invented function, to see that everything works. For each truth the front of the whole
space is enumerated once. Two questions are asked of every competitor: the whole front (hypervolume), and the most
accurate within each of five budgets (regret). Rejections by the table are free for all alike: what is more than twice
over the budget is answered with nothing and not counted.
"""

import argparse
import csv
import json
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from competitors import COMPETITORS, run_one
from truth import Truth, load_truth

HERE = Path(__file__).parent
ROWS, RESULTS, FIGURE = HERE / "rows.jsonl", HERE / "results.csv", HERE / "figure.png"
AT = (25, 50, 75, 100, 150, 200, 300, 400, 600, 800)
LEVELS = (0.95, 0.98, 0.99)


def run(arguments: argparse.Namespace) -> None:
    """Run what is missing."""
    truth = load_truth(arguments.truth, arguments.device, arguments.space)
    done = {key(row) for row in read_rows()}
    budgets = [None, *truth.best_within] if arguments.budgets else [None]
    for seed in range(arguments.seeds):
        for name in arguments.names.split(","):
            for budget in budgets:
                if (truth.name, name, budget, seed) in done:
                    continue
                row = evaluate(truth, name, budget, seed, arguments.evaluations if budget is None else 200)
                with ROWS.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{name:22s} seed {seed} budget {budget} {row['seconds']:.0f} s", flush=True)


def evaluate(truth: Truth, name: str, budget: float | None, seed: int, n: int) -> dict[str, object]:
    """Return one run: hypervolume or regret after some numbers of evaluations."""
    device = replace(truth.problem.devices[0], budget_ms=budget)
    problem = replace(truth.problem, devices=(device,))
    began = time.process_time()
    points = run_one(name, problem, truth.accuracy, truth.latency, truth.bound, seed, n)
    row: dict[str, object] = {
        "truth": truth.name,
        "name": name,
        "budget": budget,
        "seed": seed,
        "seconds": round(time.process_time() - began, 2),
        "evaluations": len(points),
    }
    if budget is None:
        areas = [truth.hypervolume(points[:k, 0], points[:k, 1]) for k in range(1, len(points) + 1)]
        row["hypervolume"] = {k: round(areas[k - 1], 5) for k in AT if k <= len(points)}
        row["reached"] = {level: first_at(areas, level) for level in LEVELS}
    else:
        row["regret"] = {k: round(regret(truth, budget, points[:k]), 6) for k in AT if k <= len(points)}
    return row


def first_at(areas: list[float], level: float) -> int | None:
    """Return after how many evaluations a level was reached, or None."""
    return next((k for k, area in enumerate(areas, start=1) if area >= level), None)


def regret(truth: Truth, budget: float, points: np.ndarray) -> float:
    """Return how far the best found within a budget is below the best there is."""
    within = points[points[:, 2] <= budget]
    lowest = float(truth.front_accuracy.min())
    return truth.best_within[budget] - (float(within[:, 0].max()) if len(within) else lowest)


def key(row: dict[str, object]) -> tuple[object, ...]:
    return row["truth"], row["name"], row["budget"], row["seed"]


def read_rows() -> list[dict[str, object]]:
    """Return all rows so far."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.is_file() else []


def table() -> None:
    """Write medians with quartiles, and draw hypervolume over evaluations."""
    curves: dict[tuple[str, str, str, int], list[float]] = defaultdict(list)
    reached: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in read_rows():
        kind = "hypervolume" if row["budget"] is None else "regret"
        for k, value in row[kind].items():  # type: ignore[attr-defined]
            curves[(str(row["truth"]), str(row["name"]), kind, int(k))].append(value)
        for level, k in row.get("reached", {}).items():  # type: ignore[attr-defined]
            reached[(str(row["truth"]), str(row["name"]), level)].append(np.inf if k is None else k)
    with RESULTS.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["truth", "name", "measure", "at", "median", "q25", "q75", "runs"])
        for (truth, name, kind, k), values in sorted(curves.items()):
            quartiles = np.quantile(values, [0.5, 0.25, 0.75]).round(5)
            writer.writerow([Path(truth).name, name, kind, k, *quartiles, len(values)])
        for (truth, name, level), values in sorted(reached.items()):
            ordered = sorted(values)  # never reached counts as infinite
            places = [ordered[round(share * (len(ordered) - 1))] for share in (0.5, 0.25, 0.75)]
            writer.writerow([Path(truth).name, name, "evaluations to", level, *places, len(values)])
    draw(curves)


def draw(curves: dict[tuple[str, str, str, int], list[float]]) -> None:
    """Draw the missing hypervolume over evaluations, one panel for each truth."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    truths = sorted({truth for truth, _, kind, _ in curves if kind == "hypervolume"})
    figure, axes = plt.subplots(1, len(truths), figsize=(6 * len(truths), 4.5), squeeze=False)
    for axis, truth in zip(axes[0], truths, strict=True):
        for name in sorted({n for t, n, kind, _ in curves if t == truth and kind == "hypervolume"}):
            ks = sorted(k for t, n, kind, k in curves if (t, n, kind) == (truth, name, "hypervolume"))
            low, middle, high = (
                [1 - np.quantile(curves[(truth, name, "hypervolume", k)], share) for k in ks]
                for share in (0.75, 0.5, 0.25)
            )
            (line,) = axis.plot(ks, middle, label=name)
            axis.fill_between(ks, low, high, alpha=0.15, color=line.get_color())
        axis.set(xscale="log", yscale="log", xlabel="evaluations", ylabel="missing hypervolume", title=Path(truth).name)
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(FIGURE, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--truth", default="synthetic:0", help="synthetic:SEED or the path of an archive")
    parser.add_argument("--device", default="jetson-orin")
    parser.add_argument("--space", default="starter")
    parser.add_argument("--names", default=",".join(COMPETITORS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--budgets", action="store_true", help="also the best within five budgets")
    chosen = parser.parse_args()
    run(chosen) if chosen.what == "run" else table()
