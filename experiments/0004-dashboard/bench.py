"""What the dashboard sends and how long it takes with 100,000 candidates; see README.md.

    python experiments/0004-dashboard/bench.py make FOLDER [--candidates N]
    python experiments/0004-dashboard/bench.py bytes FOLDER     # what is sent; quick, any machine
    python experiments/0004-dashboard/bench.py times FOLDER     # in chromium, on a quiet machine

``bytes`` and ``times`` each write their rows into results.csv beside this file and leave those of the other.
"""

import argparse
import csv
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from werkzeug.serving import make_server

from dashboard import create_app
from supersam.latency import LatencyTable, load_table, space_parts
from supersam.results import Run
from supersam.space import AnyArchitecture, Part, SearchSpace, count, load_space, parts

HERE = Path(__file__).parent
RESULTS = HERE / "results.csv"
HEAD = ["what", "value", "unit", "candidates", "bar", "date", "host"]
DEVICE, OTHER, BUDGET_MS = "jetson-agx-orin", "cpu-x86-1t", 30.0
REPEATS = 5
PATIENCE_S = 240  # with optuna-dashboard, and with the first page of a fresh server
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


def make(folder: Path, n: int) -> None:
    """Write a run of n different candidates, and the same as a study of Optuna. Accuracies are invented."""
    run, space, table = Run(folder / "large"), load_space("starter"), load_table(DEVICE)
    run.start({"device": DEVICE, "budget_ms": BUDGET_MS, "space_name": space.name})
    rng, seen = random.Random(0), set()
    priced = {part: table.of_part(part) for part in space_parts(space)}
    rows: list[tuple[AnyArchitecture, float, float]] = []
    with run.candidates_file.open("w") as file:
        while len(rows) < n:
            architecture = space.sample(rng)
            if architecture in seen:
                continue
            seen.add(architecture)
            accuracy = min(0.2 + 0.15 * count(architecture).gmacs ** 0.35 + rng.gauss(0, 0.02), 0.95)
            file.write(json.dumps(_line(architecture, accuracy, table, priced)) + "\n")
            rows.append((architecture, accuracy, sum(priced[part].ms for part in parts(architecture))))
    _study(run.study_file, space, rows)
    print(f"{run.folder}: {n} candidates, {run.candidates_file.stat().st_size / 1e6:.0f} MB")


def _line(a: AnyArchitecture, accuracy: float, table: LatencyTable, priced: dict[Part, Any]) -> dict[str, Any]:
    found, ops = [priced[part] for part in parts(a)], count(a)
    ms, lo, hi = (sum(getattr(one, name) for one in found) for name in ("ms", "lo", "hi"))
    return {
        "digest": a.digest, "accuracy": round(accuracy, 5), "accuracy_source": "predicted",
        "accuracy_interval": [accuracy - 0.02, accuracy + 0.02], "packs": {}, "latency_ms": round(ms, 4),
        "latency_interval_ms": [round(lo, 4), round(hi, 4)], "latency_method": table.method,
        "gmacs": round(ops.gmacs, 5), "params_m": round(ops.params / 1e6, 5), "architecture": a.to_dict(),
    }  # fmt: skip


def _study(file: Path, space: SearchSpace, rows: list[tuple[AnyArchitecture, float, float]]) -> None:
    """Write the rows as trials, straight into the tables Optuna makes: by its own calls this takes hours."""
    import optuna
    from optuna.distributions import CategoricalDistribution, distribution_to_json

    file.unlink(missing_ok=True)
    optuna.create_study(storage=f"sqlite:///{file}", study_name="search", directions=["maximize", "minimize"])
    written = {
        name: distribution_to_json(CategoricalDistribution(allowed)) for name, allowed in space.variables().items()
    }
    start = datetime(2026, 1, 1)
    with sqlite3.connect(file) as db:
        db.executemany(
            "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, datetime_complete) "
            "VALUES (?, ?, 1, 'COMPLETE', ?, ?)",
            (
                (n + 1, n, str(start + timedelta(seconds=n)), str(start + timedelta(seconds=n + 1)))
                for n in range(len(rows))
            ),
        )
        db.executemany(
            "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (?, ?, ?, 'FINITE')",
            ((n + 1, which, row[1 + which]) for n, row in enumerate(rows) for which in (0, 1)),
        )
        db.executemany(
            "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES (?, ?, ?, ?)",
            (
                (n + 1, name, space.variables()[name].index(value), written[name])
                for n, row in enumerate(rows)
                for name, value in space.encode(row[0]).items()
            ),
        )
    db.close()


