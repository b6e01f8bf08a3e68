"""What each change of the training's speed is worth: one step of each variant in turn, medians of interleaved repeats.

    OMP_NUM_THREADS=1 python experiments/0005-training-speed/measure.py [--repeats 7] [--json FILE]

One process of one thread, seeded random images, starter space, largest and smallest subnet of every block type.
Time is CPU time of the process; the machine should be quiet all the same. Prints milliseconds for a prompt: a step's
time divided by images x prompts x subnets, which is what a training learns from.
"""

import argparse
import json
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from supersam.sam.model import FRAME, Prompts, Sam
from supersam.space import AnyArchitecture, load_space
from supersam.supernet.supernet import Supernet
from supersam.train.batches import Batch
from supersam.train.objective import Objective, Settings

BLOCKS = ("vit", "repvit", "efficientvit", "rwkv")


@dataclass(frozen=True)
class Variant:
    """One way to run a step."""

    name: str
    images: int = 4
    prompts: int = 4
    resolution: int = 256
    channels_last: bool = False
    autocast: str = "none"


FIRST = Variant("as first shipped: 4 images, 4 prompts, 256 px, float32")
VARIANTS = (
    FIRST,
    replace(FIRST, name="+ 16 images", images=16),
    replace(FIRST, name="+ channels_last", images=16, channels_last=True),
    replace(FIRST, name="+ decoder in bfloat16", images=16, channels_last=True, autocast="decoder"),
    replace(FIRST, name="+ 8 prompts", images=16, channels_last=True, autocast="decoder", prompts=8),
    replace(FIRST, name="+ 128 px", images=32, channels_last=True, autocast="decoder", prompts=8, resolution=128),
)


def main() -> None:
    """Measure every variant and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = Sam(Supernet(load_space("starter"))).train()
    times: dict[str, list[float]] = {variant.name: [] for variant in VARIANTS}
    for repeat in range(arguments.repeats + 1):
        for variant in VARIANTS:
            taken = step(model, variant)
            if repeat:  # the first round warms up
                times[variant.name].append(taken)
    base = statistics.median(times[FIRST.name])
    rows = []
    for name, taken in times.items():
        middle = statistics.median(taken)
        spread = (max(taken) - min(taken)) / middle
        rows.append({"variant": name, "ms_per_prompt": round(middle, 3), "spread": round(spread, 3)})
        print(f"{name:60} {middle:8.2f} ms/prompt  ±{spread / 2:.0%}  {base / middle:5.2f} x")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


def step(model: Sam, variant: Variant) -> float:
    """Run forward and backward of the largest and smallest subnet of every type and return ms for a prompt."""
    objective = Objective(model, variant.autocast)
    batch = random_batch(variant)
    subnets = [subnet(model, block, end, variant.resolution) for block in BLOCKS for end in (0, -1)]
    started = time.process_time()
    for architecture in subnets:
        objective(batch, architecture, Settings(balance=1.0)).loss.backward()
        model.zero_grad(set_to_none=True)
    passes = len(subnets) * variant.images * variant.prompts
    return 1000 * (time.process_time() - started) / passes


def subnet(model: Sam, block: str, end: int, resolution: int) -> AnyArchitecture:
    """Return the largest (-1) or smallest (0) subnet of one block type."""
    space = model.image_encoder.space
    choices = {name: allowed[end] for name, allowed in space.variables().items()}
    choices |= {name: block for name in choices if name.endswith(".block")}
    return replace(space.decode(choices), resolution=resolution)


def random_batch(variant: Variant) -> Batch:
    """Return random images and prompts; what they show does not change the time."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(variant.images, 3, variant.resolution, variant.resolution, generator=generator)
    half = variant.prompts // 2
    points = FRAME * torch.rand(variant.images, half, 1, 2, generator=generator)
    boxes = FRAME * torch.rand(variant.images, half, 4, generator=generator)
    side = variant.resolution // 4
    targets = torch.rand(variant.images, variant.prompts, side, side, generator=generator).round()
    if variant.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    return Batch(images, Prompts(points, torch.ones(points.shape[:3]), boxes), targets)


if __name__ == "__main__":
    main()
