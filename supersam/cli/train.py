"""``supersam train``: train a supernet."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from supersam.cli._output import print_json, print_table, say

if TYPE_CHECKING:
    from supersam.train.config import TrainConfig


def train(
    config: Annotated[Path, typer.Argument(help="Training configuration (YAML).")],
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the configuration's `out`.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the data, count and time a few steps, and keep nothing.")
    ] = False,
    curves: Annotated[bool, typer.Option("--curves", help="Draw the log of the run so far and end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a supernet; run it under torchrun to use several processes.

    Ctrl-C and SIGTERM save the state first; --resume continues as if the run had not stopped. A second Ctrl-C ends at
    once.
    """
    from supersam.train.config import load_config
    from supersam.train.loop import train as run_training
    from supersam.train.stop import Stopped

    loaded = load_config(config)
    if curves:
        from supersam.train.curves import draw

        file = draw(loaded.out)
        print_json({"curves": str(file)}) if json else print(file)
        return
    if dry_run:
        _show_plan(loaded, json)
        return
    try:
        weights = run_training(loaded, resume)
    except Stopped:
        say(f"\nInterrupted, the state is saved. Continue with: supersam train {config} --resume")
        raise typer.Exit(130) from None
    except KeyboardInterrupt:
        say(f"\nInterrupted at once. {_what_is_left(config, loaded)}")
        raise typer.Exit(130) from None
    if json:
        print_json({"weights": str(weights)})
    else:
        print(weights)


def _what_is_left(config: Path, loaded: "TrainConfig") -> str:
    from supersam.train.state import STATE_FILE

    if (loaded.out / STATE_FILE).exists():
        return f"Continue from the state that was saved before with: supersam train {config} --resume"
    return "No state was saved yet."


def _show_plan(config: "TrainConfig", json: bool) -> None:
    import os

    from supersam.cli._duration import duration
    from supersam.train.dry_run import dry_run

    found = dry_run(config)
    if os.environ.get("RANK", "0") != "0":
        return
    if json:
        print_json(found.to_dict())
        return
    for line in [*found.data, found.skipped_summary]:
        print(line)
    gb = 1e9
    uncounted = config.engine.activation_checkpointing and not found.checkpointing_counted
    print(
        f"{found.parameters / 1e6:.1f} M parameters; memory of a process: {found.state_bytes / gb:.2f} GB for weights, "
        f"gradients and optimizer, {found.activation_bytes / gb:.2f} GB for the largest graph"
        + (" before checkpointing" if uncounted else "")
    )
    if found.not_counted:
        print(f"not counted in memory and GMACs: {found.not_counted}; the seconds have it in steps that learn from it")
    header = ["phase", "steps", "student GMACs/step", "decoder", "s/step", "time"]
    rows = [
        [
            str(number),
            f"{phase.steps:,}",
            f"{phase.gmacs_per_step:.1f}",
            f"{phase.decoder_share:.0%}",
            "{1:.2f} ({0:.2f}-{2:.2f})".format(*phase.seconds_per_step),
            duration(phase.steps * phase.seconds_per_step[1]),
        ]
        for number, phase in enumerate(found.phases, start=1)
    ]
    print_table(header, rows)
    low, middle, high = (duration(3600 * hours) for hours in found.hours)
    print(f"together about {middle} ({low} to {high}), by the steps that were tried here")
