"""What does weight sharing save? One supernet step of k subnets against one step of k models of their own.

    python experiments/0013-sharing/sharing.py run --dry-run
    python experiments/0013-sharing/sharing.py run          # can be stopped and given again; on a quiet machine
    python experiments/0013-sharing/sharing.py report       # results.csv, figure.png, the README's tables

Every measurement is a process of its own with one thread: a step of either kind alone for the memory, both in turn
for the time. A step: forward and backward of k subnets on the same images and prompts, then AdamW.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import proofs
import torch
from torch import nn

from supersam.checkpoints.subnets import extract_subnet
from supersam.sam.model import FRAME, Prompts, Sam
from supersam.space import AnyArchitecture, load_space
from supersam.supernet.supernet import Supernet
from supersam.train.batches import Batch
from supersam.train.objective import Objective, Settings
from supersam.train.sampling import sandwich

HERE = Path(__file__).parent
IMAGES, PROMPTS, RESOLUTION = 4, 8, 256
SUBNETS = (2, 4, 8)
STATES = 4  # copies of four bytes of a weight: itself, its gradient, AdamW's two moments
MODES = ("nothing", "shared", "apart")
WANTED = {*MODES, "time"}


class Alone(nn.Module):
    """A plain encoder where a supernet is expected."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: torch.Tensor, architecture: AnyArchitecture) -> torch.Tensor:
        return self.encoder(x)


def subnets_of(k: int) -> list[AnyArchitecture]:
    """Return a sandwich of k subnets of the starter space."""
    return sandwich(load_space("starter"), RESOLUTION, random.Random(0), k - 2)


class Shared:
    """One supernet."""

    def __init__(self, architectures: list[AnyArchitecture]) -> None:
        torch.manual_seed(0)
        self.architectures = architectures
        self.objective = Objective(Sam(Supernet(load_space("starter"))).train())
        self.optimizer = torch.optim.AdamW(self.objective.parameters())

    def step(self, batch: Batch) -> None:
        """Train all subnets once."""
        self.optimizer.zero_grad(set_to_none=True)
        for architecture in self.architectures:
            self.objective(batch, architecture, Settings()).loss.backward()
        self.optimizer.step()


class Apart:
    """A model with decoder and optimizer for each subnet."""

    def __init__(self, architectures: list[AnyArchitecture]) -> None:
        torch.manual_seed(0)
        supernet = Sam(Supernet(load_space("starter")))
        self.architectures, self.objectives = architectures, []
        for architecture in architectures:
            model = extract_subnet(supernet, architecture)
            model.image_encoder = Alone(model.image_encoder)
            self.objectives.append(Objective(model.train()))
        self.optimizers = [torch.optim.AdamW(objective.parameters()) for objective in self.objectives]

    def step(self, batch: Batch) -> None:
        """Train every model once."""
        for objective, optimizer, architecture in zip(
            self.objectives, self.optimizers, self.architectures, strict=True
        ):
            optimizer.zero_grad(set_to_none=True)
            objective(batch, architecture, Settings()).loss.backward()
            optimizer.step()


def random_batch() -> Batch:
    """Return random images and prompts; what they show does not change the cost."""
    generator, half = torch.Generator().manual_seed(0), PROMPTS // 2
    images = torch.randn(IMAGES, 3, RESOLUTION, RESOLUTION, generator=generator)
    points = FRAME * torch.rand(IMAGES, half, 1, 2, generator=generator)
    boxes = FRAME * torch.rand(IMAGES, half, 4, generator=generator)
    targets = torch.rand(IMAGES, PROMPTS, RESOLUTION // 4, RESOLUTION // 4, generator=generator).round()
    images = images.contiguous(memory_format=torch.channels_last)
    return Batch(images, Prompts(points, torch.ones(points.shape[:3]), boxes), targets)


def measure(mode: str, k: int, repeats: int) -> None:
    """Measure in this process and print one line of JSON."""
    torch.set_num_threads(1)
    batch, architectures = random_batch(), subnets_of(k)
    if mode == "time":
        print(json.dumps(times({"shared": Shared(architectures), "apart": Apart(architectures)}, batch, repeats)))
        return
    if mode != "nothing":
        model = {"shared": Shared, "apart": Apart}[mode](architectures)
        for _ in range(2):  # the second with gradients, moments and graph at once
            model.step(batch)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"peak_bytes": peak}))


