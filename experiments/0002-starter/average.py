"""Average the weights of two stages of one training (https://arxiv.org/abs/1803.05407), as the starter's last two were.

python experiments/0002-starter/average.py runs/starter-6/weights.safetensors runs/starter-7/weights.safetensors -o FILE
"""

import argparse
from pathlib import Path

from supersam.checkpoints.files import load_checkpoint, save_checkpoint


def average(earlier: Path, later: Path, out: Path) -> None:
    """Write the mean of all weights, with the record of the later stage; subnets get statistics of their own."""
    first, second = load_checkpoint(earlier), load_checkpoint(later)
    tensors = {
        name: ((first.tensors[name].float() + tensor.float()) / 2).to(tensor.dtype)
        for name, tensor in second.tensors.items()
    }
    save_checkpoint(out, second.kind, {**second.record, "averaged_with": earlier.name}, tensors)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("earlier", type=Path)
    parser.add_argument("later", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    average(arguments.earlier, arguments.later, arguments.out)
