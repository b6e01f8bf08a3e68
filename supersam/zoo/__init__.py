"""What others built: a card for each published efficient SAM, every figure with its source (no torch)."""

from supersam.zoo.card import Accuracy, Card, Cost, Kind, Latency, Licence, Range, Source, Statement
from supersam.zoo.catalogue import Zoo, load_zoo

__all__ = ["Accuracy", "Card", "Cost", "Kind", "Latency", "Licence", "Range", "Source", "Statement", "Zoo", "load_zoo"]
