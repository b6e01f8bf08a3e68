"""Where the milliseconds of a training step go, and what decoding only a part of the embedding would save.

    OMP_NUM_THREADS=1 python experiments/0005-training-speed/parts.py [--repeats 9] [--data ../shared/data]

Writes parts.csv and the README's tables. One thread, CPU time of the process, medians over the same random subnets at
every resolution; the machine should be quiet. `--data synthetic` goes without the packs.
"""

import argparse
import datetime
import random
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from supersam.data.loader import Loader
from supersam.data.sources import open_sources
from supersam.data.synthetic import write_pack
from supersam.sam.model import FRAME, Prompts, Sam
from supersam.space import AnyArchitecture, load_space
from supersam.supernet.supernet import Supernet
from supersam.train.batches import make_batch
from supersam.train.config import TrainConfig, load_config
from supersam.train.ema import WeightAverage
from supersam.train.losses import prompt_loss
from supersam.train.optimizer import make_optimizer
from supersam.train.plan import images_of_batch
from supersam.train.sampling import uniform

sys.path.insert(0, str(Path(__file__).parents[1]))
import proofs

HERE = Path(__file__).parent
CONFIG = HERE.parent / "0002-starter" / "train-5.yaml"
RESOLUTIONS = (128, 256, 512)
PARTS = ("data", "encoder forward", "decoder forward", "losses", "decoder backward", "encoder backward", "weights")
SHARES = {"whole embedding": 1.0, "three quarters of each side": 0.75, "half of each side": 0.5}


class Clock:
    """Splits CPU time among named parts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, name: str) -> None:
        """Give a part what has passed since the last lap."""
        now = time.process_time()
        self.seconds[name], self._last = now - self._last, now


class Bench:
    """A supernet with all that a step of ``train-5.yaml`` does."""

    def __init__(self, config: TrainConfig, data: Path) -> None:
        self.config, self.space = config, load_space(config.space)
        self.sam = Sam(Supernet(self.space)).train()
        self.loader = Loader(open_sources(data, config.split), config.augmentation, seed=0, cache_gb=config.cache_gb)
        self.optimizer = make_optimizer(self.sam, config.optimization)
        self.average = WeightAverage(self.sam, config.optimization.ema)

    def step(self, resolution: int, architecture: AnyArchitecture, number: int) -> dict[str, float]:
        """Return the CPU seconds of the parts of one step."""
        clock = Clock()
        count = images_of_batch(self.config, self.space, resolution)
        batch = make_batch(self.loader, self.config, resolution, count, number).to(torch.device("cpu"), True)
        clock.lap("data")
        embedding = self.sam.image_encoder(batch.images, architecture)
        clock.lap("encoder forward")
        apart = embedding.detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            masks = self.sam.decode(apart, batch.prompts)
        clock.lap("decoder forward")
        masks = type(masks)(masks.logits.float(), masks.iou.float())
        loss = prompt_loss(masks, batch.targets, batch.n_points)
        clock.lap("losses")
        loss.backward()
        clock.lap("decoder backward")
        embedding.backward(apart.grad)
        clock.lap("encoder backward")
        torch.nn.utils.clip_grad_norm_(self.sam.parameters(), self.config.optimization.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(number)
        clock.lap("weights")
        return clock.seconds

    def decoding(self, resolution: int, share: float) -> float:
        """Return the CPU seconds of decoding a part of an embedding, forward and backward."""
        side = max(1, round(share * resolution / 16))
        count = images_of_batch(self.config, self.space, resolution)
        embedding = torch.randn(count, 256, side, side, requires_grad=True)
        clicks = FRAME * torch.rand(count, 8, 1, 2)
        started = time.process_time()
        with torch.autocast("cpu", torch.bfloat16):
            masks = self.sam.decode(embedding, Prompts(clicks, torch.ones(count, 8, 1)))
        (masks.logits.float().square().mean() + masks.iou.float().sum()).backward()
        taken = time.process_time() - started
        self.sam.zero_grad(set_to_none=True)
        return taken


def measure(bench: Bench, repeats: int) -> list[proofs.Row]:
    """Return medians in milliseconds; every resolution and part in turn, the first round warms up."""
    rng = random.Random(0)
    found: dict[tuple[int, str], list[float]] = {}
    for repeat in range(repeats + 1):
        architecture = uniform(bench.space, RESOLUTIONS[-1], rng)
        for resolution in RESOLUTIONS:
            taken = bench.step(resolution, architecture, repeat)
            taken |= {name: bench.decoding(resolution, share) for name, share in SHARES.items()}
            for name, seconds in taken.items():
                if repeat:
                    found.setdefault((resolution, name), []).append(1000 * seconds)
        print(f"round {repeat} of {repeats}", flush=True)
    return [
        {
            "resolution": resolution,
            "images": images_of_batch(bench.config, bench.space, resolution),
            "part": part,
            "ms": round(statistics.median(values), 1),
            "quarter": round(statistics.quantiles(values)[0], 1),
            "three_quarters": round(statistics.quantiles(values)[2], 1),
            "torch": torch.__version__,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }
        for (resolution, part), values in found.items()
    ]


def report(rows: list[proofs.Row]) -> None:
    """Write the rows and the README's tables."""
    proofs.write_csv(HERE / "parts.csv", rows)
    ms = {(row["resolution"], row["part"]): row["ms"] for row in rows}
    images = {row["resolution"]: row["images"] for row in rows}
    header = ["part of a step, ms (share)", *(f"{r} px, {images[r]} images" for r in RESOLUTIONS)]
    sums = {r: sum(ms[r, part] for part in PARTS) for r in RESOLUTIONS}
    lines = [[part, *(f"{ms[r, part]} ({ms[r, part] / sums[r]:.0%})" for r in RESOLUTIONS)] for part in PARTS]
    lines.append(["together", *(f"{sums[r]:.0f}" for r in RESOLUTIONS)])
    lines.append(["images/s of one core", *(f"{1000 * images[r] / sums[r]:.1f}" for r in RESOLUTIONS)])
    proofs.fill(HERE / "README.md", "parts", proofs.table(header, lines))
    header = ["decoded, ms", *(f"{r} px" for r in RESOLUTIONS)]
    lines = [[name, *(ms[r, name] for r in RESOLUTIONS)] for name in SHARES]
    lines.append(["a step with half of each side is faster by", *(f"{gain(ms, sums[r], r):.0%}" for r in RESOLUTIONS)])
    proofs.fill(HERE / "README.md", "cropped", proofs.table(header, lines))


def gain(ms: dict[tuple[int, str], float], whole: float, resolution: int) -> float:
    """Return how much of a step decoding a half would save, were the crop itself free."""
    return (ms[resolution, "whole embedding"] - ms[resolution, "half of each side"]) / whole


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--data", default="../shared/data")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        synthetic = arguments.data == "synthetic"
        data = write_pack(Path(folder)) if synthetic else Path(arguments.data)
        config = load_config(CONFIG).model_copy(update={"split": "train"} if synthetic else {})
        rows = measure(Bench(config, data), arguments.repeats)
    report(rows)


if __name__ == "__main__":
    main()
