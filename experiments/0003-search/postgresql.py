"""A PostgreSQL server of our own (Debian: ``apt-get install postgresql``) in a temporary folder, never as root."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 60


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs; None where it is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


def free_port() -> int:
    """Return a port of this machine nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def server(connections: int = 100) -> Iterator[str]:
    """Start a server and yield its URL; it is stopped and its folder removed at the end.

    Raises:
        SystemExit: if PostgreSQL is not installed.
    """
    programs = binaries()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    folder, port = Path(tempfile.mkdtemp(prefix="supersam-postgres-")), free_port()
    who = {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}
    if who:
        shutil.chown(folder, who["user"], who["group"])
    data, log = folder / "data", folder.with_suffix(".log").open("wb")
    options = {"stdout": log, "stderr": log, "cwd": "/", **who}
    initialise = [programs / "initdb", "-D", data, "-U", "supersam", "--auth=trust", "--no-sync"]
    subprocess.run(initialise, check=True, **options)
    listen = ["-k", folder, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    limit = ["-c", f"max_connections={connections}"]
    process = subprocess.Popen([programs / "postgres", "-D", data, *listen, *limit], **options)
    try:
        ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
        deadline = time.monotonic() + PATIENCE_S
        while subprocess.run(ready, check=False).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"PostgreSQL does not start: {log.name}")
            time.sleep(0.2)
        yield f"postgresql://supersam@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        log.close()
        shutil.rmtree(folder)
        Path(log.name).unlink()
