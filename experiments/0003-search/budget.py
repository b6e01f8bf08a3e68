"""How long the README's search takes, and how far its answer is from the best of the archive, over seeds.

    python experiments/0003-search/budget.py            # goes on where it was stopped
    python experiments/0003-search/budget.py report

The best is the most accurate measured subnet of the archive within the budget; the answer is the run's measured best.
Wall seconds of the whole command: nothing else may run on the machine, and one search runs at a time.
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import time
from tempfile import TemporaryDirectory

from records import HERE, Records, table, write_between

from supersam._paths import starter_dir
from supersam.latency import load_table
from supersam.results import load_archive
from supersam.results.archive import ARCHIVE_FILE

DEVICE = "jetson-orin"
COLUMNS = ["archive", "budget_ms", "seed", "seconds", "accuracy", "best_of_archive", "missing_points_of_miou"]
GOAL_S, GOAL_POINTS = 60.0, 0.5


def archive_version() -> str:
    """Return a short hash of the shipped archive."""
    return hashlib.sha256((starter_dir() / ARCHIVE_FILE).read_bytes()).hexdigest()[:8]


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


def report(kept: Records) -> None:
    """Write the table of the README."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in kept.rows():
        groups.setdefault((row["archive"], row["budget_ms"]), []).append(row)
    rows = []
    for (archive, budget), found in sorted(groups.items()):
        seconds, missing = ([float(row[name]) for row in found] for name in ("seconds", "missing_points_of_miou"))
        met = max(seconds) <= GOAL_S and max(missing) <= GOAL_POINTS
        cells = [f"{statistics.median(seconds):.1f} (at most {max(seconds):.1f})", f"{max(missing):.2f}"]
        rows.append([archive, f"{float(budget):g} ms", len(found), *cells, "met" if met else "**missed**"])
    head = ["archive", "budget", "seeds", "seconds", "most points missing", f"{GOAL_S:g} s and {GOAL_POINTS:g} points"]
    write_between("budget", table(head, rows))


def run(kept: Records, seeds: int, budgets: list[float]) -> None:
    """Run what is missing."""
    version, done = archive_version(), kept.keys("archive", "budget_ms", "seed")
    for budget_ms in budgets:
        best = best_of_archive(budget_ms)
        for seed in range(seeds):
            if (version, str(budget_ms), str(seed)) in done:
                continue
            seconds, accuracy = search(budget_ms, seed)
            missing = round(100 * (best - accuracy), 3)
            values = [version, budget_ms, seed, round(seconds, 1), accuracy, round(best, 5), missing]
            kept.append(dict(zip(COLUMNS, values, strict=True)))
            print(*values, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budgets", default="2,4,30", help="milliseconds")
    chosen = parser.parse_args()
    records = Records(HERE / "budget.csv", COLUMNS)
    report(records) if chosen.what == "report" else run(
        records, chosen.seeds, [float(x) for x in chosen.budgets.split(",")]
    )
