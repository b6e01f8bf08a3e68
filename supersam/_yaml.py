"""YAML files checked by pydantic models: unknown keys are errors, and every error names the file and the key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from supersam._keys import Models, find
from supersam.errors import UsageError, suggest

Model = TypeVar("Model", bound=BaseModel)

UNKNOWN = "extra_forbidden"
IN_PLAIN_WORDS = {"path_type": "must be a path", "list_type": "must be a list", "tuple_type": "must be a list"}


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Return the first problem of a validation as ``key.path: what is wrong``.

    Args:
        model: what was validated; with it the keys that exist are named.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    for problem in sorted(error.errors(), key=lambda problem: problem["type"] != UNKNOWN):  # it may be what is missing
        keys, there = _place(problem, model)
        found.setdefault(keys, []).append(_words(problem, keys, there))
    # What stops earlier on the way to another problem is the same value, tried as another member of a union.
    told = [keys for keys in found if not any(keys == other[: len(keys)] for other in found if other != keys)]
    where, more = ".".join(told[0]), len(told) - 1
    text = ", or ".join(dict.fromkeys(found[told[0]])) + (f" (and {more} more)" if more else "")
    return f"{where}: {text}" if where else text


def _place(problem: Mapping[str, Any], model: type[BaseModel] | None) -> tuple[tuple[str, ...], Models]:
    """Return the keys of a problem, and the models there; of an unknown key those that do not know it."""
    location = problem["loc"]
    if model is None:
        return tuple(map(str, location)), []
    if problem["type"] == UNKNOWN:
        keys, there = find(model, location[:-1])
        return (*keys, str(location[-1])), there
    keys, there = find(model, location)
    return tuple(keys), there


def _words(problem: Mapping[str, Any], keys: tuple[str, ...], there: Models) -> str:
    known = list(dict.fromkeys(field.alias or name for one in there for name, field in one.model_fields.items()))
    kind, listed = problem["type"], ", ".join(known)
    if kind == UNKNOWN:
        return "unknown key" + (f".{suggest(keys[-1], known)} There are: {listed}" if known else "")
    if kind == "model_type" and known:
        return f"must be a mapping of keys to values, not {problem['input']!r}; keys are: {listed}"
    return IN_PLAIN_WORDS.get(kind) or problem["msg"].removeprefix("Value error, ")


def load_model(path: Path, model: type[Model], error: type[UsageError]) -> Model:
    """Read ``path`` and validate it as ``model``; any problem is raised as ``error`` in one line."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(f"cannot read {path}: {problem.strerror or problem}") from problem
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise error(f"{path} is not valid YAML: {' '.join(str(problem).split())}") from problem
    if not isinstance(content, dict):
        raise error(f"{path} must hold a mapping of keys to values, not {type(content).__name__}")
    try:
        return model.model_validate(content)
    except ValidationError as problem:
        raise error(f"{path}: {explain(problem, model)}") from problem
