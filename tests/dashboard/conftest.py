"""Runs, tables and an archive made by code. Accuracies are invented: they test the pages, they say nothing."""

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient

from dashboard import create_app
from supersam.latency import Entry, Estimator, LatencyTable
from supersam.results import Accuracy, Candidate, Run
from supersam.space import AnyArchitecture, count, load_space, parts

PROMPTS = ("box", "point")


def estimated_table(name: str = "jetson-test", speed: float = 1.0) -> LatencyTable:
    """Return a table that estimates every part."""
    estimator = Estimator(
        ms_per_kernel=0.02 * speed,
        ms_per_dense_gmac=2.5 * speed,
        ms_per_depthwise_gmac=12.0 * speed,
        ms_per_traffic_mb=0.03 * speed,
        bytes_per_element=2,
        spread=1.3,
        calibration_rows=12,
    )
    return _table(name, "estimated", "D", estimator=estimator)


def measured_table(name: str, architectures: list[AnyArchitecture]) -> LatencyTable:
    """Return a table that has the parts of these architectures and no others."""
    known = {part.key: part for architecture in architectures for part in parts(architecture)}
    entries = {}
    for key, part in known.items():
        ms = 0.05 + 40 * part.ops.gmacs
        entries[key] = Entry(ms=ms, lo=0.9 * ms, hi=1.15 * ms, method="measured", samples=50)
    return _table(name, "measured", "B", entries=entries)


def _table(name: str, method: str, grade: str, **fields: Any) -> LatencyTable:
    content = {
        "schema": 1, "name": name, "device": f"{name} of the tests", "runtime": "none", "precision": "fp16",
        "power_mode": "none", "clock": "none", "method": method, "grade": grade, "date": "2026-11-22",
        "sources": ("invented",), "licence": "CC0-1.0", "note": "Invented for the tests.",
        "aliases": (f"{name}-alias",),
    }  # fmt: skip
    return LatencyTable.model_validate(content | fields)


def invented_candidates(n: int, table: LatencyTable, seed: int = 0) -> list[Candidate]:
    """Return candidates of the starter space; every third accuracy counts as predicted."""
    rng, space = random.Random(seed), load_space("starter")
    found: dict[str, Candidate] = {}
    while len(found) < n:
        architecture = space.sample(rng)
        value = min(0.35 + 0.18 * count(architecture).gmacs ** 0.35 + rng.gauss(0, 0.03), 0.95)
        source = "predicted" if len(found) % 3 == 0 else "measured"
        packs = {"pack-a": {prompt: value + rng.gauss(0, 0.02) for prompt in PROMPTS}, "pack-b": {"box": value}}
        accuracy = Accuracy(value, source, (value - 0.02, value + 0.02), packs if source == "measured" else {})
        found[architecture.digest] = Candidate(architecture, accuracy, table.predict(architecture))
    return list(found.values())


def write_run(folder: Path, candidates: list[Candidate], **question: Any) -> Run:
    """Write a run as a search would."""
    run = Run(folder)
    run.start({"device": "jetson-test", "budget_ms": 6.0, **question})
    for candidate in candidates:
        run.append(candidate)
    return run


def write_archive(path: Path, candidates: list[Candidate]) -> None:
    measured = [
        {
            "architecture": candidate.architecture.to_dict(),
            "accuracy": candidate.accuracy.value,
            "interval": candidate.accuracy.interval,
            "packs": candidate.accuracy.packs,
        }
        for candidate in candidates
    ]
    path.write_text(json.dumps({"protocol": {"command": "none"}, "measured": measured}))


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """The functions above: a fixture works whatever way pytest imports the tests."""
    return SimpleNamespace(
        estimated_table=estimated_table,
        measured_table=measured_table,
        candidates=invented_candidates,
        run=write_run,
        archive=write_archive,
    )


@pytest.fixture
def table() -> LatencyTable:
    return estimated_table()


@pytest.fixture
def tables(tmp_path: Path, table: LatencyTable) -> Path:
    """A folder of four tables: two that work, one that lacks parts, one that is damaged."""
    folder = tmp_path / "tables"
    candidates = invented_candidates(60, table)
    table.save(folder / "jetson-test.json")
    estimated_table("phone-test", speed=3.0).save(folder / "phone-test.json")
    measured_table("board-part", [candidates[0].architecture]).save(folder / "board-part.json")
    (folder / "torn.json").write_text('{"schema": 1, ')
    return folder


@pytest.fixture
def runs(tmp_path: Path, table: LatencyTable) -> Path:
    """A folder with one run of 60 candidates."""
    folder = tmp_path / "runs"
    write_run(folder / "first", invented_candidates(60, table))
    return folder


@pytest.fixture
def no_archive(tmp_path: Path) -> Path:
    return tmp_path / "no-archive.json"


@pytest.fixture
def client(runs: Path, tables: Path, no_archive: Path) -> FlaskClient:
    return create_app(runs, tables, no_archive).server.test_client()
