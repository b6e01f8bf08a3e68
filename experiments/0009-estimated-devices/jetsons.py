"""From the AGX Orin to smaller Jetsons: kernels and work each have a rate.

15 YOLO networks were timed at 8 sizes on four Jetsons (yolo.csv). An affine law, T there = a + b * T here, fits them
but has a negative a: below 1 ms or so it says that networks take no time, and a sum over parts has no place for it.
What stands behind it is that a small network waits for its kernels to start, a large one for arithmetic and memory, and
a smaller GPU has fewer units but hardly slower ones. So there are two rates, both positive:

    T there = start * F + work * (T here - F)

where F is what remains of a network's time here as its image shrinks to nothing: the intercept of T over the number of
pixels, from the eight sizes on the AGX Orin alone. The same two rates multiply the AGX Orin's prices: that of a kernel,
and those of MACs and traffic. What comes out is again a price for each operation, never negative, and is summed over
parts.
"""

import json
import math
from typing import NamedTuple

import numpy as np
from devices import DATE, HERE, NOT_STATED, Array, percent, raised, read, rounded
from scipy.optimize import nnls

from supersam.latency import Composition, Device, Estimator, LatencyTable, Power, Runtime
from supersam.latency import Transfer as Record
from supersam.latency.fitting import Errors, errors, factor_90

AGX_TABLE = HERE.parents[1] / "latency_tables" / "jetson-agx-orin.json"
SOURCE = "https://github.com/justincdavis/trtutils/tree/471d1e92/benchmark/data/models"
TARGETS = {
    "jetson-orin-nx": ("NVIDIA Jetson Orin NX 16 GB", "6"),
    "jetson-orin-nano": ("NVIDIA Jetson Orin Nano 8 GB (625 MHz, not Super)", "5"),
    "jetson-xavier-nx": ("NVIDIA Jetson Xavier NX 8 GB", "5"),
}
LEAST_HELD = 0.85  # share of a device's own rows


class Points(NamedTuple):
    """Times of the same networks on two devices."""

    networks: list[str]
    here_ms: Array  # on the AGX Orin
    floor_ms: Array  # of which as the image shrinks to nothing
    there_ms: Array


class Transfer(NamedTuple):
    """The rates of a device and how the laws do on networks they have not seen."""

    name: str
    points: Points
    start: float
    work: float
    laws: dict[str, Errors]  # by law, each network left out of its fit
    left_out_ms: Array  # by the two rates
    own_rows: Array | None  # (rows, 2): published ms of networks timed on this device, and what the table says


def read_points(target: str) -> Points:
    """Return the networks timed on both, and the floor of each on the AGX Orin."""
    lines = read(HERE / "yolo.csv")
    floors = {}
    for network in dict.fromkeys(line["network"] for line in lines):
        mine = [line for line in lines if line["network"] == network]
        ms = np.array([float(line["jetson-agx-orin"]) for line in mine])
        pixels = np.array([float(line["size_px"]) ** 2 / 1e6 for line in mine])
        (floor, _), _ = nnls(np.stack([np.ones_like(ms), pixels], 1) / ms[:, None], np.ones(len(ms)))
        floors[network] = floor
    both = [line for line in lines if line[target]]
    here = np.array([float(line["jetson-agx-orin"]) for line in both])
    return Points(
        networks=[line["network"] for line in both],
        here_ms=here,
        floor_ms=np.minimum([floors[line["network"]] for line in both], here),
        there_ms=np.array([float(line[target]) for line in both]),
    )


def _columns(points: Points, law: str) -> Array:
    """Return what a law multiplies its coefficients with, (points, coefficients)."""
    here = points.here_ms
    if law == "two rates":
        return np.stack([points.floor_ms, here - points.floor_ms], 1)
    return here[:, None] if law == "one rate" else np.stack([np.ones_like(here), here], 1)


