"""Latencies a second, against building each encoder and counting its FLOPs; see README.md.

python experiments/0007-latency-speed/bench.py [--n 100000] [--sample 20] [--repeats 5] [--out FOLDER]
python experiments/0007-latency-speed/bench.py --figure    # figure.png alone, from results.csv; times nothing
"""

import argparse
import csv
import io
import os
import random
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from fvcore.nn import FlopCountAnalysis
from torch.utils.flop_counter import FlopCounterMode

from supersam._paths import write_atomically
from supersam.latency import SpaceLatency, load_table
from supersam.profile.machine import cpu_name
from supersam.profile.modules import deployed
from supersam.space import AnyArchitecture, load_space
from supersam.supernet.encoder import build_encoder

HERE = Path(__file__).parent
SPACE, DEVICE = "starter", "cpu-x86-1t"
START, END = "<!-- results -->", "<!-- end -->"
BAR = 100_000  # architectures a second


class Way(NamedTuple):
    """Something that is done to each of some architectures."""

    name: str
    n: int  # architectures that are really done; 0 is once for all
    run: Callable[[], object]


def count_with_fvcore(architecture: AnyArchitecture) -> float:
    """Build an encoder as it is deployed and count its MACs with fvcore."""
    encoder = deployed(build_encoder(architecture))
    x = torch.zeros(1, 3, architecture.resolution, architecture.resolution)
    counter = FlopCountAnalysis(encoder, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return float(counter.total())


def count_with_torch(architecture: AnyArchitecture) -> float:
    """Build an encoder without memory and count its MACs with torch."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        deployed(build_encoder(architecture))(torch.empty(1, 3, architecture.resolution, architecture.resolution))
    return counter.get_total_flops() / 2


def ways(n: int, sample: int) -> list[Way]:
    """Return what is compared, on the same random architectures."""
    space, table = load_space(SPACE), load_table(DEVICE)
    latency, rng = SpaceLatency(table, space), random.Random(0)
    sizes = [len(choices) for choices in space.variables().values()]
    indices = np.random.default_rng(0).integers(0, sizes, (n, len(sizes)))
    few = [space.sample(rng) for _ in range(sample)]
    some = [space.sample(rng) for _ in range(50 * sample)]
    return [
        Way("`SpaceLatency`", n, lambda: latency.predict(indices)),
        Way("`SpaceLatency`, set-up", 0, lambda: SpaceLatency(load_table(DEVICE), load_space(SPACE))),
        Way("`LatencyTable.predict`", len(some), lambda: [table.predict(one) for one in some]),
        Way("build, fvcore", sample, lambda: [count_with_fvcore(one) for one in few]),
        Way("build, torch's counter", sample, lambda: [count_with_torch(one) for one in few]),
    ]


def seconds(way: Way, repeats: int) -> float:
    """Return the median wall time of a way after a first run that does not count."""
    way.run()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        way.run()
        found.append(time.perf_counter() - start)
    return median(found)


def rows(n: int, sample: int, repeats: int) -> list[dict[str, str]]:
    """Time every way."""
    host = f"{cpu_name()}, one of {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "torch", "fvcore"))
    found = []
    for way in ways(n, sample):
        took = seconds(way, repeats)
        found.append(
            {
                "way": way.name,
                "architectures": str(way.n or "once"),
                "seconds": f"{took:.4g}",
                "per_second": f"{way.n / took:.4g}" if way.n else "",
                f"seconds_for_{n}": f"{took * n / way.n:.4g}" if way.n else f"{took:.4g}",
                "extrapolated": "yes" if way.n not in (0, n) else "no",
                "date": datetime.now(UTC).date().isoformat(),
                "host": host,
                "versions": versions,
            }
        )
        print(*found[-1].values(), sep="  ", flush=True)
    return found


def save(found: list[dict[str, str]], folder: Path) -> None:
    """Write results.csv, and the table of the README between its marks."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    write_atomically(folder / "results.csv", text.getvalue())
    shown = list(found[0])[:-3]
    lines = [f"| {' | '.join(name.replace('_', ' ') for name in shown)} |", "|---" * len(shown) + "|"]
    lines += [f"| {' | '.join(row[name] for name in shown)} |" for row in found]
    lines += ["", f"{found[0]['date']}, {found[0]['host']}, {found[0]['versions']}."]
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    before, after = readme.split(START)[0], readme.split(END)[1]
    write_atomically(folder / "README.md", f"{before}{START}\n" + "\n".join(lines) + f"\n{END}{after}")


def draw(folder: Path) -> None:
    """Draw the architectures a second of results.csv as figure.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with (folder / "results.csv").open() as file:
        found = [row for row in csv.DictReader(file) if row["per_second"]]  # the set-up is done once
    speeds = [float(row["per_second"]) for row in found]
    names = [row["way"].replace("`", "") for row in found]
    figure, axes = pyplot.subplots(figsize=(8, 0.55 * len(found) + 1.3), layout="constrained")
    bars = axes.barh(names, speeds, color="#0072B2")
    labels = [f"{speed:,.0f}" if speed > 100 else f"{speed:.1f}" for speed in speeds]
    axes.axvline(BAR, color="#D55E00", linewidth=1.2)
    axes.bar_label(bars, labels, padding=4, bbox={"color": "white", "pad": 1})
    axes.annotate(
        f"goal: {BAR:,}", (BAR, 1), (4, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
        color="#D55E00", ha="center",
    )  # fmt: skip
    axes.set(xscale="log", xlim=(1, 20 * max(speeds)), xlabel=f"architectures a second; {found[0]['host']}")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "figure.png", dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def main() -> None:
    """Time and write."""
    parser = argparse.ArgumentParser(description="Latencies a second.")
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=20, help="encoders that are built")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--figure", action="store_true", help="draw what results.csv says and time nothing")
    options = parser.parse_args()
    if options.figure:
        draw(options.out)
        return
    warnings.simplefilter("ignore")  # fvcore traces and scripts, which torch deprecates
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    save(rows(options.n, options.sample, options.repeats), options.out)
    draw(options.out)


if __name__ == "__main__":
    main()
