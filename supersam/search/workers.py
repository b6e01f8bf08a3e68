"""Several workers on one study: processes of this machine here, of other machines by the same command there.

A worker that dies loses its trial only; the trial is queued once more and another process takes its place.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from supersam._processes import end_with_parent
from supersam.errors import SuperSAMError
from supersam.results import Run
from supersam.search.interrupts import Interrupts
from supersam.search.ledger import Ledger, worker_name, worker_of
from supersam.search.storage import close
from supersam.search.study import RUNNING, Recorder, Search, Worker, give_back

LOOK_EVERY_S = 1.0
UNABLE = 75  # exit code of a worker with a problem that would meet every other
THREADS = "OMP_NUM_THREADS"
HOPELESS = 5  # deaths in a row without a new candidate, after which the search ends


class WorkersDied(SuperSAMError):
    """The workers of a search die again and again."""


def optimize_together(
    search: Search,
    question: dict[str, Any],
    n_workers: int,
    n_trials: int,
    on_look: Callable[[Ledger], None],
    start: Callable[..., BaseProcess] | None = None,
    compute: str = "auto",
) -> Ledger:
    """Let ``n_workers`` processes answer a question whose study is prepared (``Search.prepare``).

    Args:
        question: what each process builds its search from (``supersam.search.build``).
        on_look: called about once a second.
        start: makes and starts a process, for tests.
        compute: where they measure accuracies; several GPUs are dealt out among them.

    Raises:
        WorkersDied: if they die again and again with nothing found in between.
    """
    with Interrupts() as interrupts:
        recorder = Recorder(search)
        launch = start or partial(_start, compute)
        numbers = {launch(search, question, n_trials, number): number for number in range(n_workers)}
        deaths, found = 0, 0
        try:
            while numbers:
                with interrupts.allowed():
                    wait([process.sentinel for process in numbers], timeout=LOOK_EVERY_S)
                recorder.record()
                on_look(recorder.ledger)
                if len(recorder.ledger.candidates) > found:
                    deaths, found = 0, len(recorder.ledger.candidates)
                for process, number in _take_failed(numbers):
                    _bury(recorder, process)
                    deaths += 1
                    if process.exitcode == UNABLE:
                        raise WorkersDied(f"a worker of {search.run.folder} cannot go on; why stands above")
                    if deaths > HOPELESS * n_workers:
                        raise WorkersDied(
                            f"workers of {search.run.folder} die again and again; the last errors are above"
                        )
                    numbers[launch(search, question, n_trials, number)] = number  # in the other's place, on its GPU
            recorder.record()
        finally:
            _stop(list(numbers))
            close(recorder.study)
    return recorder.ledger


def _take_failed(numbers: dict[BaseProcess, int]) -> list[tuple[BaseProcess, int]]:
    """Take the processes that ended out of those with a number; return the ones that did not end well."""
    ended = [(process, numbers.pop(process)) for process in list(numbers) if not process.is_alive()]
    for process, _ in ended:
        process.join()
    return [(process, number) for process, number in ended if process.exitcode]


def _start(compute: str, search: Search, question: dict[str, Any], n_trials: int, number: int) -> BaseProcess:
    context = multiprocessing.get_context("spawn")
    process = context.Process(
        target=_work,
        args=(str(search.run.folder), question, search.storage, n_trials, compute, number),
        name=f"worker-{number}",
    )
    with _one_thread():
        process.start()
    return process


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start now use one thread each: numpy decides at import, so they cannot do it themselves."""
    before = os.environ.get(THREADS)
    os.environ.setdefault(THREADS, "1")
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]


def _work(
    folder: str, question: dict[str, Any], storage: str | None, n_trials: int, compute: str = "auto", number: int = 0
) -> None:
    """Be one worker."""
    from supersam.search.build import build

    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_with_parent()
    try:
        with Interrupts((signal.SIGINT,)) as interrupts:  # SIGTERM ends at once: the parent queues the trial again
            worker = Worker(build(question, Run(Path(folder)), None, storage, compute, number), interrupts)
            worker.work(n_trials, lambda ledger: None)
            close(worker.study)
    except KeyboardInterrupt:
        return
    except SuperSAMError as problem:  # the next one would end alike
        print(f"{multiprocessing.current_process().name}: {problem}", file=sys.stderr)
        sys.exit(UNABLE)


def _bury(recorder: Recorder, process: BaseProcess) -> None:
    """Queue the trial of a dead process once more."""
    for trial in recorder.study.get_trials(deepcopy=False, states=RUNNING):
        if worker_of(trial) == worker_name(process.pid):
            give_back(recorder.study, trial)


def _stop(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()