def _predict(points: Points, law: str, seen: Array, asked: Array) -> Array:
    """Fit a law on some points and return what it says of others, in ms."""
    there = points.there_ms
    if law == "power":
        columns = np.stack([np.ones(len(there)), np.log(points.here_ms)], 1)
        found, *_ = np.linalg.lstsq(columns[seen], np.log(there[seen]))
        return np.exp(columns[asked] @ found)
    columns = _columns(points, law)
    relative = columns[seen] / there[seen][:, None]
    if law == "affine":  # its sign is what is wrong with it, so it is not constrained
        found, *_ = np.linalg.lstsq(relative, np.ones(len(relative)))
    else:
        found, _ = nnls(relative, np.ones(len(relative)))
    return np.asarray(columns[asked] @ found)


LAWS = ("two rates", "affine", "power", "one rate")


def left_out(points: Points, law: str) -> Array:
    """Predict each network, at all its sizes, from the others."""
    predicted = np.empty(len(points.there_ms))
    names = np.array(points.networks)
    for name in dict.fromkeys(points.networks):
        predicted[names == name] = _predict(points, law, names != name, names == name)
    return predicted


def transfer(target: str) -> Transfer:
    """Fit the rates of a device."""
    points = read_points(target)
    relative = _columns(points, "two rates") / points.there_ms[:, None]
    (start, work), _ = nnls(relative, np.ones(len(relative)))
    found = Transfer(
        name=target,
        points=points,
        start=rounded(start),
        work=rounded(work),
        laws={law: errors(points.there_ms, left_out(points, law)) for law in LAWS},
        left_out_ms=left_out(points, "two rates"),
        own_rows=None,
    )
    return found._replace(own_rows=own_rows(found))


def transfer_all() -> list[Transfer]:
    """Fit the rates of every smaller Jetson."""
    return [transfer(target) for target in TARGETS]


def agx() -> Estimator:
    """Return the AGX Orin's prices from its shipped table."""
    return Estimator.model_validate(json.loads(AGX_TABLE.read_text(encoding="utf-8"))["estimator"])


def own_rows(found: Transfer) -> Array | None:
    """Compare the prices with networks that others timed on the device itself; the rates have not seen them."""
    lines = [line for line in read(HERE / "rows.csv") if line["table"] == found.name]
    counted = {(line["network"], line["resolution"]): line for line in read(HERE / "features.csv")}
    estimator = make_estimator(found)
    rows = []
    for line in lines:
        one = counted.get((line["network"], line["resolution"]))
        if one is not None:
            ms = (
                estimator.ms_per_kernel * float(one["kernels"])
                + estimator.ms_per_dense_gmac * float(one["dense_gmac"])
                + estimator.ms_per_depthwise_gmac * float(one["depthwise_gmac"])
                + estimator.ms_per_traffic_mb * float(one["traffic_m"]) * estimator.bytes_per_element
            )
            rows.append((float(line["ms"]), ms))
    return np.array(rows) if rows else None


def joined(found: Transfer, spread: float) -> float:
    """Return the spread of the AGX Orin and that of the law together: the root of the sum of squared logarithms."""
    return math.exp(math.hypot(math.log(spread), math.log(found.laws["two rates"].factor_90)))


def widening(found: Transfer) -> float:
    """Return by how much the interval is widened, because it holds too few of the device's own rows: 1 if not."""
    if found.own_rows is None:
        return 1.0
    spread = joined(found, agx().spread)
    logs = np.abs(np.log(found.own_rows[:, 1] / found.own_rows[:, 0]))
    if (logs <= math.log(spread)).mean() >= LEAST_HELD:
        return 1.0
    return factor_90(found.own_rows[:, 0], found.own_rows[:, 1]) / spread


