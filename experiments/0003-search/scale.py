"""How many workers a storage bears: simulated workers on a real PostgreSQL, in one go of processes and threads.

    python experiments/0003-search/scale.py postgresql://supersam@127.0.0.1:5432/postgres --workers 10,100,1000

Each simulated worker asks, suggests, claims and tells as ``supersam search`` does and sleeps as long as an evaluation
would take. Reported are evaluations for each second, and which share of a worker's time was not its evaluation.
"""

import argparse
import csv
import multiprocessing
import time
from pathlib import Path
from tempfile import mkdtemp

from supersam.latency import load_table
from supersam.results import Accuracy, Run
from supersam.search.problem import Device, Problem
from supersam.search.storage import close
from supersam.search.study import Search, Worker
from supersam.space import AnyArchitecture, load_space

PROCESSES = 50  # at once; more workers are threads of them


class Sleeping:
    """An evaluation that takes its time and finds nothing."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, architecture: AnyArchitecture) -> Accuracy:
        time.sleep(self.seconds)
        value = int(architecture.digest, 16) / 16**10
        return Accuracy(value, "measured", (value, value))


def search_of(url: str, name: str, seconds: float, sampler: str) -> Search:
    """Return the search every worker takes part in."""
    problem = Problem(load_space("starter"), (Device("jetson-orin", load_table("jetson-orin")),))
    run = Run(Path(mkdtemp(prefix="supersam-scale-")))
    run.start({})
    return Search(run, problem, Sleeping(seconds), 0, sampler, url, name)


def work(search: Search, n_trials: int, n_threads: int) -> None:
    """Be some workers."""
    from threading import Thread

    def one() -> None:
        worker = Worker(search)
        worker.work(n_trials, lambda ledger: None)
        close(worker.study)

    threads = [Thread(target=one) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def simulate(url: str, n_workers: int, arguments: argparse.Namespace) -> tuple[int, float]:
    """Return how many evaluations were made and how long it took."""
    search = search_of(url, f"scale-{n_workers}-{time.time():.0f}", arguments.seconds, arguments.sampler)
    search.prepare([])
    n_processes = min(n_workers, PROCESSES)
    shares = [n_workers // n_processes + (at < n_workers % n_processes) for at in range(n_processes)]
    context = multiprocessing.get_context("spawn")
    began = time.monotonic()
    processes = [context.Process(target=work, args=(search, arguments.trials * n_workers, share)) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    took = time.monotonic() - began
    study = search.open_study()
    done = sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False))
    close(study)
    return done, took


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--workers", default="10,100,1000")
    parser.add_argument("--trials", type=int, default=5, help="for each worker")
    parser.add_argument("--seconds", type=float, default=30.0, help="that one evaluation takes")
    parser.add_argument("--sampler", default="random")
    chosen = parser.parse_args()
    with (Path(__file__).parent / "scale.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["workers", "evaluations", "seconds", "per_second", "share_not_evaluating"])
        for n_workers in map(int, chosen.workers.split(",")):
            done, took = simulate(chosen.url, n_workers, chosen)
            idle = max(0.0, 1 - done * chosen.seconds / (took * n_workers))
            writer.writerow([n_workers, done, round(took, 1), round(done / took, 3), round(idle, 3)])
            file.flush()
            print(f"{n_workers} workers: {done / took:.2f} evaluations a second, {idle:.0%} not evaluating", flush=True)
