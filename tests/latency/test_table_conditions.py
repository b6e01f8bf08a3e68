"""Times of different conditions are told apart."""

from typing import Any

import pytest

from supersam.latency import load_table, same_conditions

POWER = {"mode": "30 W", "clocks_locked": False, "gpu_mhz": None, "note": ""}
HEADER: dict[str, Any] = {
    "device": {"name": "Toy", "kind": "cpu"},
    "runtime": {"name": "onnxruntime", "version": "1.32.0"},
    "exporter": "none",
    "precision": "fp32",
    "threads": 1,
    "power": POWER,
    "clock": "cpu",
    "host": {"fingerprint_sha256": "abc", "load": 0.1},
    "date": "2026-01-31",
}


def header(**changes: Any) -> dict[str, Any]:
    return HEADER | changes


@pytest.mark.parametrize(
    ("changes", "tells"),
    [
        ({"power": POWER | {"mode": "15 W"}}, "power.mode is '30 W' in one and '15 W' in the other"),
        ({"power": POWER | {"clocks_locked": True}}, "power.clocks_locked is False in one and True in the other"),
        ({"power": POWER | {"gpu_mhz": 625.0}}, "power.gpu_mhz is None in one and 625.0 in the other"),
        ({"host": {"fingerprint_sha256": "abd"}}, "host.fingerprint_sha256 is 'abc' in one and 'abd' in the other"),
        ({"host": {}}, "host.fingerprint_sha256 is 'abc' in one and None in the other"),
        ({"precision": "fp16"}, "precision is 'fp32' in one and 'fp16' in the other"),
        ({"threads": 2}, "threads is 1 in one and 2 in the other"),
        ({"runtime": {"name": "onnxruntime", "version": "1.0"}}, "runtime.version is "),
        ({"clock": "wall"}, "clock is 'cpu' in one and 'wall' in the other"),
    ],
)
def test_what_differs_is_said(changes: dict[str, Any], tells: str) -> None:
    assert tells in (same_conditions(header(), header(**changes)) or "")


def test_what_changes_from_day_to_day_does_not_matter() -> None:
    other = header(date="2027-01-01", note="again", grade="D", host={"fingerprint_sha256": "abc", "load": 2.0})
    other["power"] = POWER | {"note": "warm"}

    assert same_conditions(header(), other) is None


def test_tables_and_headers_are_compared_alike() -> None:
    table = load_table("cpu-x86-1t")

    assert same_conditions(table, table) is None
    assert same_conditions(table, table.model_dump(mode="json")) is None
    assert "runtime.name" in (same_conditions(table, load_table("cpu-x86-1t.torch")) or "")
