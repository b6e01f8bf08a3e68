"""A candidate: one architecture with its accuracy and its latency on one device."""

from dataclasses import dataclass, field
from typing import Any, Literal

from supersam.latency import Latency, LatencyTable
from supersam.space import AnyArchitecture, architecture_from_dict, count


@dataclass(frozen=True)
class Accuracy:
    """Mean IoU over packs and prompts, and how it is known."""

    value: float  # 0 to 1
    source: Literal["measured", "predicted"]
    interval: tuple[float, float]  # 95 % of the mean over the evaluated masks, or of the prediction
    packs: dict[str, dict[str, float]] = field(default_factory=dict)  # pack -> prompt -> mean IoU, if measured


@dataclass(frozen=True)
class Candidate:
    """One architecture with its accuracy and its latency on one device."""

    architecture: AnyArchitecture
    accuracy: Accuracy
    latency: Latency
    also: dict[str, Latency] = field(default_factory=dict)  # on further devices of a search, by name

    @property
    def digest(self) -> str:
        return self.architecture.digest

    def bound_ms(self, risk: str) -> float:
        """Return what is compared with a budget: the upper bound of the latency, or its median."""
        return self.latency.ms if risk == "median" else self.latency.hi

    def to_dict(self) -> dict[str, Any]:
        """Return the fields other tools read (README, "The JSON of a candidate")."""
        ops = count(self.architecture)
        also = {device: _latency_fields(latency) for device, latency in self.also.items()}
        return {
            "digest": self.digest,
            "accuracy": round(self.accuracy.value, 5),
            "accuracy_source": self.accuracy.source,
            "accuracy_interval": [round(bound, 5) for bound in self.accuracy.interval],
            "packs": self.accuracy.packs,
            **_latency_fields(self.latency),
            "gmacs": round(ops.gmacs, 5),
            "params_m": round(ops.params / 1e6, 5),
            "architecture": self.architecture.to_dict(),
            **({"also": also} if also else {}),
        }

    @staticmethod
    def from_dict(content: dict[str, Any]) -> "Candidate":
        """Rebuild a candidate from ``to_dict``.

        Raises:
            KeyError, TypeError, ValueError, SearchSpaceError: if it is none.
        """
        low, high = map(float, content["accuracy_interval"])
        packs = {pack: dict(prompts) for pack, prompts in dict(content["packs"]).items()}
        return Candidate(
            architecture_from_dict(content["architecture"]),
            Accuracy(float(content["accuracy"]), content["accuracy_source"], (low, high), packs),
            _latency(content),
            {device: _latency(fields) for device, fields in content.get("also", {}).items()},
        )

    def on(self, table: LatencyTable) -> "Candidate":
        """Return the same architecture and accuracy with the latency of another device."""
        return Candidate(self.architecture, self.accuracy, table.predict(self.architecture))


def _latency_fields(latency: Latency) -> dict[str, Any]:
    return {
        "latency_ms": _rounded(latency.ms),
        "latency_interval_ms": [_rounded(latency.lo), _rounded(latency.hi)],
        "latency_method": latency.method,
    }


def _rounded(ms: float) -> float:
    """Return six digits of a time, be it of a phone or of a large GPU."""
    return float(f"{ms:.6g}")


def _latency(fields: dict[str, Any]) -> Latency:
    lo, hi = map(float, fields["latency_interval_ms"])
    return Latency(float(fields["latency_ms"]), lo, hi, fields["latency_method"])
