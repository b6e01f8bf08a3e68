"""The parts of the zoo page: the table of cards, one card, and extracted checkpoints."""

from collections.abc import Iterable, Sequence

from dash import dcc, get_relative_path, html

from supersam.zoo import Card, Kind, Range, Zoo

from . import components, wording
from .components import Child, aria
from .downloads import Download
from .published import conditions
from .zoo_view import USUAL, ZooView

HEAD = {
    "name": "model",
    "year": "year",
    "licence": "licence",
    "params": "encoder M params",
    "gmacs": "encoder GMACs",
}
KINDS = {
    Kind.PUBLISHED: (
        "Published",
        "by the authors of this or another system, as the source says, in their papers and repositories",
    ),
    Kind.SECONDARY: ("Secondary", "measured or transcribed by third parties"),
    Kind.COUNTED: ("Counted", "by arithmetic or from the released code; nothing was timed"),
    Kind.MEASURED: ("Measured here", "by this project, with the command that repeats it"),
}


def filters(view: ZooView) -> html.Div:
    """Return the links that choose which cards are listed."""
    groups = [("Licence", "licence", view.terms), ("Kind of work", "category", view.categories)]
    return html.Div([_filter(view, *group) for group in groups], className="controls")


def _filter(view: ZooView, label: str, key: str, values: Iterable[str]) -> html.Div:
    chosen = view.query.get(key)
    options = [("all", None), *((value, value) for value in values)]
    links = [_choice(text, view.link(**{key: value}), value == chosen) for text, value in options]
    return html.Div(
        [html.Span(label, id=f"zoo-{key}", className="label"), _group(links, f"zoo-{key}")], className="control"
    )


def _group(links: list[dcc.Link], heading: str) -> html.Div:
    return html.Div(links, className="buttons", role="group", **aria(labelledby=heading))


def _choice(text: str, query: str, is_chosen: bool) -> dcc.Link:
    return dcc.Link(text, href=_address(query), className="button chosen" if is_chosen else "button", target="")


def _address(query: str) -> str:
    path: str = get_relative_path("/zoo")
    return path + query


def table(view: ZooView) -> html.Div:
    """Return one row for each card; the headers sort."""
    head = [_head(view, key, text) for key, text in HEAD.items()]
    head += [html.Th(KINDS[kind][0].lower(), scope="col", className="number", title=KINDS[kind][1]) for kind in KINDS]
    rows = [_row(view, card) for card in view.cards]
    caption = html.Caption(f"{wording.plural(len(view.cards), 'system')} of {len(view.zoo.cards)}")
    empty = [] if rows else [html.P("No card passes these filters. Choose all again.", className="muted")]
    return html.Div([html.Table([caption, html.Thead(html.Tr(head)), html.Tbody(rows)]), *empty], className="scroll")


def _head(view: ZooView, key: str, text: str) -> html.Th:
    is_sorted = view.query.get("sort", USUAL) == key
    link = dcc.Link(text, href=_address(view.link(sort=None if key == USUAL else key)), title=f"Sort by {text}")
    order = aria(sort="ascending") if is_sorted else {}
    return html.Th(link, scope="col", className="number" if key in ("params", "gmacs") else None, **order)


def _row(view: ZooView, card: Card) -> html.Tr:
    link = dcc.Link(card.title, href=_address(view.link(name=card.name)))
    cells = [
        html.Th(link, scope="row"),
        html.Td(str(card.year or "-")),
        html.Td(card.licence.terms),
        html.Td(_range(card.encoder_params), className="number"),
        html.Td(_range(card.encoder_gmacs), className="number"),
        *(html.Td(str(view.zoo.of_kind(card, kind) or "-"), className="number") for kind in KINDS),
    ]
    is_chosen = view.chosen is not None and view.chosen.name == card.name
    return html.Tr(cells, **aria(current="true") if is_chosen else {})


def _range(found: Range) -> str:
    values = " to ".join(map(wording.number, found.values)) or "-"
    return f"{values} at {found.at}" if found.at else values


def card(view: ZooView) -> html.Section:
    """Return the whole card that was chosen."""
    assert view.chosen is not None
    chosen = view.chosen
    close = dcc.Link("Close", href=_address(view.link(name=None)), className="button close")
    parts = [
        html.Div([html.H2(chosen.title), close], className="title"),
        html.P(chosen.summary),
        _facts(chosen),
        _files(chosen),
        *(part for kind in KINDS if (part := _figures(view.zoo, chosen, kind)) is not None),
        _sources(view.zoo, chosen),
    ]
    return html.Section(parts, className="panel area-card", **aria(label=f"Card of {chosen.title}"))


def _facts(card: Card) -> html.Dl:
    licence = card.licence
    terms = f"{licence.terms}: code {licence.code or 'not stated'}, weights {licence.weights or 'not stated'}"
    size = f", input {card.encoder.resolution}px" if card.encoder.resolution else ""
    near = f"{', '.join(card.encoder.timm)} ({card.encoder.timm_match})" if card.encoder.timm else ""
    facts: dict[str, Child] = {
        "cite": [card.citation, *_paper_link(card)],
        "licence": f"{terms}{'; ' + licence.note if licence.note else ''}",
        "repository": _outside(card.repository, card.repository.removeprefix("https://")) if card.repository else "",
        "encoder": f"{card.encoder.what}{size}",
        "nearest in timm": near,
        "tasks": ", ".join(card.tasks),
    }
    return html.Dl([part for key, text in facts.items() if text for part in (html.Dt(key), html.Dd(text))])


