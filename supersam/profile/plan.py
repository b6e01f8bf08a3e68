"""What is timed to fill a latency table, and how each part's time follows from it (no torch).

A part that is timed alone pays for input, output and the layout of both, which it does not in a network. So parts are
timed in context, and only differences of times count (``derivation_of`` says which).
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from supersam.latency import space_parts
from supersam.space import BLOCK_TYPES, AnyArchitecture, Part, SearchSpace

LENGTHS = (6, 2, 1)  # copies in the chains of a part
BESIDE = 2  # copies of its neighbour that a border is timed with
CALIBRATION_NETWORKS = 24
SENTINEL_CANDIDATES = 33
REPEATABLE = (*BLOCK_TYPES, "fuse", "sam_layer")  # what comes out has the shape of what goes in
BLOCKS = (*BLOCK_TYPES, "sam_layer")

Scope = Literal["chain", "border", "isolated"]


@dataclass(frozen=True)
class Item:
    """Something that is timed: parts in a row, each with weights of its own, or a whole encoder."""

    parts: tuple[Part, ...] = ()
    architecture: AnyArchitecture | None = None

    @property
    def name(self) -> str:
        """For example ``downsample:32:32:64+repvit:16:64:2:0*2``, or the digest of an encoder."""
        if self.architecture is not None:
            return self.architecture.digest
        runs = ((key, len(list(run))) for key, run in groupby(part.key for part in self.parts))
        return "+".join(key if copies == 1 else f"{key}*{copies}" for key, copies in runs)

    @property
    def file_name(self) -> str:
        """The name in letters that every file system takes."""
        return self.name.replace(":", "-").replace("*", "x").replace("+", "_")

    @property
    def gmacs(self) -> float:
        from supersam.space import count

        if self.architecture is not None:
            return count(self.architecture).gmacs
        return sum(part.ops.gmacs for part in self.parts)


@dataclass(frozen=True)
class Derivation:
    """A part's time as a sum of times of items: weight times the item's time."""

    part: Part
    scope: Scope
    terms: tuple[tuple[float, Item], ...]


@dataclass(frozen=True)
class Plan:
    """Everything that is timed for a table."""

    space: SearchSpace
    derivations: tuple[Derivation, ...]
    sentinel: Item
    calibration: tuple[AnyArchitecture, ...]
    held_out: tuple[AnyArchitecture, ...] = ()
    extra: tuple[Item, ...] = ()  # timed beside the rest, of no use for the table

    @property
    def items(self) -> tuple[Item, ...]:
        """Every item once, without the sentinel."""
        needed = [item for derivation in self.derivations for _, item in derivation.terms]
        wholes = [Item(architecture=architecture) for architecture in (*self.calibration, *self.held_out)]
        return tuple(dict.fromkeys([*needed, *wholes, *self.extra]))


def plan_items(
    space: SearchSpace, networks: int = CALIBRATION_NETWORKS, held_out: int = 0, isolated: bool = False
) -> Plan:
    """Return what is timed for the table of a space.

    Args:
        networks: random whole encoders that the composition is fitted on.
        held_out: further ones that nothing is fitted on.
        isolated: also time every part alone.
    """
    parts = space_parts(space)
    calibration = _draw(space, "calibration", networks, ())
    return Plan(
        space=space,
        derivations=tuple(derivation_of(part, parts) for part in parts),
        sentinel=Item(architecture=_sentinel(space)),
        calibration=calibration,
        held_out=_draw(space, "held-out", held_out, calibration),
        extra=tuple(isolated_item(part) for part in parts) if isolated else (),
    )


def isolated_item(part: Part) -> Item:
    """Return a part alone."""
    return Item((part,))


def isolated_derivation(part: Part) -> Derivation:
    """Return a part's time as that of the part alone."""
    return Derivation(part, "isolated", ((1.0, isolated_item(part)),))


def freed_derivation(part: Part, parts: Iterable[Part]) -> Derivation:
    """Return a border's time as that of the border alone, less what input and output cost its neighbours' chains."""
    before, after = _neighbours(part, list(parts))
    costs = [_border_cost(neighbour, -0.5) for neighbour in (before, after) if neighbour is not None]
    terms = ((1.0, isolated_item(part)), *(term for cost in costs for term in cost))
    return Derivation(part, "isolated", _summed(terms))


