"""Does a supernet rank its subnets as training each of them alone would?

Some subnets are evaluated with the supernet's weights, then trained alone from there, all for the same short
schedule, and evaluated again. Kendall's tau between the two orders is what a search can rely on. A part of them is
trained a second time from another seed: the tau between two such runs is the most one could hope for.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from supersam.checkpoints.subnets import extract_subnet
from supersam.checkpoints.supernets import load_supernet
from supersam.data.records import Pack
from supersam.evaluate.evaluator import calibration_batches, evaluate
from supersam.evaluate.recalibrate import recalibrate
from supersam.sam.model import Sam
from supersam.space import AnyArchitecture, SearchSpace
from supersam.space.parts import count
from supersam.train.config import Phase, TrainConfig
from supersam.train.initial_config import Initial
from supersam.train.loop import train
from supersam.train.state import STATE_FILE, WEIGHTS_FILE

DRAWN = 2000
RESAMPLES = 2000
CALIBRATION_IMAGES = 64
PROMPTS = ["point1", "box"]

Floats = NDArray[np.float64]
Statistic = Callable[[Sequence[float], Sequence[float]], float]


@dataclass(frozen=True)
class Judged:
    """Mean IoU of a subnet, 0 to 1, on held-out images."""

    digest: str
    description: str
    gmacs: float
    inherited: float  # with the supernet's weights
    alone: float  # after its training
    again: float | None  # ... from another seed, for a part of them


@dataclass(frozen=True)
class Agreement:
    """How alike two orders are, with a 95 % bootstrap interval over subnets."""

    n: int
    kendall: float
    kendall_interval: tuple[float, float]
    spearman: float
    spearman_interval: tuple[float, float]


@dataclass(frozen=True)
class Ranking:
    """What was found."""

    subnets: list[Judged]
    inherited: Agreement  # supernet against training alone
    ceiling: Agreement | None  # training alone against training alone

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True)
class Test:
    """Where accuracy is measured: images that no training here sees."""

    packs: list[Pack]
    training: list[Pack]  # for the statistics of BatchNorm
    images: int  # of each pack
    masks_per_image: int


def spread_subnets(space: SearchSpace, resolution: int, n: int, seed: int = 0) -> list[AnyArchitecture]:
    """Return ``n`` subnets of one resolution, evenly spread over the costs and, as far as that goes, over the types."""
    rng = random.Random(seed)
    variables = {**space.variables(), "resolution": (resolution,)}
    drawn = [space.decode({name: rng.choice(choices) for name, choices in variables.items()}) for _ in range(DRAWN)]
    drawn = sorted(set(drawn), key=lambda architecture: (count(architecture).gmacs, architecture.digest))
    bins = np.array_split(np.arange(len(drawn)), n)
    used: Counter[tuple[str, Any]] = Counter()
    chosen = []
    for members in bins:

        def crowded(index: int) -> int:
            return sum(used[choice] for choice in _types(space, drawn[index]))

        best = drawn[min(members.tolist(), key=crowded)]
        used.update(_types(space, best))
        chosen.append(best)
    return chosen


def _types(space: SearchSpace, architecture: AnyArchitecture) -> list[tuple[str, Any]]:
    return [choice for choice in space.encode(architecture).items() if choice[0].endswith(".block")]


def judge(
    architectures: Sequence[AnyArchitecture],
    config: TrainConfig,
    weights: Path,
    test: Test,
    repeated: int,
    on_run: Callable[[], object] = lambda: None,
) -> Ranking:
    """Train subnets alone and compare.

    Runs are kept in ``config.out``; those that are there are not trained again, an unfinished one is resumed.

    Args:
        config: the schedule of each training; its ``choices`` and ``initial`` are set here.
        weights: of the supernet.
        repeated: how many of them, evenly spread, are trained from a second seed as well.
        on_run: called after every training.
    """
    twice = set(np.linspace(0, len(architectures) - 1, repeated, dtype=int).tolist()) if repeated else set()
    judged = []
    supernet, _ = load_supernet(weights)
    for index, architecture in enumerate(architectures):
        inherited = _accuracy(supernet, architecture, test)
        results = []
        for seed in (config.seed, config.seed + 1)[: 2 if index in twice else 1]:
            alone, _ = load_supernet(_train_alone(architecture, config, weights, seed))
            results.append(_accuracy(alone, architecture, test))
            on_run()
        again = results[1] if len(results) > 1 else None
        judged.append(
            Judged(
                architecture.digest,
                architecture.describe(),
                round(count(architecture).gmacs, 4),
                inherited,
                results[0],
                again,
            )
        )
    pairs = [(subnet.alone, subnet.again) for subnet in judged if subnet.again is not None]
    ceiling = agreement(*zip(*pairs, strict=True)) if len(pairs) > 2 else None
    return Ranking(judged, agreement([s.inherited for s in judged], [s.alone for s in judged]), ceiling)


def agreement(first: Sequence[float], second: Sequence[float]) -> Agreement:
    """Return Kendall's tau-b and Spearman's rho of two lists of values for the same subnets."""
    return Agreement(
        len(first),
        _kendall(first, second),
        _interval(_kendall, first, second),
        _spearman(first, second),
        _interval(_spearman, first, second),
    )


def _kendall(first: Sequence[float], second: Sequence[float]) -> float:
    return float(kendalltau(first, second).statistic)


def _spearman(first: Sequence[float], second: Sequence[float]) -> float:
    return float(spearmanr(first, second).statistic)


def _interval(statistic: Statistic, first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    rng, values = np.random.default_rng(0), []
    one, other = np.asarray(first), np.asarray(second)
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(one), size=len(one))
        if len(set(drawn.tolist())) > 2:  # of one or two subnets there is no order to speak of
            values.append(statistic(one[drawn], other[drawn]))  # type: ignore[arg-type]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def _train_alone(architecture: AnyArchitecture, config: TrainConfig, weights: Path, seed: int) -> Path:
    out = config.out / f"{architecture.digest}-{seed}"
    finished = out / WEIGHTS_FILE
    if finished.exists():
        return finished
    alone = config.model_copy(
        update={
            "out": out,
            "seed": seed,
            "architecture": architecture.to_dict(),
            "initial": Initial(weights=weights),
            "phases": tuple(replace_rule(phase) for phase in config.phases),
        }
    )
    return train(alone, resume=(out / STATE_FILE).exists())


def replace_rule(phase: Phase) -> Phase:
    """Return a phase that trains the configured architecture alone."""
    return phase.model_copy(update={"subnets": "fixed", "inplace_distillation": 0.0})


def _accuracy(supernet: Sam, architecture: AnyArchitecture, test: Test) -> float:
    model = extract_subnet(supernet, architecture)
    batches = calibration_batches(test.training, architecture.resolution, CALIBRATION_IMAGES)
    recalibrate(model.image_encoder, batches)
    report = evaluate(model.eval(), architecture.resolution, test.packs, PROMPTS, test.images, test.masks_per_image)
    return report.accuracy().value
