"""How a search went: the hypervolume after so many candidates, and who was on the front from when to when."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from supersam.results import Candidate, hypervolume, pareto_front

POINTS = 40  # of the curve of hypervolume over trials


def hypervolume_over_trials(candidates: Sequence[Candidate]) -> list[dict[str, float]]:
    """Return the hypervolume and the size of the front after 1, ..., n candidates, at up to POINTS places.

    The reference point is the slowest latency and the lowest accuracy of all, so that the last value says how much of
    the box of what was seen is dominated; it is given as a share of that box.
    """
    if not candidates:
        return []
    slowest = max(candidate.latency.ms for candidate in candidates)
    lowest = min(candidate.accuracy.value for candidate in candidates)
    highest = max(candidate.accuracy.value for candidate in candidates)
    fastest = min(candidate.latency.ms for candidate in candidates)
    box = (slowest - fastest) * (highest - lowest) or 1.0
    found = []
    for n in sorted({round(at) for at in np.linspace(1, len(candidates), min(POINTS, len(candidates)))}):
        front = pareto_front(candidates[:n])
        share = hypervolume(front, slowest, lowest) / box
        found.append({"n": int(n), "hypervolume": round(share, 5), "front": len(front)})
    return found


def front_over_time(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Return who was ever on the front: the how manieth candidate it was, and which one drove it off (None: none).

    So the front after n candidates is who has ``joined`` by then and has not ``left`` by then.
    """
    found: list[dict[str, Any]] = []
    front: list[tuple[Candidate, dict[str, Any]]] = []
    for n, candidate in enumerate(candidates, start=1):
        if any(_at_least_as_good(other, candidate) for other, _ in front):
            continue
        for other, entry in front:
            entry["left"] = n if _at_least_as_good(candidate, other) else None
        front = [(other, entry) for other, entry in front if entry["left"] is None]
        front.append((candidate, {"digest": candidate.digest, "joined": n, "left": None}))
        found.append(front[-1][1])
    return found


def _at_least_as_good(one: Candidate, other: Candidate) -> bool:
    return one.accuracy.value >= other.accuracy.value and one.latency.ms <= other.latency.ms
