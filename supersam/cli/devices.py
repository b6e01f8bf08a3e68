"""``supersam devices``: what latencies are known, and how far to trust them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supersam.cli._output import print_json, print_table, say
from supersam.cli.devices_import import import_times

if TYPE_CHECKING:
    from supersam.latency import LatencyTable

TYPICAL = 15  # random encoders whose median interval is shown

app = typer.Typer(rich_markup_mode=None, help="List the devices with a latency table, show one, or import one.")
app.command("import")(import_times)


@app.callback(invoke_without_command=True)
def devices(context: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the devices with a latency table, and how far to trust each."""
    if context.invoked_subcommand is not None:
        return
    tables = list(_readable())
    if json:
        print_json([_summary(table) for table in tables])
        return
    head = ["name", "runtime", "precision", "method", "grade", "90 % interval", "parts", "networks", "date", "aliases"]
    print_table(head, [_row(table) for table in sorted(tables, key=lambda table: (table.grade, table.name))])
    say("\nThe interval is that of a typical encoder (latency_tables/README.md). More: supersam devices show NAME")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name or alias of a table, or the path of one.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one table: conditions, grade and why, quality, composition, parts, networks, sources."""
    from supersam.cli import _device_page
    from supersam.latency import load_table

    table = load_table(name)
    if json:
        print_json(_device_page.content(table))
        return
    _device_page.show(table)


def _readable() -> Iterator["LatencyTable"]:
    """Yield the tables that can be read; of another one only itself is to be feared, so it is told and left out."""
    from supersam.errors import SuperSAMError
    from supersam.latency import read_table, shipped_tables

    for path in shipped_tables().values():
        try:
            yield read_table(path)
        except SuperSAMError as problem:
            say(f"Left out: {problem}")


def _row(table: "LatencyTable") -> list[str]:
    width = interval_factor(table)
    return [
        table.name,
        str(table.runtime) + (f", {table.batch} images at once" if table.batch > 1 else ""),
        table.precision,
        table.method,
        table.grade,
        "not known" if width is None else f"x{width:.2f}",
        str(len(table.entries)),
        str(len(table.networks)),
        table.date or "not stated",
        ", ".join(table.aliases),
    ]


def _summary(table: "LatencyTable") -> dict[str, Any]:
    shown = ("name", "aliases", "precision", "batch", "method", "grade", "date", "note")
    return {
        **{key: getattr(table, key) for key in shown},
        "device": table.device.name,
        "runtime": str(table.runtime),
        "why": table.best_grade.why,
        "interval_factor": interval_factor(table),
        "n_entries": len(table.entries),
        "n_networks": len(table.networks),
    }


def interval_factor(table: "LatencyTable") -> float | None:
    """Return the 90 % interval of a typical encoder as a factor; None if nobody knows it.

    It is the median over random encoders of the first shipped space that the table has the parts for. How far off sums
    of measured parts are, only whole networks tell.
    """
    import random
    from statistics import median

    from supersam.errors import MissingEntryError
    from supersam.latency import INTERVAL
    from supersam.space import load_space, shipped_spaces

    if table.interval != INTERVAL:
        return None
    for name in sorted(shipped_spaces(), key=lambda name: name != "starter"):
        space, rng = load_space(name), random.Random(0)
        try:
            found = [table.predict(space.sample(rng)) for _ in range(TYPICAL)]
        except MissingEntryError:
            continue
        return median(max(one.hi / one.ms, one.ms / one.lo) for one in found)
    return None
