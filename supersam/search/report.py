"""What a run found, for people and programs: fronts by device, hypervolume over trials, what mattered."""

import csv
import io
import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from supersam.results import Candidate, Run, best_within, pareto_front
from supersam.search.over_trials import front_over_time, hypervolume_over_trials
from supersam.space import Architecture, SearchSpace

if TYPE_CHECKING:
    from supersam.search.ledger import Ledger
    from supersam.search.problem import Problem

SOURCES = ("measured", "predicted")
LEAST_FOR_IMPORTANCE = 16
LATENCY_COLUMNS = ("latency_ms", "latency_low_ms", "latency_high_ms", "latency_method")
COLUMNS = (
    "digest", "n", "accuracy", "accuracy_source", "accuracy_low", "accuracy_high", *LATENCY_COLUMNS,
    "gmacs", "params_m", "on_front", "architecture",
)  # fmt: skip


def answer_of(
    run: Run, question: dict[str, Any], problem: "Problem", candidates: list[Candidate], ledger: "Ledger"
) -> dict[str, Any]:
    """Return the answer of a search as JSON (README, "Commands"): one front for each device, measured and predicted
    accuracies never on one front."""
    counts = {
        "n_trials": len(ledger.candidates) + len(ledger.pruned),
        "n_rejected": len(ledger.rejected),
        "n_pruned": len(ledger.pruned),
    }
    return _answer(run, question, problem, candidates, counts)


