"""Small parts that pages are made of: functions that return components."""

from collections.abc import Iterable, Sequence
from typing import Any

from dash import html

from . import ids

Child = Any  # a component, a text or a list of them; dash's own alias differs between versions


def aria(**values: str) -> dict[str, Any]:
    """Return ARIA attributes: ``aria(hidden="true")`` is ``{"aria-hidden": "true"}``."""
    return {f"aria-{name}": value for name, value in values.items()}


def choices(label: str, name: str, options: Iterable[tuple[str, str, str]]) -> html.Div:
    """Return a group of buttons; which of them is pressed is set apart, by ``aria-pressed``.

    Not a dropdown and not radio items: those of dash 4 fail WCAG 2.2 AA, such buttons pass.

    Args:
        options: (key, label, why it cannot be chosen or an empty string) of each.
    """
    options = list(options)
    heading = f"{ids.CHOICE}-{name}"
    buttons = [_choice(name, key, text, reason) for key, text, reason in options]
    group = html.Div(buttons, className="buttons", role="group", **aria(labelledby=heading))
    # The reasons are text, not only tooltips, because a disabled button gets no focus and no hover on a phone.
    reasons = [html.P(f"{text}: {short(reason)}", className="reason") for _, text, reason in options if reason]
    return html.Div([html.Span(label, id=heading, className="label"), group, *reasons], className="control")


def _choice(name: str, key: str, text: str, reason: str) -> html.Button:
    return html.Button(text, id=ids.choice(name, key), type="button", disabled=bool(reason), title=reason or None)


def short(text: str, longest: int = 44) -> str:
    """Return the beginning of a text, cut at a word."""
    if len(text) <= longest:
        return text
    return text[:longest].rsplit(" ", 1)[0].rstrip(",;:") + " ..."


def notices(texts: Iterable[str]) -> list[html.P]:
    return [html.P(text, className="notice") for text in texts]


def table(
    caption: str, head: Sequence[str], rows: Sequence[Child], *, numeric: Iterable[str] = (), hide_caption: bool = False
) -> html.Div:
    """Return a table that scrolls sideways by itself where it is too wide.

    Args:
        numeric: those of ``head`` whose columns hold numbers.
    """
    named = html.Caption(caption, className="hidden" if hide_caption else None)
    numbers = frozenset(numeric)
    header = [html.Th(cell, scope="col", className="number" if cell in numbers else None) for cell in head]
    shown = html.Table([named, html.Thead(html.Tr(header)), html.Tbody(rows)])
    # Focusable, so that the keyboard can scroll it too.
    return html.Div(shown, className="scroll", tabIndex=0, role="group", **aria(label=caption))


def stacked(text: str) -> html.Td:
    """Return a written number with its interval and source below it, as ``wording`` writes them."""
    value, _, rest = text.partition(" ")
    return html.Td([html.Span(value), html.Small(rest)], className="stacked")


def command(text: str) -> list[Child]:
    """Return a command whose words break only between each other, so that ``-o`` stays whole."""
    words = text.split(" ")
    return [part for word in words for part in (html.Span(word), " ")][:-1]
