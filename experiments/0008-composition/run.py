"""Do times of parts add up to times of networks? Held-out networks of ``starter``, measured whole, against predictions.

    python experiments/0008-composition/run.py export               # ONNX files into the cache; no quiet machine needed
    python experiments/0008-composition/run.py measure --runtime onnxruntime    # then torch, then openvino
    python experiments/0008-composition/run.py report               # results/*.csv, figure.png, table in README.md
    python experiments/0008-composition/run.py figure               # figure.png alone, from results/predictions.csv
    python experiments/0008-composition/run.py again                # the second measurement, results/again

``measure`` is ``supersam profile`` with the held-out networks and every part alone in the same interleaved rounds. It
writes the table that is shipped and every timing (results/RUNTIME.csv); interrupted, it goes on when given again.
"""

import argparse
import csv
import math
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from supersam.latency import LatencyTable, fit_composition, read_table
from supersam.space import AnyArchitecture, count, load_space, parts

HERE = Path(__file__).parent
TABLES = HERE.parents[1] / "latency_tables"
SPACE = "starter"
HELD_OUT = 64
CALIBRATION = 24
SPLITS = 100  # random ones that the coverage is checked on
DEVICES = {
    "onnxruntime": "cpu-x86-1t",
    "torch": "cpu-x86-1t.torch",
    "openvino": "cpu-x86-1t.openvino",
    "torch-compile": "cpu-x86-1t.torch-compile",
}
OURS = "chains and borders, factors"
TWO_LENGTHS = "the same, blocks from chains of 2 and 6 alone"
TICKS_MS = (1, 2, 5, 10, 20, 50, 100)
TICKS_RATIO = (0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2)
SHOWN = {OURS: "o", "parts alone, plain sum": "+", "ridge on operations": "^", "a + b * MACs": "x"}  # with markers
COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#009E73")  # Okabe and Ito's, which colour-blind readers tell apart
MARKS = ("<!-- table: written by run.py report -->", "<!-- end -->")
AGAIN = ("<!-- again: written by run.py again -->", "<!-- end of again -->")

Predictor = Callable[[AnyArchitecture], float]


@dataclass(frozen=True)
class Measured:
    """A network and what it takes."""

    architecture: AnyArchitecture
    ms: float
    rounds: tuple[float, ...]


@dataclass(frozen=True)
class Run:
    """What one runtime's measurement left."""

    runtime: str
    table: LatencyTable
    times_ms: dict[str, float]  # everything that was timed, by name
    calibration: list[Measured]
    held_out: list[Measured]


@dataclass(frozen=True)
class Score:
    """How well a way of predicting does on the held-out networks."""

    runtime: str
    predictor: str
    networks: int
    mape_pct: float
    within_10_pct: float
    within_5_pct: float
    bias_pct: float  # median of predicted / measured - 1
    spearman: float
    kendall: float


def main() -> None:
    """Export, measure or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("export")
    measure = commands.add_parser("measure")
    measure.add_argument("--runtime", choices=DEVICES, required=True)
    measure.add_argument("--rounds", type=int, default=3)
    measure.add_argument("--wait", type=float, default=300.0)
    measure.add_argument("--force", action="store_true")
    commands.add_parser("report")
    commands.add_parser("figure")
    commands.add_parser("again")
    chosen = parser.parse_args()
    if chosen.command == "report":
        report(HERE, TABLES)
        return
    if chosen.command == "figure":
        draw(HERE, TABLES)
        return
    if chosen.command == "again":
        report_again(HERE, TABLES)
        return
    runtime = "onnxruntime" if chosen.command == "export" else chosen.runtime
    command = ["profile", "--device", DEVICES[runtime], "--space", SPACE, "--runtime", runtime]
    command += ["--networks", str(CALIBRATION), "--held-out", str(HELD_OUT), "--isolated"]
    if chosen.command == "export":
        command += ["--export-only"]
    else:
        command += [
            "--rows",
            str(HERE / "results" / f"{runtime}.csv"),
            "--out",
            str(TABLES / f"{DEVICES[runtime]}.json"),
        ]
        command += ["--rounds", str(chosen.rounds)]
        command += ["--overwrite", "--wait", str(chosen.wait), *(["--force"] if chosen.force else [])]
    sys.exit(subprocess.run([sys.executable, "-m", "supersam", *command], check=False).returncode)


def report(folder: Path, tables: Path) -> None:
    """Write predictions, scores, figure and the README's table of every runtime that was measured."""
    runs = [
        read_run(runtime, folder / "results" / f"{runtime}.csv", tables / f"{device}.json")
        for runtime, device in DEVICES.items()
        if (folder / "results" / f"{runtime}.csv").is_file()
    ]
    if not runs:
        sys.exit("nothing was measured yet: run.py measure --runtime onnxruntime")
    rows = [row for run in runs for row in predictions(run)]
    scores = [score for run in runs for score in scores_of(run)]
    _write_csv(folder / "results" / "predictions.csv", rows)
    _write_csv(folder / "results" / "scores.csv", [vars(score) for score in scores])
    text = "\n".join([score_table(scores), "", noise_table(runs)])
    print(text)
    _put_into(folder / "README.md", text)
    draw(folder, tables)


