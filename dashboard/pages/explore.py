"""Explore: the front of accuracy against latency on one device, and what fits a budget."""

import hashlib
from typing import Any

from dash import Input, Output, State, callback, ctx, html, no_update, register_page

from .. import components, explore_browser, explore_layout, explore_parts, figures, ids, wording
from ..comparing import drawer
from ..current import current_data
from ..details import details, extract_command, heading
from ..front import describe_front
from ..front_table import front_table
from ..look import look
from ..query import RISKS, clean, write_budget
from ..theme import palette
from ..view import Nothing, View

register_page(__name__, path="/", name="Explore", title="Explore - SuperSAM", order=0)
explore_browser.register()

KEPT = ("sources", "devices", "risks", "filters", "compare", "table")  # what holds buttons


def layout(**query: Any) -> html.Div:
    """``/?device=jetson-orin&budget=30ms`` opens the page on that device with that budget."""
    return explore_layout.page(clean(query), current_data().revision())


@callback(
    output={
        "no_controls": Output(ids.CONTROLS, "hidden"),
        "sources": Output(ids.SOURCES, "children"),
        "devices": Output(ids.DEVICES, "children"),
        "risks": Output(ids.RISKS, "children"),
        "filters": Output(ids.FILTERS, "children"),
        "filtered": Output(ids.FILTERED, "children"),
        "switch": Output(ids.SWITCH, "children"),
        "compare": Output(ids.COMPARE, "children"),
        "exports": Output(ids.EXPORTS, "children"),
        "published": Output(ids.PUBLISHED, "children"),
        "notices": Output(ids.NOTICES, "children"),
        "summary": Output(ids.SUMMARY, "children"),
        "empty": Output(ids.EMPTY, "children"),
        "hidden": Output(ids.RESULTS, "hidden"),
        "caption": Output(ids.CAPTION, "children"),
        "table": Output(ids.TABLE, "children"),
        "base": Output(ids.BASE, "data"),
        "budget": Output(ids.BUDGET, "value"),
        "budget_problem": Output(ids.BUDGET_PROBLEM, "children"),
        "shown": Output(ids.SHOWN, "data"),
    },
    inputs=[Input(ids.STATE, "data"), Input(ids.THEME, "data"), Input(ids.REVISION, "data")],
    state=[State(ids.SHOWN, "data")],
)
def show(state: object, theme: object, _revision: str, shown: object) -> dict[str, Any]:
    """Fill everything that does not depend on the selected subnet."""
    found = look(current_data(), clean(state))
    filled = _fill_empty(found) if isinstance(found, Nothing) else _fill(found, theme)
    # While the reader types, news from the disk must not write into the field.
    if ctx.triggered_prop_ids and f"{ids.STATE}.data" not in ctx.triggered_prop_ids:
        filled["budget"] = no_update
    return _keep_focus(filled, shown)


def _keep_focus(filled: dict[str, Any], shown: object) -> dict[str, Any]:
    """Leave what did not change as it is: Dash makes new elements of it, and the one in focus would lose it."""
    drawn = {key: hashlib.sha256(repr(filled[key]).encode()).hexdigest()[:16] for key in KEPT}
    before = shown.get("drawn") if isinstance(shown, dict) else None
    filled["shown"]["drawn"] = drawn
    if isinstance(before, dict):
        filled |= {key: no_update for key in KEPT if before.get(key) == drawn[key]}
    return filled


def _fill(view: View, theme: object) -> dict[str, Any]:
    front = describe_front(view)
    budget = write_budget(view.budget_ms)
    pressed: dict[str, str | list[str]] = {
        "source": view.source.key,
        "device": view.device.key,
        "risk": view.risk,
        "zoo": view.overlay,
        "rows": view.rows,
        "compare": [one.digest for one in view.compared],
        **explore_parts.pressed(view.filters),
    }
    return {
        "filters": explore_parts.filters(view.whole, has_published=view.device.table is not None),
        "filtered": explore_parts.passing(view),
        "switch": explore_parts.switch(view),
        "compare": drawer(view, view.compared),
        "exports": explore_parts.exports(view),
        "published": explore_parts.published(view),
        "no_controls": False,
        "sources": _source_buttons(view),
        "devices": _device_buttons(view),
        "risks": _risk_buttons(),
        "notices": components.notices(view.notices),
        "summary": html.P(wording.summary(view), className="summary" if view.best else "summary over"),
        "empty": [],
        "hidden": False,
        "caption": explore_parts.caption(view, len(front.dominated)),
        "table": front_table(view),
        "base": figures.draw_front(front, palette(theme)),
        "budget": no_update if view.budget_problem else budget,
        "budget_problem": view.budget_problem,
        "shown": {"query": view.query, "budget": budget, "pressed": pressed},
    }


