"""Quantities with units, as typed on the command line."""

import math
import re

from supersam.errors import UsageError

_MS_PER = {"s": 1e3, "ms": 1.0, "us": 1e-3, "µs": 1e-3, "μs": 1e-3}


def parse_latency_ms(text: str) -> float:
    """Return the milliseconds in ``30ms``, ``0.03s`` or ``30000us``; a bare number is refused."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Zµμ]*)\s*", text)
    if match is None:
        raise UsageError(f"{text!r} is not a latency. Write it like 30ms or 0.03s.")
    number, unit = match.groups()
    if not unit:
        raise UsageError(f"{text!r} has no unit. Did you mean {number}ms or {number}s?")
    if unit not in _MS_PER:
        raise UsageError(f"{text!r} has the unknown unit {unit!r}. Write it like 30ms or 0.03s.")
    value = float(number) * _MS_PER[unit]
    if not 0 < value < math.inf:
        raise UsageError(f"{text!r} is not a positive latency. Write it like 30ms or 0.03s.")
    return value
