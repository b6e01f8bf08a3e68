"""Published SAM encoders as a test: what the tables would have said of each, had its family not been among the rows."""

import math
from typing import NamedTuple

import numpy as np
from devices import AGX, EXTRAPOLATED, Fit, operations, read

from supersam.latency.fitting import FEATURES, fit_prices, spread_left_out

NAMES = {  # the network that is a SAM's encoder (or its backbone): what people call it
    "samvit_base_patch16": "SAM ViT-B",
    "samvit_large_patch16": "SAM ViT-L",
    "samvit_huge_patch16": "SAM ViT-H",
    "sam2_hiera_tiny": "SAM 2 Hiera-T, no neck",
    "sam2_hiera_small": "SAM 2 Hiera-S, no neck",
    "sam2_hiera_base_plus": "SAM 2 Hiera-B+, no neck",
    "sam2_hiera_large": "SAM 2 Hiera-L, no neck",
    "sam:mobile_sam": "MobileSAM",
    "sam:repvit_sam": "RepViT-SAM",
    "sam:nanosam_resnet18": "NanoSAM ResNet-18",
}
AGX_SAM = ("EfficientViT-SAM-L0", "EfficientViT-SAM-L1", "EfficientViT-SAM-L2")  # those that timm can build
NANOSAM = ("sam:nanosam_resnet18", "1024x1024", 4.2)  # NVIDIA-AI-IOT/nanosam@65363361:README.md, fp16, encoder alone
AGX_SPREAD = 1.4  # of the table


class Known(NamedTuple):
    """The published time of an encoder beside the prediction."""

    table: str
    encoder: str
    resolution: str
    published_ms: float
    predicted_ms: float
    spread: float
    shipped: bool

    @property
    def holds(self) -> bool:
        return abs(math.log(self.predicted_ms / self.published_ms)) <= math.log(self.spread)


def predict_all(fits: list[Fit]) -> list[Known]:
    """Predict every encoder that timm can build and that has a published time on a device with a fit."""
    return [*_agx_orin(), *(known for fit in fits for known in _of(fit))]


def _of(fit: Fit) -> list[Known]:
    found = []
    for row, predicted in zip(fit.rows, fit.left_out_ms, strict=True):
        if row.network in NAMES and not (row.network.startswith("sam2") and row.resolution == "224x224"):
            rest = np.array([series != row.series for series in fit.series])
            names = [series for series in fit.series if series != row.series]
            spread = max(fit.least, spread_left_out(fit.features[rest], fit.ms[rest], names))
            if row.series == "samvit" and "sam_layer" in fit.device.wide_kinds:
                spread *= EXTRAPOLATED
            known = (fit.device.name, NAMES[row.network], row.resolution, row.ms, float(predicted), spread)
            found.append(Known(*known, fit.device.shipped))
    return found


def _agx_orin() -> list[Known]:
    rows = read(AGX)
    columns = [name if name != "traffic_mb" else "traffic_mb_fp16" for name in FEATURES]
    features = np.array([[float(row[name]) for name in columns] for row in rows])
    ms = np.array([float(row["latency_ms"]) for row in rows])
    rest = np.array([row["series"] != "evit-sam" for row in rows])
    without_sam, all_prices = fit_prices(features[rest], ms[rest]), fit_prices(features, ms)
    found = [
        Known(
            "jetson-agx-orin",
            row["model"],
            row["resolution"],
            float(row["latency_ms"]),
            float(one @ without_sam),
            AGX_SPREAD,
            True,
        )
        for row, one in zip(rows, features, strict=True)
        if row["model"] in AGX_SAM
    ]
    network, resolution, published = NANOSAM
    counted = np.array(operations(2)[network, resolution])
    predicted = float(counted @ all_prices)
    return [*found, Known("jetson-agx-orin", NAMES[network], resolution, published, predicted, AGX_SPREAD, True)]
