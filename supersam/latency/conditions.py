"""Under which conditions times may stand in one table."""

from collections.abc import Iterator, Mapping
from typing import Any

from supersam.latency.table import LatencyTable

COMPARED = ("device", "runtime", "exporter", "precision", "batch", "threads", "input", "power", "clock")
FREE = {"power": ("note",)}  # words of people
FINGERPRINT = "fingerprint_sha256"

Header = LatencyTable | Mapping[str, Any]


def same_conditions(one: Header, other: Header) -> str | None:
    """Return what differs between the conditions of two tables, or None if their times may be joined.

    Args:
        one, other: tables, or what their headers say by name (as in the JSON; what both lack is not compared).
    """
    mine, theirs = dict(_facts(one)), dict(_facts(other))
    for name in dict.fromkeys((*mine, *theirs)):
        if mine.get(name) != theirs.get(name):
            return f"{name} is {mine.get(name)!r} in one and {theirs.get(name)!r} in the other"
    return None


def _facts(header: Header) -> Iterator[tuple[str, Any]]:
    content = header.model_dump(mode="json") if isinstance(header, LatencyTable) else header
    for name in COMPARED:
        value = content.get(name)
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", found) for key, found in value.items() if key not in FREE.get(name, ()))
        else:
            yield name, value
    yield f"host.{FINGERPRINT}", content.get("host", {}).get(FINGERPRINT)
