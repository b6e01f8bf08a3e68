"""``supersam profile``: measure a search space on this machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from supersam.cli._measure_here import SETTLE_S
from supersam.cli._output import print_json, say
from supersam.cli._table_file import table_file

if TYPE_CHECKING:
    from supersam.latency import LatencyTable
    from supersam.profile.plan import Plan
    from supersam.profile.protocol import Protocol

REMOTE_PYTHON, REMOTE_FOLDER = "python3", ".cache/supersam/profile"


def profile(
    device: Annotated[str, typer.Option(help="Name of the table, such as my-laptop.")],
    space: Annotated[str, typer.Option(help="Search space, or the path of one.")] = "starter",
    runtime: Annotated[
        str,
        typer.Option(
            help="onnxruntime, torch, torch-compile, openvino; with --ssh "
            "trtexec, onnxruntime, litert, executorch, coreml."
        ),
    ] = "onnxruntime",
    clock: Annotated[
        str, typer.Option(help="Which clock counts: cpu (of the process), or wall on a machine of your own.")
    ] = "cpu",
    rounds: Annotated[int, typer.Option(min=1, help="Times everything is measured, in an order of its own.")] = 3,
    networks: Annotated[int, typer.Option(min=0, help="Random whole networks to fit the sum of parts on.")] = 24,
    held_out: Annotated[int, typer.Option(min=0, help="Further whole networks, stored beside, never fitted on.")] = 0,
    isolated: Annotated[bool, typer.Option("--isolated", help="Time every part alone, too (for --rows).")] = False,
    rows: Annotated[Path | None, typer.Option(help="Keep every timing in this CSV file.")] = None,
    export_only: Annotated[
        bool, typer.Option("--export-only", help="Fill the cache of ONNX files and time nothing.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Table to write (.json); default: beside the shipped tables.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing table.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds the machine may take to become quiet.")] = 0.0,
    force: Annotated[
        bool, typer.Option("--force", help="Measure on a busy or throttling machine; the table records it.")
    ] = False,
    ssh: Annotated[
        str | None,
        typer.Option(help="Measure this device instead: user@host or user@host:port (docs/remote-devices.md)."),
    ] = None,
    ssh_option: Annotated[list[str] | None, typer.Option(help="Option for ssh, as after its -o. Repeatable.")] = None,
    precision: Annotated[str, typer.Option(help="With --ssh: fp32 or fp16; default: the runtime's usual one.")] = "",
    opset: Annotated[
        int | None,
        typer.Option(min=17, help="With --ssh: version of the ONNX operators; TensorRT 8.5 and 8.6 need 17."),
    ] = None,
    remote_python: Annotated[str, typer.Option(help="With --ssh: Python 3.8 or newer there.")] = REMOTE_PYTHON,
    remote_folder: Annotated[
        str, typer.Option(help="With --ssh: where networks and measurements lie there.")
    ] = REMOTE_FOLDER,
    remote_program: Annotated[str, typer.Option(help="With --ssh: path of trtexec and the like there.")] = "",
    remote_option: Annotated[
        list[str] | None,
        typer.Option(help="With --ssh: argument for that program, execution provider or compute unit. Repeatable."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure every part of a space on this machine's CPU, one core, and write a latency table.

    An interrupted measurement goes on where it was when the command is given again.
    """
    from supersam.profile.plan import plan_items
    from supersam.profile.protocol import Protocol
    from supersam.space import load_space

    of_ssh: dict[str, object] = {
        "--precision": precision,
        "--opset": opset,
        "--ssh-option": ssh_option,
        "--remote-program": remote_program,
        "--remote-option": remote_option,
        "--remote-python": remote_python != REMOTE_PYTHON,
        "--remote-folder": remote_folder != REMOTE_FOLDER,
    }
    _refuse_strays(ssh is not None, of_ssh, {"--wait": wait, "--export-only": export_only})
    protocol = Protocol(clock=clock, rounds=rounds)  # type: ignore[arg-type]
    plan = plan_items(load_space(space), networks, held_out, isolated)
    if export_only:
        _export(plan)
        return
    file = table_file(device, out, overwrite)
    if ssh is not None:
        from supersam.cli._measure_there import measure_there
        from supersam.profile.link import Target
        from supersam.profile.remote_table import Wanted

        address, port = Target.parse(ssh)
        target = Target(address, port, tuple(ssh_option or ()), remote_python, remote_folder, remote_program)
        options = tuple(remote_option or ())
        wanted = Wanted(runtime, precision, protocol.clock, rounds=rounds, options=options, opset=opset)
        _report(measure_there(device, plan, wanted, target, file, rows, force), file, json)
        return
    _report(_measure_here(device, plan, runtime, protocol, file, rows, force, wait), file, json)


