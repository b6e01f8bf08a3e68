"""Latencies that others published for a device, and which of them may stand beside ours.

Ours are those of an encoder for one image with one runtime at one precision. Only a figure of the same device, runtime,
precision and scope fits; every other is listed with the reason why it does not.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from supersam.latency import LatencyTable
from supersam.zoo import Card, Kind, Latency, Zoo

MAKERS = re.compile(r"\b(nvidia|apple|intel|qualcomm|google|samsung)\b")
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
    """Return the figures of a table's device: those that fit first, each part from fast to slow."""
    found = [
        Published(card, time, zoo.kind(time.source), zoo.sources[time.source].what, misfit(time, table))
        for card in zoo.cards.values()
        for time in card.latency
        if same_device(time.device, table.device.name) and time.ms is not None
    ]
    return sorted(found, key=lambda one: (not one.fits, one.time.ms))


def same_device(published: str, ours: str) -> bool:
    """Return whether one name is the beginning of the other, without the maker's: a longer name only adds memory."""
    one, other = (" ".join(MAKERS.sub("", name.lower()).split()) for name in (published, ours))
    return bool(one) and bool(other) and (f"{one} ".startswith(f"{other} ") or f"{other} ".startswith(f"{one} "))


def misfit(time: Latency, table: LatencyTable) -> str:
    """Return why a figure may not stand beside the table's latencies, or an empty string."""
    return "; ".join(_misfits(time, table))


def _misfits(time: Latency, table: LatencyTable) -> Iterable[str]:
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
