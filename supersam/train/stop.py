"""SIGTERM and Ctrl-C in a training: a request that is met after the running step, with everything saved."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

STDERR = 2  # written directly: a signal may come while sys.stderr is being written


class Stopped(KeyboardInterrupt):
    """An end was asked for, and the state is saved."""


@dataclass
class Stop:
    """Whether an end was asked for."""

    requested: bool = False
    by_hand: bool = False  # by Ctrl-C


@contextmanager
def stop_requests(tell: bool = True) -> Iterator[Stop]:
    """Turn SIGTERM and Ctrl-C into a request.

    A second Ctrl-C is a KeyboardInterrupt at once. A second SIGTERM is not: schedulers and torchrun both send one.

    Args:
        tell: whether this process says on stderr that it was heard.
    """
    stop = Stop()

    def request(number: int, frame: object) -> None:
        by_hand = number == signal.SIGINT
        if by_hand and stop.by_hand:
            raise KeyboardInterrupt
        if tell and (by_hand or not stop.requested):
            _say("stopping after this step" + ("; Ctrl-C again to stop at once" if by_hand else ""))
        stop.requested = True
        stop.by_hand |= by_hand

    previous = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _say(line: str) -> None:
    with suppress(OSError):
        below_the_bar = "\n" if os.isatty(STDERR) else ""
        os.write(STDERR, f"{below_the_bar}{line}\n".encode())
