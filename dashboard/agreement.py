"""What a table predicts for whole networks that were timed on its device, beside the times."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean

from supersam.errors import SuperSAMError
from supersam.latency import Latency, LatencyTable, Network

FITTED, HELD_OUT, CHOSEN = "calibration", "held-out", "chosen"
ROLES = (FITTED, HELD_OUT, CHOSEN)  # whose choices are known, so that they can be predicted
CLOSE = 0.1  # share of the time


@dataclass(frozen=True)
class Pair:
    """One network: what the table says and what was measured, in milliseconds."""

    name: str
    role: str
    predicted: Latency
    measured: Network

    @property
    def error(self) -> float:
        """How far the prediction is off, as a share of the time; positive where it is too slow."""
        return self.predicted.ms / self.measured.ms - 1


@dataclass(frozen=True)
class Errors:
    """How good some predictions are."""

    n: int
    mape: float  # mean absolute error, as a share of the time
    close: float  # share of the networks that are within CLOSE
    inside: float  # share whose time is between the predicted bounds


@dataclass(frozen=True)
class Agreement:
    """All networks of a table that it can predict."""

    pairs: tuple[Pair, ...]
    noise: float | None  # of the same network timed again and again, as a share of its time
    unknown: int = 0  # networks that the table cannot predict

    def of(self, *roles: str) -> list[Pair]:
        return [pair for pair in self.pairs if pair.role in roles]


def agreement(table: LatencyTable) -> Agreement:
    """Return predicted and measured times of a table's whole networks, the fastest first."""
    timed = {name: network for name, network in table.networks.items() if network.role in ROLES}
    pairs = list(_pairs(table, timed))
    floor = table.quality.noise_floor_pct
    ordered = tuple(sorted(pairs, key=lambda pair: pair.measured.ms))
    return Agreement(ordered, None if floor is None else floor / 100, len(timed) - len(pairs))


def _pairs(table: LatencyTable, timed: dict[str, Network]) -> Iterable[Pair]:
    for name, network in timed.items():
        try:
            architecture = network.architecture()
            if architecture is not None:
                yield Pair(name, network.role, table.predict(architecture), network)
        except SuperSAMError:  # of a space that is not here, or with parts the table does not know
            continue


def errors(pairs: list[Pair]) -> Errors | None:
    """Return how good the predictions are; None where there is none."""
    if not pairs:
        return None
    return Errors(
        n=len(pairs),
        mape=mean(abs(pair.error) for pair in pairs),
        close=mean(abs(pair.error) <= CLOSE for pair in pairs),
        inside=mean(pair.predicted.lo <= pair.measured.ms <= pair.predicted.hi for pair in pairs),
    )
