"""Devices with published times of networks whose operations can be counted: prices, errors, intervals, tables."""

import csv
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from supersam.latency import Composition, Device, Estimator, LatencyTable, Power, Runtime
from supersam.latency.fitting import (
    Errors,
    errors,
    fit_prices,
    held_in_splits,
    held_left_out,
    predict_left_out,
    spread_left_out,
)

HERE = Path(__file__).resolve().parent
AGX = HERE.parent / "0001-jetson-agx-orin" / "calibration.csv"  # its rows' operations; timm cannot build all of them
DATE = "2026-11-22"  # of the fit; a constant, so that the same rows give the same bytes on any day
NOT_STATED = "not stated by the sources"
SMALLEST_SPREAD = 1.4  # a 90 % quantile of a few dozen rows rests on three of them, so a lower one is not believed
EXTRAPOLATED = 2 / 1.4  # how much wider for kinds of part that no row has: the judgement of 0001-jetson-agx-orin
FEW_SERIES = 40  # up to here each series is left out in turn for the coverage; random splits are enough for more

Array = NDArray[np.float64]


class Published(NamedTuple):
    """A table to be: what its rows were timed on."""

    name: str
    device: Device
    runtime: Runtime
    precision: str
    bytes_per_element: int
    wide_kinds: tuple[str, ...]  # kinds of part that no row has, or whose rows the others do not foresee
    note: str
    shipped: bool = True
    aliases: tuple[str, ...] = ()
    exporter: str = NOT_STATED
    least_spread: float = SMALLEST_SPREAD
    batch: int = 1


TIMM_NOTE = (
    "timm's own benchmark of whole classifiers, two networks of each family and the SAM, EfficientViT, RepViT and "
    "plain ViT families"
)
DEVICES = (
    Published(
        name="cpu-i7-12700h",
        device=Device(name="Intel Core i7-12700H (laptop)", kind="cpu"),
        runtime=Runtime(name="torch-compile", version="2.4.0"),
        exporter="none",
        precision="fp32",
        bytes_per_element=4,
        wide_kinds=("rwkv",),
        note=f"{TIMM_NOTE}; threads and clocks are not stated.",
    ),
    Published(
        name="cpu-i9-10940x",
        device=Device(name="Intel Core i9-10940X (workstation)", kind="cpu"),
        runtime=Runtime(name="torch-compile", version="2.4.0"),
        exporter="none",
        precision="fp32",
        bytes_per_element=4,
        wide_kinds=("rwkv",),
        note=f"{TIMM_NOTE}; threads and clocks are not stated.",
    ),
    Published(
        name="rtx-4090",
        device=Device(name="NVIDIA GeForce RTX 4090, throughput", kind="gpu"),
        runtime=Runtime(name="torch-compile", version="2.9.1"),
        exporter="none",
        precision="amp-fp16",
        bytes_per_element=2,
        batch=1024,
        wide_kinds=("rwkv", "sam_layer"),
        note="This is throughput: the time of a batch, up to 1024 images, divided by the images. One image alone takes "
        f"longer, by how much nobody published. {TIMM_NOTE}.",
    ),
    Published(
        name="a100",
        device=Device(name="NVIDIA A100, throughput", kind="gpu"),
        runtime=Runtime(name="tensorrt", options={"images_at_a_time": "16, 1 or not stated"}),
        precision="fp16",
        bytes_per_element=2,
        wide_kinds=("vit", "rwkv", "sam_layer", "repvit"),
        note="Rows of different batches and runtimes.",
        shipped=False,
    ),
    Published(
        name="snapdragon-8-gen-3",
        device=Device(name="Qualcomm Snapdragon 8 Gen 3 (Samsung Galaxy S24), NPU", kind="npu"),
        runtime=Runtime(name="qnn", version="QAIRT 2.42.0", provider="HTP"),
        precision="fp16",
        bytes_per_element=2,
        wide_kinds=("rwkv", "sam_layer"),
        note="Qualcomm AI Hub's profiles on hosted phones, floating-point networks that run on the NPU as a whole.",
        shipped=False,
    ),
    Published(
        name="snapdragon-8-elite",
        device=Device(name="Qualcomm Snapdragon 8 Elite (Samsung Galaxy S25), NPU", kind="npu"),
        runtime=Runtime(name="qnn", version="QAIRT 2.42.0", provider="HTP"),
        precision="fp16",
        bytes_per_element=2,
        wide_kinds=("rwkv", "sam_layer"),
        note="Qualcomm AI Hub's profiles on hosted phones, floating-point networks that run on the NPU as a whole.",
        shipped=False,
    ),
    Published(
        name="iphone-12",
        aliases=("iphone",),
        device=Device(name="Apple iPhone 12 and 12 Pro (A14)", kind="phone"),
        runtime=Runtime(name="coreml"),
        precision="fp16",
        bytes_per_element=2,
        wide_kinds=("vit", "rwkv", "sam_layer", "efficientvit"),
        note="The pages of FastViT and RepViT, to a tenth of a millisecond; precision is not stated, fp16 is taken.",
        least_spread=1.5,  # four families only
    ),
    Published(
        name="raspberry-pi-5",
        device=Device(name="Raspberry Pi 5 (Cortex-A76)", kind="cpu"),
        runtime=Runtime(name="tflite"),
        precision="fp16",
        bytes_per_element=2,
        wide_kinds=("vit", "rwkv", "sam_layer", "efficientvit"),
        note="NetsPresso's table of device latencies, compute only; threads are not stated.",
        shipped=False,
    ),
)