def make_estimator(found: Transfer) -> Estimator:
    """Return the AGX Orin's prices at the rates of another device; errors of both add up as independent ones do."""
    source = agx()
    more = widening(found)

    def widened(spread: float) -> float:
        return raised(joined(found, spread) * more)

    return Estimator(
        ms_per_kernel=rounded(source.ms_per_kernel * found.start),
        ms_per_dense_gmac=rounded(source.ms_per_dense_gmac * found.work),
        ms_per_depthwise_gmac=rounded(source.ms_per_depthwise_gmac * found.work),
        ms_per_traffic_mb=rounded(source.ms_per_traffic_mb * found.work),
        bytes_per_element=source.bytes_per_element,
        spread=widened(source.spread),
        spread_of_kind={kind: widened(spread) for kind, spread in source.spread_of_kind.items()},
        calibration_rows=source.calibration_rows,
    )


def note(found: Transfer) -> str:
    """Say in plain words what the table is worth."""
    how = found.laws["two rates"]
    low, high = found.points.here_ms.min(), found.points.here_ms.max()
    estimator = make_estimator(found)
    return (
        f"Estimated, never run here: the prices of jetson-agx-orin, times {found.start:g} for kernels and "
        f"{found.work:g} for MACs and traffic. The two rates are fitted on {len(found.points.there_ms)} times of "
        f"{len(set(found.points.networks))} YOLO networks that both devices have ({low:.2g} to {high:.2g} ms on the "
        f"AGX Orin); on a network left out their mean error is {percent(how.mape, 1)}, x{how.factor_90:.2f} for nine "
        "in ten. "
        f"The interval, a factor of {estimator.spread:g}, joins that with the AGX Orin's own."
        + _own(found)
        + " vit, rwkv and sam_layer parts are extrapolation, as there. Precision and power mode are not in the files."
    )


def _own(found: Transfer) -> str:
    if found.own_rows is None:
        return ""
    off = errors(found.own_rows[:, 0], found.own_rows[:, 1])
    held, widened = held_own(found), widening(found) > 1
    return (
        f" {len(found.own_rows)} networks that NetsPresso timed on this device, unseen by the rates: mean error "
        f"{percent(off.mape, 1)}, {percent(held)} within the interval{', which is widened for them' * widened}."
    )


def held_own(found: Transfer) -> float:
    """Return the share of the device's own rows within the interval."""
    assert found.own_rows is not None
    logs = np.abs(np.log(found.own_rows[:, 1] / found.own_rows[:, 0]))
    return float((logs <= math.log(make_estimator(found).spread)).mean())


def make_table(found: Transfer) -> LatencyTable:
    """Return the table of a device: its estimator prices every part, so no entry is stored."""
    name, jetpack = TARGETS[found.name]
    sources = json.loads(AGX_TABLE.read_text(encoding="utf-8"))["sources"]
    return LatencyTable(
        schema=2,
        name=found.name,
        device=Device(name=name, kind="gpu"),
        runtime=Runtime(name="tensorrt", options={"jetpack": jetpack}),
        exporter=NOT_STATED,
        precision="fp16",
        power=Power(mode=NOT_STATED),
        clock="published",
        method="estimated",
        grade="E",
        date=DATE,
        sources=(SOURCE, *sources, f"experiments/{HERE.name}/fit.py"),
        licence="the times of YOLO networks are MIT (Justin Davis), the AGX Orin's rows Apache-2.0 (Han Cai; "
        "Nota Inc.); figures carried over with their source, no text or code",
        note=note(found),
        composition=Composition(note="parts are summed as they are: no whole encoder was timed on this device"),
        estimator=make_estimator(found),
        transfer=make_transfer(found),
    )


def make_transfer(found: Transfer) -> Record:
    """Return the law as the table's record of where its prices come from."""
    return Record(
        source=AGX_TABLE.stem,
        law="the price of a kernel times one rate, those of MACs and traffic times another",
        coefficients={"kernels": found.start, "work": found.work},
        valid_from_ms=rounded(found.points.here_ms.min()),
        valid_to_ms=rounded(found.points.here_ms.max()),
        spread=raised(found.laws["two rates"].factor_90),
        networks=len(set(found.points.networks)),
        note="fitted on YOLO networks at eight sizes each; spread: nine in ten times of a network left out",
    )