def count_bytes(folder: Path) -> list[list[Any]]:
    """Return what is sent for the first view, for a device switch and for a selection, in kB before compression."""
    client = create_app(folder).server.test_client()
    deps = client.get("/_dash-dependencies").get_json()

    def sent(output: str, **values: Any) -> int:
        one = next(one for one in deps if output in one["output"] and not one.get("clientside_function"))
        names = [part.rpartition(".") for part in one["output"].strip(".").split("...")]
        outputs = [{"id": name, "property": prop} for name, _, prop in names]
        filled = [[{**i, "value": values.get(i["id"])} for i in one.get(kind, [])] for kind in ("inputs", "state")]
        body = {"output": one["output"], "outputs": outputs if len(outputs) > 1 else outputs[0], "inputs": filled[0]}
        response = client.post("/_dash-update-component", json={**body, "state": filled[1], "changedPropIds": []})
        assert response.status_code == 200, response.text
        return len(response.data)

    layout = len(client.get("/_dash-layout").data) + sent("_pages_content", _pages_location="/")
    view = sent("explore-summary") + sent("explore-details")
    switch = sent("explore-summary", **{"explore-state": {"device": OTHER, "against": DEVICE}})
    select = sent("explore-details", **{"explore-subnet": _a_digest(folder)})
    run = sent("run-state", **{"run-source": "large"}) + sent("run-table", **{"run-source": "large"})
    n = sum(1 for _ in (folder / "large" / "candidates.jsonl").open())
    found = [("first view of Explore", layout + view, 150), ("device switch", switch, ""), ("selection", select, "")]
    found.append(("first view of a run", run, ""))
    return [[f"{what}, sent", round(size / 1000, 1), "kB", n, bar] for what, size, bar in found]


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, create_app(folder).server, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def their_program() -> str:
    """Return optuna-dashboard as installed beside this Python, whose folder need not be on the path; else as found."""
    beside = Path(sys.executable).with_name("optuna-dashboard")
    return str(beside) if beside.is_file() else shutil.which("optuna-dashboard") or ""


@contextmanager
def optuna_dashboard(study: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [their_program(), f"sqlite:///{study.resolve()}", "--port", str(port), "--host", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _answers(port):
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def measure_times(folder: Path) -> list[list[Any]]:
    """Return wall times in chromium: medians of cold pages of a warm server."""
    from playwright.sync_api import sync_playwright

    n = sum(1 for _ in (folder / "large" / "candidates.jsonl").open())
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    rows: list[list[Any]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)

        def median_of(run: Callable[[Any], float]) -> float:
            found = []
            for _ in range(REPEATS):
                context = browser.new_context(viewport={"width": 1400, "height": 900})
                context.set_default_timeout(600_000)
                found.append(run(context.new_page()))
                context.close()
            return median(found)

        def loading(address: str, ready: str) -> Callable[[Any], float]:
            return lambda page: _timed(lambda: (page.goto(address), page.wait_for_selector(ready)))

        ready = ".scatterlayer .trace .point"
        with serving(empty) as address:
            small = median_of(loading(address + "zoo", ".area-table table"))
        with serving(folder) as address:
            first = browser.new_page()
            first.set_default_timeout(1000 * PATIENCE_S)
            reading = loading(address, ready)(first)  # the server reads the files once
            full = median_of(loading(address, ready))
            switch = median_of(lambda page: _switch(page, address, ready))
            select = median_of(lambda page: _select(page, address, ready))
        rows += [
            ["empty page, load", round(small, 2), "s", 0, ""],
            ["Explore, first page of a fresh server", round(reading, 2), "s", n, ""],
            ["Explore, load", round(full, 2), "s", n, ""],
            ["Explore, load against the empty page", round(full / small, 2), "times", n, 3],
            ["device switch", round(switch, 2), "s", n, 1],
            ["selection", round(select, 2), "s", n, 0.4],
        ]
        if their_program():
            with optuna_dashboard(folder / "large" / "study.db") as address:
                theirs = _first_plot(browser, f"{address}dashboard/studies/1")
            rows.append(["optuna-dashboard, first plot of the same study", theirs, "s", n, ""])
        browser.close()
    return rows


def _first_plot(browser: Any, address: str) -> float | str:
    """Return the seconds until optuna-dashboard has drawn something, or that it has not."""
    from playwright.sync_api import TimeoutError as TooLate

    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE_S)
    plot = ".js-plotly-plot .scatterlayer .trace .point, .js-plotly-plot canvas"
    try:
        return round(_timed(lambda: (page.goto(address), page.wait_for_selector(plot))), 2)
    except TooLate:
        return f"none within {PATIENCE_S}"


def _timed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _switch(page: Any, address: str, ready: str) -> float:
    page.goto(address)
    page.wait_for_selector(ready)
    page.wait_for_load_state("networkidle")
    title = "(name) => document.querySelector('.xtitle').textContent.includes(name)"
    return _timed(lambda: (page.click(f"button:text-is('{OTHER}')"), page.wait_for_function(title, arg=OTHER)))


def _select(page: Any, address: str, ready: str) -> float:
    page.goto(address)
    page.wait_for_selector(ready)
    page.wait_for_load_state("networkidle")
    page.focus("#explore-chart")
    before = page.inner_text("h2 code")
    changed = "(before) => document.querySelector('h2 code').innerText !== before"
    return _timed(lambda: (page.keyboard.press("Home"), page.wait_for_function(changed, arg=before)))


def _a_digest(folder: Path) -> str:
    with (folder / "large" / "candidates.jsonl").open() as file:
        digest: str = json.loads(file.readline())["digest"]
    return digest


def write(rows: list[list[Any]]) -> None:
    """Put rows into the results; those of the same name are replaced."""
    kept = list(csv.reader(RESULTS.open()))[1:] if RESULTS.is_file() else []
    made = {row[0] for row in rows}
    day, host = datetime.now(UTC).date().isoformat(), f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    lines = [*(row for row in kept if row[0] not in made), *([*row, day, host] for row in rows)]
    with RESULTS.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEAD, *lines])
    csv.writer(sys.stdout, lineterminator="\n").writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "bytes", "times"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--candidates", type=int, default=100_000)
    asked = parser.parse_args()
    if asked.what == "make":
        make(asked.folder, asked.candidates)
    else:
        write(count_bytes(asked.folder) if asked.what == "bytes" else measure_times(asked.folder))


if __name__ == "__main__":
    main()
