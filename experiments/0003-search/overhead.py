"""What a proposal costs: CPU milliseconds for each trial at 100, 1,000 and 10,000 trials, in memory.

    python experiments/0003-search/overhead.py ehvi,linas,nsga2,tpe,random

Only the sampler and Optuna's in-memory study are timed, accuracy costs nothing. Measure on a quiet machine.
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np
from competitors import COMPETITORS
from truth import load_truth

AT = (100, 1000, 10_000)
MINUTES = 20  # after which a sampler is given up


def measure(name: str) -> list[tuple[int, float]]:
    """Return (trials, milliseconds for each of the last tenth of them)."""
    truth = load_truth("synthetic:0", "jetson-orin", "starter")
    n_evaluated, found = 0, []

    def evaluate(row: np.ndarray) -> tuple[float, float, float]:
        nonlocal n_evaluated
        n_evaluated += 1
        one = row[None]
        return float(truth.accuracy(one)[0]), float(truth.latency(one)[0]), float(truth.bound(one)[0])

    search = COMPETITORS[name](truth.problem, 0)(evaluate)
    began, mark = time.process_time(), (0, time.process_time())
    while n_evaluated < max(AT) and time.process_time() - began < 60 * MINUTES:
        before = n_evaluated
        next(search)
        if n_evaluated == before:
            continue
        if n_evaluated in {at - at // 10 for at in AT}:
            mark = (n_evaluated, time.process_time())
        if n_evaluated in AT:
            found.append((n_evaluated, 1000 * (time.process_time() - mark[1]) / (n_evaluated - mark[0])))
            print(f"{name}: {found[-1][1]:.1f} ms at {n_evaluated}", flush=True)
    return found


if __name__ == "__main__":
    with (Path(__file__).parent / "overhead.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sampler", "trials", "cpu_ms_per_trial"])
        for wanted in (sys.argv[1] if len(sys.argv) > 1 else "ehvi,linas,linas-dp,nsga2,tpe,random").split(","):
            writer.writerows((wanted, at, round(ms, 2)) for at, ms in measure(wanted))