class Row(NamedTuple):
    """The published time of a network and its counted operations, for one image."""

    network: str
    resolution: str
    series: str
    ms: float
    batch: str
    features: tuple[float, ...]  # in the order of fitting.FEATURES
    source: str


class Fit(NamedTuple):
    """The prices of a device and what they would have said of families they had not seen."""

    device: Published
    rows: list[Row]
    prices: Array  # in the order of fitting.FEATURES
    left_out_ms: Array
    errors: Errors
    spread: float
    held: NDArray[np.bool_] | None  # is the row within the interval of the others? None: too many series
    held_in_splits: float

    @property
    def least(self) -> float:
        return self.device.least_spread

    @property
    def ms(self) -> Array:
        return np.array([row.ms for row in self.rows])

    @property
    def series(self) -> list[str]:
        return [row.series for row in self.rows]

    @property
    def features(self) -> Array:
        return np.array([row.features for row in self.rows])


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def operations(bytes_per_element: int) -> dict[tuple[str, str], tuple[float, ...]]:
    """Return the features of every counted network by name and resolution."""
    found = {
        (line["network"], line["resolution"]): (
            float(line["kernels"]),
            float(line["dense_gmac"]),
            float(line["depthwise_gmac"]),
            float(line["traffic_m"]) * bytes_per_element,
        )
        for line in read(HERE / "features.csv")
    }
    for line in read(AGX):
        found[f"calibrated:{line['model']}", line["resolution"]] = (
            float(line["kernels"]),
            float(line["dense_gmac"]),
            float(line["depthwise_gmac"]),
            float(line["traffic_mb_fp16"]) * bytes_per_element / 2,
        )
    return found


def read_rows(device: Published) -> list[Row]:
    """Return the rows of a device whose networks could be counted."""
    counted = operations(device.bytes_per_element)
    return [
        Row(
            line["network"],
            line["resolution"],
            line["series"],
            float(line["ms"]),
            line["batch"],
            counted[line["network"], line["resolution"]],
            line["source"],
        )
        for line in read(HERE / "rows.csv")
        if line["table"] == device.name and (line["network"], line["resolution"]) in counted
    ]


def fit_device(device: Published) -> Fit:
    """Fit a device, then leave out each series."""
    rows = read_rows(device)
    ms, series = np.array([row.ms for row in rows]), [row.series for row in rows]
    features = np.array([row.features for row in rows])
    predicted = predict_left_out(features, ms, series)
    few = len(set(series)) <= FEW_SERIES
    return Fit(
        device=device,
        rows=rows,
        prices=fit_prices(features, ms),
        left_out_ms=predicted,
        errors=errors(ms, predicted),
        spread=max(device.least_spread, spread_left_out(features, ms, series)),
        held=held_left_out(features, ms, series, device.least_spread) if few else None,
        held_in_splits=held_in_splits(features, ms, series, device.least_spread, splits=200 if few else 20),
    )