def _paper_link(card: Card) -> list[Child]:
    if not card.paper.arxiv:
        return []
    return [" (", _outside(f"https://arxiv.org/abs/{card.paper.arxiv}", "paper"), ")"]


def _outside(address: str, text: str) -> html.A:
    """Return a link that leaves this machine, only when it is followed."""
    return html.A(text, href=address, rel="noreferrer noopener", target="_blank", title="leaves this machine")


def _files(card: Card) -> html.Section | None:
    if not card.checkpoints:
        return None
    rows = [
        html.Tr(
            [
                html.Th(_outside(c.url, c.file) if c.url else c.file, scope="row", className="wrap"),
                html.Td(f"{c.mb:g}" if c.mb else "-", className="number"),
                html.Td(c.format, className="wrap"),
            ]
        )
        for c in card.checkpoints
    ]
    table = components.table("Released files", ["file", "MB", "format"], rows, numeric=["MB"], hide_caption=True)
    return html.Section([html.H3("Released files"), table])


def _figures(zoo: Zoo, card: Card, kind: Kind) -> html.Section | None:
    """Return every figure that is known in one way, so that ways are never mixed."""
    sizes = [
        [unit, f"{cost.value:g}", cost.scope, str(cost.resolution or ""), cost.note, cost.source]
        for unit, figures in (("M params", card.params_m), ("GMACs", card.gmacs))
        for cost in figures
        if zoo.kind(cost.source) is kind
    ]
    found = [
        [one.dataset, one.prompt, one.metric, f"{one.value:g}", _said(one.protocol, one.note), one.source]
        for one in card.accuracy
        if zoo.kind(one.source) is kind
    ]
    times = [[t.device, t.scope, t.time, conditions(t), t.source] for t in card.latency if zoo.kind(t.source) is kind]
    said = [[one.what, one.value, one.source] for one in card.statements if zoo.kind(one.source) is kind]
    blocks = [
        _block("Size", ["", "value", "of", "px", "note", "source"], 1, sizes),
        _block("Accuracy", ["data set", "prompt", "metric", "value", "protocol", "source"], 3, found),
        _block("Latency", ["device", "of", "time", "conditions", "source"], 2, times),
        _block("Statements", ["what", "value", "source"], None, said),
    ]
    shown = [block for block in blocks if block is not None]
    if not shown:
        return None
    title, meaning = KINDS[kind]
    return html.Section([html.H3([title, html.Small(f" {meaning}")]), *shown], className=f"kind {kind.value}")


def _said(*texts: str) -> str:
    return ", ".join(filter(None, texts))


def _block(title: str, head: Sequence[str], numeric: int | None, rows: list[list[str]]) -> html.Details | None:
    if not rows:
        return None
    cells = [
        html.Tr([html.Td(text, className="number" if place == numeric else "wrap") for place, text in enumerate(row)])
        for row in rows
    ]
    numbers = [] if numeric is None else [head[numeric]]
    table = components.table(title, head, cells, numeric=numbers, hide_caption=True)
    return html.Details([html.Summary(f"{title} ({len(rows)})"), table], open=len(rows) <= 6)


def _sources(zoo: Zoo, card: Card) -> html.Section | None:
    used = dict.fromkeys(figure.source for figure in card.figures)
    if not used:
        return None
    items = [
        html.Li([html.Span(zoo.kind(key).value, className="badge"), html.Code(key), f" {zoo.sources[key].what}"])
        for key in used
    ]
    return html.Section([html.H3("Sources of these figures"), html.Ul(items, className="sources")])


def downloads(found: Sequence[Download], folder: str) -> html.Section:
    """Return the extracted checkpoints that lie beside the runs."""
    title = html.H2("Extracted checkpoints")
    if not found:
        text = html.P(
            ["None lies in ", html.Code(folder), " yet. Extract one into a run's folder, and it is listed here:"]
        )
        example = components.command(f"supersam extract {folder}/RUN best -o {folder}/RUN/best.safetensors")
        return html.Section([title, text, html.Code(example, className="command")], className="panel")
    rows = [
        html.Tr(
            [
                html.Th(html.Code(one.digest), scope="row"),
                html.Td(one.place),
                html.Td(one.describes, className="wrap"),
                html.Td(f"{one.size / 1e6:.1f}", className="number"),
                html.Td(html.Code(one.sha256[:16] + "...", title=one.sha256)),
                html.Td(html.A("Download", href=get_relative_path(one.address), download=one.name, className="button")),
            ]
        )
        for one in found
    ]
    head = ["subnet", "file", "architecture", "MB", "sha256", ""]
    return html.Section(
        [title, components.table("Extracted checkpoints", head, rows, numeric=["MB"], hide_caption=True)],
        className="panel",
    )
