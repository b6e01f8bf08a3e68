"""Signals in the processes that make batches: only the training that started them ends them.

Terminals, job schedulers and torchrun send Ctrl-C and SIGTERM to the whole process group. The training then finishes
its step and saves its state; a worker that died of the signal would make torch raise in the middle of that step.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

SENT_TO_ALL = {signal.SIGTERM, signal.SIGINT}


@contextmanager
def held_back() -> Iterator[None]:
    """Hold the signals back while workers are started: these begin their life so, and here none is lost."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SENT_TO_ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heed_the_training_alone(worker: int) -> None:
    """Let a worker ignore all but a SIGTERM of the training itself, which ends one that is stuck; torch calls this."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SENT_TO_ALL)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS, where a worker ends after its batch at the earliest
        Thread(target=_end_when_told, args=(os.getppid(),), daemon=True).start()


def _end_when_told(training: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != training:
        pass
    os._exit(0)
