"""``supersam zoo``: the published systems, every figure with its source."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from supersam.cli._output import print_json, print_table

if TYPE_CHECKING:
    from supersam.zoo import Card, Latency, Range, Zoo

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Published efficient SAMs and their figures, by source."
)


@app.command("list")
def list_cards(
    licence: Annotated[str | None, typer.Option(help="Only cards with these terms, such as permissive.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the cards."""
    from supersam.errors import UsageError, suggest
    from supersam.zoo import load_zoo

    zoo = load_zoo()
    known: list[str] = sorted({card.licence.terms for card in zoo.cards.values()})
    if licence is not None and licence not in known:
        raise UsageError(f"no card has the terms {licence!r}.{suggest(licence, known)} There: {', '.join(known)}")
    cards = [card for card in zoo.cards.values() if licence in (None, card.licence.terms)]
    if json:
        print_json([_summary(zoo, card) for card in cards])
        return
    head = ["name", "family", "category", "year", "licence", "encoder params M", "encoder GMACs", "figures"]
    print_table(head, [_row(card) for card in cards])


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name of `supersam zoo list`.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one card: citation, licence, checkpoints, and its figures with their sources."""
    from supersam.zoo import load_zoo

    zoo = load_zoo()
    card = zoo.find(name)
    if json:
        sources = {key: zoo.sources[key].model_dump(mode="json") for key in card.named_sources}
        print_json({**card.model_dump(mode="json", by_alias=True), "sources": sources})
        return
    _print_head(card)
    for title, head, rows in _tables(zoo, card):
        print(f"\n{title}")
        print_table(head, rows)
    used = card.named_sources
    if used:
        print("\nsources")
        print_table(["key", "kind", "what"], [[key, zoo.kind(key), zoo.sources[key].what] for key in used])


def _range(found: "Range") -> str:
    """Return for example ``46.6 to 153.5``, with the input where it is not the usual one."""
    values = " to ".join(f"{value:.4g}" for value in found.values)
    return f"{values} at {found.at}" if found.at else values


def _row(card: "Card") -> list[str]:
    cost = [_range(card.encoder_params), _range(card.encoder_gmacs)]
    year = str(card.year or "")
    return [card.name, card.family, card.category, year, card.licence.terms, *cost, str(len(card.figures))]


def _summary(zoo: "Zoo", card: "Card") -> dict[str, Any]:
    from supersam.zoo import Kind

    shown = ("name", "title", "family", "category", "year", "summary", "citation", "repository")
    figures = {kind.value: zoo.of_kind(card, kind) for kind in Kind}
    return {
        **{key: getattr(card, key) for key in shown},
        "licence": card.licence.model_dump(),
        "encoder_params_m": card.encoder_params.values,
        "encoder_gmacs": card.encoder_gmacs.values,
        "encoder_gmacs_px": card.encoder_gmacs.resolutions,
        "figures": figures,
    }


def _print_head(card: "Card") -> None:
    licence = card.licence
    terms = f"{licence.terms} (code {licence.code or 'not stated'}, weights {licence.weights or 'not stated'})"
    encoder = ", ".join(
        [card.encoder.what or "not stated", *([f"{card.encoder.resolution}px"] * bool(card.encoder.resolution))]
    )
    near = f"{', '.join(card.encoder.timm)} ({card.encoder.timm_match})" if card.encoder.timm else ""
    lines = {
        "citation": card.citation,
        "repository": card.repository,
        "licence": f"{terms}{'; ' + licence.note if licence.note else ''}",
        "encoder": encoder,
        "nearest in timm": near,
        "tasks": ", ".join(card.tasks),
    }
    print(f"{card.title} ({card.name})\n{card.summary}\n")
    for key, text in lines.items():
        if text:
            print(f"{key + ':':17}{text}")


def _tables(zoo: "Zoo", card: "Card") -> list[tuple[str, list[str], list[list[str]]]]:
    tables: list[tuple[str, list[str], list[list[str]]]] = []

    def add(title: str, head: list[str], rows: list[list[str]]) -> None:
        if rows:
            tables.append((title, head, rows))

    files = [[c.file, f"{c.mb:g}" if c.mb else "", c.format, c.url, c.source] for c in card.checkpoints]
    add("checkpoints", ["file", "MB", "format", "address", "source"], files)
    for title, costs in (("parameters, millions", card.params_m), ("multiply-accumulates, GMACs", card.gmacs)):
        rows = [[f"{c.value:g}", c.scope, str(c.resolution or ""), c.note, zoo.kind(c.source), c.source] for c in costs]
        add(title, ["value", "of", "px", "note", "kind", "source"], rows)
    accuracy = [
        [a.dataset, a.prompt, a.metric, f"{a.value:g}", a.protocol or a.note, zoo.kind(a.source), a.source]
        for a in card.accuracy
    ]
    add("accuracy", ["data set", "prompt", "metric", "value", "protocol", "kind", "source"], accuracy)
    latency = [_latency(zoo, time) for time in card.latency]
    head = ["device", "of", "time", "runtime", "precision", "batch", "px", "note", "kind", "source"]
    add("latency", head, latency)
    said = [[s.what, s.value, zoo.kind(s.source), s.source] for s in card.statements]
    add("statements", ["what", "value", "kind", "source"], said)
    return tables


def _latency(zoo: "Zoo", time: "Latency") -> list[str]:
    conditions = [time.runtime, time.precision, str(time.batch or ""), str(time.resolution or ""), time.note]
    return [time.device, time.scope, time.time, *conditions, zoo.kind(time.source), time.source]
