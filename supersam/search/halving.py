"""Successive halving on images: few images first, more for those that hold their own.

For several objectives pruning is ours to do (``Trial.report`` of Optuna is for one). After each rung an architecture
is compared, on the same images, with those that are at least as fast: how far is it below the best of them, on the
device where it is least? It goes on if it is among the better half of all that came this far (asynchronous successive
halving, https://arxiv.org/abs/1810.05934; for several objectives https://arxiv.org/abs/2106.12639). What all workers of
a study saw counts: each notes it with its trial.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from supersam.space import AnyArchitecture

RUNGS = (0.25, 0.5)  # shares of the images after which is decided
FIRST = 8  # architectures that always go on
Reached = tuple[float, ...]  # the latency on each device, then the accuracy after a part of the images


class Pruned(Exception):
    """An architecture that was given up after a part of the images."""


class Halving:
    """Decides after each rung who goes on.

    Args:
        latencies_ms: gives the latency on each device.
    """

    def __init__(self, latencies_ms: Callable[[AnyArchitecture], Sequence[float]]) -> None:
        self.latencies_ms = latencies_ms
        self.seen: list[list[Reached]] = [[] for _ in RUNGS]
        self.reached: list[Reached] = []  # of the architecture that was evaluated last

    def learn_from(self, reached: Iterable[Sequence[Sequence[float]]]) -> None:
        """Compare from now on with what the trials of a study reached at each rung, in order."""
        self.seen, self.reached = [[] for _ in RUNGS], []
        for one in reached:
            for seen, at_rung in zip(self.seen, one, strict=False):
                seen.append(tuple(at_rung))

    def check(self, rung: int, architecture: AnyArchitecture, accuracy: float, n_images: int) -> None:
        """Note an accuracy at a rung.

        Raises:
            Pruned: if the architecture is among the worse half.
        """
        seen = self.seen[rung]
        mine = (*self.latencies_ms(architecture), accuracy)
        seen.append(mine)
        self.reached = [*self.reached[:rung], mine]
        if len(seen) <= FIRST:
            return
        shortfalls = sorted(_shortfall(one, seen) for one in seen)
        if _shortfall(mine, seen) > shortfalls[(len(shortfalls) - 1) // 2]:
            raise Pruned(f"accuracy {accuracy:.4f} after {n_images} images is among the worse half")


def _shortfall(one: Reached, seen: list[Reached]) -> float:
    """Return how far an accuracy is below the best of those that are as fast or faster, on its best device."""
    devices = range(len(one) - 1)
    return min(max(other[-1] for other in seen if other[at] <= one[at]) for at in devices) - one[-1]


def split_rungs(records: Sequence[Any]) -> list[list[Any]]:
    """Return the records in portions: those of the first rung, evenly spread, those added by the next, the rest."""
    n = len(records)
    portions: list[list[Any]] = []
    taken: set[int] = set()
    for share in (*RUNGS, 1.0):
        count = max(1, round(share * n))
        wanted = {round(at * (n - 1) / max(1, count - 1)) for at in range(count)} if share < 1 else set(range(n))
        portions.append([records[at] for at in sorted(wanted - taken)])
        taken |= wanted
    return portions