def fit_all() -> list[Fit]:
    """Fit every device, also those whose table is not worth shipping."""
    return [fit_device(device) for device in DEVICES]


def rounded(value: float) -> float:
    """Round to four significant digits; never changes the order of two values."""
    return float(f"{value:.4g}")


def raised(value: float) -> float:
    """Round up to two decimals, for spreads."""
    return math.ceil(value * 100) / 100


def percent(share: float, digits: int = 0) -> str:
    """Write a share in percent."""
    return f"{100 * share:.{digits}f} %"


def sources(rows: list[Row]) -> tuple[str, ...]:
    """Return the public pages of the rows, each once; where one repository has many, it is named instead."""
    pages = sorted({row.source.partition(" (")[0] for row in rows})
    if len(pages) > 5:
        pages = sorted({page.partition(":")[0] for page in pages})
    return tuple(_address(page) for page in pages)


def _address(page: str) -> str:
    repository, _, path = page.partition(":")
    repository, _, commit = repository.partition("@")
    return (
        f"https://github.com/{repository}/blob/{commit}/{path}"
        if path
        else f"https://github.com/{repository}/tree/{commit}"
    )


def licence(rows: list[Row]) -> str:
    """Name the licence of every repository."""
    found = {(row.source.partition("@")[0], re.search(r"\((.*)\)$", row.source)) for row in rows}
    named = sorted({f"{repository}: {match.group(1)}" for repository, match in found if match})
    return "; ".join(named) + "; figures carried over with their source, no text or code"


def note(fit: Fit) -> str:
    """Say in plain words what the table is worth."""
    coverage = percent(fit.held.mean() if fit.held is not None else fit.held_in_splits)
    how = "with each family left out" if fit.held is not None else "in random splits of the families"
    kinds = ", ".join(fit.device.wide_kinds)
    worst = max(range(len(fit.rows)), key=lambda at: abs(math.log(fit.left_out_ms[at] / fit.rows[at].ms)))
    off = f"{fit.rows[worst].network.rpartition(':')[2]} takes {fit.rows[worst].ms / fit.left_out_ms[worst]:.2g} times"
    return (
        f"Estimated, never run here: prices of operations fitted on {len(fit.rows)} published rows of "
        f"{len(set(fit.series))} families. With a family left out the mean error is {percent(fit.errors.mape, 1)} "
        f"({percent(fit.errors.within_10)} of the rows within 10 %); the 90 % interval, a factor of "
        f"{raised(fit.spread):g}, held {coverage} of rows it had not seen ({how}); the worst, {off} what the other "
        f"families say. {kinds} parts are in no row or are not foreseen by the others: their interval is a factor of "
        f"{raised(fit.spread * EXTRAPOLATED):g}. "
        f"{fit.device.note}"
    )


def make_estimator(fit: Fit) -> Estimator:
    """Return the prices as the estimator of a table."""
    kernels, dense, depthwise, traffic = (rounded(price) for price in fit.prices)
    return Estimator(
        ms_per_kernel=max(kernels, 1e-9),  # no part runs in no time
        ms_per_dense_gmac=dense,
        ms_per_depthwise_gmac=depthwise,
        ms_per_traffic_mb=traffic,
        bytes_per_element=fit.device.bytes_per_element,
        spread=raised(fit.spread),
        spread_of_kind=dict.fromkeys(fit.device.wide_kinds, raised(fit.spread * EXTRAPOLATED)),
        calibration_rows=len(fit.rows),
    )


def make_table(fit: Fit) -> LatencyTable:
    """Return the table of a device: its estimator prices every part, so no entry is stored."""
    device = fit.device
    return LatencyTable(
        schema=2,
        name=device.name,
        aliases=device.aliases,
        device=device.device,
        runtime=device.runtime,
        exporter=device.exporter,
        precision=device.precision,
        batch=device.batch,
        power=Power(mode=NOT_STATED),
        clock="published",
        method="estimated",
        grade="E",
        date=DATE,
        sources=(*sources(fit.rows), f"experiments/{HERE.name}/fit.py"),
        licence=licence(fit.rows),
        note=note(fit),
        composition=Composition(note="parts are summed as they are: no whole encoder was timed on this device"),
        estimator=make_estimator(fit),
    )
