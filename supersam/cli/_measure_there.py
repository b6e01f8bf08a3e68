"""Measuring a device over ssh, with a bar for what is sent and one for what is measured."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from supersam.cli._output import say

if TYPE_CHECKING:
    from supersam.latency import LatencyTable
    from supersam.profile.link import Target
    from supersam.profile.plan import Plan
    from supersam.profile.remote_table import Wanted


def measure_there(
    device: str,
    plan: "Plan",
    wanted: "Wanted",
    target: "Target",
    table_file: Path,
    rows: Path | None,
    force: bool,
) -> "LatencyTable":
    """Measure a plan on a device, write its table and return it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from supersam.profile.remote_table import alone_journal, profile_remote
    from supersam.profile.table import write_rows

    journal = table_file.with_suffix(".partial.jsonl")
    columns = (TextColumn("{task.description} {task.fields[item]}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        tasks = {stage: bar.add_task(stage, visible=False, item="") for stage in ("sending", "measuring")}

        def on_progress(stage: str, done: int, total: int, name: str) -> None:
            bar.update(tasks[stage], completed=done, total=total, item=name, visible=True)

        try:
            table, timings = profile_remote(
                device, plan, wanted, target, journal, force=force, on_progress=on_progress, say=say
            )
        except KeyboardInterrupt:
            say(f"\n{target.address} goes on measuring what it has begun; the same command follows it from {journal}")
            raise typer.Exit(130) from None
    table.save(table_file)
    if rows is not None:
        write_rows(rows, timings)
    journal.unlink(missing_ok=True)
    alone_journal(journal).unlink(missing_ok=True)
    return table
