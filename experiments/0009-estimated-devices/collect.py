"""Take from public benchmark files the rows that tables are fitted on: write rows.csv and yolo.csv.

    python experiments/0009-estimated-devices/collect.py FOLDER

FOLDER holds copies of public files as their repositories have them (SOURCES below: repository, commit, path, licence).
Only what is used is carried over, each row with its source, so the fit needs no FOLDER. A row is a network that timm or
torchvision can build, so that its operations can be counted (count.py), whole, at the precision of the table.
"""

import argparse
import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROWS = HERE / "rows.csv"
YOLO = HERE / "yolo.csv"

SOURCES = {  # "repository@commit:path (licence)"
    "timm": "huggingface/pytorch-image-models@aa4b5850:results/{file} (Apache-2.0)",
    "aihub": "quic/ai-hub-models@52c080d2:qai_hub_models/models/{model}/perf.yaml (BSD-3-Clause)",
    "netspresso": "Nota-NetsPresso/netspresso-trainer@cdefe125:docs/benchmarks/device_matrix/{file} (Apache-2.0)",
    "efficientvit": "mit-han-lab/efficientvit@de7d7733:applications/{file} (Apache-2.0)",
    "fastvit": "apple/ml-fastvit@8af59282:README.md (figures cited; Apple's own licence)",
    "repvit": "THU-MIG/RepViT@298f4207:README.md (Apache-2.0)",
    "trtutils": "justincdavis/trtutils@471d1e92:benchmark/data/models/{file} (MIT)",
}
TIMM = {
    "cpu-i7-12700h": "benchmark-infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo.csv",
    "cpu-i9-10940x": "benchmark-infer-fp32-nchw-pt240-cpu-i9_10940x-dynamo.csv",
    "rtx-4090": "benchmark-infer-amp-nchw-pt291-cu128-4090-dynamo.csv",
}
PER_FAMILY = 2  # networks of one family; with all of them the fit would be of ViTs and ResNets
KEEP = re.compile(r"samvit|sam2_hiera|tiny_vit_5m|repvit_m|efficientvit_[bl]\d$|vit_(tiny|small|base)_patch16_224$")
MOST_GMACS = 150.0  # what is larger is no encoder to search for, but the official SAMs are kept

