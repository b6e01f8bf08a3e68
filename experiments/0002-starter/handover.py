"""A training of one subnet that goes on elsewhere: its state in a file small enough to be kept with the code.

Usage: handover.py pack runs/starter-alone/training.safetensors -o experiments/0002-starter/alone-part.safetensors
       handover.py unpack experiments/0002-starter/alone-part.safetensors -o runs/starter-alone/training.safetensors

What is kept is the moving average of the weights in half precision, zero where the encoder has none, with the step. So
what goes on is the average instead of the weights, and Adam's moments begin anew, as between the supernet's stages.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from supersam.checkpoints.files import load_checkpoint, save_checkpoint
from supersam.checkpoints.supernets import AVERAGE, TRAINING
from supersam.train.optimizer import PREFIX
from supersam.train.state import LOSS_MODEL

SQUARES = PREFIX + "exp_avg_sq.model."  # of gradients: 0 where nothing was ever learnt
ENCODER = "image_encoder."


def pack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the average in half precision without what was never trained, and the small rest."""
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith(LOSS_MODEL)}
    for name, tensor in tensors.items():
        if name.startswith(TRAINING):
            continue
        average = tensors.get(AVERAGE + name, tensor)
        if name.startswith(ENCODER) and AVERAGE + name in tensors:  # a parameter, whose moments Adam has if it learnt
            average = torch.where(tensors.get(SQUARES + name, torch.zeros(())) > 0, average, 0)
        kept[name] = average.half() if average.is_floating_point() else average
    return kept


def unpack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state whose weights and whose average are what was packed; what has no average has none."""
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(TRAINING)}
    whole = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    averages = {AVERAGE + name: tensor.clone() for name, tensor in whole.items() if tensor.is_floating_point()}
    return whole | averages | {name: tensor for name, tensor in tensors.items() if name.startswith(TRAINING)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pack", "unpack"])
    parser.add_argument("source", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    state = load_checkpoint(asked.source, "training")
    tensors = pack(state.tensors) if asked.what == "pack" else unpack(state.tensors)
    save_checkpoint(asked.output, "training", state.record, tensors)
    record = state.record
    print(f"{asked.output}: step {record['step']} of {record['config']['steps']}, {record['images']} images")


if __name__ == "__main__":
    main()
