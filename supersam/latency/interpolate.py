"""Times of parts between measured ones: log-log in a width or a side, and never outside of what was measured."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from supersam.latency.conformal import ENOUGH, conformal_quantile
from supersam.latency.format import METHODS, Entry
from supersam.space import Part
from supersam.space.parts import ARGUMENTS, part_from_key

WIDTHS = ("width", "c_in", "c_out", "mlp_width", "heads")
SIDES = ("side", "side_in", "resolution")

Arguments = tuple[int, ...]


class _Found(NamedTuple):
    entry: Entry
    keys: tuple[str, ...]  # of the stored entries behind it


class Grid:
    """The entries of a table by kind and arguments."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._kinds: dict[str, dict[Arguments, Entry]] = {}
        for key, entry in entries.items():
            part = part_from_key(key)
            self._kinds.setdefault(part.kind, {})[part.arguments] = entry
        self._answers: dict[Part, Entry | None] = {}
        self._factors: dict[tuple[str, int], float | None] = {}

    def between(self, part: Part) -> Entry | None:
        """Return the time of a part from its nearest neighbours on both sides; None where one lacks.

        What differs from them is one width or one side, or, where there are no such neighbours, two or more.
        """
        if part not in self._answers:
            axes = _axes(part.kind)
            found = (self._at(part.kind, part.arguments, axes, depth) for depth in range(1, len(axes) + 1))
            self._answers[part] = next((one.entry for one in found if one is not None), None)
        return self._answers[part]

    def known_around(self, part: Part) -> str:
        """Return between what values the part could be interpolated, for people; empty if nowhere."""
        said = []
        for axis in _axes(part.kind):
            known = [at for at, _ in self._line(part.kind, part.arguments, axis)]
            if known:
                name = ARGUMENTS[part.kind][axis]
                said.append(f"{name} {part.arguments[axis]} is asked, {min(known)} to {max(known)} is known")
        return "; ".join(said)

    def _at(self, kind: str, arguments: Arguments, axes: tuple[int, ...], depth: int) -> _Found | None:
        stored = self._kinds.get(kind, {}).get(arguments)
        if stored is not None:
            return _Found(stored, (Part(kind, arguments).key,))
        if depth == 0:
            return None
        for number, axis in enumerate(axes):
            here, rest = arguments[axis], axes[number + 1 :]
            values = sorted({known[axis] for known in self._kinds.get(kind, {})})
            below = self._nearest(kind, arguments, axis, [v for v in reversed(values) if 0 < v < here], rest, depth)
            above = self._nearest(kind, arguments, axis, [v for v in values if v > here], rest, depth)
            if below is not None and above is not None:
                return self._combine(kind, axis, here, below, above)
        return None

    def _nearest(
        self, kind: str, arguments: Arguments, axis: int, values: list[int], rest: tuple[int, ...], depth: int
    ) -> tuple[int, _Found] | None:
        for value in values:
            found = self._at(kind, _replaced(arguments, axis, value), rest, depth - 1)
            if found is not None:
                return value, found
        return None

    def _combine(self, kind: str, axis: int, here: int, below: tuple[int, _Found], above: tuple[int, _Found]) -> _Found:
        (start, low), (end, high) = below, above
        share = math.log(here / start) / math.log(end / start)
        ms = _mix(low.entry.ms, high.entry.ms, share)
        factor = self._factor(kind, axis)
        if factor is None:  # nobody knows how well it goes: the truth may be anywhere between the neighbours
            lo, hi = min(low.entry.lo, high.entry.lo), max(low.entry.hi, high.entry.hi)
        else:
            lo = _mix(low.entry.lo, high.entry.lo, share) / factor
            hi = _mix(low.entry.hi, high.entry.hi, share) * factor
        keys = tuple(dict.fromkeys((*low.keys, *high.keys)))
        method = max("interpolated", low.entry.method, high.entry.method, key=METHODS.index)
        made = Entry(
            ms=ms, lo=min(lo, ms), hi=max(hi, ms), method=method, scope=low.entry.scope, derived_from=keys,
            throttled=low.entry.throttled or high.entry.throttled,
        )  # fmt: skip
        return _Found(made, keys)

    def _factor(self, kind: str, axis: int) -> float | None:
        """Return how far off interpolation along an axis is in 90 % of cases, as a factor.

        Measured by leaving each entry out that has neighbours on both sides, which doubles their distance, so it
        is rather too careful. Few such entries of a kind are joined by those of other kinds; None if still too few.
        """
        if (kind, axis) not in self._factors:
            errors = list(self._left_out(kind, axis))
            if len(errors) < ENOUGH:
                alike = WIDTHS if ARGUMENTS[kind][axis] in WIDTHS else SIDES
                errors = [
                    error
                    for other in self._kinds
                    for number in _axes(other)
                    if ARGUMENTS[other][number] in alike
                    for error in self._left_out(other, number)
                ]
            known = len(errors) >= ENOUGH
            self._factors[kind, axis] = math.exp(conformal_quantile(errors)) if known else None
        return self._factors[kind, axis]

    def _left_out(self, kind: str, axis: int) -> Iterator[float]:
        """Yield |log(interpolated / measured)| for each entry between two others along an axis."""
        lines = {_replaced(arguments, axis, 0) for arguments in self._kinds.get(kind, {})}
        for line in sorted(lines):
            known = self._line(kind, line, axis)
            for (start, low), (here, entry), (end, high) in zip(known, known[1:], known[2:]):
                share = math.log(here / start) / math.log(end / start)
                yield abs(math.log(_mix(low.ms, high.ms, share) / entry.ms))

    def _line(self, kind: str, arguments: Arguments, axis: int) -> list[tuple[int, Entry]]:
        """Return the entries that differ from some arguments in one axis at most, with their place on it."""
        rest = _replaced(arguments, axis, 0)
        known = self._kinds.get(kind, {})
        return sorted(
            ((at[axis], entry) for at, entry in known.items() if at[axis] > 0 and _replaced(at, axis, 0) == rest),
            key=lambda pair: pair[0],
        )


def _axes(kind: str) -> tuple[int, ...]:
    """Return which arguments of a kind may be interpolated: widths first, as they are sampled more densely."""
    names = ARGUMENTS[kind]
    return tuple(
        sorted((n for n, name in enumerate(names) if name in (*WIDTHS, *SIDES)), key=lambda n: names[n] in SIDES)
    )


def _replaced(arguments: Arguments, axis: int, value: int) -> Arguments:
    return (*arguments[:axis], value, *arguments[axis + 1 :])


def _mix(low: float, high: float, share: float) -> float:
    return math.exp((1 - share) * math.log(low) + share * math.log(high))
