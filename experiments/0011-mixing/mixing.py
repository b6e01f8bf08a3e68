"""Does mixing block types pay? The mixed space against the four single-family spaces under equal training.

python experiments/0011-mixing/mixing.py run --dry-run
python experiments/0011-mixing/mixing.py run --workers 2       # can be stopped and given again
python experiments/0011-mixing/mixing.py report                # results.csv, figure-*.png, the README's tables
"""

import argparse
import random
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import proofs

from supersam.checkpoints.supernets import load_supernet
from supersam.latency import load_table
from supersam.results import Accuracy, Candidate, pareto_front
from supersam.sam.model import Sam
from supersam.space import SearchSpace, architecture_from_dict, load_space
from supersam.supernet.supernet import Supernet
from supersam.train.config import TrainConfig, load_config
from supersam.train.initial_config import Initial

HERE = Path(__file__).parent
MIXED = "starter"
SPACES = {
    "starter": "#000000",
    "starter-vit": "#0072B2",
    "starter-repvit": "#D55E00",
    "starter-efficientvit": "#009E73",
    "starter-rwkv": "#CC79A7",
}
DEVICES = ("cpu-x86-1t", "jetson-agx-orin")
STARTS = {"decoder": "decoder", "starter": "all"}  # what is taken of the starter
SUBNETS, IMAGES, MASKS = 32, 16, 6
QUANTILES = (0.25, 0.5, 0.75)


def config_of(space: str, arguments: argparse.Namespace) -> TrainConfig:
    """Return the training of a space."""
    base = load_config(arguments.config)
    steps = arguments.steps or base.steps
    initial = Initial(weights=Path("starter"), parts=STARTS[arguments.start])
    out = base.out.parent / f"{base.out.name}-{steps}" / f"{arguments.start}-{space}"
    update: dict[str, object] = {"space": space, "out": out, "initial": initial, "steps": steps}
    if arguments.start == "starter":
        update["balanced_loss"] = None  # docs/decisions/0006
    return base.model_copy(update=update)


def run(arguments: argparse.Namespace) -> None:
    """Train and evaluate every space."""
    configs = {space: config_of(space, arguments) for space in SPACES}
    judge = proofs.Judge(str(configs["starter"].data), arguments.images, arguments.masks)
    if arguments.dry_run:
        space = load_space("starter")
        subnet = Sam(Supernet(space)).eval(), space.largest()
        proofs.estimate(configs, len(SPACES) * arguments.subnets, judge, subnet)
        return
    units = [
        (space, config, judge, arguments.subnets, rows_file(arguments.folder, arguments.start, space))
        for space, config in configs.items()
    ]
    proofs.run_units(unit, units, arguments.workers)


def rows_file(folder: Path, start: str, space: str) -> Path:
    """Return where the rows of a space are kept."""
    return folder / "rows" / f"{start}-{space}.jsonl"


def unit(name: str, config: TrainConfig, judge: proofs.Judge, subnets: int, file: Path, _: None) -> None:
    """Train a space and evaluate as many subnets of it as of any other: half at random, half near what was best."""
    weights = proofs.train_once(config)
    model, _ = load_supernet(weights)
    space, measured_with = load_space(name), proofs.identity(weights, judge)
    rows = proofs.known(file, measured_with)
    while len(rows) < subnets:
        architecture = propose(space, rows, subnets, random.Random(f"{name}/{len(rows)}"))
        scores = judge.scores(model, architecture)
        row = {"architecture": architecture.to_dict(), "accuracy": proofs.accuracy(scores), "scores": scores}
        row["measured_with"] = measured_with
        proofs.append(file, row)
        rows.append(row)
        print(f"{name} {len(rows)}/{subnets}  {row['accuracy']:.4f}  {architecture.describe()}", flush=True)


def propose(space: SearchSpace, rows: list[proofs.Row], subnets: int, rng: random.Random):
    """Return the next subnet: the extremes, random ones, then neighbours of the front on a device in turn."""
    known = {architecture_from_dict(row["architecture"]) for row in rows}
    if len(rows) < 2:
        return (space.smallest(), space.largest())[len(rows)]
    while True:
        if len(rows) < subnets / 2:
            found = space.sample(rng)
        else:
            table = load_table(DEVICES[len(rows) % len(DEVICES)])
            parent = rng.choice(pareto_front(candidates(rows, table))).architecture
            choices, variables = space.encode(parent), space.variables()
            for name in rng.sample(list(variables), rng.randint(1, 4)):
                choices[name] = rng.choice(variables[name])
            found = space.decode(choices)
        if found not in known:
            return found


def candidates(rows: list[proofs.Row], table) -> list[Candidate]:
    """Return the rows with a device's latencies."""
    architectures = [architecture_from_dict(row["architecture"]) for row in rows]
    return [
        Candidate(one, Accuracy(row["accuracy"], "measured", (0.0, 1.0)), table.predict(one))
        for one, row in zip(architectures, rows, strict=True)
    ]


def report(folder: Path) -> None:
    """Write rows, figures and tables of every start that was run."""
    lines, tables = [], []
    for start in STARTS:
        rows = {space: proofs.read(rows_file(folder, start, space)) for space in SPACES}
        if not all(rows.values()):
            continue
        for device in DEVICES:
            lines += results(rows, start, device)
            tables.append(f"### Start: {start}, device: {device}\n\n" + compared(rows, device))
            draw(rows, device, f"{device}, start: {start}", folder / f"figure-{start}-{device}.png")
            tables.append(f"![Fronts](figure-{start}-{device}.png)")
    if not lines:
        sys.exit("no start has rows of all five spaces yet; give `run` first")
    proofs.write_csv(folder / "results.csv", lines)
    proofs.fill(folder / "README.md", "table", "\n\n".join(tables))


