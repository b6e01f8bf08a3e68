"""What was found, as CSV, as the tables of the README, and as figures."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import devices
import numpy as np
from devices import Array, Fit, percent, raised, rounded
from jetsons import LAWS, Transfer, held_own, left_out, make_estimator, widening
from known import Known

from supersam.latency.fitting import errors

# Okabe and Ito's colours, which colour-blind readers tell apart; their yellow is too pale for points on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#808000")
MARKERS = "os^DvPX*"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *lines))


def devices_table(fits: Sequence[Fit]) -> str:
    """Return a line for each device."""
    head = ["table", "shipped", "rows", "families", "MAPE", "within 10 %", "Spearman", "interval"]
    head += ["coverage: family out", "coverage: splits"]
    lines = []
    for fit in fits:
        held = "-" if fit.held is None else percent(fit.held.mean())
        coverage = [held, percent(fit.held_in_splits)]
        shares = [percent(fit.errors.mape, 1), percent(fit.errors.within_10), f"{fit.errors.spearman:.3f}"]
        counts = [str(len(fit.rows)), str(len(set(fit.series)))]
        shipped = "yes" if fit.device.shipped else "no"
        lines.append([f"`{fit.device.name}`", shipped, *counts, *shares, f"x{raised(fit.spread):.2f}", *coverage])
    return table(head, lines)


def prices_table(fits: Sequence[Fit], transfers: Sequence[Transfer]) -> str:
    """Return the prices of each shipped table."""
    found = {fit.device.name: devices.make_estimator(fit) for fit in fits if fit.device.shipped}
    found |= {transfer.name: make_estimator(transfer) for transfer in transfers}
    head = ["table", "µs per kernel", "ms per dense GMAC", "ms per depth-wise GMAC", "ms per MB"]
    lines = []
    for name, one in found.items():
        numbers = [one.ms_per_kernel * 1000, one.ms_per_dense_gmac, one.ms_per_depthwise_gmac, one.ms_per_traffic_mb]
        lines.append([f"`{name}`", *(f"{number:.4g}" for number in numbers)])
    return table(head, lines)


def transfers_table(transfers: Sequence[Transfer]) -> str:
    """Return a line for each Jetson and law."""
    head = ["to", "law", "MAPE", "within 10 %", "nine in ten within"]
    lines = []
    for transfer in transfers:
        for law in LAWS:
            found = transfer.laws[law]
            name = f"{law}: kernels x{transfer.start:g}, work x{transfer.work:g}" if law == "two rates" else law
            shares = [percent(found.mape, 1), percent(found.within_10), f"x{found.factor_90:.2f}"]
            lines.append([f"`{transfer.name}`", name, *shares])
    return table(head, lines)


def own_rows_text(transfers: Sequence[Transfer]) -> str:
    """Say how the transferred prices do on networks timed on the device itself."""
    lines = []
    for transfer in transfers:
        if transfer.own_rows is not None:
            found = errors(transfer.own_rows[:, 0], transfer.own_rows[:, 1])
            lines.append(
                f"`{transfer.name}` has {len(transfer.own_rows)} networks of NetsPresso that the rates have not seen: "
                f"mean error {percent(found.mape, 1)}, Spearman {found.spearman:.3f}, {percent(held_own(transfer))} "
                f"within the interval of x{make_estimator(transfer).spread:g}"
                + (f", widened by x{widening(transfer):.2f} for them." if widening(transfer) > 1 else ".")
            )
    return "\n".join(lines)


def known_table(encoders: Sequence[Known]) -> str:
    """Return a line for each encoder."""
    head = ["table", "encoder", "side, px", "published, ms", "predicted, ms", "90 % interval", "off", "held"]
    lines = []
    for one in encoders:
        interval = f"{one.predicted_ms / one.spread:.3g}-{one.predicted_ms * one.spread:.3g}"
        times = [f"{one.published_ms:.4g}", f"{one.predicted_ms:.3g}", interval]
        off = f"{100 * (one.predicted_ms / one.published_ms - 1):+.0f} %"
        name = f"`{one.table}`" + ("" if one.shipped else " (not shipped)")
        lines.append([name, one.encoder, one.resolution.split("x")[0], *times, off, "yes" if one.holds else "**no**"])
    return table(head, lines)


def known_text(encoders: Sequence[Known]) -> str:
    """Sum up the encoders on shipped tables."""
    shipped = [one for one in encoders if one.shipped]
    held = sum(one.holds for one in shipped)
    predicted = np.array([one.predicted_ms for one in shipped])
    off = errors(np.array([one.published_ms for one in shipped]), predicted)
    return (
        f"On shipped tables: {len(shipped)} encoders, mean error {percent(off.mape, 1)}, {held} within their intervals "
        f"({percent(held / len(shipped))})."
    )


def fill(readme: str, fits: Sequence[Fit], transfers: Sequence[Transfer], encoders: Sequence[Known]) -> str:
    """Put the numbers between the README's markers, ``<!-- name -->`` and ``<!-- end -->``."""
    texts = {
        "devices": devices_table(fits),
        "prices": prices_table(fits, transfers),
        "transfers": transfers_table(transfers) + "\n\n" + own_rows_text(transfers),
        "known": known_table(encoders) + "\n\n" + known_text(encoders),
    }
    for name, text in texts.items():
        start, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, _, rest = readme.partition(start)
        readme = before + start + text + "\n" + end + rest.partition(end)[2]
    return readme


