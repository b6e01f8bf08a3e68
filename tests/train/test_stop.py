"""Requests to stop: heard at once and met later; only a second Ctrl-C does not wait."""

import os
import signal

import pytest

from supersam.train.stop import stop_requests


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_request_is_told_and_a_second_ctrl_c_does_not_wait(capfd):
    with stop_requests() as stop:
        send(signal.SIGINT)
        assert stop.requested
        assert capfd.readouterr().err == "stopping after this step; Ctrl-C again to stop at once\n"
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_schedulers_may_send_sigterm_twice(capfd):
    with stop_requests() as stop:
        for _ in range(2):
            send(signal.SIGTERM)
        assert stop.requested
        assert capfd.readouterr().err == "stopping after this step\n"


def test_of_many_processes_one_tells(capfd):
    with stop_requests(tell=False) as stop:
        send(signal.SIGTERM)
        assert stop.requested
    assert capfd.readouterr().err == ""
