"""A figure of a run's log: losses, rate of learning, images a second."""

import csv
from pathlib import Path

import numpy as np

from supersam.errors import MissingError
from supersam.train.progress import LOG_FILE, LOSSES

CURVES_FILE = "curves.png"
SMOOTHED = 20  # rows of the log in the mean that is drawn over them
COLOURS = dict(zip(LOSSES, ("#000000", "#0072b2", "#d55e00", "#009e73"), strict=True))  # Okabe and Ito's


def draw(folder: Path) -> Path:
    """Draw the log of a run and return the file.

    Raises:
        MissingError: if there is no log, or matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as problem:
        raise MissingError("curves need matplotlib: pip install 'supersam[train]'") from problem
    rows = _rows(folder / LOG_FILE)
    steps = [int(row["step"]) for row in rows]
    figure = Figure(figsize=(8, 7), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for name in LOSSES:
        at, values = points(rows, name)
        if not at:
            continue
        top.plot(at, values, ".", color=COLOURS[name], alpha=0.15, markersize=3)
        top.plot(at, _smooth(np.asarray(values)), color=COLOURS[name], label=name)
    top.set_ylabel("loss")
    top.legend(frameon=False)
    bottom.plot(steps, [float(row["images_per_s"]) for row in rows], color="#000000")
    bottom.set_ylabel("images/s")
    bottom.set_ylim(bottom=0)
    bottom.set_xlabel("step")
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    path = folder / CURVES_FILE
    figure.savefig(path, dpi=110)
    return path


def points(rows: list[dict[str, str]], name: str) -> tuple[list[int], list[float]]:
    """Return steps and values of one loss; of sandwiches the parts, not their mean."""
    drawn = [row for row in rows if row.get(name) and not (name == "loss" and row.get("largest"))]
    return [int(row["step"]) for row in drawn], [float(row[name]) for row in drawn]


def _rows(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        todo = "its training has not written a row yet; wait" if file.parent.is_dir() else "train first"
        raise MissingError(f"there is no log {file}; {todo}")
    with file.open(newline="") as log:
        rows = list(csv.DictReader(log))
    if not rows:
        raise MissingError(f"{file} has no rows yet")
    return rows


def _smooth(values: np.ndarray) -> np.ndarray:
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - SMOOTHED)
    return (sums[ends] - sums[starts]) / (ends - starts)
