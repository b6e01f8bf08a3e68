"""Ctrl-C and SIGTERM while a study is read and written, in an evaluation, and twice."""

import os
import signal

import pytest

from supersam.search.interrupts import Interrupts
from supersam.search.study import Worker


def press(number: int = signal.SIGINT) -> None:
    """Press Ctrl-C; the handler has run when this returns."""
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def _not_ignored():
    """Ctrl-C as in a terminal: a script that runs the tests in its background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_must_not_be_interrupted_is_finished_first(number):
    done, before = [], signal.getsignal(signal.SIGTERM)

    def work():
        with Interrupts() as interrupts:
            press(number)
            done.append("transaction")
            interrupts.check()
            done.append("next trial")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["transaction"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("before", [True, False])
def test_what_may_be_interrupted_is_at_once(before):
    done = []

    def work():
        with Interrupts() as interrupts:
            if before:
                press()
            with interrupts.allowed():
                press()
                done.append("evaluation")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == []


@pytest.mark.parametrize("times", [1, 2])
def test_a_second_time_is_never_held_back_and_a_late_one_is_not_lost(times):
    done = []

    def work():
        with Interrupts():
            for _ in range(times):
                press()
            done.append("transaction")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == (["transaction"] if times == 1 else [])


def test_a_search_ends_after_the_trial_in_which_it_was_interrupted(space, problem_of, search_of, truth, monkeypatch):
    claim = Worker._claim

    def pressed(self, *arguments):
        if self.ledger.n_proposals == 3:
            press()
        claim(self, *arguments)

    monkeypatch.setattr(Worker, "_claim", pressed)
    search = search_of(problem_of(space))
    with pytest.raises(KeyboardInterrupt):
        search.optimize(30, [], lambda ledger: None)
    states = [trial.state.name for trial in search.open_study().trials]
    assert states.count("COMPLETE") >= 2
    assert "RUNNING" not in states

    monkeypatch.undo()
    assert len(search.optimize(6, [], lambda ledger: None).candidates) == 6
