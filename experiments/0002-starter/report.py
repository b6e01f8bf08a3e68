"""Report the starter on val: accuracy by pack and prompt for some subnets, and the curve of the training.

    python experiments/0002-starter/report.py evaluate best second third smallest largest --data ../shared/data
    python experiments/0002-starter/report.py alone          # alone.yaml: its subnet, the images of the supernet
    python experiments/0002-starter/report.py alone best     # ... of the archive's best as it is now
    python experiments/0002-starter/report.py alone --share 0.25 --out runs/starter-alone-25
    python experiments/0002-starter/report.py evaluate alone --as shared    # that subnet with the starter's weights
    python experiments/0002-starter/report.py evaluate alone --weights runs/starter-alone/weights.safetensors --as alone
    python experiments/0002-starter/report.py table          # the table of the README, from results.csv
    python experiments/0002-starter/report.py latency smallest best largest    # the README's latencies
    python experiments/0002-starter/report.py curve      # curve.png from log.csv
    python experiments/0002-starter/report.py stage 5 --weights runs/starter-5/weights.safetensors --images 282148
    python experiments/0002-starter/report.py stages     # stages.png and a table, from stages.csv
    python experiments/0002-starter/report.py gap best   # that subnet on train-fit and on train-search

`stage` measures the weights of a stage on train-search, as the archive is measured, so that nothing is decided on val.

`evaluate` appends to results.csv, one row for each pack and prompt, a pack at a time; what is there for the same
weights is not evaluated again. Names of subnets are those of `supersam evaluate`, and `second` and `third` of the
archive. Intervals: bootstrap over images, because the masks of an image are alike.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from supersam._paths import starter_dir
from supersam.checkpoints.files import file_sha256
from supersam.checkpoints.starter import WEIGHTS, starter_statistics
from supersam.checkpoints.subnets import extract_subnet
from supersam.checkpoints.supernets import load_supernet
from supersam.cli._subnets import resolve_starter
from supersam.data.coco import Pack, load_packs
from supersam.evaluate.evaluator import calibration_batches, evaluate
from supersam.evaluate.examples import ExampleCache
from supersam.evaluate.recalibrate import recalibrate
from supersam.latency import read_table, shipped_tables
from supersam.results import load_archive
from supersam.sam.model import Sam
from supersam.space import AnyArchitecture, architecture_from_dict, architecture_from_json
from supersam.train.config import load_config

HERE = Path(__file__).parent
RESULTS = HERE / "results.csv"
ALONE = HERE / "alone.yaml"
CALIBRATION = 64
RANKED = ("best", "second", "third")
SHARED_STAGES = ("2", "3a", "3", "4", "5", "6", "7")  # behind the weights that alone.yaml's subnet was the best of
STAGES = HERE / "stages.csv"
OF_STAGES = HERE / "stage-subnets.jsonl"  # the 1st, 6th, 61st and 131st of the second stage's archive of 140
STAGE_IMAGES, STAGE_MASKS, STAGE_CALIBRATION = 16, 6, 48
STAGE_PROMPTS = ["point1", "box"]
STAGE_FIELDS = ["stage", "images", "digest", "pack", "prompt", "miou", "weights"]
FIELDS = ["subnet", "digest", "architecture", "pack", "prompt", "miou", "low", "high", "n_masks", "box_fill", "ellipse"]
FIELDS += ["n_images", "weights"]


def resolve(name: str) -> AnyArchitecture:
    """Return a subnet by its digest or name; ``alone`` is the one that was trained alone."""
    if name == "alone":
        return architecture_from_dict(yaml.safe_load(ALONE.read_text())["architecture"])
    if name not in RANKED:
        return resolve_starter(name)
    measured = load_archive().measured
    return sorted(measured, key=lambda architecture: -measured[architecture].value)[RANKED.index(name)]


def evaluate_subnets(names: list[str], data: Path, prompts: list[str], weights: Path | None, title: str | None) -> None:
    """Evaluate subnets on the whole val split."""
    torch.set_num_threads(1)
    path = weights or starter_dir() / WEIGHTS
    identity = file_sha256(path)[:12]
    done = {(row["digest"], row["pack"], row["prompt"], row["weights"]) for row in known_rows()}
    model, _ = load_supernet(path)
    packs = load_packs(data, "val")
    for name in names:
        architecture = resolve(name)
        todo = [
            pack
            for pack in packs
            if any((architecture.digest, pack.name, prompt, identity) not in done for prompt in prompts)
        ]
        if not todo:
            continue
        shipped = starter_statistics(architecture) if weights is None else None
        if shipped:
            subnet = extract_subnet(model, architecture, shipped)
        else:
            subnet = _recalibrated(model, architecture, load_packs(data, "train-fit"), CALIBRATION)
        for pack in todo:
            wanted = [prompt for prompt in prompts if (architecture.digest, pack.name, prompt, identity) not in done]
            report = evaluate(subnet, architecture.resolution, [pack], wanted)
            cells, intervals = report.to_dict()[pack.name], report.intervals_over_images()[pack.name]
            rows = []
            for prompt, cell in cells.items():
                values = [title or name, architecture.digest, architecture.describe(), pack.name, prompt, cell["miou"]]
                bounds = [round(bound, 5) for bound in intervals[prompt]]
                trivial = [cell["trivial"][which] for which in ("box_fill", "ellipse")]
                rows.append([*values, *bounds, cell["n_masks"], *trivial, report.n_images, identity])
            append(rows)
            print(f"{title or name} {pack.name}: " + ", ".join(f"{row[4]} {row[5]:.3f}" for row in rows), flush=True)


def known_rows() -> list[dict[str, str]]:
    """Return the rows that are there; those of another version of this script must be put aside first."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if reader.fieldnames != FIELDS:
        sys.exit(f"{RESULTS} is of an earlier version; move it (results-2.csv) and evaluate again")
    return rows


