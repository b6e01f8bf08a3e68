"""``supersam devices import``: times that others measured, as a latency table."""

from pathlib import Path
from typing import Annotated

import typer

from supersam.cli._output import print_json, say
from supersam.cli._table_file import table_file


def import_times(
    name: Annotated[str, typer.Argument(help="Name of the table, such as orin.published.")],
    trtexec: Annotated[
        list[Path] | None,
        typer.Option(help="JSON of trtexec --exportTimes or --exportProfile. Repeatable: more times are rounds."),
    ] = None,
    aihub: Annotated[list[Path] | None, typer.Option(help="perf.yaml of a Qualcomm AI Hub model. Repeatable.")] = None,
    timm: Annotated[Path | None, typer.Option(help="CSV of timm's benchmark.")] = None,
    csv: Annotated[Path | None, typer.Option(help="CSV with name, ms and more (docs/remote-devices.md).")] = None,
    network: Annotated[str, typer.Option(help="With --trtexec: the network all files are of.")] = "",
    device: Annotated[str, typer.Option(help="The device, for people; with --aihub: which one.")] = "",
    kind: Annotated[str, typer.Option(help="cpu, gpu, npu, phone, ...")] = "",
    runtime: Annotated[str, typer.Option(help="What ran the networks; with --aihub: which one.")] = "",
    runtime_version: Annotated[str, typer.Option(help="Its version.")] = "",
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8; with --aihub: which one.")] = "",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    power_mode: Annotated[str, typer.Option(help="Power mode of the device.")] = "",
    clocks_locked: Annotated[
        bool | None, typer.Option("--clocks-locked/--clocks-free", help="Whether clocks were locked.")
    ] = None,
    gpu_mhz: Annotated[float | None, typer.Option(help="Clock of the GPU.")] = None,
    date: Annotated[str | None, typer.Option(help="Day of the measurement, YYYY-MM-DD.")] = None,
    source: Annotated[str, typer.Option(help="Where the numbers were published.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the numbers.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Table to write (.json); default: beside the shipped tables.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing table.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a latency table of others' files. What nobody says about them stays unknown and costs the grade."""
    from supersam.errors import UsageError
    from supersam.importers import Conditions, import_aihub, import_csv, import_timm, import_trtexec

    conditions = Conditions(
        name=name,
        device=device,
        kind=kind,
        runtime=runtime,
        runtime_version=runtime_version,
        precision=precision,
        threads=threads,
        power_mode=power_mode,
        clocks_locked=clocks_locked,
        gpu_mhz=gpu_mhz,
        date=date,
        source=source,
        licence=licence,
    )
    given = [option for option in (trtexec, aihub, timm, csv) if option]
    if len(given) != 1:
        raise UsageError("give exactly one of --trtexec, --aihub, --timm and --csv")
    if network and not trtexec:
        raise UsageError("--network goes with --trtexec; the other files name their networks")
    path = table_file(name, out, overwrite)
    if trtexec:
        table = import_trtexec(trtexec, conditions, network)
    elif aihub:
        table = import_aihub(aihub, conditions)
    elif timm:
        table = import_timm(timm, conditions)
    else:
        assert csv is not None
        table = import_csv(csv, conditions)
    table.save(path)
    if json:
        counts = {"n_entries": len(table.entries), "n_networks": len(table.networks)}
        print_json({"path": str(path), "device": table.device.name, "grade": table.grade, **counts})
        return
    print(path)
    why = table.best_grade.why
    say(f"grade {table.grade} ({why}): {len(table.entries)} parts, {len(table.networks)} whole networks")