def answer_of_merged(run: Run, question: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of a run that was merged from others.

    What its parts rejected and gave up is known to their studies only, and not counted.

    Args:
        question: the run's, with all its fields.
    """
    from supersam.search.build import build_problem

    candidates = run.candidates()
    counts = {"n_trials": len(candidates), "n_rejected": 0, "n_pruned": 0}
    return _answer(run, question, build_problem(question, run), candidates, counts)


def _answer(
    run: Run, question: dict[str, Any], problem: "Problem", candidates: list[Candidate], counts: dict[str, int]
) -> dict[str, Any]:
    budgets = {device.name: device.budget_ms for device in problem.devices}
    devices = fronts_of_devices(candidates, budgets, problem.risk)
    first = devices[problem.devices[0].name]
    answer = {
        "run": str(run.folder),
        "device": question["device"],
        "budget_ms": question["budget_ms"],
        "risk": question["risk"],
        "sampler": question["sampler"],
        **counts,
        "best": first["best"],
        "front": first["front"],
        "devices": devices,
    }
    if "predicted" in first:
        answer["predicted"] = first["predicted"]
    if len(problem.devices) > 1:
        answer["good_on_all"] = [one.to_dict() for one in good_on_all(candidates, problem)]
    return answer


def fronts_of_devices(
    candidates: Sequence[Candidate], budgets: dict[str, float | None], risk: str
) -> dict[str, dict[str, Any]]:
    """Return best and front on each device, by its name."""
    found = {}
    for name, budget_ms in budgets.items():
        here = fronts([on_device(candidate, name) for candidate in candidates], budget_ms, risk)
        found[name] = {"device": name, "budget_ms": budget_ms} | here
    return found


def fronts(candidates: Sequence[Candidate], budget_ms: float | None, risk: str) -> dict[str, Any]:
    """Return best and front of the measured candidates, and apart from them those of the predicted ones.

    Where nothing measured is within the budget, best and front are the predicted ones; each candidate says which.
    """
    within_ms = float("inf") if budget_ms is None else budget_ms
    found = {}
    for source, these in apart(candidates).items():
        best = best_within(these, within_ms, risk)
        front = [candidate.to_dict() for candidate in pareto_front(these)]
        found[source] = {"best": best.to_dict() if best else None, "front": front}
    if found["measured"]["best"] is None and found["predicted"]["best"] is not None:
        return found["predicted"]
    return found["measured"] | ({"predicted": found["predicted"]} if found["predicted"]["front"] else {})


def apart(candidates: Collection[Candidate]) -> dict[str, list[Candidate]]:
    """Return the measured candidates and the predicted ones, which are never on one front."""
    return {source: [one for one in candidates if one.accuracy.source == source] for source in SOURCES}


def on_device(candidate: Candidate, name: str) -> Candidate:
    """Return the candidate with its latency on a device of the search, by name; the first one's if it has no other."""
    return replace(candidate, latency=candidate.also.get(name, candidate.latency), also={})


def good_on_all(candidates: Sequence[Candidate], problem: "Problem") -> list[Candidate]:
    """Return what is within every budget and what no other such candidate beats in accuracy and in all latencies.

    Measured candidates are returned if there are any, else predicted ones.
    """
    found: list[Candidate] = []
    for alike in apart(candidates).values():
        these = [
            candidate
            for candidate in alike
            if all(over <= 0 for over in problem.over_budget((candidate.latency, *candidate.also.values())).values())
        ]
        found = [one for one in these if not any(_beats(other, one) for other in these)]
        if found:
            break
    return sorted(found, key=lambda one: one.latency.ms)


def _beats(one: Candidate, other: Candidate) -> bool:
    mine, theirs = (
        (-candidate.accuracy.value, candidate.latency.ms, *(latency.ms for latency in candidate.also.values()))
        for candidate in (one, other)
    )
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def report_of(run: Run) -> dict[str, Any]:
    """Return what a run found: counts, best and front on each device, hypervolume and front over trials, importances,
    block types by stage.

    Everything is said of measured and of predicted accuracies apart; latency is the first device's where none is named.

    Raises:
        MissingError, DamagedError: if the folder is not a run or cannot be read.
    """
    question, candidates = run.question(), run.candidates()
    asked = question.get("devices") or [{"device": question.get("device"), "budget_ms": question.get("budget_ms")}]
    budgets = {one["device"]: one.get("budget_ms") for one in asked}
    devices = fronts_of_devices(candidates, budgets, question.get("risk", "upper"))
    first = next(iter(devices.values()))
    by_source = apart(candidates)
    present = {source: these for source, these in by_source.items() if these}
    return {
        "run": str(run.folder),
        "question": question,
        "n_candidates": len(candidates),
        "n_measured": len(by_source["measured"]),
        "n_predicted": len(by_source["predicted"]),
        **{key: first[key] for key in ("best", "front", "predicted") if key in first},
        "devices": devices,
        "hypervolume": {source: hypervolume_over_trials(these) for source, these in present.items()},
        "front_over_time": {source: front_over_time(these) for source, these in present.items()},
        "importances": {source: importances(these, _space_of(question)) for source, these in present.items()},
        "block_types": {source: block_types(pareto_front(these)) for source, these in present.items()},
    }


def importances(candidates: Sequence[Candidate], space: SearchSpace | None = None) -> dict[str, float]:
    """Return how much each choice mattered for accuracy (Optuna's PED-ANOVA, https://arxiv.org/abs/2304.10255).

    Empty where there are too few candidates to say.

    Args:
        space: what the choices are of; not needed for encoders with stages.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    chosen = [_choices(candidate, space) for candidate in candidates]
    if len(candidates) < LEAST_FOR_IMPORTANCE or not all(chosen):
        return {}
    values = {name: sorted({one[name] for one in chosen}, key=str) for name in chosen[0]}
    distributions = {
        name: optuna.distributions.CategoricalDistribution(found) for name, found in values.items() if len(found) > 1
    }
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.create_trial(
                params={name: one[name] for name in distributions},
                distributions=distributions,
                value=candidate.accuracy.value,
            )
            for one, candidate in zip(chosen, candidates, strict=True)
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )
    return {name: round(float(value), 5) for name, value in found.items()}


def _space_of(question: dict[str, Any]) -> SearchSpace | None:
    """Return the space of a run; None if an earlier version did not write it down."""
    from supersam.search.build import space_of

    return space_of(question) if question.get("space_content") else None


def _choices(candidate: Candidate, space: SearchSpace | None) -> dict[str, Any]:
    architecture = candidate.architecture
    if space is not None and space.contains(architecture):
        return dict(space.encode(architecture))
    if not isinstance(architecture, Architecture):
        return {}
    found: dict[str, Any] = {"resolution": architecture.resolution}
    for number, stage in enumerate(architecture.stages, start=1):
        found |= {f"stage{number}.{what}": getattr(stage, what) for what in ("block", "depth", "width", "ratio")}
    return found


def why_fewer(problem: "Problem", ledger: "Ledger", n_trials: int) -> str:
    """Return why a search ended before so many architectures were evaluated, or an empty string."""
    n_evaluated = len(ledger.candidates) + len(ledger.pruned)
    if n_evaluated >= n_trials:
        return ""
    judged = f"{n_evaluated} evaluated, {len(ledger.rejected)} rejected by the tables or limits"
    if n_evaluated + len(ledger.rejected) >= problem.space.size:
        return f"All {problem.space.size} architectures of {problem.space.name} are judged: {judged}."
    return (
        f"The search ended after {ledger.n_proposals} proposals that led to no more architectures within reach "
        f"of the budgets and limits: {judged} of {n_trials} asked for."
    )


def block_types(front: Sequence[Candidate]) -> dict[str, dict[str, float]]:
    """Return, for each stage, the share of each block type on a front."""
    found: dict[str, dict[str, float]] = {}
    staged = [one.architecture for one in front if isinstance(one.architecture, Architecture)]
    for number in range(4 if staged else 0):
        counts = Counter(architecture.stages[number].block for architecture in staged)
        found[f"stage{number + 1}"] = {block: round(n / len(staged), 4) for block, n in counts.most_common()}
    return found


def to_csv(candidates: Sequence[Candidate]) -> str:
    """Return one line for each candidate in the order in which they were found, the architecture as JSON.

    Columns for the latency on further devices come last. ``on_front`` is of the front of candidates of the same
    ``accuracy_source``, on the first device.
    """
    front = {candidate.digest for these in apart(candidates).values() for candidate in pareto_front(these)}
    further = list(dict.fromkeys(name for candidate in candidates for name in candidate.also))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(f"{what} {name}" for name in further for what in LATENCY_COLUMNS)])
    for n, candidate in enumerate(candidates, start=1):
        shown = candidate.to_dict()
        also = [shown.get("also", {}).get(name, {}) for name in further]
        writer.writerow(
            [
                shown["digest"], n, shown["accuracy"], shown["accuracy_source"], *shown["accuracy_interval"],
                *_latency_cells(shown), shown["gmacs"], shown["params_m"], int(candidate.digest in front),
                candidate.architecture.to_json(), *(cell for fields in also for cell in _latency_cells(fields)),
            ]
        )  # fmt: skip
    return text.getvalue()


def _latency_cells(fields: dict[str, Any]) -> list[Any]:
    low, high = fields.get("latency_interval_ms", (None, None))
    return [fields.get("latency_ms"), low, high, fields.get("latency_method")]
