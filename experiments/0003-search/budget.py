"""How long the README's search takes, and how far its answer is from the best of the archive, over seeds.

    python experiments/0003-search/budget.py            # goes on where it was stopped
    python experiments/0003-search/budget.py report

The best is the most accurate measured subnet of the archive within the budget; the answer is the run's measured best.
Wall seconds of the whole command: nothing else may run on the machine, and one search runs at a time. CPU seconds and
the load that there was stand beside them; on a busy machine only accuracies are worth something.
"""

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from tempfile import TemporaryDirectory

from records import HERE, Records, stoppable, table, write_between

from supersam._paths import starter_dir
from supersam.latency import load_table
from supersam.results import load_archive
from supersam.results.archive import ARCHIVE_FILE

DEVICE = "jetson-orin"
COLUMNS = ["archive", "budget_ms", "seed", "seconds", "cpu_seconds", "load", "accuracy", "best_of_archive",
           "missing_points_of_miou"]  # fmt: skip
GOAL_S, GOAL_POINTS = 60.0, 0.5
BUSY = 1.0  # load before a search, beyond which its seconds say nothing


def archive_version() -> str:
    """Return a short hash of the shipped archive."""
    return hashlib.sha256((starter_dir() / ARCHIVE_FILE).read_bytes()).hexdigest()[:8]


def best_of_archive(budget_ms: float) -> float:
    """Return the accuracy of the best measured subnet within a budget."""
    table = load_table(DEVICE)
    return max(found.value for a, found in load_archive().measured.items() if table.predict(a).hi <= budget_ms)


def search(budget_ms: float, seed: int) -> tuple[float, float, float, float]:
    """Return wall and CPU seconds of a search, the load before it, and the accuracy of its best."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "supersam", "search", "--device", DEVICE, "--budget", f"{budget_ms:g}ms"]
        load, began, used = os.getloadavg()[0], time.monotonic(), cpu_of_children()
        done = subprocess.run(
            [*command, "--seed", str(seed), "--json"], cwd=folder, capture_output=True, text=True, check=True
        )
        took = time.monotonic() - began
        return took, cpu_of_children() - used, load, float(json.loads(done.stdout)["best"]["accuracy"])


def cpu_of_children() -> float:
    """Return the CPU seconds of the processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report(kept: Records) -> None:
    """Write the table of the README."""
    groups: dict[tuple[str, float], list[dict[str, str]]] = {}
    for row in kept.rows():
        groups.setdefault((row["archive"], float(row["budget_ms"])), []).append(row)
    lines = [
        [archive, f"{budget:g} ms", len(rows), *_cells(rows)] for (archive, budget), rows in sorted(groups.items())
    ]
    head = ["archive", "budget", "seeds", "wall seconds", f"{GOAL_S:g} s", "CPU seconds", "most points missing",
            f"{GOAL_POINTS:g} points"]  # fmt: skip
    write_between("budget", table(head, lines))


def _cells(rows: list[dict[str, str]]) -> list[str]:
    seconds, cpu, load, missing = (
        [float(row[name]) for row in rows] for name in ("seconds", "cpu_seconds", "load", "missing_points_of_miou")
    )
    fast = "met" if max(seconds) <= GOAL_S else "**missed**"
    if max(load) > BUSY:
        fast = f"not known (load up to {max(load):.1f})"
    good = "met" if max(missing) <= GOAL_POINTS else "**missed**"
    spread = (f"{statistics.median(values):.1f} (at most {max(values):.1f})" for values in (seconds, cpu))
    wall, used = spread
    return [wall, fast, used, f"{max(missing):.2f}", good]


def run(kept: Records, seeds: int, budgets: list[float]) -> None:
    """Run what is missing."""
    version, done = archive_version(), kept.keys("archive", "budget_ms", "seed")
    best = {budget_ms: best_of_archive(budget_ms) for budget_ms in budgets}
    for seed in range(seeds):
        for budget_ms in budgets:
            if (version, str(budget_ms), str(seed)) in done:
                continue
            *costs, accuracy = search(budget_ms, seed)
            missing = round(100 * (best[budget_ms] - accuracy), 3)
            costs = [round(cost, 1) for cost in costs]
            values = [version, budget_ms, seed, *costs, accuracy, round(best[budget_ms], 5), missing]
            kept.append(dict(zip(COLUMNS, values, strict=True)))
            print(*values, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budgets", default="2,4,30", help="milliseconds")
    chosen = parser.parse_args()
    records = Records(HERE / "budget.csv", COLUMNS)
    with stoppable():
        if chosen.what == "report":
            report(records)
        else:
            run(records, chosen.seeds, [float(text) for text in chosen.budgets.split(",")])
