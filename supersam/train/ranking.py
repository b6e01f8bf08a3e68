"""Does a supernet rank its subnets as training each of them alone would?

Some subnets are evaluated with the supernet's weights, then trained alone from there, all for the same short
schedule, and evaluated again. Kendall's tau between the two orders is what a search can rely on. A part of them is
trained a second time from another seed: the tau between two such runs is the most one could hope for.

Every training and every evaluation is a unit that is kept when it is finished, and units may run side by side.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from supersam._paths import write_atomically
from supersam.checkpoints.files import file_sha256, load_checkpoint
from supersam.checkpoints.subnets import extract_subnet
from supersam.checkpoints.supernets import load_supernet
from supersam.data.records import Pack
from supersam.data.sources import describe
from supersam.errors import ConfigError, MissingError, UsageError
from supersam.evaluate.evaluator import calibration_batches, evaluate
from supersam.evaluate.recalibrate import recalibrate
from supersam.sam.model import Sam
from supersam.space import AnyArchitecture, SearchSpace, load_space
from supersam.space.parts import count
from supersam.train.config import TrainConfig
from supersam.train.engine import device_of
from supersam.train.folder import check_folder, writing
from supersam.train.initial_config import Initial
from supersam.train.loop import train
from supersam.train.side_by_side import side_by_side
from supersam.train.state import MAY_CHANGE, STATE_FILE, WEIGHTS_FILE, changes, portable

DRAWN = 2000
RESAMPLES = 2000
PROMPTS = ["point1", "box"]
BETTER_SHARE = 0.25  # of a bin of one cost that counts as near the front
NOT_OF_A_TRAINING = {*MAY_CHANGE, "calibration_images"} - {"steps"}
GOAL, GOAL_OF_CEILING = 0.7, 0.9  # Kendall's tau, and its share of the ceiling: one of the two is wanted

Floats = NDArray[np.float64]
Statistic = Callable[[Sequence[float], Sequence[float]], float]


Unit = tuple[AnyArchitecture, int | None]  # with the seed of its training; None: the supernet's weights


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
    inherited_of_repeated: Agreement | None  # the same on the subnets that were trained twice, beside the ceiling
    ceiling: Agreement | None  # training alone against training alone
    inherited_with_mean: Agreement | None  # supernet against the mean of both trainings, which has less noise

    @property
    def share_of_ceiling(self) -> float | None:
        """Kendall's tau of the supernet by that of the ceiling, both on the subnets that were trained twice."""
        if self.ceiling is None or self.inherited_of_repeated is None or self.ceiling.kendall <= 0:
            return None
        return self.inherited_of_repeated.kendall / self.ceiling.kendall

    @property
    def goal_met(self) -> bool:
        """Whether tau is at least ``GOAL`` or ``GOAL_OF_CEILING`` of a ceiling that is known to be above 0."""
        share = self.share_of_ceiling if self.ceiling_is_known else None
        return self.inherited.kendall >= GOAL or (share is not None and share >= GOAL_OF_CEILING)

    @property
    def ceiling_is_known(self) -> bool:
        """Whether two trainings of the same subnets agree beyond chance; else a share of the ceiling says nothing."""
        return self.ceiling is not None and self.ceiling.kendall_interval[0] > 0

    @property
    def noise(self) -> float | None:
        """Standard deviation of one training by its seed, without what a seed does to all subnets alike."""
        apart = [one.alone - one.again for one in self.subnets if one.again is not None]
        return float(np.std(apart, ddof=1) / np.sqrt(2)) if len(apart) > 1 else None

    @property
    def spread(self) -> float:
        """Standard deviation of the subnets' accuracies after their trainings, noise included."""
        return float(np.std([one.alone for one in self.subnets], ddof=1))

    @property
    def gain(self) -> float:
        """Accuracy that training alone adds to the supernet's weights, on average over trainings."""
        first = [one.alone - one.inherited for one in self.subnets]
        return float(np.mean(first + [one.again - one.inherited for one in self.subnets if one.again is not None]))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        goal = {"kendall": GOAL, "share_of_ceiling": GOAL_OF_CEILING, "met": self.goal_met}
        derived = ("share_of_ceiling", "ceiling_is_known", "noise", "spread", "gain")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}, "goal": goal}


