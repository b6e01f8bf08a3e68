"""How long it takes: latency tables of devices and the sum over an encoder's parts (no torch)."""

from supersam.latency.table import (
    Composition,
    Entry,
    Estimator,
    Latency,
    LatencyTable,
    load_table,
    read_table,
    shipped_tables,
    space_parts,
)

__all__ = [
    "Composition",
    "Entry",
    "Estimator",
    "Latency",
    "LatencyTable",
    "load_table",
    "read_table",
    "shipped_tables",
    "space_parts",
]
