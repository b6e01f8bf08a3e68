"""Time from counted operations, for a device nobody here has."""

from pydantic import Field, model_validator

from supersam.latency.format import Entry, Fault, Model
from supersam.space import Part


class Estimator(Model):
    """A non-negative linear model of ``Ops``."""

    ms_per_kernel: float = Field(ge=1e-9, le=1e3)  # positive: no part runs in no time
    ms_per_dense_gmac: float = Field(ge=0, le=1e3)
    ms_per_depthwise_gmac: float = Field(ge=0, le=1e3)
    ms_per_traffic_mb: float = Field(ge=0, le=1e3)
    bytes_per_element: int = Field(gt=0, le=8)
    spread: float = Field(gt=1, le=100)  # the 90 % interval is [t / spread, t * spread]
    spread_of_kind: dict[str, float] = Field(default={})  # for kinds of part not among the calibration rows
    calibration_rows: int = Field(gt=0)

    @model_validator(mode="after")
    def _spreads_widen(self) -> "Estimator":
        for kind, spread in self.spread_of_kind.items():
            if not 1 < spread <= 100:
                raise Fault(f"a spread must be above 1, at most 100, got {spread}", "spread_of_kind", kind)
        return self

    def estimate(self, part: Part) -> Entry:
        """Return the estimated time of a part."""
        ops = part.ops
        ms = (
            self.ms_per_kernel * ops.kernels
            + self.ms_per_dense_gmac * ops.dense_macs / 1e9
            + self.ms_per_depthwise_gmac * ops.depthwise_macs / 1e9
            + self.ms_per_traffic_mb * ops.traffic * self.bytes_per_element / 1e6
        )
        spread = self.spread_of_kind.get(part.kind, self.spread)
        return Entry(ms=ms, lo=ms / spread, hi=ms * spread, method="estimated")
