"""How long the README's search takes, and how far its answer is from the best of the archive, over seeds.

    python experiments/0003-search/budget.py --seeds 20

The best is the most accurate measured subnet of the archive within the budget; the answer is the run's measured best.
Measure on a quiet machine.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from supersam.latency import load_table
from supersam.results import load_archive

DEVICE = "jetson-orin"


def best_of_archive(budget_ms: float) -> float:
    """Return the accuracy of the best measured subnet within a budget."""
    table = load_table(DEVICE)
    return max(found.value for a, found in load_archive().measured.items() if table.predict(a).hi <= budget_ms)


def search(budget_ms: float, seed: int) -> tuple[float, float]:
    """Return the seconds a search took and the accuracy of its best."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "supersam", "search", "--device", DEVICE, "--budget", f"{budget_ms:g}ms"]
        began = time.monotonic()
        done = subprocess.run(
            [*command, "--seed", str(seed), "--json"], cwd=folder, capture_output=True, text=True, check=True
        )
        return time.monotonic() - began, float(json.loads(done.stdout)["best"]["accuracy"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budgets", default="2,4,30", help="milliseconds")
    chosen = parser.parse_args()
    with (Path(__file__).parent / "budget.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["budget_ms", "seed", "seconds", "accuracy", "best_of_archive", "missing_points_of_miou"])
        for budget_ms in map(float, chosen.budgets.split(",")):
            best = best_of_archive(budget_ms)
            for seed in range(chosen.seeds):
                seconds, accuracy = search(budget_ms, seed)
                row = [budget_ms, seed, round(seconds, 1), accuracy, round(best, 5), round(100 * (best - accuracy), 3)]
                writer.writerow(row)
                print(*row, flush=True)
