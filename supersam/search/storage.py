"""Where a study is kept, by URL: a journal file, SQLite, PostgreSQL, or a gRPC proxy in front of one of them."""

import re
import warnings
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState
from sqlalchemy import text

from supersam.errors import EnvironmentProblem, UsageError
from supersam.search.history import BEGAN, WORKER

HEARTBEAT_S, GRACE_S = 20, 60  # a worker silent for longer is taken for dead, and its trial is given to another
RETRIES = 5
KINDS = (
    "journal:///FILE, sqlite:///FILE (an absolute FILE makes four slashes), postgresql://USER@HOST/NAME, "
    "grpc://HOST:PORT"
)
HIDDEN = "***"
FILES, SERVERS = ("journal", "sqlite"), ("postgresql", "grpc")  # kinds that name a file, a host and port


class SqliteStorage(RDBStorage):  # type: ignore[misc]
    """Optuna's storage, with the state of a trial read and written under one lock.

    Optuna locks the trial's row in between, and SQLite has no row locks: two workers could both be given the same
    waiting trial.
    """

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Set state and values; False if the trial was to run and somebody else runs it already."""
        session = self.scoped_session()
        try:
            session.execute(text("BEGIN IMMEDIATE"))  # Optuna's own session of this thread, which goes on with it
        except Exception:
            session.close()
            raise
        return bool(super().set_trial_state_values(trial_id, state, values))


def open_storage(url: str) -> BaseStorage:
    """Open a storage.

    Raises:
        UsageError: if the URL is of no known kind.
        EnvironmentProblem: if a package is missing or nobody answers there.
    """
    kind = url.partition(":")[0]
    _check(url)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            match _family(url):
                case "journal":
                    return _journal(Path(url.removeprefix("journal:///")))
                case "sqlite":
                    return _sqlite(url)
                case "postgresql":
                    return _postgresql(url)
                case "grpc":
                    return _grpc(url.removeprefix("grpc://"))
    except ImportError as problem:
        raise EnvironmentProblem(
            f"{kind} storage needs a package that is not installed ({problem}); "
            "get it with: pip install 'supersam[distributed]'"
        ) from problem
    except Exception as problem:
        if not isinstance(problem, (OSError, RuntimeError, ValueError, *_database_errors())):
            raise
        raise EnvironmentProblem(f"storage {hide_password(url)} cannot be opened ({_first_line(problem)})") from problem
    raise UsageError(f"{hide_password(url)!r} is no storage; there are: {KINDS}")


def has_heartbeat(study: optuna.Study) -> bool:
    """Return whether the storage itself notices workers that are dead: databases do, journals and the proxy do not."""
    return isinstance(getattr(study._storage, "_backend", study._storage), RDBStorage)


def close(study: optuna.Study) -> None:
    """Close the connections of a study that is no longer used."""
    close_storage(study._storage)


def close_storage(storage: BaseStorage) -> None:
    """Close the connections of a storage."""
    storage.remove_session()
    backend = getattr(storage, "_backend", storage)  # Optuna wraps databases in a cache
    if isinstance(backend, RDBStorage):
        backend.engine.dispose()
    elif hasattr(backend, "close"):
        backend.close()


def hide_password(url: str) -> str:
    """Return the URL as it may be shown and written down.

    A password may itself hold @ and / that were not percent-encoded: all up to the last @ is hidden.
    """
    hidden = re.sub(r"(?i)([?&][^=&]*(?:password|passwd|pwd)=)[^&]*", rf"\1{HIDDEN}", url)
    return re.sub(r"(?<=://)([^/:]*):.*@", rf"\1:{HIDDEN}@", hidden)


def is_hidden(url: str) -> bool:
    """Return whether a URL was written down without its password, so that nothing can be opened with it."""
    return HIDDEN in url


def absolute(url: str) -> str:
    """Return the URL that names the same storage from every folder."""
    kind, slashes, file = url.partition(":///")
    if not slashes or _family(kind) not in FILES or file.startswith((":memory:", "file:")) or not file:
        return url
    return f"{kind}:///{Path(file).absolute()}"


def retry(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Queue a trial whose worker died once more, without its signature: who takes it now has not begun it yet."""
    trial = copy(trial)
    trial.user_attrs = {name: value for name, value in trial.user_attrs.items() if name not in (WORKER, BEGAN)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)(study, trial)


def _family(url: str) -> str:
    """Return the kind of a storage without its driver."""
    return re.split(r"[:+]", url, maxsplit=1)[0]


def _check(url: str) -> None:
    """Refuse what would be understood otherwise than it was meant."""
    shown, family = hide_password(url), _family(url)
    if family in FILES and not re.search(r":///[^?]", url):
        raise UsageError(
            f"{shown!r} names no file; write {family}:///FILE for one in the current folder, "
            f"{family}:////FOLDER/FILE (four slashes) for an absolute path"
        )
    if family == "postgresql" and re.search(r"://[^:/]*:[^@]*@[^/?]*@", url):
        raise UsageError(f"the password in {shown!r} holds an @, which would end it; write %40 instead")
    server = re.split(r"[/?]", url.partition("://")[2].rpartition("@")[2])[0]
    port = re.search(r":([^:\]]+)$", server)
    if family in SERVERS and port and not port[1].isdigit():
        raise UsageError(f"{shown!r} has the port {port[1]!r}, which is no number; write HOST:5432, or HOST alone")


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(path)))


def _sqlite(url: str) -> BaseStorage:
    import sqlalchemy

    storage = _rdb(url, {"connect_args": {"timeout": 60}}, SqliteStorage)

    # Half of a trial's time is waiting for the disk; in this mode a power cut can lose the last trials, not the file.
    @sqlalchemy.event.listens_for(storage.engine, "connect")
    def _relax(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    storage.engine.dispose()  # connections made before the listener
    return storage


def _postgresql(url: str) -> BaseStorage:
    if url.startswith("postgresql://"):
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    return _rdb(url, {"pool_pre_ping": True, "pool_size": 2})


def _rdb(url: str, engine: dict[str, Any], kind: type[RDBStorage] = RDBStorage) -> RDBStorage:
    return kind(
        url,
        engine_kwargs=engine,
        heartbeat_interval=HEARTBEAT_S,
        grace_period=GRACE_S,
        heartbeat_stale_trial_callback=retry,
    )


def _grpc(address: str) -> BaseStorage:
    from optuna.storages import GrpcStorageProxy

    host, _, port = address.partition(":")
    proxy = GrpcStorageProxy(host=host or "localhost", port=int(port or 13000))
    proxy.wait_server_ready(timeout=20)
    return proxy


def _database_errors() -> tuple[type[Exception], ...]:
    from sqlalchemy.exc import SQLAlchemyError

    found: list[type[Exception]] = [SQLAlchemyError, optuna.exceptions.StorageInternalError]
    try:
        import grpc  # type: ignore[import-untyped]
    except ImportError:
        return tuple(found)
    return (*found, grpc.RpcError, grpc.FutureTimeoutError)


def _first_line(problem: BaseException) -> str:
    return next(iter(str(problem).strip().splitlines()), "") or type(problem).__name__