def times(both: dict[str, Shared | Apart], batch: Batch, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Return CPU and wall seconds of interleaved steps, after one of each that is not counted."""
    found: dict[str, dict[str, list[float]]] = {name: {"cpu": [], "wall": []} for name in both}
    for repeat in range(repeats + 1):
        for name, model in both.items():
            cpu, wall = time.process_time(), time.perf_counter()
            model.step(batch)
            if repeat:
                found[name]["cpu"].append(time.process_time() - cpu)
                found[name]["wall"].append(time.perf_counter() - wall)
    return found


def run(arguments: argparse.Namespace) -> None:
    """Measure what is not there yet."""
    file = arguments.folder / "rows.jsonl"
    todo = [(mode, k, repeat) for k in arguments.subnets for repeat in range(arguments.processes) for mode in MODES]
    todo += [("time", k, repeat) for k in arguments.subnets for repeat in range(arguments.processes)]
    done = {(row["mode"], row["k"], row["process"]) for row in proofs.read(file)}
    todo = [unit for unit in todo if unit not in done]
    if arguments.dry_run:
        estimate(todo, arguments.repeats)
        return
    for mode, k, process in todo:
        command = [
            sys.executable,
            __file__,
            "measure",
            "--mode",
            mode,
            "--k",
            str(k),
            "--repeats",
            str(arguments.repeats),
        ]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
        row = {"mode": mode, "k": k, "process": process, **json.loads(result.stdout.splitlines()[-1])}
        proofs.append(file, row)
        print(f"{mode}, {k} subnets, process {process}", flush=True)


def estimate(todo: list[tuple[str, int, int]], repeats: int) -> None:
    """Print what it would take, by one step of four subnets."""
    torch.set_num_threads(1)
    started = time.process_time()
    Shared(subnets_of(4)).step(random_batch())
    once = (time.process_time() - started) / 4
    steps = {"nothing": 0, "shared": 2, "apart": 2, "time": 2 * (repeats + 1)}
    seconds = sum(once * k * steps[mode] for mode, k, _ in todo)
    print(f"{len(todo)} processes to do, about {seconds / 60:.0f} min of one core and the time to start them")


def report(folder: Path) -> None:
    """Write the rows, the figure and the tables."""
    rows = proofs.read(folder / "rows.jsonl")
    finished = [
        k for k in sorted({row["k"] for row in rows}) if {row["mode"] for row in rows if row["k"] == k} == WANTED
    ]
    if not finished:
        sys.exit("no number of subnets is measured in full yet; give `run` first")
    lines = []
    for k in finished:
        own = [row for row in rows if row["k"] == k]
        idle = statistics.median(row["peak_bytes"] for row in own if row["mode"] == "nothing")
        for mode in ("shared", "apart"):
            peaks = [row["peak_bytes"] - idle for row in own if row["mode"] == mode]
            timed = {
                clock: [value for row in own if row["mode"] == "time" for value in row[mode][clock]]
                for clock in ("cpu", "wall")
            }
            line: proofs.Row = {"subnets": k, "trained": mode}
            for name, values, unit in (
                ("peak_mb", peaks, 1e-6),
                ("cpu_s", timed["cpu"], 1.0),
                ("wall_s", timed["wall"], 1.0),
            ):
                line[name] = round(unit * statistics.median(values), 3)
                line[f"{name}_low"], line[f"{name}_high"] = (round(unit * end(values), 3) for end in (min, max))
            lines.append(line)
    proofs.write_csv(folder / "results.csv", lines)
    header = ["subnets", "trained", "peak memory above an idle process, MB", "CPU s a step", "wall s a step"]
    shown = [
        [line["subnets"], line["trained"]]
        + [
            f"{line[name]:.4g} [{line[name + '_low']:.4g}-{line[name + '_high']:.4g}]"
            for name in ("peak_mb", "cpu_s", "wall_s")
        ]
        for line in lines
    ]
    picture = "![Memory and time](figure.png)"
    proofs.fill(folder / "README.md", "table", f"{proofs.table(header, shown)}\n\n{picture}")
    proofs.fill(folder / "README.md", "paper", on_paper())
    draw(lines, folder / "figure.png")


def on_paper() -> str:
    """Return the bytes of weights, gradients and moments: those of a supernet do not grow with the subnets."""
    model = Sam(Supernet(load_space("starter")))
    decoder = sum(p.numel() for part in (model.prompt_encoder, model.mask_decoder) for p in part.parameters())
    shared = sum(p.numel() for p in model.parameters())
    lines = []
    for k in (*SUBNETS, 16, 128):
        encoders = sum(
            tensor.numel()
            for architecture in subnets_of(k)
            for tensor in dict(model.image_encoder.extract(architecture).named_parameters()).values()
        )
        apart = encoders + k * decoder
        lines.append([k, *(f"{4 * n * count / 1e6:.0f}" for count in (shared, apart) for n in (1, STATES))])
    header = ["subnets", "supernet: weights, MB", "... with gradients and moments", "apart: weights, MB", "..."]
    return proofs.table(header, lines)


def draw(lines: list[proofs.Row], file: Path) -> None:
    """Draw memory and time over the number of subnets."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4))
    for mode, colour in (("shared", "#0072B2"), ("apart", "#D55E00")):
        own = [line for line in lines if line["trained"] == mode]
        for axis, name in zip(axes, ("peak_mb", "cpu_s"), strict=True):
            middle = [line[name] for line in own]
            error = [
                [line[name] - line[name + "_low"] for line in own],
                [line[name + "_high"] - line[name] for line in own],
            ]
            axis.errorbar(
                [line["subnets"] for line in own], middle, yerr=error, color=colour, marker="o", capsize=3, label=mode
            )
    axes[0].set(xlabel="subnets", ylabel="peak memory above an idle process, MB", ylim=(0, None))
    axes[1].set(xlabel="subnets", ylabel="CPU seconds a step", ylim=(0, None))
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "report", "measure"])
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--subnets", type=int, nargs="+", default=SUBNETS, help="at least 2")
    parser.add_argument("--processes", type=int, default=3, help="of each kind")
    parser.add_argument("--repeats", type=int, default=7, help="timed steps of a process")
    parser.add_argument("--folder", type=Path, default=HERE, help="where rows and report are kept")
    parser.add_argument("--mode", choices=[*MODES, "time"], help=argparse.SUPPRESS)
    parser.add_argument("--k", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.what == "measure":
        measure(given.mode, given.k, given.repeats)
    else:
        run(given) if given.what == "run" else report(given.folder)
