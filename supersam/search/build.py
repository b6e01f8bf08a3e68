"""From the question, as it stands in a run's folder, to the search that answers it; every worker builds its own."""

import hashlib
from functools import cache, partial
from pathlib import Path
from typing import Any

from supersam.errors import DamagedError, MissingError, UsageError
from supersam.latency import load_table, read_table
from supersam.results import Run, load_archive
from supersam.search.accuracy import AccuracySource, ArchiveAccuracy
from supersam.search.halving import Halving
from supersam.search.learning import LearningAccuracy
from supersam.search.objective import Objective
from supersam.search.problem import Device, Limits, Problem
from supersam.search.study import Search
from supersam.space import SearchSpace, StagedSpace, ViTSpace, load_space

MASKS_PER_IMAGE = 6
PROTOCOL = 2  # raised when the same subnet on the same images would be judged otherwise
ACCURACY_HASH = "accuracy_sha256"  # of the archive, or of data, weights and how is measured


def build_problem(question: dict[str, Any], run: Run, space: SearchSpace | None = None) -> Problem:
    """Return the problem of a question; tables are those kept in the run's folder, if it has them."""
    devices = []
    for asked in question["devices"]:
        kept = run.tables_dir / f"{asked['table']}.json"
        table = read_table(kept) if kept.is_file() else load_table(asked["device"])
        devices.append(Device(asked["device"], table, asked["budget_ms"]))
    return Problem(space or space_of(question), tuple(devices), question["risk"], Limits(**question["limits"]))


def space_of(question: dict[str, Any]) -> SearchSpace:
    """Return the space of a question: the one written into the run, so that its file need not be there any more."""
    content = question.get("space_content")
    if not content:
        return load_space(question["space"])
    kind = ViTSpace if content.get("encoder") == "sam_vit" else StagedSpace
    try:
        return kind.model_validate(content)
    except ValueError as problem:
        raise DamagedError(f"the run's space_content is damaged ({str(problem).splitlines()[0]})") from problem


def changed_tables(question: dict[str, Any], run: Run) -> list[Path]:
    """Return the tables kept in a run's folder that are not those the search was begun with."""
    found = []
    for asked in question["devices"]:
        kept = run.tables_dir / f"{asked['table']}.json"
        if kept.is_file() and asked.get("table_sha256") not in (None, file_digest(kept)):
            found.append(kept)
    return found


def check_tables(question: dict[str, Any], run: Run) -> None:
    """Refuse to go on with other latencies than a search was begun with.

    Raises:
        UsageError: if a table of the run was changed.
    """
    changed = changed_tables(question, run)
    if changed:
        names = ", ".join(str(path) for path in changed)
        raise UsageError(
            f"{names} is not the latency table this search was begun with, its latencies would not be comparable; "
            "begin a new run (--out), or go on all the same with --accept-changed-tables"
        )


def accept_tables(question: dict[str, Any], run: Run, search: Search) -> None:
    """Go on with the tables that are in a run's folder now; run and study note that they are the ones."""
    if not changed_tables(question, run):
        return
    for asked in question["devices"]:
        asked["table_sha256"] = file_digest(run.tables_dir / f"{asked['table']}.json")
    question["table_sha256"] = question["devices"][0]["table_sha256"]
    search.accept_tables()
    run.start(question)


