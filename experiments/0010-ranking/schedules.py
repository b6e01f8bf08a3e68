"""Which short schedule does not undo what the supernet learnt? One subnet trained alone by four, from two seeds each.

python experiments/0010-ranking/schedules.py     # about 30 min of one core by 2 workers; finished trainings are kept
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import proofs

from supersam._paths import starter_dir
from supersam.checkpoints.starter import WEIGHTS
from supersam.checkpoints.supernets import load_supernet
from supersam.space import load_space
from supersam.train.config import TrainConfig, load_config
from supersam.train.initial_config import Initial
from supersam.train.ranking import alone_config, spread_subnets

CONFIG = Path(__file__).parent / "averaged.yaml"
SUBNET = spread_subnets(load_space("starter"), 256, 5, seed=7)[2]


@dataclass(frozen=True)
class Schedule:
    """What differs from ``averaged.yaml``."""

    learning_rate: float
    steps: int
    images_per_step: int
    ema: float


SCHEDULES = {
    "a": Schedule(3e-4, 240, 4, 0.98),
    "b": Schedule(1e-4, 240, 4, 0.98),
    "c": Schedule(1e-4, 120, 8, 0.95),
    "d": Schedule(3e-4, 120, 8, 0.95),
}


def config_of(name: str, seed: int) -> TrainConfig:
    """Return the training of the subnet by a schedule."""
    base, schedule = load_config(CONFIG), SCHEDULES[name]
    optimization = {"learning_rate": schedule.learning_rate, "ema": schedule.ema}
    update = {
        "out": base.out.parent / "0010-schedules" / f"{name}-{seed}",
        "seed": seed,
        "steps": schedule.steps,
        "images_per_step": schedule.images_per_step,
        "optimization": base.optimization.model_copy(update=optimization),
        "initial": Initial(weights=Path("starter")),
    }
    return alone_config(base, SUBNET).model_copy(update=update)


def unit(name: str, seed: int | None, _: None) -> None:
    """Train by a schedule and tell the accuracy; without a seed that of the starter's weights."""
    config = config_of(name, seed or 0)
    weights = starter_dir() / WEIGHTS if seed is None else proofs.train_once(config)
    scores = proofs.Judge(str(config.data), images=30, masks=6).scores(load_supernet(weights)[0], SUBNET)
    what = "the starter's weights" if seed is None else f"schedule {name}, seed {seed}"
    print(f"{what}: {proofs.accuracy(scores):.4f}", flush=True)


if __name__ == "__main__":
    print(SUBNET.describe())
    proofs.run_units(unit, [("a", None), *((name, seed) for name in SCHEDULES for seed in (0, 1))], workers=2)
