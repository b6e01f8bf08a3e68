"""How a search is shown: the live line while it runs, the fronts when it is done."""

import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

from supersam.cli._output import print_table, say

if TYPE_CHECKING:
    from supersam.results import Run
    from supersam.search.ledger import Ledger

HEADER = ["", "digest", "mIoU", "latency ms [90 %]", "GMACs", "params M", "architecture"]


def show_answer(run: "Run", answer: dict[str, Any]) -> None:
    """Print the front of each device, and what to do next."""
    show_devices(answer["devices"])
    if answer.get("timed"):
        from supersam.cli._measure_here import show_timed
        from supersam.results.timed import Timed

        show_timed(Timed.model_validate(one) for one in answer["timed"])
    if answer.get("good_on_all"):
        print("\nwithin every budget, on the front of all devices together:")
        show_front(answer["good_on_all"], None)
    best = answer["best"]
    if best:
        bound = "median" if answer["risk"] == "median" else "upper 90 % bound"
        within = f" within {answer['budget_ms']:g} ms" if answer["budget_ms"] is not None else ""
        source = best["accuracy_source"]
        say(f"\nbest{within} on {answer['device']} ({bound}, accuracy {source}): {best['digest']}")
        say(f"keep it:  supersam extract {run.folder} best -o best.safetensors")
        say(f"look:     supersam dashboard {run.folder.parent}")


def show_devices(devices: dict[str, dict[str, Any]]) -> None:
    """Print the front of each device, the predicted one apart; one best is marked, that of the answer."""
    for found in devices.values():
        if len(devices) > 1:
            print(f"\n{found['device']}")
        show_front(found["front"], found["best"])
        predicted = found.get("predicted")
        if predicted and predicted["front"]:
            print("\npredicted, not measured:")
            show_front(predicted["front"], None)  # there is one best, and it is measured


def show_front(front: list[dict[str, Any]], best: dict[str, Any] | None) -> None:
    rows = [_row("best" if best and one["digest"] == best["digest"] else "", one) for one in front]
    if best and all(one["digest"] != best["digest"] for one in front):
        rows.append(_row("best", best))
    if rows:
        print_table(HEADER, rows)


def _row(mark: str, shown: dict[str, Any]) -> list[str]:
    from supersam.space import architecture_from_dict

    low, high = shown["latency_interval_ms"]
    return [
        mark,
        shown["digest"],
        f"{shown['accuracy']:.3f} {shown['accuracy_source']}",
        f"{shown['latency_ms']:.3g} [{_interval(low, high)}] {shown['latency_method']}",
        f"{shown['gmacs']:.3g}",
        f"{shown['params_m']:.3g}",
        architecture_from_dict(shown["architecture"]).describe(),
    ]


def _interval(low: float, high: float) -> str:
    """Return an interval; one without width is of times that came without any."""
    return f"{low:.3g}-{high:.3g}" if low < high else "not known"


def command(
    question: dict[str, Any],
    run: "Run",
    trials: int,
    workers: int,
    *,
    verify: int | None = None,
    measure: int | None = None,
    compute: str = "auto",
) -> str:
    """Return the command that continues a run; what it was asked stands in its folder."""
    from supersam.search.storage import is_hidden

    parts = ["supersam", "search", "--out", str(run.folder), "--resume", "--trials", str(trials)]
    if workers > 1:
        parts += ["--workers", str(workers)]
    for option, most in (("--verify", verify), ("--measure", measure)):
        if most is not None:
            parts += [option, str(most)]
    if compute != "auto":
        parts += ["--compute", compute]
    storage = question.get("storage")
    if storage:
        parts += ["--storage", "URL" if is_hidden(storage) else storage]
    return shlex.join(parts)


class LiveLine:
    """The live line of a search: one that rewrites itself on a terminal, else one every few seconds."""

    EVERY_S = 5.0
    FEW = 10  # evaluations after which their pace says something; fewer do after ``SOON_S``
    FEWEST, SOON_S = 3, 5.0

    def __init__(self, run: "Run", question: dict[str, Any], trials: int, quiet: bool) -> None:
        self.question, self.trials, self.live = question, trials, sys.stderr.isatty()
        self.began = self.last = time.monotonic()
        self.before: int | None = None
        self.quiet = quiet and not self.live

    def __call__(self, ledger: "Ledger") -> None:
        now, done = time.monotonic(), _evaluated(ledger)
        if self.before is None or done == self.before:  # the clock starts when the first one is evaluated
            self.before, self.began = done, now
        if self.quiet or (now - self.last < (0.2 if self.live else self.EVERY_S)):
            return
        self.last = now
        line = f"trial {done}/{self.trials} · {self._found(ledger)}{self._left(done - self.before, done, now)}"
        if self.live:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        else:
            say(line)

    def _found(self, ledger: "Ledger") -> str:
        """Return front and best of the measured candidates; of the predicted ones where no measured one will do."""
        from supersam.results import best_within, pareto_front
        from supersam.search.report import apart

        budget_ms = self.question["budget_ms"]
        within = "" if budget_ms is None else f" <= {budget_ms:g} ms"
        by_source = apart(ledger.candidates.values())
        for source, these in by_source.items():
            best = best_within(these, float("inf") if budget_ms is None else budget_ms, self.question["risk"])
            if best is not None:
                said = " predicted" if source == "predicted" else ""
                shown = f"{best.digest} {best.accuracy.value:.3f}{said} @ {best.latency.ms:.3g} ms"
                return f"front {len(pareto_front(these))} · best{within}: {shown}"
        these = by_source["measured"] or by_source["predicted"]
        return f"front {len(pareto_front(these))} · best{within}: none yet"

    def _left(self, since: int, done: int, now: float) -> str:
        """Return how long it will take, or nothing while too few were evaluated to say."""
        passed = now - self.began
        if since < self.FEWEST or (since < self.FEW and passed < self.SOON_S):
            return ""
        return f" · {passed / since * max(0, self.trials - done):.0f} s left"

    def end(self) -> None:
        """Leave the live line."""
        if self.live:
            sys.stderr.write("\r\x1b[K")


def _evaluated(ledger: "Ledger") -> int:
    """Return how many count as trials: those given up early do too."""
    return len(ledger.candidates) + len(ledger.pruned)
