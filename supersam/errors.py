"""Errors a user can act on; the command line prints their one line and ends with ``exit_code``.

SuperSAMError                 1  failed
├── UsageError                2  an unknown device, space, architecture or option value
│   ├── SearchSpaceError      2  a search space file or an architecture does not fit
│   └── ConfigError           2  a training configuration does not fit
├── BudgetError               3  nothing of the space meets the budget
├── MissingError              4  data, a checkpoint, a run or a table is not there
├── DamagedError              1  a file is there and cannot be read as what it should be
│   ├── CheckpointError       1  ... a checkpoint
│   ├── LatencyTableError     1  ... a latency table
│   │   └── MissingEntryError 4  a table that is sound says nothing about a part
│   └── DataError             1  ... an image or a mask file
└── EnvironmentProblem        5  a package is missing, a port is taken
"""


class SuperSAMError(Exception):
    """Base of all errors with a message for users."""

    exit_code = 1


class UsageError(SuperSAMError):
    """What was asked for does not exist or cannot be read."""

    exit_code = 2


class SearchSpaceError(UsageError):
    """A search space file or an architecture does not fit."""


class ConfigError(UsageError):
    """A training configuration does not fit."""


class DivergedError(SuperSAMError):
    """A training whose numbers have become infinite."""


class BudgetError(SuperSAMError):
    """No architecture of the space meets the budget."""

    exit_code = 3


class MissingError(SuperSAMError):
    """Data, a checkpoint, a run or a table is not there."""

    exit_code = 4


class DamagedError(SuperSAMError):
    """A file is there and cannot be read as what it should be."""


class CheckpointError(DamagedError):
    """A checkpoint is damaged or belongs to something else."""


class LatencyTableError(DamagedError):
    """A latency table is damaged or lacks an entry."""


class MissingEntryError(LatencyTableError):
    """A latency table is sound and says nothing about a part of an encoder."""

    exit_code = 4


class DataError(DamagedError):
    """An image or a mask file is damaged or does not fit its partner."""


class EnvironmentProblem(SuperSAMError):
    """A package is missing or a resource of the machine is taken."""

    exit_code = 5


def suggest(asked: str, known: list[str]) -> str:
    """Return `` Did you mean 'x'?`` for a near miss, else an empty string."""
    from difflib import get_close_matches

    close = get_close_matches(asked, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
