"""Fit the estimated latency table of the NVIDIA Jetson AGX Orin to latencies that others published.

    python experiments/0001-jetson-agx-orin/fit.py          # write results.csv, figure.png and the table
    python experiments/0001-jetson-agx-orin/fit.py --check  # exit 1 if a shipped file is not what the rows give

The model, and how it is fitted and left out, is in ``supersam/latency/fitting.py``.
"""

import argparse
import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from supersam.latency import (
    Composition,
    Device,
    Entry,
    Estimator,
    LatencyTable,
    Power,
    Runtime,
    conformal_quantile,
    space_parts,
)
from supersam.latency.fitting import errors, fit_prices, held_in_splits, held_left_out, predict_left_out
from supersam.space import Part, load_space, shipped_spaces

HERE = Path(__file__).resolve().parent
CALIBRATION = HERE / "calibration.csv"
RESULTS = HERE / "results.csv"
FIGURE = HERE / "figure.png"
TABLE = HERE.parents[1] / "latency_tables" / "jetson-agx-orin.json"

DATE = "2026-11-22"  # of the fit; a constant, so that the same rows give the same bytes on any day
FEATURES = {  # column of calibration.csv: unit
    "kernels": "kernel",
    "dense_gmac": "dense GMAC",
    "depthwise_gmac": "depth-wise GMAC",
    "traffic_mb_fp16": "MB of traffic",
}
BYTES_PER_ELEMENT = 2  # fp16, the precision of every row
DIGITS = 4  # significant; far finer than the errors, coarse enough to hide the last bits of a solver
QUANTILES = (50, 80, 90)  # percent
SMALLEST_SPREAD = 1.4  # the 90 % quantile of 34 rows rests on three of them, so a lower one is not believed
EXTRAPOLATED_SPREAD = 2.0
SPLITS = 200  # random ones that the coverage is checked on
EXTRAPOLATED = ("vit", "rwkv", "sam_layer")  # kinds of part of which no row has one: softmax attention, scans
SAM_SERIES = "evit-sam"  # rows whose page calls them end-to-end, see the note of the table

# Okabe and Ito's colours, which colour-blind readers tell apart, and a marker each for print; their yellow is
# too pale for points on white, so olive stands in for it.
STYLES = tuple(
    zip(
        ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#808000"),
        "os^DvPX*",
        strict=True,
    )
)
TICKS_MS = (0.5, 1, 2, 5, 10, 20, 50, 100)

Array = NDArray[np.float64]


class Row(NamedTuple):
    """The published latency of one network and the operations counted on a rebuilt one, for one image."""

    model: str
    resolution: str  # height x width of the input, in pixels
    series: str  # networks of one family and task: what is left out together
    latency_ms: float
    features: tuple[float, ...]  # in the order of FEATURES
    source: str  # "owner/repository@commit:path (licence; what the latency includes)"


class Study(NamedTuple):
    """The fit on all rows and what it would have said of rows it had not seen."""

    rows: list[Row]
    coefficients: Array  # ms per unit of each of FEATURES
    row_out_ms: Array
    series_out_ms: Array
    held: NDArray[np.bool_]  # is the row within the interval that the other series give?
    held_in_splits: float  # the same over random splits: share of the held-out rows
    held_without_least: float  # with each series left out, by the quantile alone


