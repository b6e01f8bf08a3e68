"""Where candidates come from: the runs in a folder and the shipped archive."""

import math
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from supersam._garbage import without_garbage_collection
from supersam.errors import DamagedError, MissingError, SuperSAMError
from supersam.latency import Latency
from supersam.results import Accuracy, Run, list_runs, load_archive
from supersam.space import BLOCK_TYPES, AnyArchitecture, Architecture, count

from .file_cache import Stamp, stamp
from .filters import blocks_of
from .part_sums import PartSums
from .query import RISKS

TRIALS = "N is as many as were asked for; default: 200"  # of ``Source.resume``
ARCHIVE = "archive/starter"  # has a slash, so no run's folder has this name

# What reading a file that someone else wrote may raise beside supersam's own errors: readers check the
# names of fields, not the type of every value.
DAMAGE = (SuperSAMError, OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Found:
    """One architecture and its accuracy, whatever the device."""

    architecture: AnyArchitecture
    accuracy: Accuracy
    recorded: Latency | None = None  # on the device of the run it is from


@dataclass(frozen=True)
class Asked:
    """What a search was asked for, as far as its run says so."""

    device: str | None = None
    table_sha256: str | None = None  # of the device's latency table
    budget_ms: float | None = None
    risk: str = "upper"  # which end of a latency the budget was compared with, of RISKS


@dataclass(frozen=True)
class Source:
    """Something to explore; what it holds is read by ``read``."""

    key: str  # in the URL
    label: str
    argument: str  # what ``supersam extract`` is given, quoted for a shell
    file: Path  # the run's folder or the archive's file
    stamp: Stamp
    asked: Asked = Asked()
    problem: str = ""

    @property
    def is_archive(self) -> bool:
        return self.key == ARCHIVE

    @property
    def resume(self) -> str:
        """The command that continues a run: all it was asked stands in its folder, but for how many to evaluate."""
        return f"supersam search --resume --out {self.argument} --trials N"


@dataclass(frozen=True)
class Contents:
    """What a source holds."""

    found: tuple[Found, ...]
    left_out: int = 0  # candidates whose accuracy is not a number

    @cached_property
    def sums(self) -> PartSums:
        """The parts of every encoder, listed once."""
        return PartSums([one.architecture for one in self.found])

    @cached_property
    def blocks(self) -> list[str]:
        """The block types that occur, in the order of the list of types."""
        occurring = frozenset[str]().union(*(blocks_of(one.architecture) for one in self.found))
        return [block for block in BLOCK_TYPES if block in occurring]

    @cached_property
    def resolutions(self) -> list[int]:
        """The input sizes that occur."""
        return sorted({one.architecture.resolution for one in self.found})


def list_sources(runs: Path, archive: Path) -> list[Source]:
    """Return the runs of a folder, newest first, then the archive if there is one."""
    try:
        listed = [_run_source(run) for run in list_runs(runs)]
    except OSError:  # a folder that was removed while it was listed; the next look is right
        listed = []
    if archive.is_file():
        listed.append(Source(ARCHIVE, "starter archive", "starter", archive, stamp([archive])))
    return listed


def _run_source(run: Run) -> Source:
    asked, problem = Asked(), ""
    try:
        asked = _asked(run.question())
    except DAMAGE as damage:
        problem = one_line(damage)
    name = run.folder.resolve().name  # the folder may be given as "."
    stamped = stamp([run.question_file, run.candidates_file])
    return Source(name, name, shlex.quote(str(run.folder)), run.folder, stamped, asked, problem)


def _asked(question: dict[str, Any]) -> Asked:
    device, budget, risk = question.get("device"), question.get("budget_ms"), question.get("risk")
    sha256 = question.get("table_sha256")
    return Asked(
        device if isinstance(device, str) else None,
        sha256 if isinstance(sha256, str) else None,
        float(budget) if isinstance(budget, int | float) and 0 < budget < math.inf else None,
        risk if risk in RISKS else next(iter(RISKS)),
    )


def read(source: Source) -> Contents:
    """Read what a source holds.

    Raises:
        DamagedError: with one line for people, if it cannot be read.
    """
    try:
        with without_garbage_collection():  # which takes a third of the time where there are 100,000 candidates
            found = list(_read_archive(source.file) if source.is_archive else _read_run(source.file))
            for one in found:
                _check(one)
    except MissingError as problem:
        raise DamagedError(f"{source.label} is gone ({one_line(problem)})") from problem
    except SuperSAMError as problem:
        raise DamagedError(one_line(problem)) from problem
    except DAMAGE as problem:
        raise DamagedError(f"{source.file} is damaged ({problem!r})") from problem
    kept = tuple(one for one in found if math.isfinite(one.accuracy.value))
    return Contents(kept, len(found) - len(kept))


def _read_run(folder: Path) -> Iterable[Found]:
    return (Found(one.architecture, one.accuracy, one.latency) for one in Run(folder).candidates())


def _read_archive(file: Path) -> Iterable[Found]:
    return (Found(architecture, accuracy) for architecture, accuracy in load_archive(file).measured.items())


def _check(found: Found) -> None:
    """Raise one of DAMAGE if a value is not what its field says."""
    architecture, accuracy = found.architecture, found.accuracy
    if isinstance(architecture, Architecture):
        for stage in architecture.stages:
            BLOCK_TYPES[stage.block]
    if not all(math.isfinite(number) for number in count(architecture)):
        raise ValueError(f"architecture {architecture.digest} cannot be counted")
    for number in (accuracy.value, *accuracy.interval, *(found.recorded or ())[:3]):
        math.isnan(number)
    for prompts in accuracy.packs.values():
        for number in prompts.values():
            math.isnan(number)


def one_line(problem: BaseException) -> str:
    """Return the message of an error on one line."""
    return " ".join(str(problem).split()) or type(problem).__name__