AIHUB_DEVICES = {"snapdragon-8-gen-3": "Samsung Galaxy S24", "snapdragon-8-elite": "Samsung Galaxy S25"}
AIHUB = {  # folder of ai-hub-models: network ("tv:" is torchvision's), series
    "beit": ("beit_base_patch16_224", "vit"),
    "convnext_base": ("convnext_base", "convnext"),
    "convnext_tiny": ("convnext_tiny", "convnext"),
    "densenet121": ("densenet121", "densenet"),
    "dla102x": ("dla102x", "dla"),
    "efficientformer": ("efficientformer_l1", "efficientformer"),
    "efficientnet_b0": ("efficientnet_b0", "efficientnet"),
    "efficientnet_b4": ("efficientnet_b4", "efficientnet"),
    "efficientnet_v2_s": ("tv:efficientnet_v2_s", "efficientnet"),
    "efficientvit_b2_cls": ("efficientvit_b2", "efficientvit"),
    "efficientvit_l2_cls": ("efficientvit_l2", "efficientvit"),
    "googlenet": ("tv:googlenet", "inception"),
    "inception_v3": ("inception_v3", "inception"),
    "levit": ("levit_128s", "levit"),
    "mnasnet05": ("tv:mnasnet0_5", "mobilenet"),
    "mobile_vit": ("mobilevit_s", "mobilevit"),
    "mobilenet_v2": ("mobilenetv2_100", "mobilenet"),
    "mobilenet_v3_large": ("mobilenetv3_large_100", "mobilenet"),
    "mobilenet_v3_small": ("mobilenetv3_small_100", "mobilenet"),
    "regnet": ("regnetx_032", "regnet"),
    "regnet_y_800mf": ("regnety_008", "regnet"),
    "resnet18": ("resnet18", "resnet"),
    "resnet50": ("resnet50", "resnet"),
    "resnet101": ("resnet101", "resnet"),
    "resnext50": ("resnext50_32x4d", "resnet"),
    "resnext101": ("resnext101_32x8d", "resnet"),
    "shufflenet_v2": ("tv:shufflenet_v2_x0_5", "shufflenet"),
    "squeezenet1_1": ("tv:squeezenet1_1", "squeezenet"),
    "vit": ("vit_base_patch16_224", "vit"),
    "wideresnet50": ("wide_resnet50_2", "resnet"),
    "mobilesam": ("sam:mobile_sam", "sam"),
}
NETSPRESSO = {
    "EfficientFormer-l1": ("efficientformer_l1", "efficientformer"),
    "MixNet-s": ("mixnet_s", "mixnet"),
    "MixNet-m": ("mixnet_m", "mixnet"),
    "MixNet-l": ("mixnet_l", "mixnet"),
    "MobileNetV3-small": ("mobilenetv3_small_100", "mobilenet"),
    "MobileNetV3-large": ("mobilenetv3_large_100", "mobilenet"),
    "MobileViT-s": ("mobilevit_s", "mobilevit"),
    "ResNet18": ("resnet18", "resnet"),
    "ResNet34": ("resnet34", "resnet"),
    "ResNet50": ("resnet50", "resnet"),
    "ViT-tiny": ("vit_tiny_patch16_224", "vit"),
}
NETSPRESSO_DEVICES = {  # table: device in published_latencies.csv, precision, file
    "raspberry-pi-5": ("Raspberry Pi 5", "fp16", "tflite.md"),
    "jetson-orin-nano": ("Jetson Orin Nano", "fp16", "tensorrt.md"),
    "jetson-xavier-nx": ('Jetson Xavier NX (listed as "Jetson NX")', "fp16", "tensorrt.md"),
}
OTHERS = {  # model of published_latencies.csv: network, series
    "EfficientNetV2-S": ("tf_efficientnetv2_s", "efficientnetv2"),
    "EfficientNetV2-M": ("tf_efficientnetv2_m", "efficientnetv2"),
    "EfficientViT-L1": ("efficientvit_l1", "efficientvit-cls"),
    "EfficientViT-L2": ("efficientvit_l2", "efficientvit-cls"),
    "EfficientViT-L3": ("efficientvit_l3", "efficientvit-cls"),
    "EfficientViT-L1 ADE20K": ("calibrated:EfficientViT-L1 ADE20K", "efficientvit-seg"),
    "EfficientViT-L2 ADE20K": ("calibrated:EfficientViT-L2 ADE20K", "efficientvit-seg"),
    "EfficientViT-L1 Cityscapes": ("calibrated:EfficientViT-L1 Cityscapes", "efficientvit-seg"),
    "EfficientViT-L2 Cityscapes": ("calibrated:EfficientViT-L2 Cityscapes", "efficientvit-seg"),
    "EfficientViT-SAM-L0": ("calibrated:EfficientViT-SAM-L0", "efficientvit-sam"),
    "EfficientViT-SAM-L1": ("calibrated:EfficientViT-SAM-L1", "efficientvit-sam"),
    "EfficientViT-SAM-L2": ("calibrated:EfficientViT-SAM-L2", "efficientvit-sam"),
    "EfficientViT-SAM-XL0": ("calibrated:EfficientViT-SAM-XL0", "efficientvit-sam"),
    "EfficientViT-SAM-XL1": ("calibrated:EfficientViT-SAM-XL1", "efficientvit-sam"),
    "Hiera-T": ("hiera_tiny_224", "hiera"),
    "Hiera-S": ("hiera_small_224", "hiera"),
    "Hiera-B": ("hiera_base_224", "hiera"),
    "Hiera-B+": ("hiera_base_plus_224", "hiera"),
    "Hiera-L": ("hiera_large_224", "hiera"),
    "Hiera-H": ("hiera_huge_224", "hiera"),
    "FastViT-T8": ("fused:fastvit_t8", "fastvit-t"),
    "FastViT-T12": ("fused:fastvit_t12", "fastvit-t"),
    "FastViT-S12": ("fused:fastvit_s12", "fastvit-t"),
    "FastViT-SA12": ("fused:fastvit_sa12", "fastvit-sa"),
    "FastViT-SA24": ("fused:fastvit_sa24", "fastvit-sa"),
    "FastViT-SA36": ("fused:fastvit_sa36", "fastvit-sa"),
    "FastViT-MA36": ("fused:fastvit_ma36", "fastvit-sa"),
    "RepViT-M0.9": ("fused:repvit_m0_9", "repvit"),
    "RepViT-M1.0": ("fused:repvit_m1_0", "repvit"),
    "RepViT-M1.1": ("fused:repvit_m1_1", "repvit"),
    "RepViT-M1.5": ("fused:repvit_m1_5", "repvit"),
    "RepViT-M2.3": ("fused:repvit_m2_3", "repvit"),
    "RepViT-SAM": ("sam:repvit_sam", "sam"),
}
JETSONS = {
    "jetson-agx-orin": "OrinAGX-64GB.json",
    "jetson-orin-nx": "OrinNX-16GB.json",
    "jetson-orin-nano": "OrinNano-8GB.json",
    "jetson-xavier-nx": "XavierNX-8GB.json",
}


class Row(NamedTuple):
    """The published time of one network on one device."""

    table: str
    network: str
    resolution: str  # height x width in pixels
    series: str
    ms: float  # for one image
    batch: str  # images at a time
    source: str


def family(name: str) -> str:
    """Return the family of a network of timm: its leading letters, without a prefix of the weights."""
    found = re.match(r"(?:tf_|tv_|hf_)?([a-z]+)", name)
    assert found is not None
    return found.group(1)


