"""``supersam search``: the most accurate encoder within a latency budget on a device."""

import json as json_module
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from supersam.cli._output import print_json, print_table, say

if TYPE_CHECKING:
    from supersam.results import Candidate, Run
    from supersam.search.study import Progress, Search

PROMPTS = ("point1", "box")


def search(
    device: Annotated[str, typer.Option(help="Device with a latency table (supersam devices), or a table's path.")],
    budget: Annotated[str, typer.Option(metavar="30ms", help="Latency budget with its unit.")],
    space: Annotated[str, typer.Option(help="Search space (supersam spaces), or the path of one.")] = "starter",
    trials: Annotated[int, typer.Option(min=1, help="Different architectures to judge.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed and data give the same search.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default: the next free runs/search-N.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    risk: Annotated[
        Literal["upper", "median"], typer.Option(help="Compare the budget with the upper 90 % bound or the median.")
    ] = "upper",
    data: Annotated[
        Path | None, typer.Option(help="Measure accuracy on these packs; default: the shipped archive of measurements.")
    ] = None,
    split: Annotated[str, typer.Option(help="With --data: the split to measure on.")] = "train-search",
    images: Annotated[int, typer.Option(min=1, help="With --data: images of each pack.")] = 16,
    weights: Annotated[Path | None, typer.Option(help="With --data: supernet weights; default: the starter.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search the most accurate encoder within the budget, and the front of accuracy against latency.

    Ctrl-C keeps the study; --resume continues it.
    """
    from supersam.results import Run, best_within, pareto_front
    from supersam.search import study

    question = _question(device, budget, space, seed, risk, data, split, images, weights)
    run = Run(out or _next_free(Path("runs")))
    searching, known = _prepare(run, question, resume, data, weights)
    fastest = study.fastest(searching.space, searching.table, risk)
    too_slow = study.bound_ms(searching.table, fastest, risk) > searching.budget_ms
    if too_slow:
        progress = study.Progress(rejected={fastest})
    else:
        if not resume:
            run.start(question)
        first = [fastest, *study.seeds_of(searching.space, known)]
        report = _Report(run, question, trials, json)
        try:
            progress = searching.optimize(trials, first, report)
        except KeyboardInterrupt:
            say(f"\nInterrupted, the study is kept. Continue with: {_command(question, run, trials)}")
            raise typer.Exit(130) from None
        finally:
            report.end()
    candidates = list(progress.candidates.values())
    answer = {
        "run": str(run.folder),
        "device": device,
        "budget_ms": searching.budget_ms,
        "risk": risk,
        "n_trials": progress.n_trials,
        "best": None,
        "front": [candidate.to_dict() for candidate in pareto_front(candidates)],
    }
    best = best_within(candidates, searching.budget_ms, risk)
    nearest = _nearest(searching, progress) if best is None else None
    answer |= {"best": best.to_dict()} if best else {"nearest": nearest.to_dict() if nearest else None}
    if not too_slow:
        _write(run, answer)
    if json:
        print_json(answer)
    else:
        _show(run, question, best, pareto_front(candidates))
    if nearest is not None:
        over = nearest.bound_ms(risk) - searching.budget_ms
        say(
            f"Nothing in {question['space_name']} meets {budget} on {device}; the nearest is {nearest.digest} at "
            f"{nearest.bound_ms(risk):.3g} ms ({_bound_name(risk)}), {over:.3g} ms over."
        )
        raise typer.Exit(3)


def _question(
    device: str, budget: str, space: str, seed: int, risk: str, data: Path | None, split: str, images: int, weights: Any
) -> dict[str, Any]:
    """Return everything that decides the answer, as it is written into the run."""
    import hashlib
    import platform

    import optuna

    from supersam import __version__
    from supersam.latency import load_table
    from supersam.space import load_space
    from supersam.units import parse_latency_ms

    budget_ms = parse_latency_ms(budget)
    loaded, table = load_space(space), load_table(device)
    return {
        "device": device,
        "table": table.name,
        "table_sha256": hashlib.sha256(table.to_json().encode()).hexdigest(),
        "budget": budget,
        "budget_ms": budget_ms,
        "risk": risk,
        "space": space,
        "space_name": loaded.name,
        "space_fingerprint": loaded.fingerprint,
        "seed": seed,
        "accuracy": {"data": str(data), "split": split, "images": images, "prompts": PROMPTS} if data else "archive",
        "weights": str(weights) if weights else None,
        "versions": {"supersam": __version__, "optuna": optuna.__version__, "python": platform.python_version()},
    }


def _prepare(
    run: "Run", question: dict[str, Any], resume: bool, data: Path | None, weights: Path | None
) -> tuple["Search", dict[Any, Any]]:
    """Check the run's folder and build the search; nothing is written if anything does not fit."""
    from supersam.errors import UsageError
    from supersam.latency import load_table
    from supersam.search.accuracy import ArchiveAccuracy
    from supersam.search.study import Search
    from supersam.space import load_space

    if resume:
        _check_same(run, question)
    elif run.exists:
        raise UsageError(f"{run.folder} holds a run already; continue it with --resume or choose another --out")
    space, table = load_space(question["space"]), load_table(question["device"])
    table.predict(space.smallest())
    known: dict[Any, Any] = {}
    if data is None:
        from supersam.results import load_archive

        if weights is not None:
            raise UsageError("--weights needs --data DIR: accuracies of other weights have to be measured")
        accuracy: Any = ArchiveAccuracy(load_archive(), space)
        known = accuracy.measured
        say(
            f"accuracy: {len(known)} measured subnets of {space.name} in the archive, the rest predicted "
            f"(error {accuracy.error:.3f}, one left out)"
        )
    else:
        accuracy = _measured(question, space, data, weights)
    searching = Search(run, space, table, question["budget_ms"], question["risk"], accuracy, question["seed"])
    return searching, known


def _measured(question: dict[str, Any], space: Any, data: Path, weights: Path | None) -> Any:
    from supersam._paths import starter_dir
    from supersam.checkpoints.starter import WEIGHTS
    from supersam.checkpoints.supernets import load_supernet
    from supersam.data.coco import load_packs
    from supersam.errors import UsageError
    from supersam.search.accuracy import measured_accuracy

    model, _ = load_supernet(weights or starter_dir() / WEIGHTS)
    supernet: Any = model.image_encoder
    if not supernet.space.contains_space(space):
        raise UsageError(
            f"the weights are of the space {supernet.space.name}, which does not contain {space.name}; "
            "train it (supersam train) and give --weights FILE"
        )
    wanted = question["accuracy"]
    packs = load_packs(data, wanted["split"])
    return measured_accuracy(model, packs, load_packs(data, "train-fit"), wanted["images"], 6, list(PROMPTS))


def _check_same(run: "Run", question: dict[str, Any]) -> None:
    from supersam.errors import UsageError

    before = run.question()
    for key in ("device", "table_sha256", "budget_ms", "risk", "space_fingerprint", "seed", "weights"):
        if before.get(key) != question[key]:
            raise UsageError(f"{run.folder} was searched with another {key} ({before.get(key)}, now {question[key]})")
    if json_module.dumps(before["accuracy"]) != json_module.dumps(question["accuracy"]):
        raise UsageError(f"{run.folder} took its accuracies from {before['accuracy']}, not from {question['accuracy']}")


def _next_free(folder: Path) -> Path:
    number = 1
    while (folder / f"search-{number}").exists():
        number += 1
    return folder / f"search-{number}"


def _nearest(searching: "Search", progress: "Progress") -> "Candidate":
    """Return the fastest architecture that was judged."""
    from supersam.results import Candidate
    from supersam.search.study import bound_ms

    judged = [candidate.architecture for candidate in progress.candidates.values()] + list(progress.rejected)
    fastest = min(judged, key=lambda architecture: bound_ms(searching.table, architecture, searching.risk))
    return Candidate(fastest, searching.accuracy(fastest), searching.table.predict(fastest))


def _bound_name(risk: str) -> str:
    return "median" if risk == "median" else "upper 90 % bound"


def _command(question: dict[str, Any], run: "Run", trials: int) -> str:
    parts = [f"supersam search --device {question['device']} --budget {question['budget']} --space {question['space']}"]
    parts.append(f"--trials {trials} --seed {question['seed']} --risk {question['risk']} --out {run.folder} --resume")
    if question["accuracy"] != "archive":
        wanted = question["accuracy"]
        parts.append(f"--data {wanted['data']} --split {wanted['split']} --images {wanted['images']}")
    if question["weights"]:
        parts.append(f"--weights {question['weights']}")
    return " ".join(parts)


def _write(run: "Run", answer: dict[str, Any]) -> None:
    from supersam._paths import write_atomically

    write_atomically(run.result_file, json_module.dumps(answer, indent=1) + "\n")


def _show(run: "Run", question: dict[str, Any], best: "Candidate | None", front: list["Candidate"]) -> None:
    def row(mark: str, candidate: "Candidate") -> list[str]:
        shown = candidate.to_dict()
        low, high = candidate.latency.lo, candidate.latency.hi
        return [
            mark,
            candidate.digest,
            f"{candidate.accuracy.value:.3f} {candidate.accuracy.source}",
            f"{candidate.latency.ms:.3g} [{low:.3g}-{high:.3g}] {candidate.latency.method}",
            f"{shown['gmacs']:.3g}",
            f"{shown['params_m']:.3g}",
            candidate.architecture.describe(),
        ]

    rows = [row("best" if best and found.digest == best.digest else "", found) for found in front]
    if best and all(found.digest != best.digest for found in front):
        rows.append(row("best", best))
    if rows:
        print_table(["", "digest", "mIoU", "latency ms [90 %]", "GMACs", "params M", "architecture"], rows)
    if best:
        bound = _bound_name(question["risk"])
        say(f"\nbest within {question['budget']} on {question['device']} ({bound}): {best.digest}")
        say(f"keep it:  supersam extract {run.folder} best -o best.safetensors")
        say(f"look:     supersam dashboard {run.folder.parent}")


class _Report:
    """The live line of a search: one that rewrites itself on a terminal, else one every few seconds."""

    EVERY_S = 5.0

    def __init__(self, run: "Run", question: dict[str, Any], trials: int, quiet: bool) -> None:
        self.question, self.trials, self.live = question, trials, sys.stderr.isatty()
        self.started = self.last = time.monotonic()
        self.before: int | None = None
        self.quiet = quiet and not self.live

    def __call__(self, progress: "Progress") -> None:
        now = time.monotonic()
        if self.before is None:
            self.before = progress.n_trials - 1
        if self.quiet or (now - self.last < (0.2 if self.live else self.EVERY_S)):
            return
        self.last = now
        line = self._line(progress, now)
        if self.live:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        else:
            say(line)

    def _line(self, progress: "Progress", now: float) -> str:
        from supersam.results import best_within, pareto_front

        found = list(progress.candidates.values())
        best = best_within(found, self.question["budget_ms"], self.question["risk"])
        shown = f"{best.digest} {best.accuracy.value:.3f} @ {best.latency.ms:.3g} ms" if best else "none yet"
        done = progress.n_trials - (self.before or 0)
        left = (now - self.started) / max(1, done) * (self.trials - progress.n_trials)
        return (
            f"trial {progress.n_trials}/{self.trials} · front {len(pareto_front(found))} · "
            f"best <= {self.question['budget']}: {shown} · {left:.0f} s left"
        )

    def end(self) -> None:
        """Leave the live line."""
        if self.live:
            sys.stderr.write("\r\x1b[K")