def derivation_of(part: Part, parts: Iterable[Part]) -> Derivation:
    """Return how the time of a part follows from items; ``parts`` are those of the space, its possible neighbours.

    The model behind it: T(parts in a row) = call + in(first) + sum of the parts + out(last), where ``in`` and ``out``
    are what crossing the border of the engine costs for a tensor of that shape. A block has the same shape on both
    sides, so its chains of k copies lie on a line, T(k) = k * block + c with c = call + in + out. Noise is a share of
    the time, so the line is fitted with weights 1 / k^2; chains of 1, 2 and 6 copies give

        block = 0.158 T(6) + 0.211 T(2) - 0.368 T(1)        c = -0.184 T(6) - 0.079 T(2) + 1.263 T(1)

    with 1.1 times the relative noise of one timing in a block, and 1.7 times the block's share of it in c; the slope
    of two chains of 2 and 6 copies has 1.6 and 4.2. Half of c is taken for each side. A border between blocks L and R
    (in this order) is timed with its neighbour R: T(border, R, R) = c_L / 2 + border + 2 * R + c_R / 2, and
    T(R, R) = c_R + 2 * R, hence

        border = T(border, R, R) - T(R, R) + (c_R - c_L) / 2

    A lateral of the neck has its neighbour before it and the fusion behind it: the same with both sides exchanged.
    A network pays for its own input and output once. They belong to the parts at its ends: without L (stem,
    patch embedding) nothing is taken off for it, nor without R (neck of a plain ViT); the fusion keeps half of its c.
    """
    known = list(parts)
    if part.kind == "fuse":
        return Derivation(part, "chain", _summed(_of_chains(part, SLOPE) + _border_cost(part, 0.5)))
    if part.kind in REPEATABLE:
        return Derivation(part, "chain", _of_chains(part, SLOPE))
    before, after = _neighbours(part, known)
    match part.kind:
        case "stem" | "sam_patch" if after is not None:
            terms = _difference((part,), after, leading=True) + _border_cost(after, 0.5)
        case "downsample" if before is not None and after is not None:
            terms = _difference((part,), after, leading=True) + _border_cost(after, 0.5) + _border_cost(before, -0.5)
        case "lateral" if before is not None and after is not None:
            terms = _difference((part,), before, leading=False) + _border_cost(before, 0.5) + _border_cost(after, -0.5)
        case "sam_neck" if before is not None:
            terms = _difference((part,), before, leading=False) + _border_cost(before, 0.5)
        case _:
            return isolated_derivation(part)
    return Derivation(part, "border", _summed(terms))


Terms = tuple[tuple[float, Item], ...]


def _line(lengths: tuple[int, ...]) -> tuple[dict[int, float], dict[int, float]]:
    """Return by length what T(length) weighs in slope and intercept of the line, the noise being a share of T."""
    trust = {k: 1 / k**2 for k in lengths}
    total = sum(trust.values())
    mean = sum(trust[k] * k for k in lengths) / total
    spread = sum(trust[k] * (k - mean) ** 2 for k in lengths)
    slope = {k: trust[k] * (k - mean) / spread for k in lengths}
    return slope, {k: trust[k] / total - mean * slope[k] for k in lengths}


SLOPE, INTERCEPT = _line(LENGTHS)


def _of_chains(part: Part, weights: dict[int, float], scale: float = 1.0) -> Terms:
    return tuple((scale * weight, Item((part,) * copies)) for copies, weight in weights.items())


def _difference(border: tuple[Part, ...], neighbour: Part, leading: bool) -> Terms:
    chain = (neighbour,) * BESIDE
    return (1.0, Item(border + chain if leading else chain + border)), (-1.0, Item(chain))


def _border_cost(part: Part, weight: float) -> Terms:
    """Return what input, output and call of a chain cost, as terms."""
    return _of_chains(part, INTERCEPT, weight)


def _summed(terms: Terms) -> Terms:
    weights: dict[Item, float] = {}
    for weight, item in terms:
        weights[item] = weights.get(item, 0.0) + weight
    return tuple((weight, item) for item, weight in weights.items() if weight)


def _neighbours(part: Part, parts: list[Part]) -> tuple[Part | None, Part | None]:
    """Return the cheapest blocks of the space that can stand before and behind a part."""
    a = part.arguments
    match part.kind:
        case "stem":
            return None, _block(parts, a[0] // 4, a[1])
        case "downsample":
            return _block(parts, a[0], a[1]), _block(parts, a[0] // 2, a[2])
        case "lateral":
            side = {2: a[1] // 2, 3: a[1], 4: 2 * a[1]}[a[0]]
            return _block(parts, a[1], a[2]), next((p for p in parts if p == Part("fuse", (side,))), None)
        case "sam_patch":
            return None, _block(parts, a[0] // 16, a[1])
        case "sam_neck":
            return _block(parts, a[0], a[1]), None
        case _:
            return None, None


def _block(parts: list[Part], side: int, width: int) -> Part | None:
    fitting = [part for part in parts if part.kind in BLOCKS and part.arguments[:2] == (side, width)]
    return min(fitting, key=lambda part: (part.ops.gmacs, part.key), default=None)


def _draw(
    space: SearchSpace, purpose: str, number: int, without: tuple[AnyArchitecture, ...]
) -> tuple[AnyArchitecture, ...]:
    """Draw different architectures, fewer if the space has no more."""
    rng = random.Random(f"{purpose}/{space.fingerprint}")
    found: dict[AnyArchitecture, None] = {}
    for _ in range(50 * number):
        if len(found) == number:
            break
        architecture = space.sample(rng)
        if architecture not in without:
            found[architecture] = None
    return tuple(found)


def _sentinel(space: SearchSpace) -> AnyArchitecture:
    """Return an encoder that is neither so small that it is all calls nor so large that it costs much time."""
    rng = random.Random(f"sentinel/{space.fingerprint}")
    drawn = [space.sample(rng) for _ in range(SENTINEL_CANDIDATES)]
    return sorted(drawn, key=lambda a: (Item(architecture=a).gmacs, a.digest))[SENTINEL_CANDIDATES // 4]
