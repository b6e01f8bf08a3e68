"""How many workers a storage bears: simulated workers on a real PostgreSQL, in one go of processes and threads.

    python experiments/0003-search/scale.py               # a PostgreSQL server of its own; goes on where it was stopped
    python experiments/0003-search/scale.py --through grpc
    python experiments/0003-search/scale.py report

Each simulated worker asks, suggests, claims and tells as ``supersam search`` does and sleeps as long as an evaluation
would take. Reported are evaluations for each second, and which share of a worker's time was not its evaluation.
Workers, server and proxy share this machine, so what it says of many workers is the least a storage bears.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory

import postgresql
from records import HERE, Records, stoppable, table, write_between

from supersam.latency import load_table
from supersam.results import Accuracy, Run
from supersam.search.problem import Device, Problem
from supersam.search.storage import close
from supersam.search.study import Search, Worker
from supersam.space import AnyArchitecture, load_space

COLUMNS = ["through", "workers", "evaluations", "seconds_each", "seconds", "per_second", "share_not_evaluating",
           "cores", "load"]  # fmt: skip
PROCESSES = 20  # at once; more workers are threads of them
PATIENCE_S = 600  # for all processes to be there
PROXY = (
    "import sys, warnings; warnings.simplefilter('ignore')\n"
    "from optuna.storages import run_grpc_proxy_server\n"
    "from supersam.search.storage import open_storage\n"
    "run_grpc_proxy_server(open_storage(sys.argv[1]), host='127.0.0.1', port=int(sys.argv[2]))"
)


class Sleeping:
    """An evaluation that takes its time and finds nothing."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, architecture: AnyArchitecture) -> Accuracy:
        time.sleep(self.seconds)
        value = int(architecture.digest, 16) / 16**10
        return Accuracy(value, "measured", (value, value))


def search_of(folder: Path, url: str, name: str, seconds: float, sampler: str) -> Search:
    """Return the search every worker takes part in."""
    problem = Problem(load_space("starter"), (Device("jetson-orin", load_table("jetson-orin")),))
    run = Run(folder)
    run.start({})
    return Search(run, problem, Sleeping(seconds), 0, sampler, url, name)


def work(search: Search, n_trials: int, n_threads: int, ready: Barrier) -> None:
    """Be some workers, from when all processes are there."""
    from threading import Thread

    def one() -> None:
        worker = Worker(search)
        worker.work(n_trials, lambda ledger: None)
        close(worker.study)

    ready.wait()
    threads = [Thread(target=one) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def simulate(folder: Path, url: str, n_workers: int, arguments: argparse.Namespace) -> tuple[int, float]:
    """Return how many evaluations were made and how long it took."""
    search = search_of(folder, url, f"scale-{n_workers}", arguments.seconds, arguments.sampler)
    search.prepare([])
    n_processes = min(n_workers, PROCESSES)
    shares = [n_workers // n_processes + (at < n_workers % n_processes) for at in range(n_processes)]
    context = multiprocessing.get_context("spawn")
    n_trials, ready = arguments.trials * n_workers, context.Barrier(n_processes + 1, timeout=PATIENCE_S)
    processes = [context.Process(target=work, args=(search, n_trials, n, ready), daemon=True) for n in shares]
    for process in processes:
        process.start()
    ready.wait()  # starting Python is not what a storage bears
    began = time.monotonic()
    for process in processes:
        process.join()
    took = time.monotonic() - began
    study = search.open_study()
    done = sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False))
    close(study)
    return done, took


@contextmanager
def storage(through: str, n_workers: int) -> Iterator[str]:
    """Start a PostgreSQL server, and Optuna's proxy in front of it where it is asked for; yield the URL for workers."""
    with postgresql.server(connections=3 * n_workers + 20 if through == "postgresql" else 100) as url:
        if through == "postgresql":
            yield url
            return
        port = postgresql.free_port()
        proxy = subprocess.Popen([sys.executable, "-c", PROXY, url, str(port)])
        try:
            yield f"grpc://127.0.0.1:{port}"
        finally:
            proxy.terminate()
            proxy.wait()


def report(kept: Records) -> None:
    """Write the table of the README."""
    rows = sorted(kept.rows(), key=lambda row: (row["through"], int(row["workers"])))
    write_between("scale", table(COLUMNS, [[row[name] for name in COLUMNS] for row in rows]))


def run(kept: Records, chosen: argparse.Namespace) -> None:
    """Run what is missing."""
    done = kept.keys("through", "workers")
    for n_workers in map(int, chosen.workers.split(",")):
        if (chosen.through, str(n_workers)) in done:
            continue
        load = round(os.getloadavg()[0], 1)  # of others, before it begins
        print(f"{n_workers} workers: at least {chosen.trials * chosen.seconds:.0f} s", flush=True)
        with TemporaryDirectory(prefix="supersam-scale-") as folder, storage(chosen.through, n_workers) as url:
            n, took = simulate(Path(folder), url, n_workers, chosen)
        idle = max(0.0, 1 - n * chosen.seconds / (took * n_workers))
        figures = [n, chosen.seconds, round(took, 1), round(n / took, 3), round(idle, 3)]
        values = [chosen.through, n_workers, *figures, os.cpu_count(), load]
        kept.append(dict(zip(COLUMNS, values, strict=True)))
        print(f"{n_workers} workers: {n / took:.2f} evaluations a second, {idle:.0%} not evaluating", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument("--through", choices=["postgresql", "grpc"], default="postgresql")
    parser.add_argument("--workers", default="10,100,1000")
    parser.add_argument("--trials", type=int, default=5, help="for each worker")
    parser.add_argument("--seconds", type=float, default=30.0, help="that one evaluation takes")
    parser.add_argument("--sampler", default="random")
    arguments = parser.parse_args()
    records = Records(HERE / "scale.csv", COLUMNS)
    with stoppable():
        report(records) if arguments.what == "report" else run(records, arguments)
