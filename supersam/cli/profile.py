"""``supersam profile``: measure a search space on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from supersam.cli._output import print_json, say


def profile(
    device: Annotated[str, typer.Option(help="Name of the table, such as my-laptop.")],
    space: Annotated[str, typer.Option(help="Search space, or the path of one.")] = "starter",
    runtime: Annotated[str, typer.Option(help="onnxruntime or torch.")] = "onnxruntime",
    out: Annotated[
        Path | None, typer.Option(help="Table to write (.json); default: beside the shipped tables.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Measure on a busy machine, or over an existing table.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure every part of a space on this machine's CPU, one thread, and write a latency table.

    An interrupted measurement goes on where it was when the command is given again.
    """
    import os

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from supersam._paths import data_dir
    from supersam.errors import EnvironmentProblem, UsageError
    from supersam.latency import space_parts
    from supersam.profile import measure
    from supersam.profile.runtimes import RUNTIMES
    from supersam.space import load_space

    if runtime not in RUNTIMES:
        raise UsageError(f"unknown runtime {runtime!r}; there are: {', '.join(RUNTIMES)}")
    chosen = load_space(space)
    table_file = out or data_dir("latency_tables") / f"{device}.json"
    if table_file.exists() and not force:
        raise UsageError(f"{table_file} exists; measure over it with --force or choose another name")
    load, limit = os.getloadavg()[0], 0.3 * (os.cpu_count() or 1)
    if load > limit and not force:
        raise EnvironmentProblem(f"the machine is busy (load {load:.1f}, at most {limit:.1f}); wait, or use --force")
    journal = table_file.with_suffix(".partial.jsonl")
    total = measure.ROUNDS * (len(space_parts(chosen)) + measure.CALIBRATION_NETWORKS)
    columns = (TextColumn("{task.fields[item]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("profile", total=total, item="exporting")
        try:
            table = measure.profile(
                device, chosen, runtime, journal, lambda name: bar.update(task, advance=1, item=name)
            )
        except KeyboardInterrupt:
            say(f"\nInterrupted; give the same command again to go on from {journal}")
            raise typer.Exit(130) from None
    table.save(table_file)
    journal.unlink()
    if json:
        print_json(
            {
                "path": str(table_file),
                "device": device,
                "runtime": table.runtime,
                "grade": table.grade,
                "n_entries": len(table.entries),
                "factor": table.composition.factor,
                "spread": table.composition.spread,
            }
        )
        return
    print(table_file)
    say(
        f"{len(table.entries)} parts, {table.note}; whole networks are {table.composition.factor:.3f} times the sum "
        f"of their parts, 90 % within a factor {table.composition.spread:.3f}"
    )
