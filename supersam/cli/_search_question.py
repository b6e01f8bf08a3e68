"""What a search is asked, from the options of the command line to what stands in the run's folder and back."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from supersam.results import Run
    from supersam.search.problem import Problem

PROMPTS = ["point1", "box"]
# What decides the answer; a run that is continued has it in its folder.
ASKED = ("budget", "space", "seed", "sampler", "risk", "max_params", "max_gmacs", "max_memory", "weigh", "data",
         "split", "images", "evaluate", "halving", "weights", "study")  # fmt: skip
# What must be the same where a run goes on, and the options that say it.
SAME = {
    "devices": "--device or --budget",
    "risk": "--risk",
    "limits": "--max-params, --max-gmacs or --max-memory",
    "objective": "--weigh",
    "space_fingerprint": "--space",
    "seed": "--seed",
    "sampler": "--sampler",
    "weights": "--weights",
    "accuracy": "--data, --split, --images, --evaluate or --halving",
    "study": "--study",
}


def question_of(
    devices: list[str],
    budgets: list[str],
    space: str,
    risk: str,
    limits: dict[str, float | None],
    weigh: list[str],
    accuracy: dict[str, Any] | str,
) -> tuple[dict[str, Any], "Problem"]:
    """Return everything that decides the answer, as it is written into the run, and the problem."""
    from supersam.errors import UsageError
    from supersam.latency import load_table
    from supersam.search.objective import parse_objective
    from supersam.search.problem import Device, Limits, Problem
    from supersam.space import load_space
    from supersam.units import parse_latency_ms

    for name, most in limits.items():
        if most is not None and not 0 < most < float("inf"):
            raise UsageError(f"--max-{name.partition('_')[0]} must be a number above 0, not {most:g}")
    if not devices:
        raise UsageError("for which device? Give --device NAME; list them with: supersam devices")
    if len(set(devices)) < len(devices):
        raise UsageError(f"a device is given twice: {', '.join(devices)}")
    if len(budgets) not in (0, 1, len(devices)):
        raise UsageError(f"{len(budgets)} budgets for {len(devices)} devices; give one for all or one for each")
    parsed = [parse_latency_ms(text) for text in budgets]
    texts = (budgets or [""]) * (1 if len(budgets) > 1 else len(devices))
    milliseconds = (parsed or [None]) * (1 if len(budgets) > 1 else len(devices))  # type: ignore[list-item]
    loaded = load_space(space)
    found = [Device(name, load_table(name), ms) for name, ms in zip(devices, milliseconds, strict=True)]
    problem = Problem(loaded, tuple(found), risk, Limits(**limits))
    for one in found:
        one.table.predict(loaded.smallest())
    question = {
        "device": devices[0],
        "table": found[0].table.name,
        "table_sha256": found[0].fingerprint,
        "budget": texts[0] or None,
        "budget_ms": milliseconds[0],
        "devices": [
            {"device": one.name, "table": one.table.name, "table_sha256": one.fingerprint, "budget_ms": one.budget_ms}
            for one in found
        ],
        "limits": limits,
        "objective": parse_objective(weigh).weights,
        "risk": risk,
        "space": space,
        "space_name": loaded.name,
        "space_fingerprint": loaded.fingerprint,
        "space_content": loaded.model_dump(mode="json"),
        "accuracy": accuracy,
        "versions": _versions(),
    }
    return question, problem


def _versions() -> dict[str, str]:
    """Return the versions of what proposals and accuracies follow from."""
    import platform
    from importlib.metadata import version

    from supersam import __version__

    others = {name: version(name) for name in ("optuna", "numpy", "scipy", "torch")}
    return {"supersam": __version__, "python": platform.python_version(), **others}


def accuracy_of(
    data: Path | None, split: str, images: int, evaluate: int | None, halving: bool
) -> dict[str, Any] | str:
    """Return where accuracies are to come from: the archive, or images and how they are measured on."""
    from supersam.errors import UsageError

    if data is None:
        if evaluate is not None or halving:
            raise UsageError("--evaluate and --halving need --data DIR: without images nothing can be evaluated")
        return "archive"
    found: dict[str, Any] = {"data": str(data.absolute()), "split": split, "images": images, "prompts": PROMPTS}
    return found | ({"measure": evaluate} if evaluate is not None else {}) | ({"halving": True} if halving else {})


def known_sampler(name: str) -> str:
    """Return the name of a sampler if there is one; ``auto`` is that of what it stands for."""
    from supersam.errors import UsageError, suggest
    from supersam.search.samplers import DEFAULT, SAMPLERS

    if name not in SAMPLERS:
        raise UsageError(f"unknown sampler {name!r} (there: {', '.join(SAMPLERS)}).{suggest(name, list(SAMPLERS))}")
    return DEFAULT if name == "auto" else name


def storage_of(storage: str | None, study: str | None) -> dict[str, Any]:
    """Return where the study is kept, without a password and as seen from every folder, and its name."""
    from supersam.errors import UsageError
    from supersam.search.storage import absolute, hide_password

    if storage is None and study is not None:
        raise UsageError("--study NAME needs --storage URL: a run's own folder holds one study")
    return {"storage": hide_password(absolute(storage)) if storage else None, "study": study or "search"}


def check_resumed(context: typer.Context, out: Path | None) -> None:
    """Check that --resume says which run, that its study is at hand, and that nothing asked would be passed over."""
    from supersam.errors import UsageError
    from supersam.results import Run, list_runs

    if out is None:
        runs = list_runs(Path("runs"))
        newest = f"; the newest here is --out {runs[0].folder}" if runs else ""
        raise UsageError(f"which run shall go on? Give --resume --out RUN{newest}")
    given = [name for name in ASKED if _is_typed(context, name)]
    if given and not context.params["device"]:
        option = "--" + given[0].replace("_", "-")
        raise UsageError(
            f"{option} was decided when the search was begun and stands in {out}; leave it out to go on, or give "
            "the whole question again (with --device) to have it compared"
        )
    before = Run(out).question()
    _check_study(before, out)
    _check_storage(before, out, context.params["storage"], bool(context.params["device"]))


def _check_study(before: dict[str, Any], out: Path) -> None:
    """Refuse a run that was merged from others: it has candidates and no study."""
    from supersam.errors import UsageError

    parts = before.get("merged_from")
    if parts:
        raise UsageError(
            f"{out} was merged from {', '.join(parts)} and has no study to go on with; continue one of these "
            f"(--resume --out {parts[0]}) and merge again: supersam show {' '.join(parts)} --out NEW"
        )


def _check_storage(before: dict[str, Any], out: Path, storage: str | None, asked_anew: bool) -> None:
    """Refuse to go on where the study's storage would not be found, which would begin another study."""
    from supersam.errors import UsageError
    from supersam.search.storage import absolute, hide_password, is_hidden

    kept = before.get("storage")
    if storage is not None and not kept:
        raise UsageError(f"the study of {out} is kept in the run's folder; leave out --storage to go on with it")
    if storage is not None and hide_password(absolute(storage)) != kept:
        _check_study_there(before, out, storage)
    if kept and storage is None and (asked_anew or is_hidden(kept)):
        why = " (its password is not written down)" if is_hidden(kept) else ""
        raise UsageError(f"the study of {out} is kept in {kept}{why}; give the URL again: --storage URL")


