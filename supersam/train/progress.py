"""What a run tells while it goes: a bar with ETA on a terminal, lines elsewhere, rows of a CSV file, TensorBoard."""

import csv
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from supersam._paths import write_atomically
from supersam.errors import EnvironmentProblem
from supersam.train.folder import writing
from supersam.train.state import Run

LOG_FILE = "log.csv"
LOG_EVERY = 10
COLUMNS = ("step", "seconds", "images", "images_per_s", "resolution", "learning_rate", "gradient_norm")
LOSSES = ("loss", "largest", "smallest", "random")


@contextmanager
def progress(run: Run) -> Iterator["Reporter"]:
    """Report on stderr and in the run's folder; only the first process does."""
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[losses]}  {task.fields[rate]} images/s"),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, speed_estimate_period=600, disable=not (run.group.first and console.is_terminal)
    ) as bar:
        reporter = Reporter(run, bar)
        try:
            yield reporter
        finally:
            reporter.close()


class Reporter:
    """Counts images and reports the losses of a step."""

    def __init__(self, run: Run, bar: Progress) -> None:
        self._run, self._bar = run, bar
        self._task = bar.add_task("train", total=run.config.steps, completed=run.step, losses="", rate="-")
        self._terminal = not bar.disable
        self._started, self._seen, self._first = time.monotonic(), 0, run.step
        self._board = _tensorboard(run) if run.config.tensorboard and run.group.first else None

    def __call__(self, images: int) -> None:
        """Report the step that has just ended."""
        run = self._run
        self._seen += images
        rate = self._seen / (time.monotonic() - self._started)
        losses = "  ".join(f"{name} {run.losses[name]:.3f}" for name in LOSSES if name in run.losses)
        self._bar.update(self._task, completed=run.step, losses=losses, rate=f"{rate:.1f}")
        if not run.group.first:
            return
        logged = _is_logged(run.step, run.config.steps)
        with writing(run.config.out):
            self._note_on_board()
            if logged:
                _append(run, rate)
        if not self._terminal and (logged or run.step == self._first + 1):
            self._print_line(losses, rate)

    def _note_on_board(self) -> None:
        if self._board is not None:
            for name, value in self._run.losses.items():
                self._board.add_scalar(name, value, self._run.step)

    def _print_line(self, losses: str, rate: float) -> None:
        step, steps = self._run.step, self._run.config.steps
        left = (time.monotonic() - self._started) / (step - self._first) * (steps - step)
        line = f"step {step}/{steps}  {losses}  {rate:.1f} images/s  eta {left / 60:.0f} min"
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Finish the log of TensorBoard."""
        if self._board is not None:
            with writing(self._run.config.out):
                self._board.close()


def _is_logged(step: int, steps: int) -> bool:
    """Return whether a step has a row: every few of them, and the last one."""
    return step % LOG_EVERY == 0 or step == steps


def summary_writer() -> Any:
    """Return TensorBoard's class.

    Raises:
        EnvironmentProblem: if TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as problem:
        raise EnvironmentProblem(
            "tensorboard: true needs the package tensorboard; install it (pip install 'supersam[train]') or set it to "
            f"false, {LOG_FILE} is written anyway"
        ) from problem
    return SummaryWriter


def _tensorboard(run: Run) -> Any:
    with writing(run.config.out):
        return summary_writer()(str(run.config.out / "tensorboard"), purge_step=run.step + 1)


def _append(run: Run, rate: float) -> None:
    file = run.config.out / LOG_FILE
    row = {"step": run.step, "seconds": round(run.seconds, 1), "images": run.images, "images_per_s": round(rate, 2)}
    row |= {name: float(f"{value:.6g}") for name, value in run.losses.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        write_atomically(file, (",".join([*COLUMNS, *LOSSES]) + "\n").encode())
    with file.open("a", newline="") as log:
        csv.DictWriter(log, [*COLUMNS, *LOSSES], extrasaction="ignore", lineterminator="\n").writerow(row)


def forget_after(folder: Path, step: int, steps: int) -> None:
    """Drop rows that a run of ``steps`` would not have at ``step``.

    These are of steps that will run (again), one that was cut off, and the last of a run that is now made longer.
    """
    file = folder / LOG_FILE
    if file.exists():
        header, *rows = file.read_text().splitlines()
        whole = [row for row in rows if row.count(",") == header.count(",")]
        numbers = [int(row.partition(",")[0]) for row in whole]
        kept = [row for row, at in zip(whole, numbers, strict=True) if at <= step and _is_logged(at, steps)]
        write_atomically(file, ("\n".join([header, *kept]) + "\n").encode())