def file_digest(path: Path) -> str:
    """Return the hash of a file, which is ``Device.fingerprint`` of the table it was saved from."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build(
    question: dict[str, Any],
    run: Run,
    problem: Problem | None = None,
    storage: str | None = None,
    compute: str = "auto",
    worker: int | None = 0,
) -> Search:
    """Return the search that answers a question.

    Args:
        compute: where accuracies are measured, as ``compute_device``; of the question is only its kind.
        worker: which of several processes on this machine; None for their parent, which may not have to measure.

    Raises:
        UsageError: if what is asked does not fit together.
        MissingError: if data, weights or the archive are not there.
    """
    problem = problem or build_problem(question, run)
    accuracy, sources = build_accuracy(question, problem, compute, worker)
    url = storage or question.get("storage")
    judged_by = {"objective": question["objective"], ACCURACY_HASH: sources}
    return Search(run, problem, accuracy, question["seed"], question["sampler"], url, question["study"], judged_by)


def check_accuracy(question: dict[str, Any], search: Search) -> None:
    """Refuse to go on with other accuracies than a search was begun with.

    Raises:
        UsageError: if the archive, the data or the weights were changed.
    """
    if question.get(ACCURACY_HASH) not in (None, search.judged_by[ACCURACY_HASH]):
        source = (
            "the shipped archive"
            if question["accuracy"] == "archive"
            else "its data, its weights, or how and on what they are judged: --compute"
        )
        raise UsageError(
            f"{search.run.folder} was begun with other accuracies ({source} changed since), they would not be "
            "comparable; begin a new run (--out)"
        )


def build_accuracy(
    question: dict[str, Any], problem: Problem, compute: str = "auto", worker: int | None = 0
) -> tuple[AccuracySource, str]:
    """Return where the accuracies come from, and a hash of that.

    It is the archive, images, or images for some architectures and a model for the rest.
    """
    objective = Objective(question["objective"])
    wanted = question["accuracy"]
    if wanted == "archive":
        if question["weights"] is not None:
            raise UsageError("--weights needs --data DIR: accuracies of other weights have to be measured")
        archive = load_archive()
        return ArchiveAccuracy(archive, problem.space, objective), archive.fingerprint
    measured = _measured(question, problem, objective, compute, worker)
    if wanted.get("measure") is not None:
        return LearningAccuracy(measured, problem, wanted["measure"]), measured.cache.key
    return measured, measured.cache.key


def _measured(
    question: dict[str, Any], problem: Problem, objective: Objective, compute: str, worker: int | None
) -> Any:
    from supersam._paths import starter_dir
    from supersam.checkpoints.files import file_sha256
    from supersam.checkpoints.starter import WEIGHTS
    from supersam.checkpoints.supernets import load_supernet
    from supersam.data.sources import open_packs
    from supersam.data.splits import fit_split, split_on_disk
    from supersam.evaluate.compute import compute_device, kind_of
    from supersam.search.accuracy_cache import AccuracyCache, data_fingerprint
    from supersam.search.measured import CALIBRATION_IMAGES, MeasuredAccuracy

    wanted = question["accuracy"]
    kind = kind_of(compute)
    device = cache(partial(compute_device, compute, "--compute", worker or 0))
    if worker is not None:
        device()  # before anything is begun
    path = Path(question["weights"]) if question["weights"] else starter_dir() / WEIGHTS
    model, _ = load_supernet(path)
    supernet: Any = model.image_encoder
    if not supernet.space.contains_space(problem.space):
        raise UsageError(
            f"the weights are of the space {supernet.space.name}, which does not contain {problem.space.name}; "
            "train it (supersam train) and give --weights FILE"
        )
    data, split, prompts = Path(wanted["data"]), wanted["split"], list(wanted["prompts"])
    packs = open_packs(data, split)
    try:
        calibration = open_packs(data, fit_split(split))
    except MissingError as missing:
        raise MissingError(
            f"{missing}; a search takes BatchNorm statistics from the split train of its data"
        ) from missing
    objective.check([*(pack.name for pack in packs), *prompts])
    protocol = {
        "version": PROTOCOL,
        "weights_sha256": file_sha256(path),
        "data": data_fingerprint(data, [split, split_on_disk(split), "train-fit", "train"], [*packs, *calibration]),
        "split": split,
        "images": wanted["images"],
        "masks_per_image": MASKS_PER_IMAGE,
        "prompts": prompts,
        "calibration": CALIBRATION_IMAGES,
        **({} if kind == "cpu" else {"compute": kind}),  # how far they agree was never measured
    }
    halving = Halving(lambda a: [found.ms for found in problem.latencies(a)]) if wanted.get("halving") else None
    return MeasuredAccuracy(
        model,
        packs,
        calibration,
        wanted["images"],
        MASKS_PER_IMAGE,
        prompts,
        AccuracyCache(protocol),
        objective,
        halving,
        device,
    )