@dataclass(frozen=True)
class Test:
    """Where accuracy is measured: images that no training here sees."""

    packs: list[Pack]
    training: list[Pack]  # for the statistics of BatchNorm
    images: int  # of each pack
    masks_per_image: int
    calibration_images: int  # ... from so many; 0: the statistics of the supernet


Context = tuple[TrainConfig, Path, Test]


def spread_subnets(
    space: SearchSpace,
    resolution: int,
    n: int,
    seed: int = 0,
    expected: Callable[[AnyArchitecture], float] | None = None,
) -> list[AnyArchitecture]:
    """Return ``n`` subnets of one resolution, evenly spread over the costs and, as far as that goes, over the types.

    One resolution, because to tell resolutions apart is easy and would flatter the supernet.

    Args:
        expected: accuracy; with it only the better quarter of each cost is chosen from, which is near the front.
    """
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

        allowed = members.tolist()
        if expected is not None:
            allowed.sort(key=lambda index: -expected(drawn[index]))
            allowed = allowed[: max(1, round(BETTER_SHARE * len(allowed)))]
        best = drawn[min(allowed, key=crowded)]
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
    workers: int = 1,
) -> Ranking:
    """Train subnets alone and compare.

    Runs are kept in ``config.out``; those that are there are not trained again, an unfinished one is resumed.

    Args:
        config: the schedule of each training; its ``choices`` and ``initial`` are set here.
        weights: of the supernet.
        repeated: how many of them, evenly spread, are trained from a second seed as well.
        on_run: called after every training.
        workers: how many processes of one thread work side by side.

    Raises:
        MissingError: if there are no such weights.
        UsageError: if they are of another space.
        ConfigError: if ``config.out`` cannot be written.
    """
    if not weights.is_file():
        raise MissingError(f"there are no weights {weights}; give the weights.safetensors of a run of `supersam train`")
    encoder: Any = load_supernet(weights)[0].image_encoder
    stranger = next((one for one in architectures if not encoder.space.contains(one)), None)
    if stranger is not None:
        raise UsageError(
            f"{weights} is a supernet of {encoder.space.name}, which does not contain all subnets of {config.space} "
            f"({stranger.digest} for one); give the weights of that space"
        )
    check_folder(config.out)
    twice = set(np.linspace(0, len(architectures) - 1, repeated, dtype=int).tolist()) if repeated else set()
    first, second = config.seed, config.seed + 1
    units: list[Unit] = [(one, None) for one in architectures]
    units += [(one, first) for one in architectures] + [(architectures[index], second) for index in sorted(twice)]
    found: dict[tuple[str, int | None], float] = {}
    for (architecture, seed), value in _work(units, (config, weights, test), workers):
        found[architecture.digest, seed] = value
        if seed is not None:
            on_run()
    judged = [
        Judged(
            one.digest,
            one.describe(),
            round(count(one).gmacs, 4),
            found[one.digest, None],
            found[one.digest, first],
            found.get((one.digest, second)),
        )
        for one in architectures
    ]
    return compare(judged)


def compare(judged: list[Judged]) -> Ranking:
    """Return how the orders agree."""
    inherited = agreement([one.inherited for one in judged], [one.alone for one in judged])
    pairs = [(one.inherited, one.alone, one.again) for one in judged if one.again is not None]
    if len(pairs) < 3:
        return Ranking(judged, inherited, None, None, None)
    estimate, alone, again = zip(*pairs, strict=True)
    both = [sum(two) / 2 for two in zip(alone, again, strict=True)]
    return Ranking(judged, inherited, agreement(estimate, alone), agreement(alone, again), agreement(estimate, both))


def _work(units: list[Unit], context: Context, workers: int) -> Iterator[tuple[Unit, float]]:
    """Yield every unit with its accuracy as it is finished."""
    if workers == 1:
        yield from ((unit, _unit(unit, *context)) for unit in units)
        return
    for number, accuracy in side_by_side(_unit_of, [(unit,) for unit in units], workers, context):
        yield units[number], accuracy


def _unit_of(unit: Unit, context: Context) -> float:
    return _unit(unit, *context)


