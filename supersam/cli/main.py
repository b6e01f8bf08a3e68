"""The ``supersam`` command: commands import their machinery when they run, so that help loads no torch."""

import os
import sys
from typing import Annotated

import typer

from supersam import __version__
from supersam.cli import (
    dashboard,
    devices,
    evaluate,
    export,
    extract,
    profile,
    search,
    show,
    spaces,
    teacher,
    train,
    validate,
    zoo,
)
from supersam.errors import SuperSAMError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find, train and extract efficient image encoders for Segment Anything (SAM) on your device.",
)
app.command()(search.search)
app.command()(show.show)
app.command()(extract.extract)
app.command()(export.export)
app.command()(evaluate.evaluate)
app.command()(spaces.spaces)
app.command()(train.train)
app.command()(validate.validate)
app.command()(profile.profile)
app.command()(dashboard.dashboard)
app.add_typer(devices.app, name="devices")
app.add_typer(teacher.app, name="teacher")
app.add_typer(zoo.app, name="zoo")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line; errors a user can act on end in one line and their exit code."""
    try:
        app()
    except SuperSAMError as error:
        if os.environ.get("SUPERSAM_DEBUG"):
            raise
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as `head`, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as problem:  # a full disk, a folder that cannot be written
        if os.environ.get("SUPERSAM_DEBUG") or problem.errno is None:
            raise
        where = f"{problem.filename}: " if problem.filename else ""
        print(f"Error: {where}{problem.strerror or problem} (SUPERSAM_DEBUG=1 shows where)", file=sys.stderr)
        sys.exit(5)
