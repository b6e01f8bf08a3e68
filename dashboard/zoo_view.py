"""What the zoo page shows for one set of choices: which cards in which order, and one of them whole."""

from collections.abc import Mapping
from dataclasses import dataclass

from supersam.errors import suggest
from supersam.zoo import Card, Zoo

KEYS = ("name", "licence", "category", "sort")  # of the URL
SORTS = ("name", "year", "licence", "params", "gmacs")
USUAL = "name"


@dataclass(frozen=True)
class ZooView:
    """The table and the card beside it."""

    zoo: Zoo
    cards: list[Card]
    chosen: Card | None
    terms: list[str]  # of licences, all that occur
    categories: list[str]
    query: dict[str, str]  # what was understood, without defaults
    notices: list[str]

    def link(self, **changes: str | None) -> str:
        """Return the query with some choices changed; None removes one."""
        from urllib.parse import urlencode

        merged = {key: value for key, value in (self.query | changes).items() if value}
        return "?" + urlencode(merged) if merged else ""


def look_at_zoo(zoo: Zoo, chosen: Mapping[str, str]) -> ZooView:
    """Return what to show; unknown values are said in a notice and ignored."""
    notices: list[str] = []
    terms: list[str] = sorted({card.licence.terms for card in zoo.cards.values()})
    categories: list[str] = sorted({card.category for card in zoo.cards.values()})
    known: dict[str, list[str]] = {
        "name": list(zoo.cards),
        "licence": terms,
        "category": categories,
        "sort": list(SORTS),
    }
    query = {key: value for key in KEYS if (value := _known(key, chosen.get(key), known[key], notices))}
    cards = [card for card in zoo.cards.values() if _passes(card, query)]
    sort = query.get("sort", USUAL)
    return ZooView(
        zoo=zoo,
        cards=sorted(cards, key=lambda card: _place(card, sort)),
        chosen=zoo.cards.get(query.get("name", "")),
        terms=terms,
        categories=categories,
        query=query,
        notices=notices,
    )


def _known(key: str, value: str | None, known: list[str], notices: list[str]) -> str:
    if value is None or value in known:
        return value or ""
    notices.append(f"The zoo has no {key} {value!r}.{suggest(value, known)}")
    return ""


def _passes(card: Card, query: Mapping[str, str]) -> bool:
    wanted = {"licence": card.licence.terms, "category": card.category}
    return all(query.get(key) in (None, value) for key, value in wanted.items())


def _place(card: Card, sort: str) -> tuple[bool, float | str, str]:
    """Return the place of a card; those without a value come last."""
    value: float | str | None = {
        "name": card.title.lower(),
        "year": card.year,
        "licence": card.licence.terms,
        "params": card.encoder_params.least,
        "gmacs": card.encoder_gmacs.least,
    }[sort]
    return (value is None, 0 if value is None else value, card.title.lower())
