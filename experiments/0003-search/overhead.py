"""What a proposal costs: CPU milliseconds for each trial at 100, 1,000 and 10,000 trials, in memory.

    python experiments/0003-search/overhead.py            # goes on where it was stopped
    python experiments/0003-search/overhead.py report

Sampler and Optuna's in-memory study are timed over the last tenth of the trials, accuracies are not. CPU time of a
process of its own with one thread; all the same nothing else should run.
"""

import argparse
import time

from records import HERE, Records, spread, table, write_between

import numpy as np  # isort: skip  # after records, which says how many threads it may use
from competitors import COMPETITORS, Answer, missing  # isort: skip
from truth import synthetic  # isort: skip

from supersam.latency import load_table
from supersam.search.encoding import total
from supersam.search.problem import Device, Problem
from supersam.space import load_space

AT = (100, 1000, 10_000)
COLUMNS = ["sampler", "trials", "cpu_ms_per_trial"]
NAMES = "ehvi,linas,linas-dp,nsga2,nsga3,tpe,random,nni-evolution,nni-tpe,gp"
GOAL_MS = 5.0


def measure(task: tuple[str, float]) -> list[dict[str, object]]:
    """Return the rows of one sampler: milliseconds for each of the last tenth of the trials, None if given up."""
    name, minutes = task
    problem = Problem(load_space("starter"), (Device("jetson-orin", load_table("jetson-orin")),))
    accuracy, terms = synthetic(problem, 0), problem.median_terms[0]
    clock, n_evaluated = Clock(), 0
    known: set[bytes] = set()

    def evaluate(row: np.ndarray) -> Answer:
        nonlocal n_evaluated
        with clock:
            known.add(row.tobytes())
            n_evaluated = len(known)
            one = row[None]
            return Answer(row, float(accuracy(one)[0]), float(total(terms, one)[0]), 0.0)

    search, found = COMPETITORS[name](problem, 0)(evaluate), []
    mark = (0, clock.sampler_s)
    while n_evaluated < max(AT) and clock.sampler_s < 60 * minutes:
        before = n_evaluated
        next(search)
        if n_evaluated == before:
            continue
        if n_evaluated in {at - at // 10 for at in AT}:
            mark = (n_evaluated, clock.sampler_s)
        if n_evaluated in AT:
            spent = 1000 * (clock.sampler_s - mark[1]) / (n_evaluated - mark[0])
            found.append({"sampler": name, "trials": n_evaluated, "cpu_ms_per_trial": round(spent, 3)})
    given_up = [at for at in AT if at > n_evaluated]
    return [*found, *({"sampler": name, "trials": at, "cpu_ms_per_trial": None} for at in given_up)]


class Clock:
    """CPU seconds of this process outside ``with``."""

    def __init__(self) -> None:
        self.began, self.paused = time.process_time(), 0.0

    @property
    def sampler_s(self) -> float:
        return time.process_time() - self.began - self.paused

    def __enter__(self) -> None:
        self.entered = time.process_time()

    def __exit__(self, *problem: object) -> None:
        self.paused += time.process_time() - self.entered


def report(kept: Records) -> None:
    """Write the table of the README."""
    cells = {(row["sampler"], row["trials"]): row["cpu_ms_per_trial"] or "given up" for row in kept.rows()}
    names = [name for name in COMPETITORS if (name, str(AT[0])) in cells]
    rows = [[f"`{name}`", *(cells.get((name, str(at)), "-") for at in AT)] for name in names]
    write_between("overhead", table(["CPU ms for each trial at", *map(str, AT)], rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument("--names", default=NAMES)
    parser.add_argument("--minutes", type=float, default=20.0, help="of CPU, after which a sampler is given up")
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    records = Records(HERE / "overhead.csv", COLUMNS)
    if chosen.what == "report":
        report(records)
    else:
        done = {name for (name,) in records.keys("sampler")}
        tasks = [(n, chosen.minutes) for n in chosen.names.split(",") if n not in done and not missing(n)]
        print(f"{len(tasks)} samplers, at most {len(tasks) * chosen.minutes / chosen.processes:.0f} minutes")
        for rows in spread(measure, tasks, chosen.processes):
            for row in rows:
                records.append(row)
                print(*row.values(), flush=True)
