"""The playground: any subnet of the starter space, what it would do, and the evaluated subnet nearest to it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from supersam.results.ridge import RidgeAccuracy
from supersam.space import AnyArchitecture, SearchSpace

from .sources import Found

SEPARATOR = "."  # between the places of choices in a URL


def write_places(space: SearchSpace, architecture: AnyArchitecture) -> str:
    """Return an architecture as the places of its choices, such as ``2.0.1.1...``."""
    choices = space.encode(architecture)
    return SEPARATOR.join(str(allowed.index(choices[name])) for name, allowed in space.variables().items())


def read_places(space: SearchSpace, text: str, usual: AnyArchitecture, notices: list[str]) -> AnyArchitecture:
    """Return the architecture of ``write_places``, or the usual one and a notice."""
    words, variables = text.split(SEPARATOR), space.variables()
    places = [int(word) if word.isdecimal() and len(word) < 4 else -1 for word in words]
    if len(words) != len(variables) or any(
        not 0 <= place < len(allowed) for place, allowed in zip(places, variables.values(), strict=False)
    ):
        notices.append(f"{text[:60]!r} is not a subnet of {space.name}; this is its most accurate one.")
        return usual
    return decode(space, dict(zip(variables, places, strict=True)))


def decode(space: SearchSpace, places: Mapping[str, int]) -> AnyArchitecture:
    """Return the architecture at these places of the choices; places beyond the end are the last."""
    chosen = {}
    for name, allowed in space.variables().items():
        place = places.get(name, 0)
        chosen[name] = allowed[min(max(int(place), 0), len(allowed) - 1)]
    return space.decode(chosen)


@dataclass(frozen=True)
class Nearest:
    """The evaluated subnet that differs least."""

    found: Found
    source: str  # key of its run or the archive
    differences: list[str]  # such as "stage3.depth 2, not 4"


def nearest(
    space: SearchSpace, architecture: AnyArchitecture, evaluated: Iterable[tuple[str, Found]]
) -> Nearest | None:
    """Return the measured subnet with the fewest and smallest differences; equal ones, the most accurate."""
    wanted, variables = space.encode(architecture), space.variables()
    best: tuple[float, float] | None = None
    answer: tuple[str, Found] | None = None
    for source, one in evaluated:
        if one.accuracy.source != "measured" or not space.contains(one.architecture):
            continue
        distance = (_distance(variables, wanted, space.encode(one.architecture)), -one.accuracy.value)
        if best is None or distance < best:
            best, answer = distance, (source, one)
    if answer is None:
        return None
    theirs = space.encode(answer[1].architecture)
    differences = [f"{name} {theirs[name]}, not {wanted[name]}" for name in variables if theirs[name] != wanted[name]]
    return Nearest(answer[1], answer[0], differences)


def _distance(
    variables: Mapping[str, Sequence[object]], one: Mapping[str, object], other: Mapping[str, object]
) -> float:
    """Add up the differences: of words 1, of numbers the distance in places relative to the whole range."""
    distance = 0.0
    for name, allowed in variables.items():
        if one[name] != other[name]:
            steps = abs(allowed.index(one[name]) - allowed.index(other[name]))
            distance += 1.0 if isinstance(allowed[0], str) else steps / (len(allowed) - 1)
    return distance


def most_accurate(model: RidgeAccuracy) -> AnyArchitecture:
    """Return the most accurate measured subnet, where the sliders begin."""
    return max(model.measured, key=lambda architecture: model.measured[architecture].value)