def from_timm(folder: Path) -> Iterator[Row]:
    """Take a few networks of each family, the same ones for every device."""
    tables = {table: read(folder / "timm" / file) for table, file in TIMM.items()}
    common = set.intersection(
        *({(line["model"], line["infer_img_size"]) for line in lines} for lines in tables.values())
    )
    families: dict[str, list[tuple[float, str, str]]] = defaultdict(list)
    for line in tables["cpu-i7-12700h"]:
        key = (line["model"], line["infer_img_size"])
        if key in common and not key[0].startswith("test_"):
            families[family(key[0])].append((float(line["infer_gmacs"]), *key))
    chosen: set[tuple[str, str]] = set()
    for members in families.values():
        members.sort()
        chosen |= {(name, size) for _, name, size in members if KEEP.search(name)}
        small = [member for member in members if member[0] <= MOST_GMACS]
        step = max(1, len(small) / PER_FAMILY)
        chosen |= {small[int(index * step)][1:] for index in range(min(PER_FAMILY, len(small)))}
    for table, lines in tables.items():
        for line in lines:
            if (line["model"], line["infer_img_size"]) in chosen:
                size, batch = int(line["infer_img_size"]), line["infer_batch_size"]
                ms = float(line["infer_step_time"]) / (int(batch) if table == "rtx-4090" else 1)
                source = SOURCES["timm"].format(file=TIMM[table])
                yield Row(table, line["model"], f"{size}x{size}", family(line["model"]), ms, batch, source)


def from_aihub(folder: Path) -> Iterator[Row]:
    """Take floating-point networks that ran on the NPU by Qualcomm's own runtime."""
    for line in read(folder / "qualcomm_aihub_perf.csv"):
        for table, device in AIHUB_DEVICES.items():
            wanted = line["device"] == device and line["runtime"] == "qnn_dlc" and line["precision"] == "float"
            if not wanted or line["model"] not in AIHUB or "Decoder" in line["component"]:
                continue
            network, series = AIHUB[line["model"]]
            size = "1024x1024" if series == "sam" else re.sub(r"^1x3x(\d+)$", r"\1x\1", line["resolution"])
            source = SOURCES["aihub"].format(model=line["model"])
            yield Row(table, network, size, series, float(line["latency_ms"]), "1", source)


def from_published(published: Path) -> Iterator[Row]:
    """Take the rows of NetsPresso, EfficientViT, Hiera, FastViT and RepViT."""
    for line in read(published):
        ms = float(line["latency_ms"]) if line["latency_ms"] else 1000 / float(line["throughput_img_s"])
        for table, (device, precision, file) in NETSPRESSO_DEVICES.items():
            if (
                line["device"] == device
                and line["precision"] == precision
                and "NetsPresso" in line["source_repo_or_paper"]
                and line["model"] in NETSPRESSO
            ):
                network, series = NETSPRESSO[line["model"]]
                source = SOURCES["netspresso"].format(file=file)
                yield Row(table, network, line["resolution"], series, ms, "1", source)
        if line["model"] not in OTHERS:
            continue
        network, series = OTHERS[line["model"]]
        if line["device"] == "A100":
            repository, place = line["source_repo_or_paper"], line["source_location"].split(":")[0]
            licence = "figures cited; CC-BY-NC-4.0" if "hiera" in repository else "Apache-2.0"
            yield Row(
                "a100", network, line["resolution"], series, ms, line["batch"], f"{repository}:{place} ({licence})"
            )
        if line["device"].startswith("iPhone 12") and "encoder+" not in line["component"]:
            source = SOURCES["fastvit" if "FastViT" in line["model"] else "repvit"]
            yield Row("iphone-12", network, line["resolution"], series, ms, "1", source)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def yolo(folder: Path) -> Iterator[list[str | float]]:
    """Yield network, size and the milliseconds of each Jetson (empty where it was not run)."""
    tables = {
        name: json.loads((folder / "trtutils_jetson" / file).read_text(encoding="utf-8"))["tensorrt"]
        for name, file in JETSONS.items()
    }
    for network, sizes in tables["jetson-agx-orin"].items():
        for size in sizes:
            times = [table.get(network, {}).get(size, {}).get("median", "") for table in tables.values()]
            yield [network, size, *(round(ms, 4) if ms else "" for ms in times)]


def write(path: Path, head: Sequence[str], rows: Iterable[Sequence[str | float]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Take rows from public benchmark files.")
    parser.add_argument("folder", type=Path, help="holds published_latencies.csv and public/")
    folder = parser.parse_args().folder
    rows = [*from_timm(folder / "public"), *from_aihub(folder / "public")]
    rows += from_published(folder / "published_latencies.csv")
    write(ROWS, Row._fields, sorted({row._replace(ms=float(f"{row.ms:.6g}")) for row in rows}))
    write(YOLO, ["network", "size_px", *JETSONS], yolo(folder / "public"))


if __name__ == "__main__":
    main()