def _fill_empty(nothing: Nothing) -> dict[str, Any]:
    command = html.Code(components.command(nothing.command), className="command") if nothing.command else None
    pressed: dict[str, str | list[str]] = {"source": nothing.source.key} if nothing.source else {}
    pressed |= explore_parts.pressed(nothing.filters)
    return {
        "filters": explore_parts.filters(nothing.whole, has_published=bool(nothing.whole.found))
        if nothing.sources
        else None,
        "filtered": "",
        "switch": [],
        "compare": [],
        "exports": [],
        "published": [],
        "no_controls": not nothing.sources,
        "sources": _source_buttons(nothing),
        "devices": _device_buttons(nothing),
        "risks": _risk_buttons(),
        "notices": components.notices(nothing.notices),
        "summary": [],
        "empty": html.Section([html.H2(nothing.title), html.P(nothing.text), command], className="panel empty"),
        "hidden": True,
        "caption": [],
        "table": [],
        "base": None,
        "budget": no_update,
        "budget_problem": "",
        "shown": {"query": nothing.query, "budget": "", "pressed": pressed},
    }


def _risk_buttons() -> html.Div:
    # Always there: dash keeps the place of buttons whose parent becomes empty, and fails when it fills it.
    risks = [(key, text, "") for key, text in RISKS.items()]
    return components.choices("Compare it with the latency's", "risk", risks)


def _source_buttons(found: View | Nothing) -> html.Div | None:
    options = [(source.key, source.label, source.problem) for source in found.sources]
    return components.choices("Source", "source", options) if options else None


def _device_buttons(found: View | Nothing) -> html.Div | None:
    options = [(key, device.label, reason) for key, (device, reason) in found.devices.items()]
    return components.choices("Device", "device", options) if options else None


@callback(
    output={
        "heading": Output(ids.HEADING, "children"),
        "details": Output(ids.DETAILS, "children"),
        "command": Output(ids.COMMAND, "children"),
        "copied": Output(ids.COPY, "content"),
        "extracted": Output(ids.EXTRACTED, "children"),
        "spoken": Output(ids.SPOKEN, "children"),
        "selected": Output(ids.SELECTED, "data"),
    },
    inputs=[Input(ids.SUBNET, "data"), Input(ids.STATE, "data"), Input(ids.REVISION, "data")],
)
def select(digest: object, state: object, _revision: str) -> dict[str, Any]:
    """Fill everything about the selected subnet; until one is chosen that is the best."""
    data = current_data()
    view = look(data, clean(state))
    if isinstance(view, Nothing):
        nothing: dict[str, Any] = {"heading": [], "details": [], "command": [], "extracted": []}
        return nothing | {"copied": "", "spoken": "", "selected": None}
    passing = view.find(digest) if digest else None
    found = passing or (view.find_left_out(digest) if digest else None)
    candidate = found or view.headline
    notices = []
    if digest and not found:
        notices.append(f"{view.source.label} has no subnet {str(digest)[:40]!r}; this is {candidate.digest} instead.")
    elif found and not passing:
        notices.append("This subnet does not pass the filters; the front is without it.")
    command = extract_command(view, candidate)
    return {
        "heading": [*components.notices(notices), heading(view, candidate)],
        "details": details(view, candidate),
        "command": components.command(command),
        "copied": command,
        "extracted": explore_parts.extracted(data.downloads.all(), candidate.digest),
        "spoken": wording.spoken(view, candidate),
        "selected": {
            "digest": candidate.digest,
            "is_chosen": found is not None,
            "ms": candidate.latency.ms,
            "ms_90": [candidate.latency.lo, candidate.latency.hi],
            "accuracy": candidate.accuracy.value,
            "accuracy_95": list(candidate.accuracy.interval),
        },
    }


@callback(Output(ids.REVISION, "data"), Input(ids.TICK, "n_intervals"), State(ids.REVISION, "data"))
def look_for_news(_n: int | None, known: str) -> Any:
    """Send a new revision if a file changed, and nothing otherwise."""
    revision = current_data().revision()
    return no_update if revision == known else revision
