"""``supersam teacher cache``: compute a teacher's embeddings once, for all trainings that distil from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supersam.cli._output import print_json, say

if TYPE_CHECKING:
    from supersam.data.records import Pack
    from supersam.data.skipped import Skipped
    from supersam.train.teacher_cache import Source, TeacherCache
    from supersam.train.teacher_cache_fill import Filled
    from supersam.train.teachers import Teacher

PRECISIONS = ("fp32", "bf16", "fp16")

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Teachers to distil from.")


@app.callback()
def _teacher() -> None:
    """Teachers to distil from."""


@app.command()
def cache(
    teacher: Annotated[
        str,
        typer.Argument(
            help="SAM checkpoint (.pth), .safetensors of train or extract, .onnx, `starter`, or a training "
            "configuration (.yaml), which says the rest."
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Images with masks, as for train; those without need a configuration.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the embeddings.")] = None,
    split: Annotated[str | None, typer.Option(help="Split whose images are embedded. Default: train-fit.")] = None,
    subnet: Annotated[
        str | None,
        typer.Option(help="Of a supernet: `largest`, or a block type for the largest of it. Default: largest."),
    ] = None,
    flips: Annotated[bool, typer.Option("--flips", help="The flipped view of every image, too.")] = False,
    batch: Annotated[int, typer.Option(min=1, help="Images embedded at once.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read images.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto takes the first GPU.")] = "auto",
    precision: Annotated[str, typer.Option(help="Arithmetic of the teacher: fp32, bf16 or fp16.")] = "fp32",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is missing and its size on disk.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Keep a teacher's embedding of every image on disk, in half precision.

    Give the same command again to go on after an interruption; damaged and missing embeddings are computed, others
    are kept.
    """
    from supersam.data.skipped import Skipped
    from supersam.errors import UsageError
    from supersam.evaluate.compute import compute_device
    from supersam.train import teacher_cache, teacher_cache_fill
    from supersam.train.teachers import load_teacher

    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}; there are: {', '.join(PRECISIONS)}")
    chosen = compute_device(device, "--device")
    task = _task(teacher, data, out, split, subnet, flips)
    skipped = Skipped()
    packs = _open(task, skipped)
    sources = teacher_cache.sources_of(packs, skipped)
    loaded = load_teacher(task.teacher, task.subnet, packs).to(chosen)
    say(f"{loaded.name}: {len(sources)} images {'and their flipped views ' if flips else ''}at {loaded.resolution}px")
    if skipped.reasons:
        skipped.see("image", len(sources))  # those that are left out are counted already
        say(skipped.summary())
    if dry_run:
        _print_plan(loaded, sources, task.out, flips, json)
        return
    with teacher_cache_fill.open_writer(task.out, loaded, precision) as writer:  # type: ignore[arg-type]
        try:
            filled = _fill(writer, loaded, sources, flips, batch, workers)
        except KeyboardInterrupt:
            say(f"\nInterrupted; what is done is kept in {task.out}. Give the same command again to go on")
            raise typer.Exit(130) from None
    _print_summary(writer, filled, sources, json)


@dataclass(frozen=True)
class _Task:
    """Whose embeddings of which images go where."""

    teacher: str
    subnet: str
    data: Any
    split: str
    out: Path


def _task(
    teacher: str, data: Path | None, out: Path | None, split: str | None, subnet: str | None, flips: bool
) -> _Task:
    """Return what is asked for by the options, or by a configuration where they are silent."""
    from supersam.cli._synthetic import refuse_synthetic
    from supersam.errors import UsageError

    if not teacher.endswith((".yaml", ".yml")):
        if data is None or out is None:
            raise UsageError("--data and --out are needed, or a training configuration (.yaml) instead of the teacher")
        if not data.exists():
            refuse_synthetic(data, "teacher cache")
        return _Task(teacher, subnet or "largest", data, split or "train-fit", out)
    from supersam.train.config import load_config
    from supersam.train.distillation import cached_views, check_views

    config = load_config(Path(teacher))
    if config.distillation is None:
        raise UsageError(f"{teacher} has no section `distillation`, which names the teacher")
    folder = out or config.distillation.cache
    if folder is None:
        raise UsageError(f"{teacher} names no `distillation.cache`; add the folder of the embeddings, or give --out")
    if data is None:
        refuse_synthetic(config.data, "teacher cache")
    if out is None:  # the training's own cache: what it could not use is told now, not after hours
        check_views(cached_views(flips or _has_flips(folder)), config.augmentation)
    wanted = subnet or config.distillation.subnet
    return _Task(config.distillation.teacher, wanted, data or config.data, split or config.split, folder)


def _has_flips(folder: Path) -> bool:
    from supersam.errors import SuperSAMError
    from supersam.train.teacher_cache import TeacherCache

    try:
        return TeacherCache(folder).flips
    except SuperSAMError:  # not there yet, or to be filled again
        return False


def _open(task: _Task, skipped: "Skipped") -> "list[Pack]":
    from supersam.data.records import Pack
    from supersam.data.sources import open_sources
    from supersam.errors import UsageError

    packs = []
    for source in open_sources(task.data, task.split, skipped):
        if not isinstance(source, Pack):
            raise UsageError(f"{source.name} is a stream of tar files; unpack it, or distil without a cache")
        packs.append(source)
    return packs


def _fill(
    writer: "TeacherCache", teacher: "Teacher", sources: "list[Source]", flips: bool, batch: int, workers: int
) -> "Filled":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from supersam.train import teacher_cache_fill

    assert isinstance(writer, teacher_cache_fill.CacheWriter)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks = {name: bar.add_task(name, total=None, visible=False) for name in ("verify", "embed")}

        def show(name: str, done: int, total: int) -> None:
            bar.update(tasks[name], completed=done, total=total, visible=True)

        return teacher_cache_fill.fill(writer, teacher, sources, flips, batch, workers, show)


def _print_plan(teacher: "Teacher", sources: "list[Source]", out: Path, flips: bool, json: bool) -> None:
    from supersam.train.teacher_cache import INDEX, TeacherCache, bytes_of

    missing = len(sources) * (2 if flips else 1)
    if (out / INDEX).exists():
        found = TeacherCache(out)
        missing = len(found.missing(sources, flips or found.flips))
    needed = missing * bytes_of(teacher.shape)
    if json:
        print_json({"cache": str(out), "images": len(sources), "missing": missing, "bytes": needed})
    else:
        print(f"{missing} embeddings are missing: {needed / 2**30:.2f} GiB")


def _print_summary(cache: "TeacherCache", filled: "Filled", sources: "list[Source]", json: bool) -> None:
    entries = sum(entry.slot >= 0 for entry in cache.entries.values())
    if json:
        print_json(
            {
                "cache": str(cache.folder),
                "teacher": cache.index["teacher"],
                "fingerprint": cache.index["fingerprint"],
                "resolution": cache.index["resolution"],
                "shape": list(cache.shape),
                "precision": cache.index["precision"],
                "flips": cache.flips,
                "images": len(sources),
                "embeddings": entries,
                "computed": filled.computed,
                "kept": filled.kept,
                "damaged": filled.damaged,
                "skipped": filled.skipped,
                "bytes": entries * cache.entry_bytes,
            }
        )
        return
    for reason in filled.skipped:
        say(f"Skipped: {reason}")
    say(
        f"{filled.computed} computed ({filled.damaged} of them were damaged), {filled.kept} kept, "
        f"{len(filled.skipped)} skipped; {entries * cache.entry_bytes / 2**30:.2f} GiB"
    )
    print(cache.folder)
