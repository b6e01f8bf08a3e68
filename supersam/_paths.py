"""Where the shipped folders are: what lies at the root in a checkout lies inside ``supersam/`` in a wheel."""

import os
import tempfile
from importlib import import_module
from pathlib import Path
from types import ModuleType

_PACKAGE = Path(__file__).parent


def data_dir(name: str) -> Path:
    """Return the folder of shipped data called ``name``, for example ``latency_tables``."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def starter_dir() -> Path:
    """Return the folder of the shipped starter weights."""
    return _PACKAGE / "starter"


def cache_dir() -> Path:
    """Return the folder of caches: SUPERSAM_CACHE, else ``supersam`` in the user's cache folder."""
    own = os.environ.get("SUPERSAM_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "supersam"


def load_dashboard() -> ModuleType:
    """Import the dashboard, which is ``supersam.dashboard`` in a wheel and ``dashboard`` in a checkout."""
    if (_PACKAGE / "dashboard").is_dir():
        return import_module("supersam.dashboard")
    return import_module("dashboard")


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader sees the old content or the new, never half of it."""
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
