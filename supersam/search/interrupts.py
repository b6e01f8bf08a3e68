"""Ctrl-C and SIGTERM at a safe moment.

A database that is interrupted within a transaction fails in a way of its own, or leaves a thread behind that keeps the
process from ending. So while a study is read and written they are held back, and take effect in an evaluation or after
the present trial. A second one is never held back.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Holds them back within ``with``, but for what is done within ``allowed``; outside of it nothing is changed."""

    def __init__(self, signals: tuple[int, ...] = SIGNALS) -> None:
        self.wanted = False
        self._signals = signals
        self._allowed = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if (
            threading.current_thread() is threading.main_thread()
        ):  # others cannot set handlers, nor are they interrupted
            self._before = {number: signal.signal(number, self._handle) for number in self._signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None:
            self.check()

    def check(self) -> None:
        """Stop here if it is wanted.

        Raises:
            KeyboardInterrupt: if Ctrl-C was held back.
        """
        if self.wanted:
            raise KeyboardInterrupt

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let Ctrl-C take effect at once."""
        self._allowed = True
        try:
            self.check()
            yield
        finally:
            self._allowed = False

    def _handle(self, number: int, frame: object) -> None:
        again, self.wanted = self.wanted, True
        if self._allowed or again:
            raise KeyboardInterrupt
