"""Workers killed at random moments of a search on PostgreSQL: nothing may be lost, nothing counted twice.

    python experiments/0003-search/kills.py                 # 50 kills, 4 workers, a PostgreSQL server of its own
    python experiments/0003-search/kills.py --kills 3

A worker chosen by chance is killed with SIGKILL at a moment chosen by chance, again and again, and the search starts
others. Evaluations write into a diary when they begin and when they end, and by whom. A list of architectures is
queued at first, so that an undisturbed run has to find the same front among them. Exit code 1 if anything is wrong.
"""

import argparse
import os
import random
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import postgresql
from optuna.trial import FrozenTrial, TrialState
from records import HERE, Records, stoppable, table, write_between

from supersam.latency import load_table
from supersam.results import Accuracy, Run, pareto_front
from supersam.search.ledger import worker_of
from supersam.search.problem import Device, Problem
from supersam.search.storage import close
from supersam.search.study import Search, Worker
from supersam.search.workers import optimize_together
from supersam.space import AnyArchitecture, load_space

COLUMNS = ["date", "workers", "kills", "trials", "evaluated", "begun", "begun_again", "retried", "seconds", "wrong"]


@dataclass(frozen=True)
class Diary:
    """An invented accuracy that takes a while, and writes down what begins and ends in which process."""

    file: Path
    seconds: float

    def __call__(self, architecture: AnyArchitecture) -> Accuracy:
        self._note("begin", architecture.digest)
        time.sleep(self.seconds)
        self._note("end", architecture.digest)
        value = int(architecture.digest, 16) / 16 ** len(architecture.digest)
        return Accuracy(value, "measured", (value, value))

    def _note(self, what: str, digest: str) -> None:
        handle = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{what} {os.getpid()} {digest}\n".encode())
        os.close(handle)

    def pids(self, what: str) -> dict[str, list[int]]:
        """Return by architecture who began or ended it, in order."""
        found: dict[str, list[int]] = defaultdict(list)
        if not self.file.is_file():
            return found
        for noted, pid, digest in map(str.split, self.file.read_text().splitlines()):
            if noted == what:
                found[digest].append(int(pid))
        return found


@dataclass
class Killer:
    """Starts workers and kills one of those at work now and then."""

    diary: Diary
    kills: int
    mean_s: float  # between two kills
    seed: int
    method: str = "spawn"
    processes: list[BaseProcess] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def start(self, search: Search, question: dict[str, Any], n_trials: int, number: int) -> BaseProcess:
        process = get_context(self.method).Process(target=work, args=(search, n_trials), name=f"worker-{number}")
        process.start()
        self.processes.append(process)
        return process

    def run(self) -> None:
        chance = random.Random(self.seed)
        while len(self.killed) < self.kills and not self.ended.wait(chance.uniform(0, 2 * self.mean_s)):
            at_work = {pid for pids in self.diary.pids("begin").values() for pid in pids}
            alive = [process.pid for process in self.processes if process.pid in at_work and process.exitcode is None]
            if alive:
                pid = chance.choice(alive)
                os.kill(pid, signal.SIGKILL)
                self.killed.append(pid)


def work(search: Search, n_trials: int) -> None:
    """Be one worker."""
    worker = Worker(search)
    worker.work(n_trials, lambda ledger: None)
    close(worker.study)


@dataclass
class Outcome:
    """What came of a search with kills."""

    trials: int
    evaluated: int
    begun: int
    begun_again: int  # evaluations a kill made necessary once more
    retried: int
    kills: int
    wrong: list[str]


def search_with_kills(
    search: Search, diary: Diary, killer: Killer, queued: list[AnyArchitecture], n_trials: int, n_workers: int
) -> Outcome:
    """Search while workers are killed, let one worker finish what waits, and check everything."""
    search.prepare(queued)
    thread = threading.Thread(target=killer.run)
    thread.start()
    try:
        ledger = optimize_together(search, {}, n_workers, n_trials, lambda ledger: None, killer.start)
    finally:
        killer.ended.set()
        thread.join()
    search.optimize(len(ledger.candidates) + n_waiting(search), [], lambda ledger: None)
    return check(search, diary, killer, queued)


def n_waiting(search: Search) -> int:
    study = search.open_study()
    found = sum(trial.state is TrialState.WAITING for trial in study.get_trials(deepcopy=False))
    close(study)
    return found


def holds(trial: FrozenTrial) -> bool:
    """Return whether a trial keeps anything from the others; killed before its first word, it has no architecture."""
    return bool(trial.params or trial.system_attrs.get("fixed_params") or worker_of(trial))


