"""At which line of a JSON text a value is."""

import json
import re
from collections.abc import Sequence
from json import JSONDecoder

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = JSONDecoder()
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]')


def line_of(text: str, keys: Sequence[str]) -> int:
    """Return the line (from 1) of the value that is reached by these keys, or of the last one that is there.

    Args:
        text: sound JSON.
        keys: of dictionaries, and numbers of places in lists.
    """
    at = _skip(text, 0)
    for key in keys:
        found = _member(text, at, key)
        if found is None:
            break
        at = found
    return text.count("\n", 0, at) + 1


def repeated_key(text: str) -> tuple[str, int]:
    """Return the first key that its dictionary has before, and its line (from 1).

    Args:
        text: JSON that is sound up to the end of a dictionary that has a key twice.
    """
    inside: list[set[str]] = []
    before, start = "", 0
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "{" | "[":
                inside.append(set())
            case "}" | "]":
                inside.pop()
            case ":":
                key: str = json.loads(before)
                if key in inside[-1]:
                    return key, text.count("\n", 0, start) + 1
                inside[-1].add(key)
            case _:
                before, start = token[0], token.start()
    raise ValueError("no key is there twice")


def _member(text: str, at: int, key: str) -> int | None:
    """Return where the value of a key begins in the dictionary or list that begins at ``at``."""
    if text[at] not in "{[":
        return None
    is_dictionary, number = text[at] == "{", 0
    at = _skip(text, at + 1)
    while text[at] not in "}]":
        name: object = str(number)
        if is_dictionary:
            name, at = _DECODER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)  # the colon
        if name == key:
            return at
        _, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
        number += 1
    return None


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
