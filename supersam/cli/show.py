"""``supersam show``: what a search run found."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supersam.cli._output import print_json, print_table, say

if TYPE_CHECKING:
    from supersam.results import Run

NAMED = 8  # runs of a folder that an error names


def show(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folder of a run; several are merged.")],
    csv: Annotated[bool, typer.Option("--csv", help="Print every candidate as CSV.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Keep the merged runs as a run in this folder.")] = None,
) -> None:
    """Show a run: best and front, hypervolume over trials, which choices mattered, block types by stage."""
    import tempfile

    from supersam.cli._measure_here import show_timed
    from supersam.errors import UsageError
    from supersam.results import Run
    from supersam.results.merge import merge
    from supersam.results.timed import load_timed
    from supersam.search.report import report_of, to_csv

    if csv and json:
        raise UsageError("--csv or --json, not both")
    for folder in runs:
        _check_run(folder)
    found = [Run(folder) for folder in runs]
    if out is not None and len(found) < 2:
        raise UsageError("--out keeps merged runs; give two runs or more")
    with tempfile.TemporaryDirectory() as scratch:
        run = found[0] if len(found) == 1 else merge(found, out or Path(scratch) / "merged")
        if out is not None:
            _keep_answer(run)
        if csv:
            print(to_csv(run.candidates()), end="")
            return
        report = report_of(run)
        timed = load_timed(run.folder)
    if json:
        print_json(report | {"timed": [one.to_dict() for one in timed]})
    else:
        _show(report)
        show_timed(timed)
    if out is not None:
        say(f"\nkept: {out}")


def _check_run(folder: Path) -> None:
    """Refuse a folder of runs, by the names of the runs in it."""
    from supersam.errors import MissingError
    from supersam.results import Run, list_runs

    inside = [] if Run(folder).exists else list_runs(folder)
    if inside:
        names = ", ".join(str(run.folder) for run in inside[:NAMED])
        more = f" and {len(inside) - NAMED} more" if len(inside) > NAMED else ""
        raise MissingError(f"{folder} is a folder of runs, not a run; name one or several of: {names}{more}")


def _keep_answer(run: "Run") -> None:
    """Write the answer of merged runs, so that the best of them can be extracted."""
    import json

    from supersam._paths import write_atomically
    from supersam.cli._search_question import completed
    from supersam.search.report import answer_of_merged

    answer = answer_of_merged(run, completed(run.question()))
    write_atomically(run.result_file, json.dumps(answer, indent=1) + "\n")


def _show(report: dict[str, Any]) -> None:
    from supersam.cli._search_view import show_devices

    question = report["question"]
    within = f" within {question['budget']}" if question.get("budget") else ""
    print(f"{question['space_name']} on {question['device']}{within}: {report['n_candidates']} candidates, "
          f"{report['n_measured']} measured, {report['n_predicted']} predicted\n")  # fmt: skip
    show_devices(report["devices"])
    for source, curve in report["hypervolume"].items():
        _show_curve(source, curve)
        _show_front_over_time(source, report["front_over_time"][source])
        _show_choices(source, report["importances"][source], report["block_types"][source])


def _show_front_over_time(source: str, members: list[dict[str, Any]]) -> None:
    """Say since when the newest members have been on the front; --json has all, those too that were driven off."""
    still = [one for one in members if one["left"] is None]
    newest = sorted(still, key=lambda one: -one["joined"])[:8]
    print(f"\n{source}: newest on the front ({len(still)} are on it, {len(members) - len(still)} were driven off)")
    print_table(["subnet", "since candidate"], [[one["digest"], str(one["joined"])] for one in newest])


def _show_curve(source: str, curve: list[dict[str, Any]]) -> None:
    shown = [curve[round(at * (len(curve) - 1) / 7)] for at in range(8)] if len(curve) > 8 else curve
    print(f"\n{source}: hypervolume, as a share of the box of all that was seen")
    rows = [[str(point["n"]), f"{point['hypervolume']:.4f}", str(point["front"])] for point in shown]
    print_table(["candidates", "hypervolume", "front"], rows)


def _show_choices(source: str, importances: dict[str, float], block_types: dict[str, dict[str, float]]) -> None:
    if importances:
        print(f"\n{source}: what mattered for accuracy (PED-ANOVA, shares)")
        print_table(["choice", "share"], [[name, f"{value:.3f}"] for name, value in importances.items()][:8])
    if block_types:
        print(f"\n{source}: block types on the front")
        shares = {
            stage: ", ".join(f"{block} {share:.0%}" for block, share in found.items())
            for stage, found in block_types.items()
        }
        print_table(["stage", "types"], [[stage, text] for stage, text in shares.items()])
