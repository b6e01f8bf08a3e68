"""``supersam devices``: what latencies are known, and how far to trust them."""

from typing import Annotated

import typer

from supersam.cli._output import print_json, print_table


def devices(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the devices with a latency table."""
    from supersam.latency import read_table, shipped_tables

    tables = [read_table(path) for path in shipped_tables().values()]
    if json:
        shown = ("name", "aliases", "runtime", "precision", "method", "grade", "date")
        print_json(
            [
                {**{key: getattr(table, key) for key in shown}, "n_entries": len(table.entries), "note": table.note}
                for table in tables
            ]
        )
        return
    rows = [
        [
            table.name,
            ", ".join(table.aliases),
            table.runtime,
            table.precision,
            table.method,
            table.grade,
            str(len(table.entries)),
            table.date,
        ]
        for table in tables
    ]
    print_table(["name", "aliases", "runtime", "precision", "method", "grade", "entries", "date"], rows)