def read_run(runtime: str, rows: Path, table_file: Path) -> Run:
    """Read a runtime's table and timings."""
    table = read_table(table_file)
    times: dict[str, list[float]] = {}
    with rows.open() as file:
        for row in csv.DictReader(file):
            times.setdefault(row["item"], []).append(float(row["ms"]))
    times_ms = {name: statistics.median(values) for name, values in times.items()}
    return Run(runtime, table, times_ms, networks_of(table, "calibration"), networks_of(table, "held-out"))


def networks_of(table: LatencyTable, role: str) -> list[Measured]:
    """Return the whole networks of a table that were timed for a purpose."""
    space = load_space(SPACE)
    networks = [network for network in table.networks.values() if network.role == role]
    return [Measured(space.decode(network.choices), network.ms, network.rounds) for network in networks]


def predictors(run: Run) -> dict[str, Predictor]:
    """Return the ways to predict a network's time, each fitted on the calibration networks only."""
    plain = run.table.model_copy(update={"composition": type(run.table.composition)()})

    def alone(architecture: AnyArchitecture) -> float:
        return sum(run.times_ms[part.key] for part in parts(architecture))

    def sums(architecture: AnyArchitecture) -> float:
        return plain.predict(architecture).ms

    return {
        OURS: lambda architecture: run.table.predict(architecture).ms,
        TWO_LENGTHS: _two_lengths(run),
        "chains and borders, plain sum": sums,
        "chains and borders, one factor": _with_factor(sums, run.calibration),
        "parts alone, plain sum": alone,
        "parts alone, one factor": _with_factor(alone, run.calibration),
        "a + b * MACs": _linear_in_macs(run.calibration),
        "gradient boosting on operations": _boosting(run.calibration),
        "ridge on operations": _ridge(run.calibration),
    }


def predictions(run: Run) -> list[dict[str, object]]:
    """Return a row for each held-out network: measured, every prediction, and the interval."""
    ways = predictors(run)
    rows = []
    for network in run.held_out:
        latency = run.table.predict(network.architecture)
        row: dict[str, object] = {
            "runtime": run.runtime,
            "digest": network.architecture.digest,
            "gmacs": round(count(network.architecture).gmacs, 5),
            "measured_ms": network.ms,
            "first_round_ms": network.rounds[0],
            "last_round_ms": network.rounds[-1],
            "lo_ms": round(latency.lo, 5),
            "hi_ms": round(latency.hi, 5),
        }
        rows.append(row | {name: round(way(network.architecture), 5) for name, way in ways.items()})
    return rows


def scores_of(run: Run) -> list[Score]:
    """Return the scores of all predictors, and of the first round as a prediction of the last."""
    found = {name: [way(network.architecture) for network in run.held_out] for name, way in predictors(run).items()}
    measured = [network.ms for network in run.held_out]
    scores = [score(run.runtime, name, predicted, measured) for name, predicted in found.items()]
    first, last = ([network.rounds[at] for network in run.held_out] for at in (0, -1))
    return [*scores, score(run.runtime, "(noise) first round for the last", first, last)]


def score(runtime: str, name: str, predicted: Sequence[float], measured: Sequence[float]) -> Score:
    """Compare predictions with measurements, both in milliseconds."""
    from scipy.stats import kendalltau, spearmanr

    ratios = np.array(predicted) / np.array(measured)
    errors = np.abs(ratios - 1)
    return Score(
        runtime,
        name,
        len(ratios),
        round(100 * float(errors.mean()), 2),
        round(100 * float((errors <= 0.10).mean()), 1),
        round(100 * float((errors <= 0.05).mean()), 1),
        round(100 * float(np.median(ratios) - 1), 2),
        round(float(spearmanr(predicted, measured).statistic), 4),
        round(float(kendalltau(predicted, measured).statistic), 4),
    )


def coverage_pct(run: Run) -> float:
    """Return how many of the held-out networks lie within their 90 % interval."""
    return _covered_pct(run.table, run.held_out)


