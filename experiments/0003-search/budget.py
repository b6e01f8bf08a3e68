"""How long the README's search takes, and how far its answer is from the best of the archive, over seeds.

    python experiments/0003-search/budget.py            # goes on where it was stopped
    python experiments/0003-search/budget.py report

The best is the most accurate measured subnet of the archive within the budget; the answer is the run's measured best.
Wall seconds of the whole command: nothing else may run on the machine, and one search runs at a time. CPU seconds
stand beside them, and how many cores all others used meanwhile (Linux); on a busy machine only accuracies are worth
something.
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
from pathlib import Path
from tempfile import TemporaryDirectory

from records import HERE, Records, stoppable, table, write_between

from supersam._paths import starter_dir
from supersam.latency import load_table
from supersam.results import load_archive
from supersam.results.archive import ARCHIVE_FILE

DEVICE = "jetson-orin"
COLUMNS = ["archive", "budget_ms", "seed", "seconds", "cpu_seconds", "cores_of_others", "accuracy", "best_of_archive",
           "missing_points_of_miou"]  # fmt: skip
GOAL_S, GOAL_POINTS = 60.0, 0.5
BUSY = 0.25  # cores that others used during a search, beyond which its seconds say nothing
TICKS = os.sysconf("SC_CLK_TCK")


def archive_version() -> str:
    """Return a short hash of the shipped archive."""
    return hashlib.sha256((starter_dir() / ARCHIVE_FILE).read_bytes()).hexdigest()[:8]


def best_of_archive(budget_ms: float) -> float:
    """Return the accuracy of the best measured subnet within a budget."""
    table = load_table(DEVICE)
    return max(found.value for a, found in load_archive().measured.items() if table.predict(a).hi <= budget_ms)


def search(budget_ms: float, seed: int) -> tuple[float, float, float, float]:
    """Return wall and CPU seconds of a search, the cores that others used, and the accuracy of its best."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "supersam", "search", "--device", DEVICE, "--budget", f"{budget_ms:g}ms"]
        began, used, busy = time.monotonic(), cpu_of_children(), cpu_of_all()
        done = subprocess.run(
            [*command, "--seed", str(seed), "--json"], cwd=folder, capture_output=True, text=True, check=True
        )
        took, used, busy = time.monotonic() - began, cpu_of_children() - used, cpu_of_all() - busy
        return took, used, max(0.0, busy - used) / took, float(json.loads(done.stdout)["best"]["accuracy"])


def cpu_of_children() -> float:
    """Return the CPU seconds of the processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_of_all() -> float:
    """Return the CPU seconds of everything since the machine started, those too that its host kept for others."""
    user, nice, system, _, _, *others = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + sum(others)) / TICKS


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
    names = "seconds", "cpu_seconds", "cores_of_others", "missing_points_of_miou"
    seconds, cpu, others, missing = ([float(row[name]) for row in rows] for name in names)
    fast = "met" if max(seconds) <= GOAL_S else "**missed**"
    if max(others) > BUSY:
        fast = f"not known (others used up to {max(others):.2f} cores)"
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
            costs = [round(cost, 2) for cost in costs]
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
