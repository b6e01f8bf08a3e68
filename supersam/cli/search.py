"""``supersam search``: the most accurate encoder within a latency budget on a device, and the front around it."""

import json as json_module
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from supersam.cli._output import print_json, say

if TYPE_CHECKING:
    from supersam.errors import EnvironmentProblem
    from supersam.results import Run
    from supersam.search.ledger import Ledger
    from supersam.search.problem import Problem
    from supersam.search.study import Search


def search(
    context: typer.Context,
    device: Annotated[
        list[str] | None,
        typer.Option(help="Device with a latency table (supersam devices), or a table's path; may be given again."),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(metavar="30ms", help="Latency budget with its unit, one for all devices or one for each."),
    ] = None,
    space: Annotated[str, typer.Option(help="Search space (supersam spaces), or the path of one.")] = "starter",
    trials: Annotated[int, typer.Option(min=1, help="Different architectures to ask an accuracy for.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed and data give the same search (one worker).")] = 0,
    sampler: Annotated[
        str,
        typer.Option(
            help="What proposes: auto (ehvi), ehvi, linas, linas-dp, nsga2, nsga3, tpe, gp, random, nni-evolution, "
            "nni-tpe, nni-random."
        ),
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default: the next free runs/search-N.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out; more --trials extend it.")
    ] = False,
    accept_changed_tables: Annotated[
        bool, typer.Option("--accept-changed-tables", help="With --resume: go on though the run's tables were changed.")
    ] = False,
    risk: Annotated[
        Literal["upper", "median"], typer.Option(help="Compare the budget with the upper 90 % bound or the median.")
    ] = "upper",
    max_params: Annotated[float | None, typer.Option(help="At most so many million parameters.")] = None,
    max_gmacs: Annotated[float | None, typer.Option(help="At most so many billion MACs.")] = None,
    max_memory: Annotated[
        float | None, typer.Option(help="At most so many megabytes of fp32 weights and activations.")
    ] = None,
    weigh: Annotated[
        list[str] | None, typer.Option(metavar="NAME=2", help="Weight of a pack or prompt; default: all alike.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Measure accuracy on these packs; default: the shipped archive of measurements.")
    ] = None,
    split: Annotated[str, typer.Option(help="With --data: the split to measure on.")] = "train-search",
    images: Annotated[int, typer.Option(min=1, help="With --data: images of each pack.")] = 16,
    evaluate: Annotated[
        int | None, typer.Option(min=2, help="With --data: evaluate so many, predict the rest; default: evaluate all.")
    ] = None,
    verify: Annotated[
        int | None, typer.Option(min=0, help="With --evaluate: evaluate so many of the predicted front; default: all.")
    ] = None,
    halving: Annotated[
        bool, typer.Option("--halving", help="With --data: give up on architectures after few images.")
    ] = False,
    weights: Annotated[Path | None, typer.Option(help="With --data: supernet weights; default: the starter.")] = None,
    compute: Annotated[
        str,
        typer.Option(
            help="With --data: where accuracies are computed: cpu, cuda, cuda:1, ...; auto is a CUDA GPU, if any."
        ),
    ] = "auto",
    measure: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="Then time the K best whole on this machine.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --measure: time on a busy machine too; the run records it.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that search together on this machine.")] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where the study is kept (an absolute FILE makes four slashes); default: SQLite in the run's folder.",
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --storage: study to join or make; default: search.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search the most accurate encoder within the budget, and the front of accuracy against latency.

    Ctrl-C keeps the study; --resume continues it.
    """
    from supersam.cli._measure_here import check_machine
    from supersam.cli._search_question import (
        accuracy_of,
        asked_before,
        check_folder,
        check_resumed,
        completed,
        known_sampler,
        question_of,
        storage_of,
    )
    from supersam.cli._search_view import LiveLine, command, show_answer
    from supersam.errors import SuperSAMError
    from supersam.results import Run
    from supersam.search.build import ACCURACY_HASH, accept_tables, build, check_accuracy, check_tables
    from supersam.search.report import answer_of, why_fewer

    run = Run(out or _next_free(Path("runs")))
    if resume:
        check_resumed(context, out)
    if resume and not device:
        question, problem = asked_before(run)
    else:
        limits = {"params_m": max_params, "gmacs": max_gmacs, "memory_mb": max_memory}
        accuracy = accuracy_of(data, split, images, evaluate, halving)
        question, problem = question_of(device or [], budget or [], space, risk, limits, weigh or [], accuracy)
        question |= {
            "seed": seed,
            "sampler": known_sampler(sampler),
            "weights": str(weights.absolute()) if weights else None,
        }
        question |= storage_of(storage, study)
    if out is not None:  # else a free one is taken at the last moment, as other searches start meanwhile
        check_folder(run, question, resume)
    if resume and not accept_changed_tables:
        check_tables(completed(run.question()), run)
    _check_options(verify, question, compute, measure, force)
    if measure is not None:
        check_machine(problem, force)
    where = _where(run if resume else None, compute, question)
    searching = build(question, run, problem, storage, where, 0 if workers == 1 else None)
    if resume:
        check_accuracy(completed(run.question()), searching)
    question[ACCURACY_HASH] = searching.judged_by[ACCURACY_HASH]
    if resume and accept_changed_tables:
        accept_tables(question, run, searching)
    _introduce(searching, question)
    if _is_unmet(searching, json):
        raise typer.Exit(3)
    searching.check()
    if not resume:
        if out is None:
            run = _claimed(run.folder.parent)
            searching = replace(searching, run=run)
        _start(run, question, problem)
    run.result_file.unlink(missing_ok=True)  # it is no answer any more
    live = LiveLine(run, question, trials, json)
    again = command(question, run, trials, workers, verify=verify, measure=measure, compute=compute)
    try:
        ledger = _optimize(searching, question, where, workers, trials, live)
        candidates = _verified(searching, ledger, verify)
    except KeyboardInterrupt:
        say(f"\nInterrupted, the study is kept. Continue with: {again}")
        raise typer.Exit(130) from None
    except SuperSAMError:
        say(f"\nThe study is kept. Continue with: {again}")
        raise
    finally:
        live.end()
    answer = answer_of(run, question, problem, candidates, ledger)
    _write(run, answer)
    fewer = why_fewer(problem, ledger, trials)
    if fewer:
        say(fewer)
    refused = _measured_here(run, problem, answer, measure, force, again) if measure is not None else None
    if json:
        print_json(answer)
    else:
        show_answer(run, answer)
    if refused is not None:
        say(f"measure later:  {again}")
        raise refused
    missed = [found for found in answer["devices"].values() if found["best"] is None]
    if missed:
        say(f"Nothing that was found meets {_wish(missed[0])}; give more --trials, or ask for less.")
        raise typer.Exit(3)


def _where(before: "Run | None", compute: str, question: dict[str, Any]) -> str:
    """Return where accuracies are computed, and note the kind in the question; a run goes on where it was begun."""
    if question["accuracy"] == "archive":
        return compute
    from supersam.evaluate.compute import kind_of

    if before is not None and compute == "auto":
        compute = before.question().get("compute", "cpu")
    question["compute"] = kind_of(compute)
    return compute


def _wish(found: dict[str, Any]) -> str:
    return "the limits" if found["budget_ms"] is None else f"{found['budget_ms']:g} ms on {found['device']}"


def _check_options(
    verify: int | None, question: dict[str, Any], compute: str, measure: int | None, force: bool
) -> None:
    from supersam.errors import UsageError

    if compute != "auto" and question["accuracy"] == "archive":
        raise UsageError("--compute is for accuracies that are measured on images; it needs --data DIR")
    if verify is not None and "measure" not in question["accuracy"]:
        raise UsageError("--verify K evaluates a predicted front; it needs --data DIR and --evaluate N")
    if force and measure is None:
        raise UsageError("--force is for --measure K: it times on a busy machine")


def _measured_here(
    run: "Run", problem: "Problem", answer: dict[str, Any], most: int, force: bool, again: str
) -> "EnvironmentProblem | None":
    """Add the times of the best subnets to an answer; return why that was refused: the answer is shown first."""
    from supersam.cli._measure_here import measure_here
    from supersam.errors import EnvironmentProblem

    try:
        timed = measure_here(run, problem, answer, most, force)
    except EnvironmentProblem as refused:
        return refused
    except KeyboardInterrupt:
        say(f"\nInterrupted, the answer is kept. Continue with: {again}")
        raise typer.Exit(130) from None
    answer["timed"] = [one.to_dict() for one in timed]
    _write(run, answer)
    return None


def _introduce(searching: "Search", question: dict[str, Any]) -> None:
    from supersam.latency import INTERVAL
    from supersam.search.accuracy import ArchiveAccuracy

    for device in searching.problem.devices:
        table = device.table
        mode = f", power mode {table.power.mode}" if table.power.mode else ""
        say(
            f"{device.name}: {table.device}, {table.runtime} {table.precision}{mode}; latencies {table.method}, grade "
            f"{table.grade} (supersam devices show {device.name})"
        )
        if table.interval != INTERVAL:
            say(
                "  its sums were never compared with whole networks: what stands for the 90 % interval is the range of "
                "its rounds, which is too narrow (supersam profile --networks)"
            )
    source = searching.accuracy
    if isinstance(source, ArchiveAccuracy):
        say(
            f"accuracy: {len(source.measured)} measured subnets of {searching.problem.space.name} in the archive, "
            f"the rest predicted (error {source.error:.3f}, one left out)"
        )
    else:
        say(f"accuracy: measured on {question['accuracy']['data']}, computed on {question['compute']}")


def _is_unmet(searching: "Search", json: bool) -> bool:
    """Say what is nearest to a budget or limit that nothing in the space meets; return whether there is one."""
    from supersam.results import Candidate
    from supersam.search.feasible import unmet

    problem = searching.problem
    found = unmet(problem)
    if found is None:
        return False
    device = problem.devices[found.device]
    if json:
        nearest = Candidate(found.nearest, searching.accuracy(found.nearest), device.table.predict(found.nearest))
        shown = {"run": None, "device": device.name, "budget_ms": device.budget_ms, "risk": problem.risk}
        print_json(shown | {"n_trials": 0, "best": None, "front": [], "nearest": nearest.to_dict()})
    say(found.why)
    return True


def _optimize(
    searching: "Search", question: dict[str, Any], compute: str, workers: int, trials: int, live: Any
) -> "Ledger":
    from supersam.search.starts import starts_of

    first = starts_of(searching.problem, getattr(searching.accuracy, "measured", {}))
    if workers == 1:
        return searching.optimize(trials, first, live)
    from supersam.search.workers import optimize_together

    searching.prepare(first)
    return optimize_together(searching, question, workers, trials, live, compute=compute)


def _verified(searching: "Search", ledger: "Ledger", most: int | None) -> list[Any]:
    """Return the candidates, the front measured where accuracy was predicted and there are images."""
    from supersam.search.learning import LearningAccuracy
    from supersam.search.verify import verify

    source = searching.accuracy
    recorded = {candidate.digest: candidate for candidate in searching.run.candidates()}
    candidates = [recorded.get(digest, candidate) for digest, candidate in ledger.candidates.items()]
    if not isinstance(source, LearningAccuracy):
        return candidates
    in_full = getattr(source.measure, "in_full", lambda: source.measure)()
    found = verify(candidates, most, in_full, lambda measured: searching.run.append(measured, verified=True))
    return list(found.values())


def _start(run: "Run", question: dict[str, Any], problem: "Problem") -> None:
    for device in problem.devices:
        device.table.save(run.tables_dir / f"{device.table.name}.json")
    run.start(question)


def _write(run: "Run", answer: dict[str, Any]) -> None:
    from supersam._paths import write_atomically

    write_atomically(run.result_file, json_module.dumps(answer, indent=1) + "\n")


def _claimed(home: Path) -> "Run":
    """Make the folder of the next number; another search that starts now takes another one."""
    from supersam.results import Run

    home.mkdir(parents=True, exist_ok=True)
    while True:
        run = Run(_next_free(home))
        with suppress(FileExistsError):
            run.folder.mkdir()
            return run


def _next_free(folder: Path) -> Path:
    number = 1
    while (folder / f"search-{number}").exists():
        number += 1
    return folder / f"search-{number}"
