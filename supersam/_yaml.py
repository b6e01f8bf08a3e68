"""YAML files checked by pydantic models: unknown keys are errors, and every error names the file and the key."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from supersam.errors import UsageError

Model = TypeVar("Model", bound=BaseModel)


def explain(error: ValidationError) -> str:
    """Return the first problem of a validation as ``key.path: what is wrong``."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "file"
    more = error.error_count() - 1
    return f"{where}: {first['msg']}" + (f" (and {more} more)" if more else "")


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
        raise error(f"{path}: {explain(problem)}") from problem
