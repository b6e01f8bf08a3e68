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
    """Print the front of each device, the predicted one apart."""
    for found in devices.values():
        if len(devices) > 1:
            print(f"\n{found['device']}")
        show_front(found["front"], found["best"])
        predicted = found.get("predicted")
        if predicted and predicted["front"]:
            print("\npredicted, not measured:")
            show_front(predicted["front"], predicted["best"])


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
        f"{shown['latency_ms']:.3g} [{low:.3g}-{high:.3g}] {shown['latency_method']}",
        f"{shown['gmacs']:.3g}",
        f"{shown['params_m']:.3g}",
        architecture_from_dict(shown["architecture"]).describe(),
    ]


def command(question: dict[str, Any], run: "Run", trials: int, workers: int) -> str:
    """Return the command that continues a run; what it was asked stands in its folder."""
    parts = ["supersam", "search", "--out", str(run.folder), "--resume", "--trials", str(trials)]
    if workers > 1:
        parts += ["--workers", str(workers)]
    if question.get("storage"):
        parts += ["--storage", question["storage"]]
    return shlex.join(parts)


class LiveLine:
    """The live line of a search: one that rewrites itself on a terminal, else one every few seconds."""

    EVERY_S = 5.0

    def __init__(self, run: "Run", question: dict[str, Any], trials: int, quiet: bool) -> None:
        self.question, self.trials, self.live = question, trials, sys.stderr.isatty()
        self.started = self.last = time.monotonic()
        self.before: int | None = None
        self.quiet = quiet and not self.live

    def __call__(self, ledger: "Ledger") -> None:
        now = time.monotonic()
        if self.before is None:
            self.before = len(ledger.candidates) - 1
        if self.quiet or (now - self.last < (0.2 if self.live else self.EVERY_S)):
            return
        self.last = now
        line = self._line(ledger, now)
        if self.live:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        else:
            say(line)

    def _line(self, ledger: "Ledger", now: float) -> str:
        from supersam.results import best_within, pareto_front

        found = list(ledger.candidates.values())
        budget_ms = self.question["budget_ms"]
        best = best_within(found, float("inf") if budget_ms is None else budget_ms, self.question["risk"])
        shown = f"{best.digest} {best.accuracy.value:.3f} @ {best.latency.ms:.3g} ms" if best else "none yet"
        done = len(found) - (self.before or 0)
        left = (now - self.started) / max(1, done) * max(0, self.trials - len(found))
        within = "" if budget_ms is None else f" <= {budget_ms:g} ms"
        return (
            f"trial {len(found)}/{self.trials} · front {len(pareto_front(found))} · "
            f"best{within}: {shown} · {left:.0f} s left"
        )

    def end(self) -> None:
        """Leave the live line."""
        if self.live:
            sys.stderr.write("\r\x1b[K")