def _check_study_there(before: dict[str, Any], out: Path, storage: str) -> None:
    """Refuse another storage unless it holds the study too, as a proxy in front of the database does."""
    import optuna

    from supersam.errors import UsageError
    from supersam.search.storage import close_storage, hide_password, open_storage

    opened = open_storage(storage)
    try:
        there = optuna.get_all_study_names(opened)
    finally:
        close_storage(opened)
    if before.get("study", "search") not in there:
        raise UsageError(
            f"the study of {out} is kept in {before['storage']}, and {hide_password(storage)} has none of its name "
            f"({before.get('study', 'search')})"
        )


def asked_before(run: "Run") -> tuple[dict[str, Any], "Problem"]:
    """Return the question of a run, completed where an earlier version did not write a field."""
    from supersam.search.build import build_problem

    question = completed(run.question())
    return question, build_problem(question, run)


def completed(question: dict[str, Any]) -> dict[str, Any]:
    """Return the question of a run with what an earlier version did not write."""
    one = {key: question.get(key) for key in ("device", "table", "table_sha256", "budget_ms")}
    limits = {"params_m": None, "gmacs": None, "memory_mb": None}
    defaults: dict[str, Any] = {"devices": [one], "limits": limits, "objective": {}, "sampler": "nsga2"}
    found = {**defaults, "storage": None, "study": "search", **question}
    return found | {"sampler": known_sampler(found["sampler"])}


def check_folder(run: "Run", question: dict[str, Any], resume: bool) -> None:
    """Check that the run's folder is free, or that what it was asked is what is asked now."""
    from supersam.errors import UsageError

    if not resume:
        if run.exists:
            raise UsageError(f"{run.folder} holds a run already; continue it with --resume or choose another --out")
        return
    before = completed(run.question())
    for key, options in SAME.items():
        if _text(before.get(key)) != _text(question[key]):
            now, then = (_short(asked, key) for asked in (question, before))
            raise UsageError(
                f"{run.folder} was searched with another {options} ({then}, now {now}); choose another --out, or "
                f"go on with what it was asked: --resume --out {run.folder} alone"
            )


def _short(question: dict[str, Any], key: str) -> str:
    """Return what was asked, for a message."""
    value = question.get(key)
    if key == "devices":
        return ", ".join(_device(one) for one in question["devices"])
    if key == "limits":
        return ", ".join(f"{name} {most:g}" for name, most in question[key].items() if most is not None) or "none"
    if key == "objective":
        return ", ".join(f"{name}={weight:g}" for name, weight in question[key].items()) or "all alike"
    if key == "space_fingerprint":
        return f"{question.get('space_name')} {str(value)[:8]}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return str(value)


def _device(asked: dict[str, Any]) -> str:
    budget = "no budget" if asked["budget_ms"] is None else f"{asked['budget_ms']:g} ms"
    return f"{asked['device']} {budget}, table {str(asked['table_sha256'])[:8]}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
