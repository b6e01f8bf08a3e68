"""Serving: ports, addresses and ``python -m dashboard``."""

import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from waitress.wasyncore import close_all

from dashboard import serve, server
from dashboard.app import create_app
from supersam.errors import EnvironmentProblem

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that something else listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_taken_port_that_was_asked_for_is_an_error(tmp_path: Path, taken: int):
    with pytest.raises(EnvironmentProblem, match=f"port {taken} on 127.0.0.1 is taken"):
        serve(tmp_path, port=taken)


def test_without_a_port_the_next_free_one_is_taken(taken: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "PORT", taken)
    with server.listen("127.0.0.1", None) as listening:
        assert taken < listening.getsockname()[1] < taken + server.TRIES


def test_if_all_ports_are_taken_that_is_said(taken: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "PORT", taken)
    monkeypatch.setattr(server, "TRIES", 1)
    with pytest.raises(EnvironmentProblem, match="all taken"):
        server.listen("127.0.0.1", None)


@pytest.mark.parametrize("port", [-1, 70000])
def test_a_port_that_is_none_is_an_error(tmp_path: Path, port: int):
    with pytest.raises(EnvironmentProblem, match="cannot serve"):
        serve(tmp_path, port=port)


def test_a_host_that_is_not_this_machine_is_an_error(tmp_path: Path):
    with pytest.raises(EnvironmentProblem, match=r"cannot serve on 192\.0\.2\.1"):
        serve(tmp_path, host="192.0.2.1", port=0)


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:81/"), ("::1", "http://[::1]:81/"), ("pc", "http://pc:81/")]
)
def test_the_address_can_be_opened(host: str, url: str):
    assert server.address(host, 81) == url


def test_it_serves_and_says_where_and_prints_nothing(
    runs: Path, tables: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    seen: list[int] = []

    def visit(url: str) -> None:
        thread = threading.Thread(target=lambda: seen.extend([status(url), status(url, Host="evil.example")]))
        thread.start()
        monkeypatch.setattr(made[0], "run", lambda: run_until(made[0], thread))

    made: list[Any] = []
    create = server.create_server
    monkeypatch.setattr(server, "create_server", lambda *one, **more: made.append(create(*one, **more)) or made[0])

    serve(runs, port=0, on_ready=visit, tables=tables)

    assert seen == [200, 403]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("host", "asked", "answer"),
    [
        ("127.0.0.1", "127.0.0.1:8050", 200),
        ("127.0.0.1", "192.168.0.7:8050", 403),
        ("0.0.0.0", "192.168.0.7:8050", 200),
        ("0.0.0.0", f"{socket.gethostname()}:8050", 200),
        ("0.0.0.0", "evil.example", 403),
        ("node17", "node17:8050", 200),
    ],
)
def test_browsers_of_other_machines_are_answered_where_that_was_asked_for(
    runs: Path, tables: Path, host: str, asked: str, answer: int
):
    client = create_app(runs, tables, host=host).server.test_client()

    response = client.get("/", headers={"Host": asked})

    assert response.status_code == answer
    assert (answer == 200) or b"answers to" in response.data


def status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as response:
            return int(response.status)
    except HTTPError as refused:
        with refused:
            return refused.code


def run_until(waitress: Any, thread: threading.Thread) -> None:
    """Serve like ``run``, but only until a thread is done."""
    while thread.is_alive():
        waitress.asyncore.loop(timeout=0.1, map=waitress._map, count=1)
    waitress.task_dispatcher.shutdown()
    close_all(waitress._map)


def test_the_module_runs_and_ends_with_one_line_on_an_error(tmp_path: Path, taken: int):
    command = [sys.executable, "-m", "dashboard", str(tmp_path), "--port", str(taken)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)

    assert done.returncode == EnvironmentProblem.exit_code
    assert done.stdout == ""
    assert done.stderr.startswith(f"Error: port {taken}")
    assert done.stderr.count("\n") == 1
