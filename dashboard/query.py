"""What a page shows, as text in its URL: ``?source=&device=&budget=&risk=&subnet=``, filters and comparison.

Defaults are left out, so a short link means "the newest run, as it was asked for".
"""

from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from supersam.errors import UsageError
from supersam.units import parse_latency_ms

from .filters import KEYS as FILTERS

CHOSEN = ("source", "device", "budget", "risk", *FILTERS, "zoo", "rows", "against", "compare")  # all but the subnet
RISKS = {"upper": "upper bound", "median": "median"}
OVERLAYS = {"all": "every licence", "permissive": "permissive only", "off": "none"}
ROWS = {"front": "front", "all": "dominated too"}  # what the table lists
NO_BUDGET = "none"  # in the URL, where a run has a budget and the reader wants none
MOST_COMPARED = 4
LONGEST = 200  # characters of a value that are looked at


def clean(raw: object) -> dict[str, str]:
    """Return the choices of Explore in what a URL or a browser sent, each as a short text."""
    return texts(raw, (*CHOSEN, "subnet"))


def texts(raw: object, keys: Iterable[str]) -> dict[str, str]:
    """Return these keys of what a URL or a browser sent, each as a short text; what is none is left out."""
    if not isinstance(raw, Mapping):
        return {}
    return {key: text for key in keys if (text := _text(raw.get(key)))}


def _text(value: object) -> str:
    if isinstance(value, list) and value:  # a key that occurs twice
        value = value[0]
    return value.strip()[:LONGEST] if isinstance(value, str) else ""


def read_budget(text: str | None, default_ms: float | None) -> tuple[float | None, str]:
    """Return the budget in milliseconds, or the default and what is wrong with the text."""
    if text is None:
        return default_ms, ""
    if text == NO_BUDGET:
        return None, ""
    try:
        return parse_latency_ms(text), ""
    except UsageError as problem:
        return default_ms, str(problem)


def write_budget(budget_ms: float | None) -> str:
    """Return the text of a budget, such as ``30ms``."""
    return "" if budget_ms is None else f"{budget_ms:.6g}ms"


def search(chosen: Mapping[str, str], defaults: Mapping[str, str]) -> str:
    """Return the query of a URL without what is default."""
    return urlencode({key: value for key, value in chosen.items() if value != defaults.get(key, "")}, safe="/,")
