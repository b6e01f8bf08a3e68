"""What a storage costs a search of 10, 100 and 1,000 workers: ten real ones, and the open trials of the others.

    python experiments/0003-search/scale.py               # a PostgreSQL server of its own; goes on where it was stopped
    python experiments/0003-search/scale.py --through grpc
    python experiments/0003-search/scale.py report

Each worker asks, suggests, claims and tells as ``supersam search`` does, on a real PostgreSQL, and sleeps as long as an
evaluation would take. What grows with the number of workers is the number of open trials that each of them reads; so
beside the ten that work, the trial of every other lies open and claimed, and nobody works on it (a thousand workers
of Python find no room here). Reported is the CPU that an evaluation costs a worker, the database and the proxy: CPU,
not wall, seconds, so that other work on the machine changes little. From that follows how many workers a core bears.
"""

import argparse
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory

import postgresql
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial
from records import HERE, Records, stoppable, table, write_between

from supersam.latency import load_table
from supersam.results import Accuracy, Run
from supersam.search.history import DIGEST, WORKER
from supersam.search.problem import Device, Problem
from supersam.search.storage import close
from supersam.search.study import PATIENCE, Search, Worker
from supersam.space import AnyArchitecture, load_space

COLUMNS = ["through", "workers", "evaluations", "seconds_each", "seconds", "cpu_s_of_worker", "cpu_s_of_database",
           "cpu_s_of_proxy", "cores", "load"]  # fmt: skip
REAL = 10  # workers that work
PATIENCE_S = 600  # for all processes to be there
COSTS = ["cpu_s_of_worker", "cpu_s_of_database", "cpu_s_of_proxy"]  # for each evaluation
EVALUATION_S = 30.0
TICKS = os.sysconf("SC_CLK_TCK")
PROXY = (
    "import sys, warnings; warnings.simplefilter('ignore')\n"
    "from optuna.storages import get_storage, run_grpc_proxy_server\n"
    "from supersam.search.storage import open_storage\n"
    "run_grpc_proxy_server(get_storage(open_storage(sys.argv[1])), host='127.0.0.1', port=int(sys.argv[2]))"
)


class Sleeping:
    """An evaluation that takes its time and finds nothing."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, architecture: AnyArchitecture) -> Accuracy:
        time.sleep(self.seconds)
        value = int(architecture.digest, 16) / 16**10
        return Accuracy(value, "measured", (value, value))


def search_of(folder: Path, url: str, seconds: float, sampler: str) -> Search:
    """Return the search every worker takes part in."""
    problem = Problem(load_space("starter"), (Device("jetson-orin", load_table("jetson-orin")),))
    run = Run(folder)
    run.start({})
    return Search(run, problem, Sleeping(seconds), 0, sampler, url, "scale")


def leave_open(search: Search, count: int) -> None:
    """Leave trials open as those of workers elsewhere: proposed, claimed, under way."""
    study, rng, space = search.open_study(), random.Random(0), search.problem.space
    distributions = {name: CategoricalDistribution(allowed) for name, allowed in space.variables().items()}
    for _ in range(count):
        architecture = space.sample(rng)
        claimed = {WORKER: "elsewhere:1", DIGEST: architecture.digest}
        study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=space.encode(architecture),
                distributions=distributions,
                user_attrs=claimed,
            )
        )
    close(study)


def work(search: Search, n_trials: int, ready: Barrier, spent: "Queue[float]") -> None:
    """Be a worker, from when all are there, and tell the CPU seconds it took."""
    worker = Worker(search)
    ready.wait()
    began = time.process_time()
    worker.work(n_trials, lambda ledger: None)
    spent.put(time.process_time() - began)
    close(worker.study)


def simulate(search: Search, n_trials: int) -> tuple[int, float, float]:
    """Return how many evaluations were made, the wall seconds it took and the CPU seconds of the workers."""
    context = multiprocessing.get_context("spawn")
    ready, spent = context.Barrier(REAL + 1, timeout=PATIENCE_S), context.Queue()
    processes = [context.Process(target=work, args=(search, n_trials, ready, spent), daemon=True) for _ in range(REAL)]
    for process in processes:
        process.start()
    ready.wait()  # starting Python is not what a storage bears
    began = time.monotonic()
    used = sum(spent.get() for _ in processes)
    for process in processes:
        process.join()
    took = time.monotonic() - began
    study = search.open_study()
    done = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    close(study)
    return done, took, used


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and all its children, those that ended too."""
    family, seconds = {pid}, 0.0
    for one, (_, parent, used) in sorted(processes().items()):  # children have later numbers, until they start again
        if one == pid or parent in family:
            family.add(one)
            seconds += used
    return seconds


