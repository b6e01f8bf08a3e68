"""Operations of published networks are counted as this project counts its own."""

import csv
import importlib.util
import random
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType

import pytest
import timm.layers
import torch
from timm.utils.model import reparameterize_model

from supersam.space import count, load_space
from supersam.supernet.encoder import build_encoder

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
RECOUNTED = {  # of calibration.csv of the AGX Orin, whose counts came from other code
    ("EfficientViT-B1", "224x224"): "efficientvit_b1",
    ("MixNet-s", "224x224"): "mixnet_s",
    ("MobileNetV3-large", "224x224"): "mobilenetv3_large_100",
    ("ResNet50", "224x224"): "resnet50",
}


@pytest.fixture(scope="module")
def counter() -> Iterator[ModuleType]:
    """The counter of the experiment as a module; its folder is not a package."""
    spec = importlib.util.spec_from_file_location(
        "estimated_count", EXPERIMENTS / "0009-estimated-devices" / "count.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    fused = timm.layers.use_fused_attn()
    yield module
    timm.layers.set_fused_attn(bool(fused))
    del sys.modules[spec.name]


@pytest.mark.parametrize("name", ["starter", "sam-1024"])
def test_own_encoders_are_counted_as_on_paper(counter: ModuleType, name: str) -> None:
    space, rng = load_space(name), random.Random(0)
    sampled = (space.sample(rng) for _ in range(1000))
    # scans are exponentials and cumulative sums, of which no published network has any
    without_scans = (one for one in sampled if all(stage.block != "rwkv" for stage in one.stages))
    for architecture in islice(without_scans, 2):
        timm.layers.set_fused_attn(False)
        with torch.device("meta"):
            encoder = reparameterize_model(build_encoder(architecture).eval())

        found, on_paper = counter.count(encoder, architecture.resolution), count(architecture)

        assert found.dense_gmac == pytest.approx(on_paper.dense_macs / 1e9, rel=1e-9)
        assert found.depthwise_gmac == pytest.approx(on_paper.depthwise_macs / 1e9, rel=1e-9)
        # on paper, cutting windows and the scaling of squeeze-and-excite are kernels too
        assert 0.85 * on_paper.kernels <= found.kernels <= on_paper.kernels
        assert found.traffic_m == pytest.approx(on_paper.traffic / 1e6, rel=0.1)


@pytest.mark.parametrize("row", RECOUNTED)
def test_rows_of_the_agx_orin_are_counted_again(counter: ModuleType, row: tuple[str, str]) -> None:
    with (EXPERIMENTS / "0001-jetson-agx-orin" / "calibration.csv").open(encoding="utf-8", newline="") as file:
        known = next(line for line in csv.DictReader(file) if (line["model"], line["resolution"]) == row)

    found = counter.count_by_name(RECOUNTED[row], int(row[1].split("x")[0]))

    assert found.kernels == int(known["kernels"])
    assert found.dense_gmac == pytest.approx(float(known["dense_gmac"]), abs=1e-4)
    assert found.depthwise_gmac == pytest.approx(float(known["depthwise_gmac"]), abs=1e-4)
    assert 2 * found.traffic_m == pytest.approx(float(known["traffic_mb_fp16"]), rel=0.001)


def test_stored_counts_are_what_the_counter_gives(counter: ModuleType) -> None:
    stored = counter.counted()

    for name, resolution in (("resnet18", "224x224"), ("sam:nanosam_resnet18", "1024x1024")):
        found = counter.count_by_name(name, int(resolution.split("x")[0]))
        assert stored[name, resolution] == [str(found.kernels), *(f"{value:.6g}" for value in found[1:])]
    assert len(stored) >= len(counter.wanted())