def read_rows(path: Path = CALIBRATION) -> list[Row]:
    """Read the calibration rows."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Row(
                model=line["model"],
                resolution=line["resolution"],
                series=line["series"],
                latency_ms=float(line["latency_ms"]),
                features=tuple(float(line[name]) for name in FEATURES),
                source=line["source"],
            )
            for line in csv.DictReader(file)
        ]


def features_of(rows: Sequence[Row]) -> Array:
    """Return the features, shape (rows, features)."""
    return np.array([row.features for row in rows])


def measured_ms(rows: Sequence[Row]) -> Array:
    """Return the published latencies, shape (rows,)."""
    return np.array([row.latency_ms for row in rows])


def factor(measured: Array, predicted: Array, percent: int) -> float:
    """Return the factor that ``percent`` % of the errors stay below."""
    return math.exp(conformal_quantile(list(np.abs(np.log(predicted / measured))), percent / 100))


def study(rows: list[Row]) -> Study:
    """Fit all rows, then leave out each row and each series."""
    features, ms, series = features_of(rows), measured_ms(rows), [row.series for row in rows]
    return Study(
        rows=rows,
        coefficients=fit_prices(features, ms),
        row_out_ms=predict_left_out(features, ms, range(len(rows))),
        series_out_ms=predict_left_out(features, ms, series),
        held=held_left_out(features, ms, series, SMALLEST_SPREAD),
        held_in_splits=held_in_splits(features, ms, series, SMALLEST_SPREAD, SPLITS),
        held_without_least=float(held_left_out(features, ms, series).mean()),
    )


def percent(share: float, digits: int = 0) -> str:
    """Write a share in percent."""
    return f"{100 * share:.{digits}f} %"


def rounded(value: float) -> float:
    """Round to DIGITS significant digits; never changes the order of two values."""
    return float(f"{value:.{DIGITS}g}")


def make_estimator(result: Study) -> Estimator:
    """Return the fit as the estimator of a table."""
    kernels, dense, depthwise, traffic = (rounded(value) for value in result.coefficients)
    series_out = factor(measured_ms(result.rows), result.series_out_ms, 90)
    return Estimator(
        ms_per_kernel=kernels,
        ms_per_dense_gmac=dense,
        ms_per_depthwise_gmac=depthwise,
        ms_per_traffic_mb=traffic,
        bytes_per_element=BYTES_PER_ELEMENT,
        spread=max(SMALLEST_SPREAD, rounded(series_out)),
        spread_of_kind=dict.fromkeys(EXTRAPOLATED, EXTRAPOLATED_SPREAD),
        calibration_rows=len(result.rows),
    )


def rounded_estimate(estimator: Estimator, part: Part) -> Entry:
    """Return the estimate of a part with times that are short to read."""
    entry = estimator.estimate(part)
    return entry.model_copy(update={key: rounded(getattr(entry, key)) for key in ("ms", "lo", "hi")})


def make_entries(estimator: Estimator) -> dict[str, Entry]:
    """Estimate every part of the shipped spaces.

    The estimator alone would do for a search; the entries are there to be read, compared and drawn.
    """
    found = {part for name in shipped_spaces() for part in space_parts(load_space(name))}
    ordered = sorted(found, key=lambda part: (part.kind, part.arguments))
    return {part.key: rounded_estimate(estimator, part) for part in ordered}


def addresses(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the public pages the rows are from, each once."""
    pages = (row.source.partition(" ")[0] for row in rows)
    split = (page.replace("@", ":").split(":") for page in dict.fromkeys(pages))
    return tuple(f"https://github.com/{repository}/blob/{commit}/{path}" for repository, commit, path in split)


def note(result: Study) -> str:
    """Say in plain words what the table is worth."""
    measured = measured_ms(result.rows)
    series_out = errors(measured, result.series_out_ms)
    in_sam = np.array([row.series == SAM_SERIES for row in result.rows])
    with_transfer = sum("data transfer included" in row.source for row in result.rows)
    parts = [
        f"Estimated, never run here: a linear model fitted on {len(result.rows)} published rows.",
        f"With a whole series of networks left out its mean error is {percent(series_out.mape, 1)}",
        f"({percent(series_out.within_10)} of the rows within 10 %), and the interval holds "
        f"{percent(result.held.mean())} of them ({percent(result.held_in_splits)} in random splits of the series; "
        f"{percent(result.held_without_least)} without its least factor of {SMALLEST_SPREAD:g}, which was chosen with "
        "these rows in sight).",
        f"{with_transfer} of the published latencies include the transfer of data, the others are compute only.",
        f"No row has softmax attention on tokens or a scan, so {', '.join(EXTRAPOLATED)} parts are extrapolation:",
        f"their interval is a factor of {EXTRAPOLATED_SPREAD:g}.",
    ]
    if in_sam.any():
        ratio = measured[in_sam] / result.series_out_ms[in_sam]
        low, high = ratio.min(), ratio.max()
        parts.append(
            f"The EfficientViT-SAM rows are {percent(low - 1)} to {percent(high - 1)} higher than a fit without them "
            f"says (it is {percent(1 - 1 / low)} to {percent(1 - 1 / high)} too low), as they likely include the "
            "decoder: their page calls them end-to-end and counts the MACs of the encoder alone."
        )
    parts.append("Power mode, clocks and TensorRT versions are not stated (the compute-only rows name JetPack 5.0.1).")
    return " ".join(parts)


def make_table(result: Study) -> LatencyTable:
    """Return the table of the device."""
    estimator = make_estimator(result)
    return LatencyTable(
        schema=2,
        name=TABLE.stem,
        aliases=("jetson-orin",),
        device=Device(name="NVIDIA Jetson AGX Orin", kind="gpu"),
        runtime=Runtime(name="tensorrt"),
        exporter="not stated by the sources",
        precision="fp16",
        power=Power(mode="not stated by the sources"),
        clock="published",
        method="estimated",
        grade="E",
        date=DATE,
        sources=(*addresses(result.rows), f"experiments/{HERE.name}/fit.py"),
        licence="the pages with the rows are Apache-2.0 (Copyright 2023 Han Cai; Copyright 2023 Nota Inc.); "
        "figures carried over with their source, no text or code",
        note=note(result),
        composition=Composition(note="parts are summed as they are: no whole encoder was timed on this device"),
        estimator=estimator,
        entries=make_entries(estimator),
    )


