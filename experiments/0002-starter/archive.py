"""Measure subnets of the starter and ship their accuracies and BatchNorm statistics.

    python experiments/0002-starter/archive.py measure --shard 0 --minutes 30   # several shards may run at once
    python experiments/0002-starter/archive.py assemble

Each subnet is evaluated on the train-search split (never on val, which results are reported on), its BatchNorm
statistics taken from train-fit. Every second one is random; the others are picked from the front of predicted
accuracy against the estimated latency of a Jetson AGX Orin, so that the archive is dense where a search ends.
Rows go to a folder of these weights under runs/ as they are measured; running the command again goes on, also from
what `assemble` has written, as long as weights and protocol are the same. Statistics are shipped of the subnets that a
search is likely to name: those on the first fronts of any device.
"""

import argparse
import datetime
import json
import random
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from supersam._paths import starter_dir
from supersam.checkpoints.files import file_sha256
from supersam.checkpoints.starter import STATISTICS, WEIGHTS, load_starter
from supersam.checkpoints.subnets import extract_subnet
from supersam.data.coco import load_packs
from supersam.data.records import Pack
from supersam.errors import MissingError
from supersam.evaluate.evaluator import calibration_batches, evaluate
from supersam.evaluate.examples import ExampleCache
from supersam.evaluate.recalibrate import recalibrate
from supersam.latency import load_table
from supersam.latency.read import shipped_tables
from supersam.results import Accuracy, Archive, Candidate, pareto_front
from supersam.results.archive import ARCHIVE_FILE
from supersam.search.accuracy import ArchiveAccuracy
from supersam.search.starts import corners
from supersam.space import AnyArchitecture, SearchSpace, architecture_from_dict, load_space

SPACE = "starter"
DEVICE = "jetson-agx-orin"
IMAGES, MASKS, CALIBRATION = 16, 4, 32
PROMPTS = ["point1", "box"]
POOL = 3000
AT_ONCE = 10  # proposals of either kind between two fits of the prediction
FRONTS = 3  # of every device, whose subnets keep their statistics

PROTOCOL = {
    "images_per_pack": IMAGES,
    "masks_per_image": MASKS,
    "prompts": PROMPTS,
    "batch_norm": f"{CALIBRATION} images of train-fit",
}

Row = dict[str, Any]


@cache
def weights_sha256() -> str:
    """Return the hash of the weights that are measured."""
    return file_sha256(starter_dir() / WEIGHTS)


@cache
def folder() -> Path:
    """Return where rows and statistics of these weights and this protocol are kept until they are assembled."""
    path = Path("runs") / f"archive-{weights_sha256()[:8]}-{IMAGES}x{MASKS}-{CALIBRATION}"
    (path / "statistics").mkdir(parents=True, exist_ok=True)
    return path


