"""Units of work in processes of one thread each, which end with their parent and save what they have first."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import torch

from supersam._processes import end_with_parent, interrupt, sigterm_interrupts
from supersam.train.engine import LOCAL_RANK

_context: list[Any] = []  # of a worker: what all its units share


def side_by_side(
    work: Callable[..., Any], units: Sequence[tuple[Any, ...]], workers: int, context: Any = None
) -> Iterator[tuple[int, Any]]:
    """Yield the number of every unit with ``work(*unit, context)``, as they are finished.

    Several GPUs are dealt out among the processes. Ctrl-C and SIGTERM reach the workers as SIGTERM, so a training in
    one saves its state. When a unit fails the others are ended so too.

    Raises:
        KeyboardInterrupt: if Ctrl-C or SIGTERM asked for an end.
    """
    spawn = multiprocessing.get_context("spawn")
    begun = spawn.Value("i", 0)
    with sigterm_interrupts(), ProcessPoolExecutor(workers, spawn, _begin, (context, begun)) as pool:
        try:
            running = {pool.submit(_run, work, unit): number for number, unit in enumerate(units)}
            for future in as_completed(running):
                yield running[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _begin(context: Any, begun: Any) -> None:
    torch.set_num_threads(1)
    with begun.get_lock():
        number, begun.value = begun.value, begun.value + 1
    os.environ[LOCAL_RANK] = str(number % max(1, torch.cuda.device_count()))
    _context[:] = [context]
    end_with_parent()


def _run(work: Callable[..., Any], unit: tuple[Any, ...]) -> Any:
    signal.signal(signal.SIGTERM, interrupt)
    try:
        return work(*unit, _context[0])
    except KeyboardInterrupt:
        os._exit(130)  # else the pool would begin the next unit
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # who waits for a unit has nothing to save