def _csv(head: Sequence[str], lines: Sequence[Sequence[str | float]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return text.getvalue()


def results_csv(fits: Sequence[Fit]) -> str:
    """Return each row with what was published and what the other families say, in ms."""
    lines = []
    for fit in fits:
        for row, predicted in zip(fit.rows, fit.left_out_ms, strict=True):
            error = f"{100 * (predicted / row.ms - 1):+.1f}"
            lines.append([fit.device.name, row.network, row.resolution, row.series, row.ms, rounded(predicted), error])
    head = ["table", "network", "resolution", "family", "published_ms", "family_out_ms", "error_pct"]
    return _csv(head, lines)


def transfers_csv(transfers: Sequence[Transfer]) -> str:
    """Return each YOLO network with its time on both devices and what each law says without it, in ms."""
    lines: list[list[str | float]] = []
    for transfer in transfers:
        points = transfer.points
        columns = [points.here_ms, points.floor_ms, points.there_ms, *(left_out(points, law) for law in LAWS)]
        for name, *numbers in zip(points.networks, *columns, strict=True):
            lines.append([transfer.name, name, *(rounded(number) for number in numbers)])
    laws = [law.replace(" ", "_") + "_ms" for law in LAWS]
    return _csv(["to", "network", "agx_orin_ms", "of_which_floor_ms", "published_ms", *laws], lines)


def known_csv(encoders: Sequence[Known]) -> str:
    """Return each encoder with its published and predicted time, in ms."""
    head = ["table", "shipped", "encoder", "resolution", "published_ms", "predicted_ms", "lo_ms", "hi_ms", "held"]
    lines = []
    for one in encoders:
        bounds = [rounded(one.predicted_ms / one.spread), rounded(one.predicted_ms * one.spread)]
        words = ["yes" if flag else "no" for flag in (one.shipped, one.holds)]
        name = [one.table, words[0], one.encoder, one.resolution]
        lines.append([*name, one.published_ms, rounded(one.predicted_ms), *bounds, words[1]])
    return _csv(head, lines)


def draw_fits(fits: Sequence[Fit], transfers: Sequence[Transfer], path: Path) -> None:
    """Draw predicted against published time, a panel for each device."""
    pyplot = _pyplot()
    count = len(fits) + len(transfers)
    figure, grid = pyplot.subplots(-(-count // 4), 4, figsize=(14, 3.5 * -(-count // 4)), layout="constrained")
    panels = list(grid.flat)
    for axes, fit in zip(panels, fits, strict=False):
        suffix = "" if fit.device.shipped else " (not shipped)"
        title = f"{fit.device.name}{suffix}\nfamily out: {percent(fit.errors.mape)} off"
        _panel(axes, fit.ms, fit.left_out_ms, raised(fit.spread), title)
    for axes, transfer in zip(panels[len(fits) :], transfers, strict=False):
        found = transfer.laws["two rates"]
        title = f"{transfer.name}: YOLO from AGX Orin\nnetwork out: {percent(found.mape)} off"
        _panel(axes, transfer.points.there_ms, transfer.left_out_ms, found.factor_90, title)
    for axes in panels[count:]:
        axes.remove()
    figure.suptitle("Grey: the 90 % interval. Nothing was run here.")
    figure.supxlabel("published, ms")
    figure.supylabel("predicted with its family (for the Jetsons: the network) left out, ms")
    figure.savefig(path, dpi=90, metadata={"Software": None})  # the version of matplotlib would change the bytes
    pyplot.close(figure)


def _panel(axes: Any, published: Array, predicted: Array, spread: float, title: str) -> None:
    limits = np.array([min(published.min(), predicted.min()) / 1.5, max(published.max(), predicted.max()) * 1.5])
    axes.fill_between(limits, limits / spread, limits * spread, color="0.9")
    axes.plot(limits, limits, color="0.45", linewidth=1)
    axes.scatter(published, predicted, s=12, color=COLOURS[0], zorder=3, linewidth=0)
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.set_title(title, fontsize=9)
    axes.grid(color="0.93", linewidth=0.6)


def draw_known(encoders: Sequence[Known], path: Path) -> None:
    """Draw the published time of each encoder over its prediction, with the interval; a colour for each device."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(9, 0.27 * len(encoders) + 1.2), layout="constrained")
    names = list(dict.fromkeys(one.table for one in encoders))
    for at, one in enumerate(encoders):
        number = names.index(one.table) % len(COLOURS)
        axes.plot([1 / one.spread, one.spread], [at, at], color="0.75", linewidth=3, solid_capstyle="butt", zorder=1)
        ratio = one.published_ms / one.predicted_ms
        axes.scatter(ratio, at, color=COLOURS[number], marker=MARKERS[number], s=34, zorder=3)
    axes.axvline(1, color="0.45", linewidth=1, zorder=2)
    axes.set_xscale("log")
    ticks = (0.5, 0.7, 1, 1.5, 2, 3, 5)
    axes.xaxis.set_ticks(ticks, [f"x{tick:g}" for tick in ticks])
    axes.xaxis.set_ticks([], minor=True)
    labels = [f"{one.encoder}, {one.table}" + ("" if one.shipped else " (not shipped)") for one in encoders]
    axes.yaxis.set_ticks(range(len(encoders)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("published / predicted with the series of SAM encoders left out; grey: 90 % interval")
    axes.grid(axis="x", color="0.93", linewidth=0.6)
    figure.savefig(path, dpi=90, metadata={"Software": None})
    pyplot.close(figure)


def _pyplot() -> Any:
    import matplotlib  # here, so that --check and the tests do without it

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
