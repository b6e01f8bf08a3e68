"""``supersam evaluate``: how accurate a subnet is on your images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from supersam.cli._output import print_json, print_table, say


def evaluate(
    model: Annotated[
        str, typer.Argument(help="Extracted checkpoint, or `starter` for a subnet of the shipped supernet.")
    ],
    data: Annotated[
        Path,
        typer.Option(help="Folder of images with masks (docs/data.md)."),
    ],
    split: Annotated[
        str, typer.Option(help="Split: val, train, or train-fit and train-search (parts of train).")
    ] = "val",
    arch: Annotated[
        str | None, typer.Option(help="With `starter`: digest, `best`, `largest` or `smallest`. Default: best.")
    ] = None,
    prompts: Annotated[str, typer.Option(help="Comma-separated: point1, point3, box.")] = "point1,box",
    limit: Annotated[int | None, typer.Option(min=1, help="Images of each pack; default: all.")] = None,
    compute: Annotated[
        str, typer.Option(help="Where it is computed: cpu, cuda, cuda:1, ...; auto is a CUDA GPU, if any.")
    ] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Mean IoU by clicks and boxes, per pack, beside the trivial answers to the box."""
    from rich.console import Console
    from rich.progress import track

    from supersam.data.sources import open_packs
    from supersam.evaluate import evaluator
    from supersam.evaluate.compute import compute_device

    device = compute_device(compute, "--compute")
    packs = open_packs(data, split)
    subnet, architecture, calibration = _load(model, arch, data)
    say(f"{architecture.digest}  {architecture.describe()}\nBatchNorm statistics: {calibration}")
    total = sum(min(limit or len(pack.records), len(pack.records)) for pack in packs)
    ticks = iter(track(range(total), "evaluating", console=Console(stderr=True), transient=True))
    report = evaluator.evaluate(
        subnet.to(device),
        architecture.resolution,
        packs,
        prompts.split(","),
        limit,
        on_image=lambda: bool(next(ticks, None)),
    )
    next(ticks, None)  # the bar ends when its items are asked for once more
    for pack, scores in report.packs.items():
        if scores.empty:
            say(f"Note: {scores.empty:,} empty masks of {pack} were left out.")
    if json:
        print_json({"digest": architecture.digest, "n_images": report.n_images, "packs": report.to_dict()})
        return
    rows = [
        [
            pack,
            prompt,
            f"{cell['miou']:.3f}",
            f"{cell['ci95'][0]:.3f}-{cell['ci95'][1]:.3f}",
            str(cell["n_masks"]),
            f"{cell['trivial']['box_fill']:.3f}",
            f"{cell['trivial']['ellipse']:.3f}",
        ]
        for pack, cells in report.to_dict().items()
        for prompt, cell in cells.items()
    ]
    print_table(["pack", "prompt", "mIoU", "95 %", "masks", "fill the box", "ellipse in the box"], rows)


def _load(model: str, arch: str | None, data: Path) -> tuple[Any, Any, str]:
    from supersam.checkpoints.subnets import extract_subnet, load_subnet
    from supersam.cli import _subnets
    from supersam.errors import MissingError, UsageError

    if model != _subnets.STARTER:
        if arch is not None:
            raise UsageError("--arch goes with `starter`; an extracted checkpoint has one architecture")
        subnet, architecture, record = load_subnet(Path(model))
        return subnet, architecture, record["provenance"]["batch_norm"]
    architecture = _subnets.resolve_starter(arch or "best")
    supernet = _subnets.load_supernet_of(_subnets.STARTER, None)
    try:
        statistics, source = _subnets.statistics(supernet, architecture, None if _archived(architecture) else data)
    except MissingError:  # a pack without a train split
        statistics, source = _subnets.statistics(supernet, architecture, None)
    return extract_subnet(supernet.model, architecture, statistics), architecture, source


def _archived(architecture: Any) -> bool:
    from supersam.checkpoints.starter import starter_statistics

    return bool(starter_statistics(architecture))