def measured_rows() -> list[Row]:
    """Return what was measured of these weights in this way: what is shipped, then what all shards have added."""
    rows, file = [], starter_dir() / ARCHIVE_FILE
    shipped = json.loads(file.read_text()) if file.is_file() else {"protocol": {}, "measured": []}
    wanted = {**PROTOCOL, "weights_sha256": weights_sha256()}
    if all(shipped["protocol"].get(key) == value for key, value in wanted.items()):
        rows += shipped["measured"]
    for file in sorted(folder().glob("rows-*.jsonl")):
        rows += [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return rows


def to_accuracy(row: Row) -> Accuracy:
    """Return the accuracy in a row."""
    return Accuracy(row["accuracy"], "measured", tuple(row["interval"]), row["packs"])


def propose(space: SearchSpace, known: dict[AnyArchitecture, Accuracy], rng: random.Random) -> list[AnyArchitecture]:
    """Return a few random architectures, and as many of the predicted front, that are not known yet."""
    proposals = [space.sample(rng) for _ in range(AT_ONCE)]
    try:
        predict = ArchiveAccuracy(Archive({}, known), space)
    except MissingError:
        return proposals
    table = load_table(DEVICE)
    pool = [space.sample(rng) for _ in range(POOL)]
    parents = sorted(known, key=lambda a: -known[a].value)[:32]
    pool += [mutate(space, rng.choice(parents), rng) for _ in range(POOL)]
    front = pareto_front(Candidate(a, predict(a), table.predict(a)) for a in dict.fromkeys(pool) if a not in known)
    chosen = rng.sample(front, min(AT_ONCE, len(front)))
    return [one for pair in zip(proposals, (candidate.architecture for candidate in chosen)) for one in pair]


def mutate(space: SearchSpace, parent: AnyArchitecture, rng: random.Random) -> AnyArchitecture:
    """Return a neighbour with up to three choices drawn again."""
    choices, variables = space.encode(parent), space.variables()
    for name in rng.sample(list(variables), rng.randint(1, 3)):
        choices[name] = rng.choice(variables[name])
    return space.decode(choices)


def measure(data: Path, shard: int, shards: int, minutes: float) -> None:
    """Measure subnets until the time is over."""
    torch.set_num_threads(1)
    model, _ = load_starter()
    space, cache = load_space(SPACE), ExampleCache()
    packs, fit = load_packs(data, "train-search"), load_packs(data, "train-fit")
    waiting = corners(space)[shard::shards]
    rng = random.Random(f"archive/{shard}/{len(measured_rows())}")
    deadline = time.monotonic() + 60 * minutes
    while time.monotonic() < deadline:
        known = {architecture_from_dict(row["architecture"]): to_accuracy(row) for row in measured_rows()}
        waiting = [architecture for architecture in waiting if architecture not in known]
        if not waiting:
            waiting = propose(space, known, rng)
            continue
        architecture, started = waiting.pop(0), time.process_time()
        subnet = extract_subnet(model, architecture)
        keep(architecture, recalibrate(subnet.image_encoder, fit_batches(fit, architecture, cache)))
        accuracy = evaluate(subnet, architecture.resolution, packs, PROMPTS, IMAGES, MASKS, cache=cache).accuracy()
        row = {
            "architecture": architecture.to_dict(),
            "accuracy": round(accuracy.value, 5),
            "interval": [round(bound, 5) for bound in accuracy.interval],
            "packs": accuracy.packs,
        }
        with (folder() / f"rows-{shard}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        seconds = time.process_time() - started
        print(f"{len(known) + 1}  {accuracy.value:.4f}  {seconds:.1f} s of CPU  {architecture.describe()}", flush=True)


def fit_batches(fit: list[Pack], architecture: AnyArchitecture, cache: ExampleCache) -> list[Tensor]:
    """Return the images that statistics are taken from."""
    return list(calibration_batches(fit, architecture.resolution, CALIBRATION, cache=cache))


def keep(architecture: AnyArchitecture, statistics: dict[str, Tensor]) -> None:
    """Keep the statistics of a subnet until the archive is assembled."""
    save_file(statistics or {"none": torch.zeros(1)}, statistics_file(architecture))


def statistics_file(architecture: AnyArchitecture) -> Path:
    """Return where the statistics of a subnet are kept."""
    return folder() / "statistics" / f"{architecture.digest}.safetensors"


def likely(known: dict[AnyArchitecture, Accuracy], fronts: int = FRONTS) -> list[AnyArchitecture]:
    """Return the subnets on the first fronts of accuracy against latency of any shipped device."""
    chosen: dict[AnyArchitecture, None] = {}
    for device in shipped_tables():
        table = load_table(device)
        rest = {a: Candidate(a, accuracy, table.predict(a)) for a, accuracy in known.items()}
        for _ in range(fronts):
            for candidate in pareto_front(rest.values()):
                chosen[candidate.architecture] = None
                del rest[candidate.architecture]
    return sorted(chosen, key=lambda architecture: architecture.digest)


def statistics_of(architecture: AnyArchitecture, again: Callable[[AnyArchitecture], None]) -> dict[str, Tensor]:
    """Return the statistics of a subnet, measured again where only its accuracy was kept."""
    if not statistics_file(architecture).exists():
        again(architecture)
    return {name: tensor for name, tensor in load_file(statistics_file(architecture)).items() if name != "none"}


def assemble(data: Path) -> None:
    """Write the archive and the statistics of the starter."""
    rows = {architecture_from_dict(row["architecture"]).digest: row for row in measured_rows()}
    known = {architecture_from_dict(row["architecture"]): to_accuracy(row) for row in rows.values()}
    model, fit, cache = load_starter()[0], load_packs(data, "train-fit"), ExampleCache()

    def again(architecture: AnyArchitecture) -> None:
        encoder = extract_subnet(model, architecture).image_encoder
        keep(architecture, recalibrate(encoder, fit_batches(fit, architecture, cache)))

    shipped = likely(known)
    statistics = {
        f"{architecture.digest}/{name}": tensor
        for architecture in shipped
        for name, tensor in statistics_of(architecture, again).items()
    }
    protocol = {
        "space": SPACE,
        "weights_sha256": weights_sha256(),
        "split": "train-search",
        "packs": "nuclei, street_facade, coco_permissive",
        **PROTOCOL,
        "accuracy": "mean IoU over packs and prompts; interval: 95 % over masks",
        "command": "python experiments/0002-starter/archive.py",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    content = {"protocol": protocol, "measured": [rows[digest] for digest in sorted(rows)]}
    lines = ",\n  ".join(json.dumps(row) for row in content["measured"])
    text = f'{{\n "protocol": {json.dumps(protocol)},\n "measured": [\n  {lines}\n ]\n}}\n'
    (starter_dir() / ARCHIVE_FILE).write_text(text)
    save_file(statistics, starter_dir() / STATISTICS)
    print(
        f"{len(rows)} subnets, statistics of {len(shipped)}: {(starter_dir() / STATISTICS).stat().st_size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["measure", "assemble"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--shard", type=int, default=0)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=30)
    arguments = parser.parse_args()
    if arguments.what == "measure":
        measure(arguments.data, arguments.shard, arguments.shards, arguments.minutes)
    else:
        assemble(arguments.data)