def _unit(unit: Unit, config: TrainConfig, weights: Path, test: Test) -> float:
    """Return the accuracy of a subnet, with the supernet's weights or trained alone; kept for the next time."""
    architecture, seed = unit
    source = weights if seed is None else _train_alone(architecture, config, weights, seed, test.training)
    kept = config.out / f"{architecture.digest}-{'inherited' if seed is None else seed}.json"
    device = device_of(config.engine)
    asked = {
        "weights": file_sha256(source),
        "packs": [pack.name for pack in test.packs],
        "images": [len(pack.records) for pack in test.packs],
        "limits": [test.images, test.masks_per_image, test.calibration_images],
        **({} if device.type == "cpu" else {"device": device.type}),
    }
    if kept.is_file():
        content = json.loads(kept.read_text())
        if content["asked"] == asked:
            return float(content["accuracy"])
    supernet, _ = load_supernet(source)
    accuracy = _accuracy(supernet, architecture, test, device)
    with writing(config.out):
        write_atomically(kept, json.dumps({"asked": asked, "accuracy": accuracy}))
    return accuracy


def agreement(first: Sequence[float], second: Sequence[float]) -> Agreement:
    """Return Kendall's tau-b and Spearman's rho of two lists of values for the same subnets.

    Values that are all equal are no order; they agree with nothing: 0.
    """
    return Agreement(
        len(first),
        _kendall(first, second),
        _interval(_kendall, first, second),
        _spearman(first, second),
        _interval(_spearman, first, second),
    )


def _kendall(first: Sequence[float], second: Sequence[float]) -> float:
    return float(kendalltau(first, second).statistic) if _ordered(first, second) else 0.0


def _spearman(first: Sequence[float], second: Sequence[float]) -> float:
    return float(spearmanr(first, second).statistic) if _ordered(first, second) else 0.0


def _ordered(first: Sequence[float], second: Sequence[float]) -> bool:
    return min(len(np.unique(first)), len(np.unique(second))) > 1


def _interval(statistic: Statistic, first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    rng, values = np.random.default_rng(0), []
    one, other = np.asarray(first), np.asarray(second)
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(one), size=len(one))
        if len(set(drawn.tolist())) > 2:  # of one or two subnets there is no order to speak of
            values.append(statistic(one[drawn], other[drawn]))  # type: ignore[arg-type]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _train_alone(
    architecture: AnyArchitecture, config: TrainConfig, weights: Path, seed: int, packs: list[Pack]
) -> Path:
    out = config.out / f"{architecture.digest}-{seed}"
    finished = out / WEIGHTS_FILE
    alone = alone_config(config, architecture).model_copy(
        update={"out": out, "seed": seed, "initial": Initial(weights=weights)}
    )
    if finished.exists():
        _check_same(finished, alone, weights, packs)
        return finished
    train(alone, resume=(out / STATE_FILE).exists())
    (out / STATE_FILE).unlink()  # as large as the supernet four times
    return finished


def _check_same(finished: Path, config: TrainConfig, weights: Path, packs: list[Pack]) -> None:
    record = load_checkpoint(finished).record
    pairs = {
        "weights": (record["origin"]["sha256"], file_sha256(weights)),
        "space": (record["space_fingerprint"], load_space(config.space).fingerprint),
        "data": (record["data"], [describe(pack) for pack in packs]),
        "engine.accumulate": (record["batches_per_step"], config.engine.accumulate),
    }
    different = [name for name, (then, now) in pairs.items() if then != now]
    different += changes(record["config"], portable(config), NOT_OF_A_TRAINING)
    if different:
        raise ConfigError(
            f"{finished} was trained with another {', '.join(different)}; choose another `out`, or delete it"
        )


def alone_config(config: TrainConfig, architecture: AnyArchitecture) -> TrainConfig:
    """Return a training of this architecture alone by the same schedule; its decoder begins as the supernet's too."""
    fixed = {"subnets": "fixed", "inplace_distillation": 0.0}
    phases = tuple(phase.model_copy(update=fixed) for phase in config.phases)
    update: dict[str, Any] = {"architecture": architecture.to_dict(), "phases": phases}
    if config.distillation is not None:
        update["distillation"] = config.distillation.model_copy(update={"start_from_teacher_decoder": False})
    return config.model_copy(update=update)


def _accuracy(supernet: Sam, architecture: AnyArchitecture, test: Test, device: torch.device) -> float:
    model = extract_subnet(supernet, architecture).to(device)
    if test.calibration_images:
        batches = calibration_batches(test.training, architecture.resolution, test.calibration_images)
        recalibrate(model.image_encoder, batches)
    report = evaluate(model.eval(), architecture.resolution, test.packs, PROMPTS, test.images, test.masks_per_image)
    return report.accuracy().value
