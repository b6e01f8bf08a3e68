"""The folder of a run: tried before anything is trained, and one clear line when it cannot be written."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from supersam.errors import ConfigError, EnvironmentProblem

LOCK_FILE = ".lock"


def check_folder(folder: Path) -> None:
    """Try to write where a run's folder is or would be, and leave nothing there.

    A try, because what the modes of a folder promise is not so on every file system.

    Raises:
        ConfigError: if it cannot be written.
    """
    try:
        place = nearest(folder)
        if not place.is_dir():
            raise ConfigError(f"out: {folder} cannot be a folder, because {place} is none; choose another `out`")
        with TemporaryDirectory(dir=place, prefix=".supersam-"):
            pass
    except OSError as problem:
        reason = problem.strerror or problem
        raise ConfigError(f"out: nothing can be written to {folder} ({reason}); choose another `out`") from problem


def nearest(folder: Path) -> Path:
    """Return the folder itself, or what there is of the way to it."""
    return next(place for place in (folder, *folder.parents) if place.is_symlink() or place.exists())


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Keep a folder for one run: two would delete each other's unfinished files and mix their logs.

    The lock is of this process, not of what it forks, so that it ends with it.

    Raises:
        EnvironmentProblem: if another run has it.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("a")
    with lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as problem:
            raise EnvironmentProblem(
                f"another training writes to {folder}; wait for it, stop it, or choose another `out`"
            ) from problem
        except OSError:  # a file system without locks
            pass
        yield


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell in one line that the disk is full, or whatever else keeps a run from being written.

    Raises:
        EnvironmentProblem: instead of an OSError.
    """
    try:
        yield
    except OSError as problem:
        raise EnvironmentProblem(
            f"{folder} cannot be written ({problem.strerror or problem}); files saved there before are whole: mend "
            "that and go on, with --resume if a state was saved"
        ) from problem
