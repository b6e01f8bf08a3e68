"""Which candidates are shown: by block type, input size, parameters and MACs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from supersam.space import AnyArchitecture, Architecture

from .part_sums import PartSums

KEYS = ("block", "resolution", "params", "macs")  # of the URL
LIMITS = {"params": "M parameters", "macs": "GMACs"}


@dataclass(frozen=True)
class Filters:
    """What a candidate must be; nothing restricts it where a field is empty."""

    blocks: frozenset[str] = frozenset()  # every stage is of one of these
    resolutions: frozenset[int] = frozenset()
    params: float = math.inf  # at most, in millions
    macs: float = math.inf  # at most, in 10⁹

    @property
    def restricts(self) -> bool:
        return self != NONE

    def passing(self, architectures: Sequence[AnyArchitecture], sums: PartSums) -> NDArray[np.bool_]:
        """Return which encoders pass."""
        kept = (sums.params_m <= self.params) & (sums.gmacs <= self.macs)
        if self.resolutions:
            kept &= np.array([one.resolution in self.resolutions for one in architectures], dtype=bool)
        if self.blocks:
            kept &= np.array([blocks_of(one) <= self.blocks for one in architectures], dtype=bool)
        return kept

    def as_query(self) -> dict[str, str]:
        """Return the filters as they stand in a URL."""
        texts = {
            "block": ",".join(sorted(self.blocks)),
            "resolution": ",".join(map(str, sorted(self.resolutions))),
            "params": write_limit(self.params),
            "macs": write_limit(self.macs),
        }
        return {key: text for key, text in texts.items() if text}


NONE = Filters()


def blocks_of(architecture: AnyArchitecture) -> frozenset[str]:
    """Return the block types that occur in an encoder."""
    if isinstance(architecture, Architecture):
        return frozenset(stage.block for stage in architecture.stages)
    return frozenset({"vit"})


def write_limit(limit: float) -> str:
    return "" if math.isinf(limit) else f"{limit:g}"


def read_filters(
    asked: Mapping[str, str], blocks: Sequence[str], resolutions: Sequence[int], notices: list[str]
) -> Filters:
    """Return the filters of a URL; what cannot be read is said and left out.

    Args:
        blocks, resolutions: those that occur among the candidates.
    """
    chosen = _among("block", asked.get("block"), list(blocks), notices)
    sides = _among("resolution", asked.get("resolution"), [str(side) for side in resolutions], notices)
    limits = {key: _limit(key, asked.get(key), notices) for key in LIMITS}
    # All of them are as good as none, and make a shorter link.
    return Filters(
        frozenset() if len(chosen) == len(blocks) else chosen,
        frozenset() if len(sides) == len(resolutions) else frozenset(map(int, sides)),
        **limits,
    )


def _among(key: str, text: str | None, known: list[str], notices: list[str]) -> frozenset[str]:
    asked = [word.strip() for word in (text or "").split(",") if word.strip()]
    unknown = [word for word in asked if word not in known]
    if unknown:
        notices.append(f"There is no {key} {unknown[0]!r} among the candidates; there: {', '.join(known)}.")
    return frozenset(word for word in asked if word in known)


def _limit(key: str, text: str | None, notices: list[str]) -> float:
    if text is None:
        return math.inf
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        notices.append(f"{text!r} is not a number of {LIMITS[key]}; write it like 5 or 0.8.")
        return math.inf
    return value
