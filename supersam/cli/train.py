"""``supersam train``: train a supernet."""

from pathlib import Path
from typing import Annotated

import typer

from supersam.cli._output import print_json, say


def train(
    config: Annotated[Path, typer.Argument(help="Training configuration (YAML).")],
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the configuration's `out`.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a supernet; run it under torchrun to use several processes.

    Ctrl-C and SIGTERM save the state first; --resume continues as if the run had not stopped.
    """
    from supersam.errors import MissingError
    from supersam.train.config import load_config
    from supersam.train.loop import train as run_training

    if not config.is_file():
        raise MissingError(f"there is no training configuration {config}")
    try:
        weights = run_training(load_config(config), resume)
    except KeyboardInterrupt:
        say(f"\nInterrupted, the state is saved. Continue with: supersam train {config} --resume")
        raise typer.Exit(130) from None
    if json:
        print_json({"weights": str(weights)})
    else:
        print(weights)
