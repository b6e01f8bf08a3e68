"""Latencies of many architectures of one space at once."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from supersam.latency.table import LatencyTable
from supersam.space import SearchSpace
from supersam.space.terms import PartTerms

Numbers = NDArray[np.float64]


class Latencies(NamedTuple):
    """Times of n encoders for one image, in milliseconds, with their 90 % intervals; each (n,)."""

    ms: Numbers
    lo: Numbers
    hi: Numbers


class SpaceLatency:
    """The latency of every architecture of a space on one device, looked up in a few arrays.

    What ``LatencyTable.predict`` says of each one, to the rounding of a sum.

    Raises:
        MissingEntryError: if the table says nothing about a part of the space.
    """

    def __init__(self, table: LatencyTable, space: SearchSpace) -> None:
        space_terms = PartTerms(space)
        known = {part: table.of_part(part) for part in space_terms.parts}
        ms = space_terms.price(lambda part: known[part].ms)
        lo = space_terms.price(lambda part: known[part].lo)
        hi = space_terms.price(lambda part: known[part].hi)
        self._columns = [term.columns for term in ms]
        self._shapes = [term.values.shape for term in ms]
        self._values = [np.stack([one.values.ravel() for one in three], axis=1) for three in zip(ms, lo, hi)]

    def predict(self, indices: NDArray[Any]) -> Latencies:
        """Return the latencies of architectures.

        Args:
            indices: (n, variables), for each variable of ``space.variables()`` the index of its choice.
        """
        found = np.zeros((len(indices), 3))
        for columns, shape, values in zip(self._columns, self._shapes, self._values):
            found += values[np.ravel_multi_index(tuple(indices[:, column] for column in columns), shape)]
        return Latencies(*found.T)
