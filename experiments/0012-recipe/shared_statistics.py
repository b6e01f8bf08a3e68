"""BatchNorm statistics of a subnet's own, those shared by subnets of the same weights, and those the file carries.

Usage: shared_statistics.py [--subnets 32]      # writes statistics.csv and the table in README.md

The starter as it ships. Own: recalibrated, as everywhere. Shared: the mean and variance of a channel are those of
random subnets that have it, each recalibrated, averaged. Carried: what the file holds, not moved since the first stage.
"""

import argparse
import csv
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import recipe  # first: it says where proofs is
import torch
from recipe import proofs
from torch import Tensor

from supersam.checkpoints.starter import load_starter
from supersam.checkpoints.subnets import extract_subnet
from supersam.evaluate.evaluator import calibration_batches
from supersam.evaluate.recalibrate import recalibrate
from supersam.sam.model import Sam

FOLDER = Path(__file__).parent
DATA = "../shared/data"
KINDS = ("own", "shared", "carried")


def share_statistics(model: Sam, judge: proofs.Judge, n_subnets: int) -> None:
    """Put into a supernet the means of the statistics of random subnets, in place."""
    supernet, rng, counts = model.image_encoder, random.Random("shared"), {}
    sums: dict[int, Tensor] = {}
    for _ in range(n_subnets):
        subnet = replace(supernet.space.sample(rng), resolution=supernet.space.resolutions[0])
        encoder = extract_subnet(model, subnet).image_encoder
        batches = calibration_batches(judge.packs[1], subnet.resolution, proofs.CALIBRATION, cache=judge.cache)
        own, stored = recalibrate(encoder, batches), supernet.active_tensors(subnet)
        for name, value in own.items():
            whole = stored[name]
            key = whole.untyped_storage().data_ptr()
            size = whole.untyped_storage().nbytes() // whole.element_size()
            sums.setdefault(key, torch.zeros(size))[: value.numel()] += value
            counts.setdefault(key, torch.zeros(size))[: value.numel()] += 1
    for name, buffer in supernet.named_buffers():
        key = buffer.untyped_storage().data_ptr()
        if key in sums and name.endswith(("running_mean", "running_var")):
            met = counts[key] > 0
            buffer[met] = (sums[key] / counts[key].clamp(min=1))[met]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subnets", type=int, default=32, help="random subnets whose statistics are averaged")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    judge = proofs.Judge(DATA, recipe.IMAGES, recipe.MASKS)
    carried, shared = load_starter()[0], load_starter()[0]
    share_statistics(shared, judge, asked.subnets)
    models = {"own": (carried, True), "shared": (shared, False), "carried": (carried, False)}
    rows = []
    for name, subnet in recipe.judged_subnets(carried.image_encoder.space).items():
        row = {"subnet": name}
        for kind, (model, recalibrated) in models.items():
            row[kind] = round(proofs.accuracy(judge.scores(model, subnet, recalibrated)), 5)
        rows.append(row)
        print(row, flush=True)
    with (FOLDER / "statistics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["subnet", *KINDS])
        writer.writeheader()
        writer.writerows(rows)
    others = [row for row in rows if row["subnet"].startswith("random")]
    table = [
        [kind, *(f"{row[kind]:.4f}" for row in rows[:2]), f"{np.mean([row[kind] for row in others]):.4f}"]
        for kind in KINDS
    ]
    header = ["statistics", "smallest", "largest", f"mean of {len(others)} random"]
    proofs.fill(FOLDER / "README.md", "statistics", proofs.table(header, table))


if __name__ == "__main__":
    main()
