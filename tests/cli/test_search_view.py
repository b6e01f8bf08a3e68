"""What is said while a search runs, and which one is marked as the best."""

import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from supersam.cli import _search_view
from supersam.cli._search_view import LiveLine, command, show_devices
from supersam.latency import Latency
from supersam.results import Accuracy, Candidate, Run
from supersam.search.report import fronts_of_devices
from supersam.space import load_space

SPACE = load_space("starter")
QUESTION = {"budget_ms": 5.0, "risk": "upper"}


def made(seed, ms, value, source="measured"):
    accuracy = Accuracy(value, source, (value - 0.01, value + 0.01))
    return Candidate(SPACE.sample(random.Random(seed)), accuracy, Latency(ms, ms, ms, "measured"))


class Clock:
    """A live line, and the time it believes."""

    def __init__(self, monkeypatch, capsys, trials=200):
        self.now, self.capsys, self.found = 0.0, capsys, {}
        monkeypatch.setattr(_search_view.time, "monotonic", lambda: self.now)
        self.line = LiveLine(Run(Path("run")), QUESTION, trials, quiet=False)
        self.line.EVERY_S = 0.0

    def look(self, now, *more):
        """Return the line at a time when more candidates have come."""
        self.now = now
        self.found |= {one.digest: one for one in more}
        self.line(SimpleNamespace(candidates=self.found, pruned=()))
        return self.capsys.readouterr().err


@pytest.fixture
def clock(monkeypatch, capsys):
    return Clock(monkeypatch, capsys)


def test_the_live_line_shows_the_best_that_was_measured(clock):
    predicted, measured = made(0, 2.0, 0.506, "predicted"), made(1, 3.0, 0.501)

    assert f"front 1 · best <= 5 ms: {predicted.digest} 0.506 predicted @ 2 ms" in clock.look(1, predicted)
    assert f"front 1 · best <= 5 ms: {measured.digest} 0.501 @ 3 ms" in clock.look(2, measured)


def test_no_time_is_foretold_before_a_few_were_evaluated(clock):
    assert clock.look(60) == "trial 0/200 · front 0 · best <= 5 ms: none yet\n"  # workers start for a minute
    assert "left" not in clock.look(61, made(0, 2.0, 0.4))
    assert "left" not in clock.look(63, made(1, 2.0, 0.4), made(2, 2.0, 0.4))
    assert clock.look(66, made(3, 2.0, 0.4)).endswith(" · 294 s left\n")  # 4 in the 6 s since the first came


def test_one_best_is_marked_and_it_is_the_answers(capsys):
    candidates = [made(0, 2.0, 0.6, "predicted"), made(1, 3.0, 0.5), made(2, 2.0, 0.4)]

    show_devices(fronts_of_devices(candidates, {"board": 5.0}, "upper"))

    marked = [line for line in capsys.readouterr().out.splitlines() if line.startswith("best")]
    assert [line.split()[1] for line in marked] == [candidates[1].digest]


def test_where_nothing_measured_meets_the_budget_the_best_is_predicted(capsys):
    candidates = [made(0, 2.0, 0.6, "predicted"), made(1, 9.0, 0.5)]

    show_devices(fronts_of_devices(candidates, {"board": 5.0}, "upper"))

    marked = [line for line in capsys.readouterr().out.splitlines() if line.startswith("best")]
    assert [line.split()[1] for line in marked] == [candidates[0].digest]


def test_an_interval_that_nobody_knows_is_not_shown_as_none(capsys):
    bare = made(1, 3.0, 0.6)
    known = Candidate(bare.architecture, bare.accuracy, Latency(3.0, 2.5, 3.6, "measured"))
    for candidate, shown in ((bare, "3 [not known] measured"), (known, "3 [2.5-3.6] measured")):
        _search_view.show_front([candidate.to_dict()], None)
        assert shown in capsys.readouterr().out


def test_the_command_that_goes_on_says_all_that_is_not_in_the_run():
    run = Run(Path("runs/my run"))
    start = "supersam search --out 'runs/my run' --resume --trials 9"

    assert command({}, run, 9, 1) == start
    assert command({}, run, 9, 2, verify=0, measure=3) == f"{start} --workers 2 --verify 0 --measure 3"
    assert command({}, run, 9, 1, compute="cuda:1") == f"{start} --compute cuda:1"
    assert command({"storage": "sqlite:////tmp/s.db"}, run, 9, 1) == f"{start} --storage sqlite:////tmp/s.db"
    assert command({"storage": "postgresql://me:***@h/x"}, run, 9, 1) == f"{start} --storage URL"
