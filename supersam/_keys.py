"""Where in a file an error of pydantic is, and which models that place may hold."""

from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, RootModel

Models = list[type[BaseModel]]


def find(model: type[BaseModel], location: Iterable[int | str]) -> tuple[list[str], Models]:
    """Return the keys of a location as the file has them, and the models it may hold.

    Pydantic puts the member of a union that it tried among the keys (``data.list[DataSource].0``); that is left out.
    """
    kinds, keys = _members(model), []
    for part in location:
        inner = [member for kind in kinds for child in _children(kind, part) for member in _members(child)]
        if inner:
            keys.append(str(part))
        kinds = inner or [kind for kind in kinds if _is_tagged(kind, part)] or kinds
    return keys, [kind for kind in kinds if _is_model(kind)]


def _members(kind: Any) -> list[Any]:
    """Return what a union may be, or the kind alone."""
    if get_origin(kind) is Annotated:
        return _members(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [member for one in get_args(kind) for member in _members(one)]
    if _is_model(kind) and issubclass(kind, RootModel):
        return _members(kind.model_fields["root"].annotation)
    return [kind]


def _children(kind: Any, part: int | str) -> list[Any]:
    """Return what lies at a key or a place of a list, if there is such a one."""
    if _is_model(kind):
        return [field.annotation for name, field in kind.model_fields.items() if part in (name, field.alias)]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is dict:
        return [inner[1]]
    if origin is tuple and isinstance(part, int) and Ellipsis not in inner:
        return [inner[part]]
    return [inner[0]] if origin in (list, tuple) and isinstance(part, int) else []


def _is_tagged(kind: Any, tag: int | str) -> bool:
    """Return whether a model is the member of a union that a key names, as ``encoder: staged`` does."""
    fields = kind.model_fields.values() if _is_model(kind) else ()
    return any(get_origin(field.annotation) is Literal and tag in get_args(field.annotation) for field in fields)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
