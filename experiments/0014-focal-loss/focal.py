"""Are masks too thin, and does the weight of the background in SAM's focal loss make them so?

    git show f2ae9ba:experiments/0002-starter/stage-6.safetensors > runs/stage-6.safetensors
    python experiments/0014-focal-loss/focal.py run --workers 2       # can be stopped and given again
    python experiments/0014-focal-loss/focal.py report                # rows.csv, figure.png, the README's table

A mask is too thin if a threshold of its logits below 0 gives a higher IoU than 0, where SAM puts it.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
import proofs

from supersam.checkpoints.subnets import extract_subnet
from supersam.checkpoints.supernets import load_supernet
from supersam.data.coco import load_packs
from supersam.data.records import ImageRecord
from supersam.evaluate.evaluator import answer, calibration_batches, embed, enlarge, spread
from supersam.evaluate.examples import load_example
from supersam.evaluate.metrics import iou
from supersam.evaluate.recalibrate import recalibrate
from supersam.sam.model import Sam
from supersam.space import architecture_from_json
from supersam.train.config import FocalLoss, TrainConfig, load_config

HERE = Path(__file__).parent
SUBNET = HERE.parent / "0002-starter" / "stage-subnets.jsonl"
IMAGES, MASKS, CALIBRATION = 48, 6, 32
THRESHOLDS = (-1.0, -0.5, 0.0, 0.5, 1.0)
BEFORE = "before"
LOSSES = {
    "20, 0.25 (SAM's)": FocalLoss(),
    "20, 0.5": FocalLoss(alpha=0.5),
    "10, 0.5": FocalLoss(weight=10, alpha=0.5),
    "4, 0.5": FocalLoss(weight=4, alpha=0.5),
}
COLOURS = ("#999999", "#D55E00", "#0072B2", "#009E73", "#CC79A7")


def run(arguments: argparse.Namespace) -> None:
    """Train with every loss and measure what comes out."""
    base = load_config(HERE / "train.yaml")
    units: list[tuple[str, TrainConfig]] = [(BEFORE, base)]
    for name, loss in LOSSES.items():
        out = base.out / f"weight-{loss.weight:g}-alpha-{loss.alpha:g}"
        units.append((name, base.model_copy(update={"focal_loss": loss, "out": out})))
    proofs.run_units(unit, units, arguments.workers)


def unit(name: str, config: TrainConfig, _: object) -> None:
    """Train, and measure one subnet on train-search."""
    assert config.initial is not None
    weights = Path(config.initial.weights) if name == BEFORE else proofs.train_once(config)
    file = HERE / "rows" / f"{config.out.name if name != BEFORE else BEFORE}.jsonl"
    if not file.exists():
        proofs.append(file, {"loss": name, "cells": measure(weights, Path(str(config.data)))})


def measure(weights: Path, data: Path) -> dict[str, dict[str, float]]:
    """Return the mean IoU of every pack by prompt and threshold."""
    torch.set_num_threads(1)
    model, _ = load_supernet(weights)
    architecture = architecture_from_json(SUBNET.read_text().splitlines()[1])
    subnet, resolution = extract_subnet(model, architecture), architecture.resolution
    recalibrate(subnet.image_encoder, calibration_batches(load_packs(data, "train-fit"), resolution, CALIBRATION))
    cells = {}
    for pack in load_packs(data, "train-search"):
        found = [of_image(subnet.eval(), resolution, record) for record in spread(pack.records, IMAGES)]
        rows = [row for image in found for row in image]
        cells[pack.name] = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        cells[pack.name]["masks"] = len(rows)
    return cells


def of_image(model: Sam, resolution: int, record: ImageRecord) -> list[dict[str, float]]:
    """Return for each object the IoU by a box at every threshold, and by a click: the chosen mask's and the best's."""
    example = load_example(record, tuple(spread(range(len(record.annotations)), MASKS)))
    if not example.masks:
        return []
    embedded = embed(model, record, resolution, None)
    full = partial(enlarge, embedded)
    boxed = full(answer(embedded, boxes=example.boxes)[0][:, 0]).numpy()
    labels = np.ones((len(example.masks), 1), dtype=np.float32)
    clicked, predicted = answer(embedded, points=example.points[:, None], labels=labels, multimask=True)
    three = [full(clicked[:, which]).numpy() for which in range(clicked.shape[1])]
    return [one(boxed[n], [masks[n] for masks in three], predicted[n], mask) for n, mask in enumerate(example.masks)]


def one(
    boxed: NDArray[np.float32], three: list[NDArray[np.float32]], predicted: Tensor, mask: NDArray[np.uint8]
) -> dict[str, float]:
    """Return the figures of one object."""
    clicks = [iou(logits > 0, mask) for logits in three]
    by_box = {f"box above {threshold:g}": iou(boxed > threshold, mask) for threshold in THRESHOLDS}
    return by_box | {"click, chosen": clicks[int(predicted.argmax())], "click, best of three": max(clicks)}


def report(_: argparse.Namespace) -> None:
    """Write the rows, the figure and the table."""
    found = {row["loss"]: row["cells"] for row in proofs.read(*(HERE / "rows").glob("*.jsonl"))}
    found = {name: found[name] for name in (BEFORE, *LOSSES) if name in found}
    packs = list(next(iter(found.values())))
    rows = [
        {"loss": name, "pack": pack} | {key: round(value, 4) for key, value in cells[pack].items()}
        for name, cells in found.items()
        for pack in packs
    ]
    proofs.write_csv(HERE / "rows.csv", rows)
    draw(found, packs)
    lines = [
        [name]
        + [" / ".join(f"{cells[pack][f'box above {at:g}']:.3f}" for at in (-0.5, 0.0, 0.5)) for pack in packs]
        + [f"{np.mean([cells[pack][key] for pack in packs]):.3f}" for key in ("click, chosen", "click, best of three")]
        for name, cells in found.items()
    ]
    header = ["weight, alpha", *(f"{pack}, box above -0.5 / 0 / 0.5" for pack in packs)]
    text = proofs.table([*header, "click, chosen", "click, best of three"], lines)
    proofs.fill(HERE / "README.md", "table", text + "\n\n![IoU by a box over the threshold](figure.png)")
    print(text)


def draw(found: dict[str, dict[str, dict[str, float]]], packs: list[str]) -> None:
    """Draw the IoU by a box over the threshold."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(packs), figsize=(4 * len(packs), 3.6), squeeze=False)
    for pack, axis in zip(packs, axes[0], strict=True):
        for (name, cells), colour in zip(found.items(), COLOURS, strict=False):
            values = [cells[pack][f"box above {threshold:g}"] for threshold in THRESHOLDS]
            axis.plot(THRESHOLDS, values, marker="o", color=colour, label=name)
        axis.axvline(0, color="black", linewidth=0.6)
        axis.set(title=pack, xlabel="threshold of the logits", ylabel="mean IoU by a box" if axis is axes[0, 0] else "")
    axes[0, 0].legend(title="focal loss: weight, alpha", fontsize=8)
    figure.tight_layout()
    figure.savefig(HERE / "figure.png", dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    (run if arguments.what == "run" else report)(arguments)
