"""``supersam validate``: does a supernet rank its subnets as training each alone would?"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from supersam._paths import write_atomically
from supersam.cli._output import print_json, print_table, say

if TYPE_CHECKING:
    from supersam.space import AnyArchitecture, SearchSpace


def validate(
    config: Annotated[Path, typer.Argument(help="Training configuration (YAML): the schedule of each training alone.")],
    weights: Annotated[Path, typer.Option(help="The supernet (weights or training file).")],
    architectures: Annotated[int, typer.Option(min=3, help="How many subnets.")] = 16,
    repeated: Annotated[int, typer.Option(min=0, help="How many of them are trained from a second seed too.")] = 6,
    resolution: Annotated[int | None, typer.Option(help="Of the subnets; default: the smallest.")] = None,
    split: Annotated[str, typer.Option(help="Images to judge by; never those of the trainings.")] = "train-search",
    images: Annotated[int, typer.Option(min=1, help="... of each pack.")] = 20,
    masks: Annotated[int, typer.Option(min=1, help="... and masks of each image.")] = 8,
    front: Annotated[
        bool, typer.Option("--front", help="Choose near the front, by the shipped archive's accuracies.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread side by side.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train subnets alone from the supernet's weights, and compare their order with the supernet's.

    Finished trainings are kept in the configuration's `out`, with ranking.json; the command can be stopped and
    started again.
    """
    from supersam.cli._synthetic import refuse_synthetic
    from supersam.data.sources import open_packs
    from supersam.errors import UsageError
    from supersam.space import load_space
    from supersam.train.config import load_config
    from supersam.train.folder import writing
    from supersam.train.ranking import GOAL, GOAL_OF_CEILING, Test, judge, spread_subnets

    loaded = load_config(config)
    refuse_synthetic(loaded.data, "validate")
    packs, training = open_packs(loaded.data, split), open_packs(loaded.data, loaded.split)
    shared = {path for pack in packs for path in pack.paths} & {path for pack in training for path in pack.paths}
    if shared:
        raise UsageError(
            f"--split {split} holds {len(shared)} image{'s' * (len(shared) > 1)} that {config} trains on "
            f"(split: {loaded.split}), such as {min(shared)}; judge by train-search and train on train-fit"
        )
    space = load_space(loaded.space)
    expected = _archived_accuracy(space) if front else None
    chosen = spread_subnets(space, resolution or space.resolutions[0], architectures, expected=expected)
    test = Test(packs, training, images, masks, loaded.calibration_images)
    total, done = architectures + min(repeated, architectures), 0

    def finished() -> None:
        nonlocal done
        done += 1
        say(f"{done} of {total} trainings done")

    try:
        found = judge(chosen, loaded, weights, test, min(repeated, architectures), finished, workers)
    except KeyboardInterrupt:
        say("\nInterrupted; what is finished is kept. Give the same command to go on.")
        raise typer.Exit(130) from None
    import json as json_module

    with writing(loaded.out):
        write_atomically(loaded.out / "ranking.json", json_module.dumps(found.to_dict(), indent=1))
    if json:
        print_json(found.to_dict())
        return
    header = ["subnet", "GMACs", "inherited", "alone", "again"]
    print_table(
        header,
        [
            [
                subnet.digest,
                f"{subnet.gmacs:.3f}",
                f"{subnet.inherited:.4f}",
                f"{subnet.alone:.4f}",
                "-" if subnet.again is None else f"{subnet.again:.4f}",
            ]
            for subnet in found.subnets
        ],
    )
    named = {
        "supernet against alone": found.inherited,
        "alone against alone": found.ceiling,
        "supernet against the mean of both": found.inherited_with_mean,
    }
    for name, agreed in named.items():
        if agreed is not None:
            low, high = agreed.kendall_interval
            print(
                f"{name}: Kendall tau {agreed.kendall:.2f} ({low:.2f} to {high:.2f}), Spearman {agreed.spearman:.2f}, "
                f"{agreed.n} subnets"
            )
    share = found.share_of_ceiling
    noise = "" if found.noise is None else f"; of that the seed of a training makes {100 * found.noise:.2f}"
    print(
        f"points: training alone adds {100 * found.gain:+.2f}; the subnets then differ by {100 * found.spread:.2f}"
        f"{noise} (standard deviations)"
    )
    print(
        f"goal, tau of {GOAL} or {GOAL_OF_CEILING:.0%} of the ceiling: {'met' if found.goal_met else 'not met'}"
        + ("" if share is None else f"; on the subnets trained twice it is {share:.0%} of the ceiling")
        + ("" if share is None or found.ceiling_is_known else ", which may be 0 and is no measure")
    )


def _archived_accuracy(space: "SearchSpace") -> "Callable[[AnyArchitecture], float]":
    from supersam.errors import MissingError, UsageError
    from supersam.results import load_archive
    from supersam.search.accuracy import ArchiveAccuracy

    archive = load_archive()
    try:
        predict = ArchiveAccuracy(archive, space)
    except MissingError as problem:
        raise UsageError(
            f"--front chooses by the accuracies of the shipped archive, which knows too few subnets of {space.name}; "
            "leave it out"
        ) from problem
    return lambda architecture: predict(architecture).value
