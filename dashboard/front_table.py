"""The table of the front: the complete text alternative of the figure, and a way to select without a mouse."""

from collections.abc import Sequence

from dash import html

from supersam.results import Candidate
from supersam.space import count

from . import components, ids, wording
from .view import View

DOMINATED = 100  # rows; more are in the exports


def front_table(view: View) -> html.Div:
    """Return one row for each subnet of the front; which is selected is set apart, by ``aria-current``.

    Predicted accuracies have a table of their own where others are measured, and so have dominated subnets where they
    are asked for.
    """
    where = f"on {view.device.label}"
    tables = [_table(view, f"Pareto front {where}, from fast to slow", view.listed)]
    if view.listed_apart:
        caption = f"Front of predicted accuracies, not measured, {where}, from fast to slow"
        tables.append(_table(view, caption, view.listed_apart))
    if view.rows == "all":
        tables.append(_table(view, _dominated(view), view.dominated[:DOMINATED]))
    return html.Div(tables)


def _dominated(view: View) -> str:
    text = f"{wording.plural(len(view.dominated), 'dominated subnet')}, the most accurate first"
    return text if len(view.dominated) <= DOMINATED else f"{text}; these are {DOMINATED}, CSV and JSON have all"


def _table(view: View, caption: str, listed: Sequence[Candidate]) -> html.Div:
    head = ("subnet", "accuracy", view.device.quantity, "GMACs", "M params", "architecture")
    return components.table(caption, head, [_row(view, one) for one in listed], numeric=head[3:5])


def _row(view: View, candidate: Candidate) -> html.Tr:
    ops = count(candidate.architecture)
    cells = [
        html.Th(
            [html.Button(candidate.digest, type="button", className="link"), *_badges(view, candidate)], scope="row"
        ),
        components.stacked(wording.accuracy(candidate.accuracy)),
        components.stacked(wording.latency(candidate.latency)),
        html.Td(wording.number(ops.gmacs), className="number"),
        html.Td(wording.number(ops.params / 1e6), className="number"),
        html.Td(candidate.architecture.describe(), className="wide"),
    ]
    # The row takes the click, so the whole of it works for a mouse; the button in it is for the keyboard.
    return html.Tr(cells, id=ids.row(candidate.digest), className="" if view.fits(candidate) else "over", n_clicks=0)


def _badges(view: View, candidate: Candidate) -> list[html.Span]:
    texts = []
    if view.best is not None and candidate.digest == view.best.digest:
        texts.append("best")
        if candidate.digest not in view.front_digests:
            texts.append("beside the front")
    if not view.fits(candidate):
        texts.append("over budget")
    return [html.Span(text, className="badge") for text in texts]
