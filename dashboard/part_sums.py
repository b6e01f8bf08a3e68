"""Sums over the parts of many encoders at once: latency on a device, MACs and parameters.

The parts are listed once for each set of encoders; a device then prices each different part once, whatever the
number of encoders.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supersam.latency import METHODS, Latency, LatencyTable
from supersam.space import AnyArchitecture, Architecture, Part, parts
from supersam.space.parts import neck_parts, stage_parts

Numbers = NDArray[np.float64]


class PartSums:
    """Which parts each of some encoders consists of."""

    def __init__(self, architectures: Sequence[AnyArchitecture]) -> None:
        self._places: dict[Part, int] = {}
        self._known: dict[Any, list[int]] = {}
        rows = [self._row(architecture) for architecture in architectures]
        self._index = np.fromiter((place for row in rows for place in row), dtype=np.intp)
        lengths = np.fromiter((len(row) for row in rows), dtype=np.intp, count=len(rows))
        self._starts = np.cumsum(lengths) - lengths
        self.parts = list(self._places)

    def _row(self, architecture: AnyArchitecture) -> list[int]:
        if not isinstance(architecture, Architecture):
            return self._list(parts(architecture))
        row, before = [], 0
        for number, stage in enumerate(architecture.stages):
            key = (number, stage, before, architecture.resolution, architecture.head_dim)
            row += self._once(key, lambda number=number: stage_parts(architecture, number))  # type: ignore[misc]
            before = stage.width
        widths = tuple(stage.width for stage in architecture.stages)
        return row + self._once((architecture.resolution, widths), lambda: neck_parts(architecture))

    def _once(self, key: Any, make: Callable[[], list[Part]]) -> list[int]:
        """Stages repeat from encoder to encoder, so that each is taken apart once."""
        if key not in self._known:
            self._known[key] = self._list(make())
        return self._known[key]

    def _list(self, found: list[Part]) -> list[int]:
        return [self._places.setdefault(part, len(self._places)) for part in found]

    def total(self, values: Sequence[float]) -> Numbers:
        """Return the sum of one value for each part, (n,)."""
        if not len(self._starts):
            return np.zeros(0)
        return np.add.reduceat(np.asarray(values, dtype=np.float64)[self._index], self._starts)

    @cached_property
    def gmacs(self) -> Numbers:
        """Multiply-accumulates of each encoder, in 10⁹."""
        return self.total([part.ops.gmacs for part in self.parts])

    @cached_property
    def params_m(self) -> Numbers:
        """Parameters of each encoder, in 10⁶."""
        return self.total([part.ops.params / 1e6 for part in self.parts])

    def latencies(self, table: LatencyTable) -> list[Latency]:
        """Return the latency of each encoder, as ``table.predict`` gives it one by one.

        Raises:
            MissingEntryError: if the table lacks a part.
        """
        if not len(self._starts):
            return []
        found = [table.of_part(part) for part in self.parts]
        columns = [self.total([getattr(one, name) for one in found]).tolist() for name in ("ms", "lo", "hi")]
        methods = np.array([METHODS.index(one.method) for one in found])
        worst = np.maximum.reduceat(methods[self._index], self._starts).tolist()
        return [Latency(ms, lo, hi, METHODS[place]) for ms, lo, hi, place in zip(*columns, worst, strict=True)]

    def missing(self, table: LatencyTable) -> list[Part]:
        """Return the parts of which a table says nothing."""
        return [part for part in self.parts if not table.knows(part)]
