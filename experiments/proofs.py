"""What the proofs 0010 to 0013 share: units that survive a stop, accuracy on train-search, tables for a README."""

import csv
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from supersam.checkpoints.files import file_sha256
from supersam.checkpoints.subnets import extract_subnet
from supersam.data.records import Pack
from supersam.data.sources import open_packs
from supersam.evaluate.evaluator import calibration_batches, evaluate
from supersam.evaluate.examples import ExampleCache
from supersam.evaluate.recalibrate import recalibrate
from supersam.sam.model import Sam
from supersam.space import AnyArchitecture
from supersam.train.config import TrainConfig
from supersam.train.dry_run import dry_run
from supersam.train.loop import train
from supersam.train.side_by_side import side_by_side
from supersam.train.state import STATE_FILE, WEIGHTS_FILE

PROMPTS = ["point1", "box"]
CALIBRATION = 48
RESAMPLES = 1000
Row = dict[str, Any]


@dataclass(frozen=True)
class Judge:
    """Measures subnets on train-search, which no training here sees; statistics are taken from train-fit."""

    data: str
    images: int  # of each pack
    masks: int  # of each image
    cache: ExampleCache = field(default_factory=ExampleCache)

    @cached_property
    def packs(self) -> tuple[list[Pack], list[Pack]]:
        """Return what is judged by, and what statistics are taken from."""
        return open_packs(self.data, "train-search"), open_packs(self.data, "train-fit")

    def scores(self, model: Sam, architecture: AnyArchitecture, recalibrated: bool = True) -> dict[str, list[float]]:
        """Return the IoU of every mask by "pack prompt"."""
        subnet, (packs, fit) = extract_subnet(model, architecture), self.packs
        if recalibrated:
            batches = calibration_batches(fit, architecture.resolution, CALIBRATION, cache=self.cache)
            recalibrate(subnet.image_encoder, batches)
        report = evaluate(subnet, architecture.resolution, packs, PROMPTS, self.images, self.masks, cache=self.cache)
        return {
            f"{pack} {prompt}": [round(value, 5) for value in values]
            for pack, found in report.packs.items()
            for prompt, values in found.prompts.items()
        }


def train_once(config: TrainConfig) -> Path:
    """Train, or go on, or return what is finished; the state to go on with is deleted at the end."""
    finished, state = config.out / WEIGHTS_FILE, config.out / STATE_FILE
    if not finished.exists():
        train(config, resume=state.exists())
    state.unlink(missing_ok=True)
    return finished


def run_units(work: Callable[..., Any], units: Sequence[tuple[Any, ...]], workers: int) -> None:
    """Run units by processes of one thread each; Ctrl-C and SIGTERM end them with what they have saved."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        for number, _ in side_by_side(work, units, workers):
            print(f"{units[number][0]} finished", flush=True)
    except KeyboardInterrupt:
        print("\nInterrupted; what is finished is kept. Give the same command to go on.")
        sys.exit(130)


def identity(weights: Path, judge: Judge) -> str:
    """Return what a row was measured with."""
    return f"{file_sha256(weights)[:12]}, {judge.images} images of a pack, {judge.masks} masks of an image"


def known(file: Path, measured_with: str) -> list[Row]:
    """Return the rows that are there, if they were measured alike."""
    rows = read(file)
    if any(row["measured_with"] != measured_with for row in rows):
        raise SystemExit(
            f"{file} was measured with {rows[0]['measured_with']}, now it is {measured_with}; move it away"
        )
    return rows


def estimate(configs: dict[str, TrainConfig], judged: int, judge: Judge, subnet: tuple[Sam, AnyArchitecture]) -> None:
    """Print what the units would take, by a few real steps and one real evaluation on this machine."""
    torch.set_num_threads(1)
    total = 0.0
    for name, config in configs.items():
        low, middle, high = (60 * hours for hours in dry_run(config).hours)
        done = "finished" if (config.out / WEIGHTS_FILE).exists() else "to do"
        total += 0.0 if done == "finished" else middle
        print(
            f"{name}: {config.steps} steps, {middle:.0f} min of one core ({low:.0f} to {high:.0f}), {done}", flush=True
        )
    started = time.process_time()
    judge.scores(*subnet)
    once = (time.process_time() - started) / 60
    print(f"{judged} evaluations of at most about {once:.2f} min: {judged * once:.0f} min")
    print(f"together about {total + judged * once:.0f} min of one core: divide by --workers")


def accuracy(scores: dict[str, list[float]]) -> float:
    """Return the mean over packs and prompts, as everywhere."""
    return float(np.mean([np.mean(values) for values in scores.values()]))


def resampled(many: Sequence[dict[str, list[float]]], count: int = RESAMPLES) -> np.ndarray:
    """Return accuracies (subnets, count) under resampling of the masks, the same masks for all subnets."""
    rng, means = np.random.default_rng(0), []
    for cell in many[0]:
        values = np.array([scores[cell] for scores in many])
        drawn = rng.integers(values.shape[1], size=(count, values.shape[1]))
        means.append(np.stack([values[:, index].mean(axis=1) for index in drawn], axis=1))
    return np.mean(means, axis=0)


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of resampled values; what is not a number counts as missing."""
    low, high = np.nanquantile(values, [0.025, 0.975]) if np.isfinite(values).any() else (np.nan, np.nan)
    return float(low), float(high)


def append(file: Path, row: Row) -> None:
    """Add a row to a file of JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and not file.read_bytes().endswith(b"\n"):  # a stop cut the last row off
        file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")))
    with file.open("a") as lines:
        lines.write(json.dumps(row) + "\n")


def read(*files: Path) -> list[Row]:
    """Return the whole rows of files of JSON lines."""
    lines = (line for file in sorted(files) if file.exists() for line in file.read_text().splitlines(keepends=True))
    return [json.loads(line) for line in lines if line.endswith("\n")]


def write_csv(file: Path, rows: Sequence[Row]) -> None:
    """Write rows with the columns of the first."""
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def fill(readme: Path, name: str, text: str) -> None:
    """Put text between the marks ``<!-- name -->`` and ``<!-- /name -->`` of a README."""
    before, mark, rest = readme.read_text().partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not mark or not end:
        raise ValueError(f"{readme} has no marks <!-- {name} --> and <!-- /{name} -->")
    readme.write_text(f"{before}{mark}{text}\n{end}{after}")
