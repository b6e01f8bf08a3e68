"""Report the starter on val: accuracy by pack and prompt for some subnets, and the curve of the training.

    python experiments/0002-starter/report.py evaluate best smallest largest --data ../shared/data
    python experiments/0002-starter/report.py table      # the table of the README, from results.csv
    python experiments/0002-starter/report.py latency smallest best largest    # the README's latencies
    python experiments/0002-starter/report.py curve      # curve.png from log.csv

`evaluate` appends to results.csv, one row for each pack and prompt; names of subnets are those of `supersam evaluate`.
"""

import argparse
import csv
from pathlib import Path

import torch

from supersam.checkpoints.starter import load_starter, starter_statistics
from supersam.checkpoints.subnets import extract_subnet
from supersam.cli._subnets import resolve_starter, statistics
from supersam.data.coco import load_packs
from supersam.evaluate.evaluator import evaluate
from supersam.latency import read_table, shipped_tables

HERE = Path(__file__).parent
RESULTS = HERE / "results.csv"
FIELDS = ["subnet", "digest", "architecture", "pack", "prompt", "miou", "low", "high", "n_masks", "box_fill", "ellipse"]


def evaluate_subnets(names: list[str], data: Path, prompts: list[str]) -> None:
    """Evaluate subnets on the whole val split."""
    torch.set_num_threads(1)
    model, _ = load_starter()
    packs = load_packs(data, "val")
    for name in names:
        architecture = resolve_starter(name)
        found = starter_statistics(architecture) or statistics(model, architecture, data)[0]
        subnet = extract_subnet(model, architecture, found)
        report = evaluate(subnet, architecture.resolution, packs, prompts).to_dict()
        for pack, cells in report.items():
            for prompt, cell in cells.items():
                values = [name, architecture.digest, architecture.describe(), pack, prompt, cell["miou"]]
                append(
                    [*values, *cell["ci95"], cell["n_masks"], *(cell["trivial"][x] for x in ("box_fill", "ellipse"))]
                )


def append(values: list[object]) -> None:
    """Add a row to the results."""
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(FIELDS)
        writer.writerow(values)


def print_table() -> None:
    """Print the results as a table in Markdown."""
    with RESULTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    subnets = list(dict.fromkeys(row["subnet"] for row in rows))
    titles = {row["subnet"]: f"{row['subnet']} `{row['digest']}`" for row in rows}
    print("| pack, prompt (masks) | " + " | ".join(titles[name] for name in subnets) + " | fill the box | ellipse |")
    print("|---" * (len(subnets) + 3) + "|")
    for pack, prompt in dict.fromkeys((row["pack"], row["prompt"]) for row in rows):
        cells = {row["subnet"]: row for row in rows if (row["pack"], row["prompt"]) == (pack, prompt)}
        one = next(iter(cells.values()))
        shown = [
            f"{float(cells[name]['miou']):.3f} [{float(cells[name]['low']):.3f}-{float(cells[name]['high']):.3f}]"
            for name in subnets
        ]
        trivial = f"{float(one['box_fill']):.3f} | {float(one['ellipse']):.3f}"
        print(f"| {pack}, {prompt} ({one['n_masks']}) | " + " | ".join(shown) + f" | {trivial} |")


def print_latencies(names: list[str]) -> None:
    """Print the latency of some subnets on every shipped device as a table in Markdown."""
    found = {name: resolve_starter(name) for name in names}
    titles = " | ".join(f"{name} `{architecture.digest}`" for name, architecture in found.items())
    print(f"| device, runtime | method, grade | {titles} |")
    print("|---" * (len(names) + 2) + "|")
    for path in shipped_tables().values():
        table = read_table(path)
        latencies = (table.predict(architecture) for architecture in found.values())
        cells = " | ".join(f"{one.ms:.3g} [{one.lo:.3g}-{one.hi:.3g}]" for one in latencies)
        print(f"| {table.name}, {table.runtime} {table.precision} | {table.method}, {table.grade} | {cells} |")


def draw_curve() -> None:
    """Draw the losses of the training, smoothed over ten rows of the log."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with (HERE / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure, axes = plt.subplots(figsize=(7, 4))
    steps = [int(row["step"]) for row in rows]
    for name, colour in (("largest", "#0072B2"), ("smallest", "#D55E00"), ("random", "#009E73")):
        losses = [float(row[name]) for row in rows]
        smooth = [sum(losses[max(0, i - 9) : i + 1]) / len(losses[max(0, i - 9) : i + 1]) for i in range(len(losses))]
        axes.plot(steps, smooth, color=colour, label=f"{name} subnet")
        axes.plot(steps, losses, color=colour, alpha=0.15)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_title("Training loss; its focal term changes from half the steps on")
    axes.legend()
    figure.tight_layout()
    figure.savefig(HERE / "curve.png", dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["evaluate", "table", "latency", "curve"])
    parser.add_argument("subnets", nargs="*", default=[])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--prompts", default="point1,box")
    arguments = parser.parse_args()
    if arguments.what == "evaluate":
        evaluate_subnets(arguments.subnets, arguments.data, arguments.prompts.split(","))
    elif arguments.what == "table":
        print_table()
    elif arguments.what == "latency":
        print_latencies(arguments.subnets)
    else:
        draw_curve()