def check(search: Search, diary: Diary, killer: Killer, queued: list[AnyArchitecture]) -> Outcome:
    """Return what is wrong with a study, its run's folder and the diary of its evaluations."""
    study = search.open_study()
    trials = study.get_trials(deepcopy=False)
    close(study)
    decode, n_choices = search.problem.space.decode, len(search.problem.space.variables())
    digest = {trial.number: decode(trial.params).digest for trial in trials if len(trial.params) == n_choices}
    complete = Counter(digest[trial.number] for trial in trials if trial.state is TrialState.COMPLETE)
    recorded = Counter(candidate.digest for candidate in search.run.candidates())
    begun, ended, killed = diary.pids("begin"), diary.pids("end"), set(killer.killed)
    held = [t for t in trials if t.number in digest and int(worker_of(t).rpartition(":")[2] or 0) in killed]
    retries = {trial.system_attrs.get("failed_trial") for trial in trials}
    retries |= {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}
    lost = [t.number for t in held if t.state is not TrialState.COMPLETE and digest[t.number] not in complete]
    wrong = {
        "kills that did not happen": killer.kills - len(killer.killed),
        "trials still open": sum(not trial.state.is_finished() and holds(trial) for trial in trials),
        "architectures counted twice": sum(count > 1 for count in complete.values()),
        "begun and lost": len(begun.keys() - complete.keys()),
        "trials of killed workers that were lost": len(lost),
        "queued and lost": len({one.digest for one in queued} - complete.keys()),
        "not in the folder or twice": len(complete.keys() ^ recorded.keys()) + sum(n > 1 for n in recorded.values()),
        "evaluated again without a kill": sum(not set(pids[:-1]) <= killed for pids in begun.values()),
        "ended twice without a kill": sum(not set(pids[:-1]) <= killed for pids in ended.values()),
        "lines of the folder torn": len(search.run.candidates_file.read_text().splitlines()) - len(recorded),
    }
    return Outcome(
        len(trials),
        len(complete),
        len(begun),
        sum(len(pids) - 1 for pids in begun.values()),
        len([number for number in retries if number is not None]),
        len(killer.killed),
        [f"{what}: {count}" for what, count in wrong.items() if count],
    )


def front_of(run: Run, among: list[AnyArchitecture]) -> list[str]:
    """Return the front of a run among some architectures, by digest."""
    wanted = {architecture.digest for architecture in among}
    return [
        one.digest for one in pareto_front(candidate for candidate in run.candidates() if candidate.digest in wanted)
    ]


def make_search(folder: Path, url: str | None, accuracy: Callable[[AnyArchitecture], Accuracy], name: str) -> Search:
    """Return a search over the starter space whose proposals are random."""
    run = Run(folder / name)
    run.start({})
    problem = Problem(load_space("starter"), (Device("jetson-orin", load_table("jetson-orin")),))
    return Search(run, problem, accuracy, 0, "random", url or f"journal:///{folder / name}.journal", name)


def main(chosen: argparse.Namespace) -> int:
    """Run the search with kills and the undisturbed one; return the exit code."""
    began = time.monotonic()
    with TemporaryDirectory(prefix="supersam-kills-") as scratch, postgresql.server() as url:
        folder = Path(scratch)
        diary = Diary(folder / "diary", chosen.seconds)
        search = make_search(folder, url, diary, "killed")
        rows = search.problem.random(np.random.default_rng(chosen.seed), chosen.queued)
        queued = list(dict.fromkeys(map(search.problem.encoding.architecture, rows)))
        killer = Killer(diary, chosen.kills, chosen.every, chosen.seed)
        found = search_with_kills(search, diary, killer, queued, chosen.trials, chosen.workers)
        calm = make_search(folder, None, Diary(folder / "calm-diary", 0.0), "calm")
        calm.optimize(len(queued), queued, lambda ledger: None)
        if front_of(search.run, queued) != front_of(calm.run, queued):
            found.wrong.append("the front among the queued is another than that of an undisturbed run")
    row = {
        "date": time.strftime("%Y-%m-%d"),
        "workers": chosen.workers,
        "seconds": round(time.monotonic() - began),
        **{name: getattr(found, name) for name in COLUMNS if hasattr(found, name)},
        "wrong": "; ".join(found.wrong) or "nothing",
    }
    Records(HERE / "kills.csv", COLUMNS).append(row)
    print(row)
    return 1 if found.wrong else 0


def report() -> None:
    """Write the runs into the README."""
    rows = Records(HERE / "kills.csv", COLUMNS).rows()
    write_between("kills", table(COLUMNS, [[row[name] for name in COLUMNS] for row in rows]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--every", type=float, default=1.5, help="seconds between two kills, on average")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--trials", type=int, default=1200)
    parser.add_argument("--queued", type=int, default=300, help="architectures of the list")
    parser.add_argument("--seconds", type=float, default=0.2, help="that an evaluation takes")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with stoppable():
        sys.exit(main(arguments) if arguments.what == "run" else report())
