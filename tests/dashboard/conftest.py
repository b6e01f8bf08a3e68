"""Runs, tables and an archive made by code. Accuracies are invented: they test the pages, they say nothing."""

import importlib.util
import json
import logging
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from dashboard import create_app
from supersam.latency import Entry, Estimator, LatencyTable
from supersam.results import Accuracy, Candidate, Run
from supersam.space import AnyArchitecture, count, load_space, parts

PROMPTS = ("box", "point")
CHROMIUM = shutil.which("chromium")
REQUIRED = "SUPERSAM_REQUIRE_BROWSER" in os.environ  # continuous integration fails instead of skipping
# Notes the widest that the page ever was, frame by frame: a moment's sideways scroll is one too.
WATCH = """window.widest = 0;
(function look() {
  if (document.documentElement) window.widest = Math.max(window.widest, document.documentElement.scrollWidth);
  requestAnimationFrame(look);
})();"""
# plotly.js draws once before it has measured, and again after: what is read in between moves away.
SETTLED = """() => [...document.querySelectorAll('.js-plotly-plot')].every((plot) => {
  const drawn = plot.querySelector('.main-svg');
  return drawn && Math.abs(drawn.clientWidth - plot.clientWidth) <= 1;
})"""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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
    return _table(name, "estimated", "E", estimator=estimator)


def measured_table(name: str, architectures: list[AnyArchitecture]) -> LatencyTable:
    """Return a table that has the parts of these architectures and no others."""
    known = {part.key: part for architecture in architectures for part in parts(architecture)}
    entries = {}
    for key, part in known.items():
        ms = 0.05 + 40 * part.ops.gmacs
        entries[key] = Entry(ms=ms, lo=0.9 * ms, hi=1.15 * ms, method="measured", samples=50)
    return _table(name, "measured", "B", entries=entries, quality={"repeat_cv_median_pct": 2.0})


def _table(name: str, method: str, grade: str, **fields: Any) -> LatencyTable:
    content = {
        "schema": 2, "name": name, "device": {"name": f"{name} of the tests", "kind": "cpu"},
        "runtime": {"name": "none"}, "exporter": "none", "precision": "fp16",
        "power": {"mode": "none", "clocks_locked": False}, "clock": "wall", "method": method, "grade": grade,
        "date": "2026-11-22",
        "sources": ("invented",), "licence": "CC0-1.0", "note": "Invented for the tests.",
        "aliases": (f"{name}-alias",),
    }  # fmt: skip
    return LatencyTable.model_validate(content | fields)


_MADE: dict[tuple[int, str, int], list[Candidate]] = {}


def invented_candidates(n: int, table: LatencyTable, seed: int = 0) -> list[Candidate]:
    """Return candidates of the starter space; every third accuracy counts as predicted."""
    key = (n, table.to_json(), seed)  # made once, as every test starts with them
    if key not in _MADE:
        _MADE[key] = _invent(n, table, seed)
    return list(_MADE[key])


def _invent(n: int, table: LatencyTable, seed: int) -> list[Candidate]:
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
    (folder / "torn.json").write_text('{"schema": 2, ')
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


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's chromium; continuous integration fails where it is absent, other machines skip."""
    if not REQUIRED and (CHROMIUM is None or importlib.util.find_spec("playwright") is None):
        pytest.skip("needs Debian's chromium and playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def serve_on_free_port(*folders: Path) -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, create_app(*folders).server, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def serving() -> Any:
    """``with serving(runs, tables, archive) as address:``."""
    return serve_on_free_port


@pytest.fixture
def address(runs: Path, tables: Path, no_archive: Path) -> Iterator[str]:
    with serve_on_free_port(runs, tables, no_archive) as address:
        yield address


class Visit:
    """A page with everything that must not happen written down."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **context})
        self.context.set_default_timeout(90_000)  # a loaded machine takes long to start a page
        self.page = self.context.new_page()
        self.page.add_init_script(WATCH)
        self.address = address
        self.troubles: list[str] = []
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.troubles.append(f"error {error}"))
        self.page.on("request", self._note_request)
        self.page.on("response", self._note_response)

    def open(self, search: str = "", ready: str = ".scatterlayer .trace .point") -> Any:
        self.page.goto(self.address + search)
        self.page.wait_for_selector(ready)
        self.page.wait_for_function(SETTLED)
        return self.page

    def widest(self) -> int:
        """Return how wide the page was at most since it was opened or ``narrow`` was called."""
        found: int = self.page.evaluate("window.widest")
        return found

    def narrow(self, width: int = 420) -> None:
        """Make the window as narrow as a phone, and wait until the figure has followed."""
        self.page.set_viewport_size({"width": width, "height": 800})
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => { window.widest = 0; done(); }))")
        self.page.wait_for_function(SETTLED)

    def query(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(urlsplit(self.page.url).query).items()}

    def wait_for_query(self, **expected: str) -> None:
        for key, value in expected.items():
            self.page.wait_for_function(
                "([key, value]) => new URLSearchParams(location.search).get(key) === value", arg=[key, value]
            )

    def wait_for_subnet(self, digest: str) -> None:
        self.page.wait_for_function("(digest) => document.querySelector('h2 code').innerText === digest", arg=digest)

    def rings(self) -> list[float]:
        """Return where the ring of the selected point is."""
        found: list[float] = self.page.evaluate(
            "(() => { const d = document.querySelector('.js-plotly-plot').data; return d[d.length - 1].x; })()"
        )
        return found

    def _note_console(self, message: Any) -> None:
        if message.type in ("error", "warning") and "GPU stall" not in message.text:
            self.troubles.append(f"{message.type} {message.text}")

    def _note_request(self, request: Any) -> None:
        if urlsplit(request.url).scheme in ("http", "https", "ws") and urlsplit(request.url).hostname != "127.0.0.1":
            self.troubles.append(f"request {request.url}")

    def _note_response(self, response: Any) -> None:
        if response.status >= 400:
            self.troubles.append(f"status {response.status} {response.url}")


@pytest.fixture(scope="session")
def visit_of() -> type[Visit]:
    """The class, for tests that serve something of their own."""
    return Visit


@pytest.fixture
def visitor(browser: Any, address: str) -> Iterator[Callable[..., Visit]]:
    """``visitor(color_scheme="dark")`` is a new visit; nothing bad may have happened in any of them."""
    visits: list[Visit] = []

    def make(**context: Any) -> Visit:
        visits.append(Visit(browser, address, **context))
        return visits[-1]

    yield make
    for visit in visits:
        assert visit.troubles == []
        visit.context.close()


@pytest.fixture
def visit(visitor: Callable[..., Visit]) -> Visit:
    return visitor()