def _refuse_strays(over_ssh: bool, of_ssh: dict[str, object], of_this_machine: dict[str, object]) -> None:
    """Refuse options that would do nothing.

    Args:
        of_ssh, of_this_machine: by option what was given, false where nothing was.
    """
    from supersam.errors import UsageError

    for option, given in (of_this_machine if over_ssh else of_ssh).items():
        if given:
            raise UsageError(
                f"{option} is for this machine, not for a device over ssh; leave it out"
                if over_ssh
                else f"{option} is for --ssh; this machine is measured in fp32 with the runtime's own options"
            )


def _measure_here(
    device: str,
    plan: "Plan",
    runtime: str,
    protocol: "Protocol",
    file: Path,
    rows: Path | None,
    force: bool,
    wait: float,
) -> "LatencyTable":
    """Measure this machine; the journal beside the table is removed when the table is written."""
    from supersam.profile import machine
    from supersam.profile.measure import estimate_seconds, profile
    from supersam.profile.runtimes import find_runtime
    from supersam.profile.table import write_rows

    found = find_runtime(runtime)
    if found.exporter != "none" and _export(plan):
        wait = max(wait, SETTLE_S)
        say(f"waiting for the machine to become quiet, {wait:.0f} s at most")
    core = machine.pin()  # first, so that the clock that is looked at is that of this core
    forced = machine.require_quiet(force, wait)
    items = plan.items
    on_core = "" if core is None else f" on core {core}"
    minutes = estimate_seconds(plan, found, protocol) / 60
    say(f"{len(items)} items in {protocol.rounds} rounds with {runtime}{on_core}, about {minutes:.0f} minutes in all")
    journal_file = file.with_suffix(".partial.jsonl")
    with _progress("profile", protocol.rounds * len(items), journal_file) as on_item:
        table, journal = profile(device, plan, found, protocol, journal_file, on_item, forced)
    table.save(file)
    if rows is not None:
        write_rows(rows, journal.timings)
    journal.remove()
    return table


def _export(plan: "Plan") -> bool:
    """Fill the cache, and return whether anything was missing."""
    from supersam.profile.onnx_files import export_plan, onnx_of

    missing = export_plan(plan)
    if not missing:
        say("every ONNX file is in the cache")
        return False
    with _progress("export", len(missing), None) as on_item:
        for item in missing:
            onnx_of(item)
            on_item(item.name)
    return True


@contextmanager
def _progress(what: str, total: int, journal: Path | None) -> Iterator[Callable[[str], None]]:
    """Show a bar with the time left; yields what is to be called after every item."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.fields[item]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Drawing takes CPU time of this process, which would count as the item's: draw between items only.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as bar:
        task = bar.add_task(what, total=total, item=what)

        def on_item(name: str) -> None:
            done = bar.tasks[task].completed + 1
            bar.update(task, completed=done, total=max(total, done), item=name)  # some parts are timed alone besides
            bar.refresh()

        try:
            yield on_item
        except KeyboardInterrupt:
            kept = f" from {journal}" if journal else ""
            say(f"\nInterrupted; give the same command again to go on{kept}")
            raise typer.Exit(130) from None


def _report(table: "LatencyTable", path: Path, json: bool) -> None:
    composition, quality = table.composition, table.quality
    scopes = [entry.scope for entry in table.entries.values()]
    if json:
        print_json(
            {
                "path": str(path),
                "device": table.name,
                "runtime": str(table.runtime),
                "grade": table.grade,
                "n_entries": len(table.entries),
                "scopes": {scope: scopes.count(scope) for scope in sorted(set(scopes))},
                "n_networks": len(table.networks),
                "noise_floor_pct": quality.noise_floor_pct,
                "repeat_cv_median_pct": quality.repeat_cv_median_pct,
                "factor": composition.factor,
                "factor_per_kind": composition.factor_per_kind,
                "spread": composition.spread,
                "forced": list(quality.forced),
            }
        )
        return
    print(path)
    noise = "unknown" if quality.noise_floor_pct is None else f"{quality.noise_floor_pct:.1f} %"
    factors = f"whole networks are {composition.factor:.3f} times the sum of their parts, 90 % within a factor "
    factors = f"{factors}{composition.spread:.3f}" if composition.calibration_networks else composition.note
    say(
        f"grade {table.grade}: {len(table.entries)} parts ({scopes.count('isolated')} of them alone), "
        f"noise floor {noise}; {factors}"
    )
