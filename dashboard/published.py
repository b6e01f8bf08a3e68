"""Latencies that others published for a device, and which of them may stand beside ours.

Ours are those of an encoder for one image with one runtime at one precision. Only a figure of the same device, runtime,
precision and scope fits; every other is listed with the reason why it does not.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from supersam.latency import LatencyTable
from supersam.zoo import Card, Kind, Latency, Zoo

MAKERS = re.compile(r"\b(nvidia|apple|intel|qualcomm|google|samsung)\b")
ASIDE = re.compile(r"\([^)]*\)| and .*")  # a remark, or a second device of one name
VARIANT = re.compile(r"( (\d+gb|sxm\d?|pcie))*")  # what one name may say and the other not: memory, and its socket
RUNTIMES = {"tensorrt": "tensorrt", "onnx": "onnxruntime", "pytorch": "torch", "torch": "torch", "openvino": "openvino",
            "core ml": "coreml", "coreml": "coreml", "tflite": "tflite"}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """One figure of the zoo on a device."""

    card: Card
    time: Latency
    kind: Kind
    source: str  # who says so, and where
    misfit: str  # why it may not stand beside ours; empty if it may

    @property
    def fits(self) -> bool:
        return not self.misfit


def published_on(zoo: Zoo, table: LatencyTable) -> list[Published]:
    """Return the figures of a table's device: what fits first, each part from fast to slow, what has no time last."""
    found = [
        Published(card, time, zoo.kind(time.source), zoo.sources[time.source].what, misfit(time, table))
        for card in zoo.cards.values()
        for time in card.latency
        if same_device(time.device, table.device.name)
    ]
    return sorted(found, key=lambda one: (not one.fits, one.time.ms or math.inf))


def same_device(published: str, ours: str) -> bool:
    """Return whether two names differ by the maker, by memory and by remarks only: a "Super" is another device."""
    short, long = sorted((_core(name) for name in (published, ours)), key=len)
    return bool(short) and long.startswith(short) and VARIANT.fullmatch(long.removeprefix(short)) is not None


def _core(name: str) -> str:
    return " ".join(ASIDE.sub("", MAKERS.sub("", name.lower())).split()).replace(" gb", "gb")


def misfit(time: Latency, table: LatencyTable) -> str:
    """Return why a figure may not stand beside the table's latencies, or an empty string."""
    return "; ".join(_misfits(time, table))


def _misfits(time: Latency, table: LatencyTable) -> Iterable[str]:
    if time.ms is None:
        yield "did not run" if time.outcome else "throughput"
    if time.scope != "encoder":
        yield f"times {time.scope}" if time.scope != "not stated" else "what is timed is not stated"
    if _runtime(time.runtime) != _runtime(table.runtime.name):
        yield f"runtime {time.runtime or 'not stated'}"
    if time.precision != table.precision:
        yield f"precision {time.precision or 'not stated'}"
    if time.batch not in (None, 1):
        yield f"batch {time.batch}"
    if table.batch > 1:
        yield f"ours is throughput, batch {table.batch}"
    if time.highest_ms is not None:
        yield "a range over precisions"


def _runtime(name: str) -> str:
    lower = name.lower()
    return next((runtime for start, runtime in RUNTIMES.items() if lower.startswith(start)), lower)


def conditions(time: Latency) -> str:
    """Return how something was timed, as far as the source says."""
    batch = f"batch {time.batch}" if time.batch else ""
    size = f"{time.resolution}px" if time.resolution else ""
    return ", ".join(filter(None, (time.runtime, time.precision, batch, size, time.note))) or "not stated"