def processes() -> dict[int, tuple[str, int, float]]:
    """Return name, parent and CPU seconds (its own and of its children that ended) of every process (Linux)."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = file.read_text().partition("(")[2].rpartition(")")
        except OSError:  # it ended meanwhile
            continue
        fields = rest.split()
        found[int(file.parent.name)] = name, int(fields[1]), sum(map(int, fields[11:15])) / TICKS
    return found


@contextmanager
def storage(through: str) -> Iterator[tuple[str, int, int | None]]:
    """Start a PostgreSQL server, and Optuna's proxy where it is asked for; yield the workers' URL and the processes."""
    with postgresql.server() as url:
        ours = ((pid, name) for pid, (name, parent, _) in processes().items() if parent == os.getpid())
        database = next(pid for pid, name in ours if name == "postgres")
        if through == "postgresql":
            yield url, database, None
            return
        port = postgresql.free_port()
        proxy = subprocess.Popen([sys.executable, "-c", PROXY, url, str(port)])
        try:
            yield f"grpc://127.0.0.1:{port}", database, proxy.pid
        finally:
            proxy.terminate()
            proxy.wait()


def report(kept: Records) -> None:
    """Write the table of the README."""
    rows = sorted(kept.rows(), key=lambda row: (row["through"], int(row["workers"])))
    cells = [[*(row[name] for name in (*COLUMNS[:3], *COSTS)), f"{_workers_of_a_core(row):,.0f}"] for row in rows]
    head = ["through", "workers", "evaluations", "CPU s of the worker", "... of the database", "... of the proxy",
            f"workers a core of the server bears, of evaluations of {EVALUATION_S:g} s"]  # fmt: skip
    write_between("scale", table(head, cells))


def _workers_of_a_core(row: dict[str, str]) -> float:
    """Return how many workers the busier of database and proxy bears with one core; the proxy is one process."""
    return EVALUATION_S / max(float(row["cpu_s_of_database"]), float(row["cpu_s_of_proxy"]))


def run(kept: Records, chosen: argparse.Namespace) -> None:
    """Run what is missing."""
    done = kept.keys("through", "workers")
    for n_workers in map(int, chosen.workers.split(",")):
        if (chosen.through, str(n_workers)) in done:
            continue
        load = round(os.getloadavg()[0], 1)  # of others, before it begins
        # a search gives up after PATIENCE proposals for each evaluation, and the open trials are proposals
        n_trials = max(chosen.trials * REAL, 2 * n_workers // PATIENCE)
        print(f"{n_workers} workers: at least {n_trials / REAL * chosen.seconds:.0f} s", flush=True)
        with TemporaryDirectory(prefix="supersam-scale-") as folder, storage(chosen.through) as (url, *pids):
            search = search_of(Path(folder), url, chosen.seconds, chosen.sampler)
            search.prepare([])
            leave_open(search, n_workers - REAL)
            before = [cpu_s(pid) if pid else 0.0 for pid in pids]
            n, took, of_workers = simulate(search, n_trials)
            of_servers = [cpu_s(pid) - then if pid else 0.0 for pid, then in zip(pids, before, strict=True)]
        costs = [round(spent / n, 3) for spent in (of_workers, *of_servers)]
        values = [chosen.through, n_workers, n, chosen.seconds, round(took, 1), *costs, os.cpu_count(), load]
        kept.append(dict(zip(COLUMNS, values, strict=True)))
        print(*values, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument("--through", choices=["postgresql", "grpc"], default="postgresql")
    parser.add_argument("--workers", default="10,100,1000")
    parser.add_argument("--trials", type=int, default=5, help="of each real worker")
    parser.add_argument("--seconds", type=float, default=1.0, help="that one evaluation takes")
    parser.add_argument("--sampler", default="random")
    arguments = parser.parse_args()
    records = Records(HERE / "scale.csv", COLUMNS)
    with stoppable():
        report(records) if arguments.what == "report" else run(records, arguments)