def results(rows: dict[str, list[proofs.Row]], start: str, device: str) -> list[proofs.Row]:
    """Return one row for each subnet."""
    table = load_table(device)
    return [
        {
            "start": start,
            "device": device,
            "space": space,
            "digest": one.digest,
            "architecture": one.architecture.describe(),
            "miou": round(one.accuracy.value, 5),
            "latency_ms": round(one.latency.ms, 4),
            "latency_low_ms": round(one.latency.lo, 4),
            "latency_high_ms": round(one.latency.hi, 4),
        }
        for space, found in rows.items()
        for one in candidates(found, table)
    ]


def compared(rows: dict[str, list[proofs.Row]], device: str) -> str:
    """Return the tables of a device: accuracy at equal latency, latency at equal accuracy, hypervolume; and how far
    the mixed space is from each of the others, on the same resampled masks."""
    latencies = latencies_of(rows, device)
    means = {space: np.array([row["accuracy"] for row in found]) for space, found in rows.items()}
    together = proofs.resampled([row["scores"] for found in rows.values() for row in found])
    ends = np.cumsum([len(found) for found in rows.values()])[:-1]
    drawn = dict(zip(rows, np.split(together, ends), strict=True))
    budgets = np.quantile(np.concatenate(list(latencies.values())), QUANTILES)
    levels = np.quantile(np.concatenate(list(means.values())), QUANTILES)
    slowest = max(values.max() for values in latencies.values())
    accuracies = [(f"mIoU within {ms:.3g} ms", best_within(ms)) for ms in budgets]
    accuracies.append((f"hypervolume to {slowest:.3g} ms, 0 (share)", volume(slowest)))
    measures = [*accuracies, *((f"ms at mIoU {level:.3f}", fastest_at(level)) for level in levels)]

    def value(space: str, measure) -> tuple[float, np.ndarray]:
        draws = np.array([measure(latencies[space], column) for column in drawn[space].T])
        return measure(latencies[space], means[space]), draws

    def less(space: str, measure) -> tuple[float, np.ndarray]:
        (mixed, mixed_draws), (single, draws) = value(MIXED, measure), value(space, measure)
        return mixed - single, mixed_draws - draws

    absolute = [[space, *(cell(*value(space, measure)) for _, measure in measures)] for space in rows]
    apart = [[space, *(cell(*less(space, measure)) for _, measure in accuracies)] for space in rows if space != MIXED]
    return "\n\n".join(
        [
            proofs.table(["space", *(name for name, _ in measures)], absolute),
            f"`{MIXED}` less each of the others:",
            proofs.table(["space", *(name for name, _ in accuracies)], apart),
        ]
    )


def latencies_of(rows: dict[str, list[proofs.Row]], device: str) -> dict[str, np.ndarray]:
    """Return the milliseconds of every row on a device."""
    table = load_table(device)
    return {
        space: np.array([table.predict(architecture_from_dict(row["architecture"])).ms for row in found])
        for space, found in rows.items()
    }


def cell(value: float, draws: np.ndarray) -> str:
    """Return a value with its 95 % interval."""
    if not np.isfinite(value):
        return "not reached"
    low, high = proofs.interval(draws)
    return f"{value:.3g} [{low:.3g} to {high:.3g}]"


def best_within(budget: float):
    """Accuracy at equal latency."""
    return lambda ms, miou: miou[ms <= budget].max() if (ms <= budget).any() else np.nan


def fastest_at(level: float):
    """Latency at equal accuracy."""
    return lambda ms, miou: ms[miou >= level].min() if (miou >= level).any() else np.nan


def volume(slowest: float):
    """Hypervolume, as a share of the whole rectangle."""

    def measure(ms: np.ndarray, miou: np.ndarray) -> float:
        area, best, order = 0.0, 0.0, np.argsort(ms)
        ends = np.append(ms[order][1:], slowest)
        for start, end, value in zip(ms[order], ends, miou[order], strict=True):
            best = max(best, value)
            area += best * (end - start)
        return area / slowest

    return measure


def draw(rows: dict[str, list[proofs.Row]], device: str, title: str, file: Path) -> None:
    """Draw the five fronts with the intervals of their points."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogFormatter

    table = load_table(device)
    figure, axes = plt.subplots(figsize=(8, 5))
    for space, colour in SPACES.items():
        found = candidates(rows[space], table)
        spread = proofs.resampled([row["scores"] for row in rows[space]])
        axes.scatter(
            [one.latency.ms for one in found], [one.accuracy.value for one in found], s=8, color=colour, alpha=0.3
        )
        front = pareto_front(found)
        index = [found.index(one) for one in front]
        values = np.array([one.accuracy.value for one in front])
        low, high = np.quantile(spread[index], [0.025, 0.975], axis=1)
        axes.errorbar(
            [one.latency.ms for one in front],
            values,
            yerr=np.maximum(0, [values - low, high - values]),
            color=colour,
            label=space,
            marker="o",
            markersize=4,
            capsize=2,
            drawstyle="steps-post",
        )
    axes.set_xscale("log")
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.6)))
    axes.set(xlabel="latency of the encoder, ms", ylabel="mIoU on train-search", title=title)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--start", choices=list(STARTS), default="decoder")
    parser.add_argument("--config", type=Path, default=HERE / "train.yaml")
    parser.add_argument("--steps", type=int, help="default: those of the configuration")
    parser.add_argument("--subnets", type=int, default=SUBNETS, help="evaluated of each space")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--masks", type=int, default=MASKS)
    parser.add_argument("--folder", type=Path, default=HERE, help="where rows and report are kept")
    given = parser.parse_args()
    run(given) if given.what == "run" else report(given.folder)