def results_csv(result: Study) -> str:
    """Return each row with what was measured and predicted, in ms, and the errors in percent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["model", "resolution", "series", "measured_ms"]
    columns = ["row_out_ms", "row_out_error_pct", "series_out_ms", "series_out_error_pct", "within_interval"]
    writer.writerow([*head, *columns])
    each = zip(result.rows, result.row_out_ms, result.series_out_ms, result.held, strict=True)
    for row, row_out, series_out, held in each:
        cells: list[str | float] = [row.model, row.resolution, row.series, row.latency_ms]
        for predicted in (row_out, series_out):
            cells += [rounded(predicted), f"{100 * (predicted / row.latency_ms - 1):+.1f}"]
        writer.writerow([*cells, "yes" if held else "no"])
    return text.getvalue()


def summary(result: Study) -> str:
    """Return the errors and the coefficients as Markdown."""
    quantiles = " / ".join(f"{quantile} %" for quantile in QUANTILES)
    lines = [
        f"| left out | MAPE | within 10 % | Spearman | error factor, quantiles {quantiles} |",
        "|---|---|---|---|---|",
    ]
    for label, predicted in (("one row", result.row_out_ms), ("one series", result.series_out_ms)):
        found = errors(measured_ms(result.rows), predicted)
        factors = " / ".join(f"x{factor(measured_ms(result.rows), predicted, share):.2f}" for share in QUANTILES)
        shares = f"{percent(found.mape, 1)} | {percent(found.within_10, 1)}"
        lines.append(f"| {label} | {shares} | {found.spearman:.3f} | {factors} |")
    prices = zip(result.coefficients, FEATURES.values(), strict=True)
    fitted = ", ".join(f"{rounded(value):g} ms per {unit}" for value, unit in prices)
    covered = (
        "Coverage of the 90 % interval, prices and spread both from other series: "
        f"{percent(result.held.mean(), 1)} of the rows with each series left out, "
        f"{percent(result.held_in_splits, 1)} of the rows held out in {SPLITS} random splits; "
        f"{percent(result.held_without_least, 1)} with each series left out and no least spread."
    )
    return "\n".join([*lines, "", f"Fitted on all {len(result.rows)} rows: {fitted}.", "", covered])


def draw(result: Study, path: Path) -> None:
    """Draw predicted against published latency, a panel for each way of leaving out."""
    import matplotlib  # here, so that --check and the tests do without it

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(10.5, 5.4), sharex=True, sharey=True, layout="constrained")
    draw_panel(panels[0], result.rows, result.row_out_ms, "one row left out")
    draw_panel(panels[1], result.rows, result.series_out_ms, "one series left out")
    panels[0].set_ylabel("predicted latency (ms)")
    panels[1].legend(loc="lower right", fontsize=8)
    figure.suptitle(f"Jetson AGX Orin, TensorRT fp16, batch 1: {len(result.rows)} published rows, none run here")
    figure.savefig(path, dpi=110, metadata={"Software": None})  # the version of matplotlib would change the bytes
    pyplot.close(figure)


def draw_panel(axes: Any, rows: Sequence[Row], predicted: Array, title: str) -> None:
    """Draw predicted against published latency, both in ms, on logarithmic axes."""
    measured = measured_ms(rows)
    limits = np.array([measured.min() / 1.6, measured.max() * 1.6])
    axes.fill_between(limits, limits * 0.9, limits * 1.1, color="0.88", label="within 10 %")
    axes.plot(limits, limits, color="0.45", linewidth=1, label="predicted = published")
    for number, series in enumerate(dict.fromkeys(row.series for row in rows)):
        colour, marker = STYLES[number % len(STYLES)]
        chosen = np.array([row.series == series for row in rows])
        axes.scatter(measured[chosen], predicted[chosen], s=34, color=colour, marker=marker, label=series, zorder=3)
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal", xlabel="published latency (ms)")
    axes.set_title(f"{title}: mean error {percent(errors(measured, predicted).mape, 1)}")
    ticks = [tick for tick in TICKS_MS if limits[0] < tick < limits[1]]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_ticks([], minor=True)
    axes.grid(color="0.93", linewidth=0.6)


def stale(texts: dict[Path, str]) -> list[Path]:
    """Return the files that do not hold their text."""
    return [path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or check that they are what the rows give; return the exit code."""
    parser = argparse.ArgumentParser(description="Fit the estimated latency table of the Jetson AGX Orin.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a shipped file differs")
    options = parser.parse_args(arguments)
    result = study(read_rows())
    table = make_table(result)
    if options.check:
        # The figure is left out: fonts and rasteriser differ between versions of matplotlib.
        differing = stale({TABLE: table.to_json(), RESULTS: results_csv(result)})
        for path in differing:
            print(f"{path.name} is not what {CALIBRATION.name} gives; run this again without --check")
        return 1 if differing else 0
    print(summary(result))
    print(f"\n{table.note}\n\n{TABLE.name}: {len(table.entries)} entries")
    RESULTS.write_text(results_csv(result), encoding="utf-8", newline="\n")
    draw(result, FIGURE)
    table.save(TABLE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