def write_alone(architecture: AnyArchitecture, share: float, out: str | None) -> None:
    """Write the training of a subnet alone: see "Beside a model trained alone" in the README."""
    content = yaml.safe_load(ALONE.read_text())
    phases = sorted((phase for stage in SHARED_STAGES for phase in _phases_of(stage)), key=_mean_resolution)
    in_all = sum(steps for steps, _ in phases)
    ends = [sum(steps for steps, _ in phases[: index + 1]) / in_all for index in range(len(phases))]
    content["phases"] = [{**phase, "until": round(end, 4)} for end, (_, phase) in zip(ends, phases, strict=True)]
    content["steps"] = round(share * in_all)
    content["architecture"] = architecture.to_dict()
    content["out"] = out or content["out"]
    file = ALONE if share == 1 else HERE / f"alone-{round(100 * share)}.yaml"
    head = ALONE.read_text().partition("space:")[0].replace(ALONE.name, file.name)
    file.write_text(head + yaml.safe_dump(content, sort_keys=False, width=120))
    load_config(file)
    print(f"{file}: {architecture.digest}  {architecture.describe()}, {content['steps']} steps")


def _phases_of(stage: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the steps that each phase of a stage has run, and what it draws; a fixed subnet instead of the stage's."""
    content = yaml.safe_load((HERE / f"train-{stage}.yaml").read_text())
    with (HERE / f"log-{stage}.csv").open(newline="") as file:
        ran = int(list(csv.DictReader(file))[-1]["step"])
    phases, begin = [], 0
    for phase in content["phases"]:
        end = min(ran, round(phase["until"] * content["steps"]))
        drawn = {key: value for key, value in phase.items() if key != "random_subnets"} | {"subnets": "fixed"}
        if end > begin:
            phases.append((end - begin, drawn))
        begin = end
    return phases


def _mean_resolution(phase: tuple[int, dict[str, Any]]) -> float:
    weights = phase[1]["resolution_weights"]
    return sum(resolution * weight for resolution, weight in weights.items()) / sum(weights.values())


def measure_stage(stage: str, images: int, data: Path, weights: Path) -> None:
    """Measure four subnets with the weights of a stage; ``images`` were drawn in all stages up to it."""
    torch.set_num_threads(1)
    model, _ = load_supernet(weights)
    packs, fit, cache = load_packs(data, "train-search"), load_packs(data, "train-fit"), ExampleCache()
    identity, rows = file_sha256(weights)[:12], []
    for architecture in map(architecture_from_json, OF_STAGES.read_text().splitlines()):
        subnet, resolution = _recalibrated(model, architecture, fit, STAGE_CALIBRATION, cache), architecture.resolution
        report = evaluate(subnet, resolution, packs, STAGE_PROMPTS, STAGE_IMAGES, STAGE_MASKS, cache=cache)
        accuracy = report.accuracy()
        for pack, prompts in accuracy.packs.items():
            rows += [[stage, images, architecture.digest, pack, *cell, identity] for cell in prompts.items()]
        print(f"{stage} {architecture.digest} {accuracy.value:.4f}", flush=True)
    kept = [row for row in _stage_rows() if row["stage"] != stage]
    with STAGES.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([STAGE_FIELDS, *(list(row.values()) for row in kept), *rows])


def print_gap(architecture: AnyArchitecture, data: Path, weights: Path) -> None:
    """Print the accuracy of a subnet on images it was trained on and on those of train-search."""
    torch.set_num_threads(1)
    subnet = _recalibrated(load_supernet(weights)[0], architecture, load_packs(data, "train-fit"), STAGE_CALIBRATION)
    for split in ("train-fit", "train-search"):
        packs, images = load_packs(data, split), 2 * STAGE_IMAGES
        accuracy = evaluate(subnet, architecture.resolution, packs, STAGE_PROMPTS, images, STAGE_MASKS).accuracy()
        print(f"{split}: {accuracy.value:.3f}  {accuracy.packs}", flush=True)


def _recalibrated(
    model: Sam, architecture: AnyArchitecture, fit: list[Pack], images: int, cache: ExampleCache | None = None
) -> Sam:
    subnet = extract_subnet(model, architecture)
    recalibrate(subnet.image_encoder, calibration_batches(fit, architecture.resolution, images, cache=cache))
    return subnet


def _stage_rows() -> list[dict[str, str]]:
    if not STAGES.exists():
        return []
    with STAGES.open(newline="") as file:
        return list(csv.DictReader(file))


def draw_stages() -> None:
    """Draw how accuracy grows with the images drawn, and print the table."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = _stage_rows()
    images = {row["stage"]: int(row["images"]) for row in rows}
    stages = sorted(images, key=lambda stage: images[stage])

    def mean(stage: str, **wanted: str) -> float:
        found = [float(row["miou"]) for row in rows if row["stage"] == stage and wanted.items() <= row.items()]
        return sum(found) / len(found)

    cells = list(dict.fromkeys((row["pack"], row["prompt"]) for row in rows))
    print("| train-search, mean IoU | " + " | ".join(f"stage {s}, {images[s]:,} images" for s in stages) + " |")
    print("|---" * (len(stages) + 1) + "|")
    for digest in dict.fromkeys(row["digest"] for row in rows):
        print(f"| `{digest}`, all | " + " | ".join(f"{mean(s, digest=digest):.3f}" for s in stages) + " |")
    for pack, prompt in cells:
        values = [mean(s, pack=pack, prompt=prompt) for s in stages]
        print(f"| the four, {pack}, {prompt} | " + " | ".join(f"{value:.3f}" for value in values) + " |")

    figure, axes = plt.subplots(figsize=(7, 4.5))
    colours = dict(zip(dict.fromkeys(pack for pack, _ in cells), ("#0072B2", "#D55E00", "#009E73"), strict=False))
    for pack, prompt in cells:
        line, marker = ("-", "s") if prompt == "box" else ("--", "o")
        values = [mean(s, pack=pack, prompt=prompt) for s in stages]
        at = [images[s] for s in stages]
        axes.plot(at, values, line, marker=marker, color=colours[pack], label=f"{pack}, {prompt}")
    axes.set(xscale="log", xlabel="images drawn in all stages", ylabel="mean IoU on train-search, four subnets")
    ticks = sorted(set(images.values()))
    axes.set_xticks(ticks, [f"{tick / 1000:.0f}k" for tick in ticks], rotation=90)
    axes.set_xticks([], minor=True)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(HERE / "stages.png", dpi=110)


def append(rows: list[list[object]]) -> None:
    """Add rows to the results."""
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([FIELDS, *rows] if new else rows)


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
            if name in cells
            else "-"
            for name in subnets
        ]
        trivial = f"{float(one['box_fill']):.3f} | {float(one['ellipse']):.3f}"
        print(f"| {pack}, {prompt} ({one['n_masks']}) | " + " | ".join(shown) + f" | {trivial} |")


def print_latencies(names: list[str]) -> None:
    """Print the latency of some subnets on every shipped device as a table in Markdown."""
    found = {name: resolve(name) for name in names}
    titles = " | ".join(f"{name} `{architecture.digest}`" for name, architecture in found.items())
    print(f"| device, runtime | method, grade | {titles} |")
    print("|---" * (len(names) + 2) + "|")
    for path in shipped_tables().values():
        table = read_table(path)
        latencies = (table.predict(architecture) for architecture in found.values())
        cells = " | ".join(f"{one.ms:.3g} [{one.lo:.3g}-{one.hi:.3g}]" for one in latencies)
        batch = "" if table.batch == 1 else f", an image of {table.batch} at once"
        print(f"| {table.name}, {table.runtime} {table.precision}{batch} | {table.method}, {table.grade} | {cells} |")


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
    parser.add_argument("what", choices=["evaluate", "alone", "table", "latency", "curve", "stage", "stages", "gap"])
    parser.add_argument("subnets", nargs="*", default=[])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--prompts", default="point1,point3,box")
    parser.add_argument("--weights", type=Path, help="instead of the starter: those of a training alone, or of a stage")
    parser.add_argument("--images", type=int, default=0, help="drawn in all stages up to this one, for `stage`")
    parser.add_argument("--as", dest="title", help="the name of these rows, with --weights")
    parser.add_argument("--share", type=float, default=1.0, help="of the steps, for `alone`")
    parser.add_argument("--out", help="the folder of the training, for `alone`")
    arguments = parser.parse_args()
    if arguments.what == "evaluate":
        asked = arguments.prompts.split(",")
        evaluate_subnets(arguments.subnets, arguments.data, asked, arguments.weights, arguments.title)
    elif arguments.what == "stage":
        path = arguments.weights or starter_dir() / WEIGHTS
        measure_stage(" ".join(arguments.subnets), arguments.images, arguments.data, path)
    elif arguments.what == "gap":
        print_gap(resolve(*arguments.subnets or ["best"]), arguments.data, arguments.weights or starter_dir() / WEIGHTS)
    elif arguments.what == "stages":
        draw_stages()
    elif arguments.what == "alone":
        write_alone(resolve(*arguments.subnets or ["alone"]), arguments.share, arguments.out)
    elif arguments.what == "table":
        print_table()
    elif arguments.what == "latency":
        print_latencies(arguments.subnets)
    else:
        draw_curve()
