"""All cards together with the sources their figures name."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import RootModel

from supersam._yaml import load_model
from supersam.errors import UsageError, suggest
from supersam.zoo.card import Card, Kind, Source

FOLDER = Path(__file__).parent


class _Sources(RootModel[dict[str, Source]]):
    """The file ``sources.yaml``."""


@dataclass(frozen=True)
class Zoo:
    """The cards by name, and the sources by key."""

    cards: dict[str, Card]
    sources: dict[str, Source]

    def find(self, name: str) -> Card:
        """Return a card.

        Raises:
            UsageError: if there is none of this name.
        """
        card = self.cards.get(name)
        if card is None:
            near = suggest(name, list(self.cards))
            raise UsageError(f"the zoo has no {name!r}.{near} List it with: supersam zoo list")
        return card

    def kind(self, source: str) -> Kind:
        """Return how figures of a source are known."""
        return self.sources[source].kind

    def of_kind(self, card: Card, kind: Kind) -> int:
        """Return how many figures of a card are known in this way."""
        return sum(self.kind(figure.source) is kind for figure in card.figures)


@cache
def load_zoo(folder: Path = FOLDER) -> Zoo:
    """Read and check every card below ``folder``.

    Raises:
        UsageError: if a card or a source is not as its schema says; the message names file and key.
    """
    sources = load_model(folder / "sources.yaml", _Sources, UsageError).root
    cards = {}
    for path in sorted((folder / "cards").glob("*.yaml")):
        card = load_model(path, Card, UsageError)
        if card.name != path.stem:
            raise UsageError(f"{path} holds the card of {card.name!r}; file and name must agree")
        for key in card.named_sources:
            if key not in sources:
                raise UsageError(f"{path} names the source {key!r}, which sources.yaml does not have")
        cards[card.name] = card
    return Zoo(cards, sources)