def coverage_in_splits_pct(run: Run, splits: int = SPLITS) -> float:
    """Return the mean coverage over random splits of all whole networks, the composition fitted anew in each.

    A single split says little: with 24 networks to fit on and 64 to check, a sound interval holds 80 to 100 % of them.
    """
    rng, every, n = random.Random(0), [*run.calibration, *run.held_out], len(run.calibration)
    shares = []
    for _ in range(splits):
        rng.shuffle(every)
        composition = fit_composition(run.table, [(one.architecture, one.ms) for one in every[:n]])
        shares.append(_covered_pct(run.table.model_copy(update={"composition": composition}), every[n:]))
    return statistics.mean(shares)


def _covered_pct(table: LatencyTable, networks: list[Measured]) -> float:
    intervals = [(table.predict(network.architecture), network.ms) for network in networks]
    return 100 * statistics.mean(latency.lo <= ms <= latency.hi for latency, ms in intervals)


def report_again(folder: Path, tables: Path) -> None:
    """Write what the shipped tables are worth on another day, from whole measurements that were repeated."""
    lines = [
        "| networks of | predicted by | MAPE | within ±10 % | bias | Spearman | in the interval | their noise |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for file in sorted((folder / "results" / "again").glob("*.json")):
        shipped, second = read_table(tables / file.name), read_table(file)
        for networks, table in ((shipped, shipped), (second, second), (second, shipped), (shipped, second)):
            lines.append(_row_again(networks, table))
    print("\n".join(lines))
    _put_into(folder / "README.md", "\n".join(lines), AGAIN)


def _row_again(networks: LatencyTable, table: LatencyTable) -> str:
    """Score one table on the held-out networks of another measurement."""
    held_out = networks_of(networks, "held-out")
    predicted = [table.predict(network.architecture).ms for network in held_out]
    s = score(table.runtime.name, OURS, predicted, [network.ms for network in held_out])
    days = [f"{one.name}, {one.runtime.name}, {one.date}" for one in (networks, table)]
    cells = [*days, f"{s.mape_pct:.1f} %", f"{s.within_10_pct:.0f} %", f"{s.bias_pct:+.1f} %", f"{s.spearman:.3f}"]
    cells += [f"{_covered_pct(table, held_out):.0f} % of {len(held_out)}", f"{networks.quality.noise_floor_pct} %"]
    return f"| {' | '.join(cells)} |"


def score_table(scores: list[Score]) -> str:
    """Return the scores in Markdown."""
    lines = [
        "| runtime | predicted by | MAPE | within ±10 % | within ±5 % | bias | Spearman | Kendall |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for s in scores:
        cells = [s.runtime, s.predictor, f"{s.mape_pct:.1f} %", f"{s.within_10_pct:.0f} %", f"{s.within_5_pct:.0f} %"]
        cells += [f"{s.bias_pct:+.1f} %", f"{s.spearman:.3f}", f"{s.kendall:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def noise_table(runs: list[Run]) -> str:
    """Return noise and intervals in Markdown."""
    lines = [
        "| runtime | grade, date | noise floor (sentinel) | entries' rounds, median / 90th CV | spread | "
        f"held-out networks in the interval | the same, mean of {SPLITS} random splits |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        q = run.table.quality
        cells = [str(run.table.runtime), f"{run.table.grade}, {run.table.date}", f"{q.noise_floor_pct} %"]
        cells += [f"{q.repeat_cv_median_pct} / {q.repeat_cv_p90_pct} %", f"x{run.table.composition.spread:.3f}"]
        cells += [f"{coverage_pct(run):.0f} % of {len(run.held_out)}", f"{coverage_in_splits_pct(run):.1f} %"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(folder: Path, tables: Path) -> None:
    """Draw predicted over measured against measured from the rows of ``report``, a panel for each runtime."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with (folder / "results" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    runtimes = list(dict.fromkeys(row["runtime"] for row in rows))
    figure, axes = pyplot.subplots(
        1, len(runtimes), figsize=(5 * len(runtimes), 5.2), sharey=True, squeeze=False, layout="constrained"
    )
    for runtime, panel in zip(runtimes, axes[0], strict=True):
        table = read_table(tables / f"{DEVICES[runtime]}.json")
        _panel(panel, [row for row in rows if row["runtime"] == runtime], table)
    axes[0][0].set_ylabel("predicted / measured")
    axes[0][0].set_yticks(TICKS_RATIO, [f"{tick:g}" for tick in TICKS_RATIO])
    axes[0][0].set_yticks([], minor=True)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9)
    figure.savefig(folder / "figure.png", dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def _panel(panel: Any, rows: list[dict[str, str]], table: LatencyTable) -> None:
    """Draw one runtime; what lies beyond the axis is drawn at its edge, and counted in the title."""
    measured = np.array([float(row["measured_ms"]) for row in rows])
    noise = (table.quality.noise_floor_pct or 0) / 100
    least, most = TICKS_RATIO[0], TICKS_RATIO[-1]
    beyond = 0
    panel.axhspan(0.9, 1.1, color="0.93", label="within 10 %")
    panel.axhspan(1 - noise, 1 + noise, color="0.82", label="noise of the sentinel")
    panel.axhline(1, color="0.45", linewidth=0.8)
    for (name, marker), colour in zip(SHOWN.items(), COLOURS, strict=True):
        ratios = np.array([float(row[name]) for row in rows]) / measured
        beyond += int(((ratios < least) | (ratios > most)).sum())
        size, order = (6, 3) if name == OURS else (5, 2)
        panel.plot(measured, ratios.clip(least, most), marker, label=name, color=colour, markersize=size, zorder=order)
    title = f"{table.runtime}, {len(rows)} networks" + (f"; {beyond} points beyond the axis" if beyond else "")
    panel.set_title(title, fontsize=10)
    panel.set(xlabel="measured, ms", xscale="log", yscale="log", ylim=(0.97 * least, 1.03 * most))
    panel.set_xticks(TICKS_MS, [str(tick) for tick in TICKS_MS])
    panel.set_xticks([], minor=True)
    panel.set_xlim(0.9 * measured.min(), 1.1 * measured.max())


def _two_lengths(run: Run) -> Predictor:
    """Predict by the slope of two chains for every block, with factors of its own."""
    entries = dict(run.table.entries)
    for key, entry in entries.items():
        slope = (run.times_ms.get(f"{key}*6", 0.0) - run.times_ms.get(f"{key}*2", 0.0)) / 4
        if entry.scope == "chain" and slope > 0:
            entries[key] = entry.model_copy(update={"ms": slope, "lo": slope, "hi": slope})
    table = run.table.model_copy(update={"entries": entries})
    fitted = fit_composition(table, [(network.architecture, network.ms) for network in run.calibration])
    table = table.model_copy(update={"composition": fitted})
    return lambda architecture: table.predict(architecture).ms


def _with_factor(sums: Predictor, calibration: list[Measured]) -> Predictor:
    factor = statistics.median(network.ms / sums(network.architecture) for network in calibration)
    return lambda architecture: factor * sums(architecture)


def _linear_in_macs(calibration: list[Measured]) -> Predictor:
    """Fit a, b >= 0 with the least relative errors."""
    from scipy.optimize import nnls

    ms = np.array([network.ms for network in calibration])
    gmacs = np.array([count(network.architecture).gmacs for network in calibration])
    (a, b), _ = nnls(np.stack([1 / ms, gmacs / ms], axis=1), np.ones(len(ms)))
    return lambda architecture: float(a + b * count(architecture).gmacs)


def _features(architecture: AnyArchitecture) -> list[float]:
    """Return logarithms of what an encoder's operations amount to, and the share of each block type in its MACs."""
    ops = count(architecture)
    kinds = ("vit", "repvit", "efficientvit", "rwkv")
    gmacs = {kind: sum(part.ops.gmacs for part in parts(architecture) if part.kind == kind) for kind in kinds}
    amounts = (ops.dense_macs, ops.depthwise_macs, ops.traffic, ops.kernels)
    return [*(math.log(amount) for amount in amounts), *(gmacs[kind] / ops.gmacs for kind in kinds)]


def _boosting(calibration: list[Measured]) -> Predictor:
    from sklearn.ensemble import GradientBoostingRegressor

    return _learned(GradientBoostingRegressor(random_state=0), calibration)


def _ridge(calibration: list[Measured]) -> Predictor:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return _learned(make_pipeline(StandardScaler(), RidgeCV(np.logspace(-4, 2, 25))), calibration)


def _learned(model: object, calibration: list[Measured]) -> Predictor:
    features = np.array([_features(network.architecture) for network in calibration])
    model.fit(features, np.log([network.ms for network in calibration]))  # type: ignore[attr-defined]
    return lambda architecture: math.exp(model.predict(np.array([_features(architecture)]))[0])  # type: ignore[attr-defined]


def _write_csv(path: Path, rows: Sequence[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _put_into(page: Path, text: str, marks: tuple[str, str] = MARKS) -> None:
    """Replace what stands between the marks of a page."""
    before, _, rest = page.read_text().partition(marks[0])
    _, _, after = rest.partition(marks[1])
    page.write_text(f"{before}{marks[0]}\n{text}\n{marks[1]}{after}")


if __name__ == "__main__":
    main()
