"""What each part of the recipe is worth, switched off once; and which "largest" teaches best in place.

python experiments/0012-recipe/recipe.py run --dry-run
python experiments/0012-recipe/recipe.py run --workers 2       # can be stopped and given again
python experiments/0012-recipe/recipe.py report                # results.csv, figure.png, the README's table
"""

import argparse
import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import proofs

from supersam._paths import starter_dir
from supersam.checkpoints.starter import WEIGHTS
from supersam.checkpoints.supernets import load_supernet
from supersam.space import AnyArchitecture, SearchSpace, load_space
from supersam.train import plan
from supersam.train.config import BalancedLoss, Phase, TrainConfig, load_config

HERE = Path(__file__).parent
PASSES = 4  # subnets of a sandwich
RANDOM, IMAGES, MASKS = 8, 30, 6
BASE, NOISE = "all on", "all on, another seed"


@dataclass(frozen=True)
class Variant:
    """What a run changes of ``train.yaml``."""

    teacher: str | None = None  # block type of the sandwich's largest in every stage, or "mixed"; None: dealt
    inplace: bool = True
    sandwich: bool = True
    times: int = 1  # as many steps
    seed: int = 0
    balanced: bool = False  # the loss for new decoders (docs/decisions/0006)
    trained: bool = True
    recalibrated: bool = True
    weights_of: str | None = None  # the run that is evaluated otherwise


VARIANTS = {
    BASE: Variant(),
    NOISE: Variant(seed=1),
    "the starter, not trained on": Variant(trained=False),
    "no recalibration": Variant(recalibrated=False, weights_of=BASE),
    "with the balanced loss": Variant(balanced=True),
    "no in-place distillation": Variant(inplace=False),
    "no sandwich, same images": Variant(inplace=False, sandwich=False),
    "no sandwich, same subnet passes": Variant(inplace=False, sandwich=False, times=PASSES),
    "largest: vit": Variant(teacher="vit"),
    "largest: repvit": Variant(teacher="repvit"),
    "largest: efficientvit": Variant(teacher="efficientvit"),
    "largest: rwkv": Variant(teacher="rwkv"),
    "largest: most MACs": Variant(teacher="mixed"),
}


def config_of(name: str, arguments: argparse.Namespace) -> TrainConfig:
    """Return the training of a variant."""
    base, variant = load_config(arguments.config), VARIANTS[name]
    phases = tuple(changed(phase, variant) for phase in base.phases)
    steps = variant.times * (arguments.steps or base.steps)
    folder = f"{name.replace(', ', '-').replace(': ', '-').replace(' ', '-')}-{steps}"
    update: dict[str, object] = {
        "out": base.out / folder,
        "phases": phases,
        "steps": steps,
        "seed": base.seed + variant.seed,
    }
    if variant.balanced:
        update["balanced_loss"] = BalancedLoss()
    return base.model_copy(update=update)


def changed(phase: Phase, variant: Variant) -> Phase:
    """Return a phase with parts switched off."""
    update: dict[str, object] = {} if variant.inplace else {"inplace_distillation": 0.0}
    return phase.model_copy(update=update | ({} if variant.sandwich else {"subnets": "uniform"}))


def judged_subnets(space: SearchSpace) -> dict[str, AnyArchitecture]:
    """Return the fixed set, all at the smallest resolution."""
    rng, found = random.Random("0012"), {"smallest": space.smallest(), "largest": space.largest()}
    found |= {f"random {number}": space.sample(rng) for number in range(1, RANDOM + 1)}
    return {name: replace(one, resolution=space.resolutions[0]) for name, one in found.items()}


def run(arguments: argparse.Namespace) -> None:
    """Train and evaluate every variant."""
    own = [name for name, variant in VARIANTS.items() if variant.weights_of is None]
    configs = {name: config_of(name, arguments) for name in own}
    space = load_space(load_config(arguments.config).space)
    subnets = judged_subnets(space)
    judge = proofs.Judge(str(configs[BASE].data), arguments.images, arguments.masks)
    if arguments.dry_run:
        from supersam.checkpoints.starter import load_starter

        trained = {name: config for name, config in configs.items() if VARIANTS[name].trained}
        proofs.estimate(trained, len(VARIANTS) * len(subnets), judge, (load_starter()[0], subnets["largest"]))
        return
    units = [(name, configs[name], judge, subnets, arguments.folder / "rows") for name in own]
    proofs.run_units(unit, units, arguments.workers)


