"""Serve the dashboard to a browser on this machine."""

import errno
import logging
import socket
from collections.abc import Callable
from pathlib import Path

from waitress import create_server

from supersam.errors import EnvironmentProblem

from .app import create_app

PORT = 8050
THREADS = 8  # a browser opens six connections
TRIES = 100  # ports looked at from PORT on where none is asked for


def serve(
    runs: Path,
    host: str = "127.0.0.1",
    port: int | None = None,
    on_ready: Callable[[str], None] | None = None,
    tables: Path | None = None,
) -> None:
    """Serve until interrupted; nothing is printed.

    Args:
        port: None takes 8050 or the next that is free.
        on_ready: called with the address once it answers.

    Raises:
        EnvironmentProblem: if the port is taken or the host is not this machine.
    """
    app = create_app(runs, tables, host=host)
    with listen(host, port) as listening:
        server = create_server(app.server, sockets=[listening], threads=THREADS)
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a browser's burst of files is no news
        if on_ready is not None:
            on_ready(address(host, listening.getsockname()[1]))
        server.run()


def address(host: str, port: int) -> str:
    """Return the URL to open."""
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def listen(host: str, port: int | None) -> socket.socket:
    """Return a listening socket on a port, or on the first free one from PORT on.

    Not left to waitress, whose own sockets stay open when a port is taken.
    """
    if port is not None and not 0 <= port < 65536:
        raise EnvironmentProblem(f"cannot serve on {host} port {port}: ports are 0 to 65535")
    for candidate in [port] if port is not None else range(PORT, PORT + TRIES):
        try:
            family, *_ = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0]
            return socket.create_server((host, candidate), family=family, backlog=128)
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                why = problem.strerror or problem
                raise EnvironmentProblem(f"cannot serve on {host} port {candidate}: {why}") from problem
    if port is None:
        raise EnvironmentProblem(f"ports {PORT} to {PORT + TRIES - 1} on {host} are all taken; name one with --port")
    raise EnvironmentProblem(f"port {port} on {host} is taken; name another with --port, or leave it out")
