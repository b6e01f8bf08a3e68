"""How long it takes: latency tables of devices and the sum over an encoder's parts (no torch)."""

from supersam.latency.compose import fit_composition
from supersam.latency.conditions import same_conditions
from supersam.latency.conformal import conformal_quantile
from supersam.latency.estimator import Estimator
from supersam.latency.format import (
    METHODS,
    Composition,
    Device,
    Entry,
    Method,
    Network,
    Power,
    Quality,
    Runtime,
    Transfer,
)
from supersam.latency.grade import best_grade, variation_pct
from supersam.latency.read import alias_of, load_table, parse_table, read_table, shipped_tables
from supersam.latency.space_latency import Latencies, SpaceLatency
from supersam.latency.table import INTERVAL, ROUNDS, SCHEMA, SUMMED, Latency, LatencyTable
from supersam.space.terms import space_parts

__all__ = [
    "INTERVAL",
    "METHODS",
    "ROUNDS",
    "SCHEMA",
    "SUMMED",
    "Composition",
    "Device",
    "Entry",
    "Estimator",
    "Latencies",
    "Latency",
    "LatencyTable",
    "Method",
    "Network",
    "Power",
    "Quality",
    "Runtime",
    "SpaceLatency",
    "Transfer",
    "alias_of",
    "best_grade",
    "conformal_quantile",
    "fit_composition",
    "load_table",
    "parse_table",
    "read_table",
    "same_conditions",
    "shipped_tables",
    "space_parts",
    "variation_pct",
]
