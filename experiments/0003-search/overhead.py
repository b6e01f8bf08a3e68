"""What a proposal costs: CPU milliseconds for each trial at 100, 1,000 and 10,000 trials, in memory.

    python experiments/0003-search/overhead.py            # goes on where it was stopped
    python experiments/0003-search/overhead.py report

Sampler and Optuna's in-memory study are timed over the last tenth of the trials, accuracies are not. A trial is an
architecture that is evaluated; what is proposed twice costs, and counts for the next. CPU time of one thread; all the
same nothing else should run, and the load that there was is written down.
"""

import argparse
import os
import time

from records import HERE, Records, spread, stoppable, table, write_between

import numpy as np  # isort: skip  # after records, which says how many threads it may use
from competitors import COMPETITORS, Answer, missing  # isort: skip
from truth import synthetic  # isort: skip

from supersam.latency import load_table
from supersam.search.encoding import total
from supersam.search.problem import Device, Problem
from supersam.search.samplers import DEFAULT
from supersam.space import load_space

AT = (100, 1000, 10_000)
COLUMNS = ["sampler", "trials", "cpu_ms_per_trial", "load"]
NAMES = "ehvi,linas,linas-dp,nsga2,nsga3,tpe,random,nni-evolution,nni-tpe,gp"
GOAL_MS = 5.0


def measure(task: tuple[str, int, float]) -> dict[str, object]:
    """Return the row of one sampler: milliseconds for each of the last tenth of the trials, None if given up."""
    name, n_trials, minutes = task
    problem = Problem(load_space("starter"), (Device("jetson-orin", load_table("jetson-orin")),))
    accuracy, terms = synthetic(problem, 0), problem.median_terms[0]
    clock = Clock()
    known: set[bytes] = set()

    def evaluate(row: np.ndarray) -> Answer:
        with clock:
            known.add(row.tobytes())
            one = row[None]
            return Answer(row, float(accuracy(one)[0]), float(total(terms, one)[0]), 0.0)

    search = COMPETITORS[name](problem, 0)(evaluate)
    last_tenth, mark = n_trials - n_trials // 10, clock.sampler_s
    while len(known) < n_trials and clock.sampler_s < 60 * minutes:
        next(search)
        if len(known) <= last_tenth:
            mark = clock.sampler_s
    spent = 1000 * (clock.sampler_s - mark) / (n_trials // 10)
    found = round(spent, 3) if len(known) == n_trials else None
    return dict(zip(COLUMNS, (name, n_trials, found, round(os.getloadavg()[0], 1)), strict=True))


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
    """Write the table of the README and what became of the goal."""
    rows = {(row["sampler"], row["trials"]): row["cpu_ms_per_trial"] or "given up" for row in kept.rows()}
    names = [name for name in COMPETITORS if any((name, str(at)) in rows for at in AT)]
    cells = [[f"`{name}`", *(rows.get((name, str(at)), "-") for at in AT)] for name in names]
    mine = rows.get((DEFAULT, str(max(AT))), "not run")
    met = mine if mine == "not run" else "met" if mine != "given up" and float(mine) <= GOAL_MS else "**missed**"
    load = max((float(row["load"]) for row in kept.rows()), default=0.0)
    lines = table(["CPU ms for each trial at", *(f"{at:,}" for at in AT)], cells)
    goal = f"Goal: `{DEFAULT}` at most {GOAL_MS:g} ms at {max(AT):,} trials: {met}. Load of the machine up to {load:g}."
    write_between("overhead", [*lines, "", goal])


def run(kept: Records, chosen: argparse.Namespace) -> None:
    """Run what is missing, few trials first; who was given up is not asked for more."""
    for at in AT:
        done, rows = kept.keys("sampler", "trials"), kept.rows()
        lost = {row["sampler"] for row in rows if not row["cpu_ms_per_trial"]}
        names = [n for n in chosen.names.split(",") if (n, str(at)) not in done and n not in lost and not missing(n)]
        print(f"{at} trials: {len(names)} samplers, at most {chosen.minutes:g} minutes of CPU for each", flush=True)
        for row in spread(measure, [(name, at, chosen.minutes) for name in names], chosen.processes):
            kept.append(row)
            print(*row.values(), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument("--names", default=NAMES)
    parser.add_argument("--minutes", type=float, default=20.0, help="of CPU, after which a sampler is given up")
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    records = Records(HERE / "overhead.csv", COLUMNS)
    with stoppable():
        report(records) if arguments.what == "report" else run(records, arguments)