def unit(
    name: str, config: TrainConfig, judge: proofs.Judge, subnets: dict[str, AnyArchitecture], folder: Path, _: None
) -> None:
    """Train a variant and evaluate the fixed set with its weights."""
    teach_with(VARIANTS[name].teacher)
    weights = proofs.train_once(config) if VARIANTS[name].trained else starter_dir() / WEIGHTS
    model, _ = load_supernet(weights)
    measured_with = proofs.identity(weights, judge)
    for variant, what in VARIANTS.items():
        if name not in (variant, what.weights_of):
            continue
        file = folder / f"{variant.replace(' ', '-').replace(':', '').replace(',', '')}.jsonl"
        done = {row["subnet"] for row in proofs.known(file, measured_with)}
        for subnet, architecture in subnets.items():
            if subnet not in done:
                scores = judge.scores(model, architecture, what.recalibrated)
                row = {"variant": variant, "subnet": subnet, "digest": architecture.digest, "scores": scores}
                proofs.append(file, row | {"measured_with": measured_with})


def teach_with(teacher: str | None) -> None:
    """Give the first subnet of every sandwich of this process fixed types: a switch that only this experiment has."""
    original = getattr(plan.subnets_of_step, "original", plan.subnets_of_step)

    def subnets_of_step(space: SearchSpace, *arguments: object) -> list[AnyArchitecture]:
        largest, *others = original(space, *arguments)
        choices, most = space.encode(largest), space.encode(space.largest())
        for block in (name for name in choices if name.endswith(".block")):
            choices[block] = most[block] if teacher == "mixed" else teacher
        return [space.decode(choices), *others]

    subnets_of_step.original = original  # type: ignore[attr-defined]
    plan.subnets_of_step = original if teacher is None else subnets_of_step


def report(folder: Path) -> None:
    """Write the rows, the figure and the table."""
    rows = proofs.read(*(folder / "rows").glob("*.jsonl"))
    found = {(row["variant"], row["subnet"]): row for row in rows}
    subnets = list(judged_subnets(load_space("starter")))
    variants = [name for name in VARIANTS if all((name, subnet) in found for subnet in subnets)]
    if BASE not in variants:
        sys.exit(f"{BASE!r} is not finished; give `run` first")
    lines = [
        {
            "variant": variant,
            "subnet": subnet,
            "digest": found[variant, subnet]["digest"],
            "miou": round(proofs.accuracy(found[variant, subnet]["scores"]), 5),
        }
        for variant in variants
        for subnet in subnets
    ]
    proofs.write_csv(folder / "results.csv", lines)
    drawn = proofs.resampled([found[variant, subnet]["scores"] for variant in variants for subnet in subnets])
    drawn = drawn.reshape(len(variants), len(subnets), -1)
    means = np.array([line["miou"] for line in lines]).reshape(len(variants), len(subnets))
    base = variants.index(BASE)
    table = []
    for number, variant in enumerate(variants):
        low, high = proofs.interval((drawn[number] - drawn[base]).mean(axis=0))
        apart = (means[number] - means[base]).mean()
        difference = "-" if variant == BASE else f"{apart:+.4f} [{low:+.4f} to {high:+.4f}]"
        smallest, largest = means[number, subnets.index("smallest")], means[number, subnets.index("largest")]
        others = means[number, 2:].mean()
        table.append([variant, f"{smallest:.4f}", f"{largest:.4f}", f"{others:.4f}", difference])
    header = ["run", "smallest", "largest", f"mean of {RANDOM} random", "mean of all, less that of all on [95 %]"]
    picture = "![What each part is worth](figure.png)"
    proofs.fill(folder / "README.md", "table", f"{proofs.table(header, table)}\n\n{picture}")
    draw(variants, means - means[base], drawn - drawn[base], folder / "figure.png")


def draw(variants: list[str], apart: np.ndarray, drawn: np.ndarray, file: Path) -> None:
    """Draw the difference to all on: of every subnet, and of their mean with its interval."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.4 * len(variants) + 1.2))
    for number in range(len(variants)):
        mean = apart[number].mean()
        low, high = np.quantile(drawn[number].mean(axis=0), [0.025, 0.975])
        axes.scatter(apart[number], [number] * apart.shape[1], s=12, color="#999999")
        error = np.maximum(0, [[mean - low], [high - mean]])
        axes.errorbar([mean], [number], xerr=error, marker="o", color="#0072B2", capsize=3)
    axes.axvline(0, color="black", linewidth=0.8)
    if NOISE in variants:
        noise = abs(apart[variants.index(NOISE)].mean())
        axes.axvspan(-noise, noise, color="#E69F00", alpha=0.2, label="as far as two seeds")
        axes.legend(loc="lower left")
    axes.set_xscale("symlog", linthresh=0.01)  # the recalibration is worth twenty times all else
    axes.set_yticks(range(len(variants)), variants)
    axes.invert_yaxis()
    axes.set_xlabel(f"mIoU less that of {BASE!r}: subnets (grey), their mean [95 % over masks]")
    figure.tight_layout()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--config", type=Path, default=HERE / "train.yaml")
    parser.add_argument("--steps", type=int, help="default: those of the configuration")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--masks", type=int, default=MASKS)
    parser.add_argument("--folder", type=Path, default=HERE, help="where rows and report are kept")
    given = parser.parse_args()
    run(given) if given.what == "run" else report(given.folder)
