"""``supersam spaces``: the shipped search spaces."""

from typing import Annotated

import typer

from supersam.cli._output import print_json, print_table


def spaces(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the search spaces with their size and their smallest and largest architecture."""
    from supersam.space import load_space, shipped_spaces, summary

    found = [summary(load_space(name)) for name in shipped_spaces()]
    if json:
        print_json(found)
        return
    rows = [
        [
            space["name"],
            f"{space['n_architectures']:.3g}",
            f"{space['smallest']['gmacs']:.3g} - {space['largest']['gmacs']:.3g}",
            f"{space['smallest']['params_m']:.3g} - {space['largest']['params_m']:.3g}",
            space["description"],
        ]
        for space in found
    ]
    print_table(["name", "architectures", "GMACs", "params (M)", "description"], rows)
