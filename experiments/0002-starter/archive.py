"""Measure subnets of the starter and ship their accuracies and BatchNorm statistics.

    python experiments/0002-starter/archive.py measure --shard 0 --minutes 30   # several shards may run at once
    python experiments/0002-starter/archive.py assemble

Each subnet is evaluated on the train-search split (never on val, which results are reported on), its BatchNorm
statistics taken from train-fit. Every second one is random; the others are picked from the front of predicted
accuracy against the estimated latency of a Jetson AGX Orin, so that the archive is dense where a search ends.
Rows go to rows-<shard>.jsonl as they are measured; running the command again goes on.
"""

import argparse
import datetime
import json
import random
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from supersam._paths import starter_dir
from supersam.checkpoints.files import file_sha256
from supersam.checkpoints.starter import STATISTICS, WEIGHTS, load_starter
from supersam.checkpoints.subnets import extract_subnet
from supersam.data.coco import load_packs
from supersam.errors import MissingError
from supersam.evaluate.evaluator import calibration_batches, evaluate
from supersam.evaluate.examples import ExampleCache
from supersam.evaluate.recalibrate import recalibrate
from supersam.latency import load_table
from supersam.results import Accuracy, Archive, Candidate, pareto_front
from supersam.results.archive import ARCHIVE_FILE
from supersam.search.accuracy import ArchiveAccuracy
from supersam.search.study import seeds_of
from supersam.space import AnyArchitecture, SearchSpace, architecture_from_dict, load_space

HERE = Path(__file__).parent
SPACE = "starter"
DEVICE = "jetson-agx-orin"
IMAGES, MASKS, CALIBRATION = 16, 6, 48
PROMPTS = ["point1", "box"]
POOL = 3000


def measured_rows() -> list[dict[str, object]]:
    """Return what all shards have measured."""
    rows = []
    for file in sorted(HERE.glob("rows-*.jsonl")):
        rows += [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return rows


def to_accuracy(row: dict[str, object]) -> Accuracy:
    """Return the accuracy in a row."""
    return Accuracy(row["accuracy"], "measured", tuple(row["interval"]), row["packs"])  # type: ignore[arg-type]


def propose(space: SearchSpace, known: dict[AnyArchitecture, Accuracy], rng: random.Random) -> AnyArchitecture:
    """Return a random architecture, or one of the predicted front that is not known yet."""
    if rng.random() < 0.5:
        return space.sample(rng)
    try:
        predict = ArchiveAccuracy(Archive({}, known), space)
    except MissingError:
        return space.sample(rng)
    table = load_table(DEVICE)
    pool = [space.sample(rng) for _ in range(POOL)]
    parents = sorted(known, key=lambda a: -known[a].value)[:32]
    pool += [mutate(space, rng.choice(parents), rng) for _ in range(POOL)]
    fresh = [a for a in pool if a not in known]
    return rng.choice(pareto_front(Candidate(a, predict(a), table.predict(a)) for a in fresh)).architecture


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
    first = seeds_of(space, {})[shard::shards]
    rng = random.Random(f"archive/{shard}/{len(measured_rows())}")
    deadline = time.monotonic() + 60 * minutes
    while time.monotonic() < deadline:
        known = {architecture_from_dict(row["architecture"]): to_accuracy(row) for row in measured_rows()}
        waiting = [architecture for architecture in first if architecture not in known]
        architecture = waiting[0] if waiting else propose(space, known, rng)
        if architecture in known:
            continue
        started = time.process_time()
        subnet = extract_subnet(model, architecture)
        batches = calibration_batches(fit, architecture.resolution, CALIBRATION, cache=cache)
        statistics = recalibrate(subnet.image_encoder, batches)
        accuracy = evaluate(subnet, architecture.resolution, packs, PROMPTS, IMAGES, MASKS, cache=cache).accuracy()
        save_file(statistics or {"none": torch.zeros(1)}, statistics_file(architecture))
        row = {
            "architecture": architecture.to_dict(),
            "accuracy": round(accuracy.value, 5),
            "interval": [round(bound, 5) for bound in accuracy.interval],
            "packs": accuracy.packs,
        }
        with (HERE / f"rows-{shard}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        seconds = time.process_time() - started
        print(f"{len(known) + 1}  {accuracy.value:.4f}  {seconds:.1f} s of CPU  {architecture.describe()}", flush=True)


def statistics_file(architecture: AnyArchitecture) -> Path:
    """Return where the statistics of a subnet are kept until they are assembled."""
    folder = HERE / "statistics"
    folder.mkdir(exist_ok=True)
    return folder / f"{architecture.digest}.safetensors"


def assemble() -> None:
    """Write the archive and the statistics of the starter."""
    rows = {architecture_from_dict(row["architecture"]).digest: row for row in measured_rows()}
    statistics: dict[str, Tensor] = {}
    for digest, row in rows.items():
        tensors = load_file(statistics_file(architecture_from_dict(row["architecture"])))
        statistics |= {f"{digest}/{name}": tensor for name, tensor in tensors.items() if name != "none"}
    weights = starter_dir() / WEIGHTS
    protocol = {
        "space": SPACE,
        "weights_sha256": file_sha256(weights),
        "split": "train-search",
        "packs": "nuclei, street_facade, coco_permissive",
        "images_per_pack": IMAGES,
        "masks_per_image": MASKS,
        "prompts": PROMPTS,
        "batch_norm": f"{CALIBRATION} images of train-fit",
        "accuracy": "mean IoU over packs and prompts; interval: 95 % over masks",
        "command": "python experiments/0002-starter/archive.py",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    content = {"protocol": protocol, "measured": [rows[digest] for digest in sorted(rows)]}
    lines = ",\n  ".join(json.dumps(row) for row in content["measured"])  # type: ignore[union-attr]
    text = f'{{\n "protocol": {json.dumps(protocol)},\n "measured": [\n  {lines}\n ]\n}}\n'
    (starter_dir() / ARCHIVE_FILE).write_text(text)
    save_file(statistics, starter_dir() / STATISTICS)
    print(f"{len(rows)} subnets, {(starter_dir() / STATISTICS).stat().st_size / 1e6:.1f} MB of statistics")


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
        assemble()
