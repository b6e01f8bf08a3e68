"""Small data sets in every format that is read, written from the same images and masks."""

import json
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from supersam.data.synthetic import draw

Mask = NDArray[np.uint8]
SIDE = 48


@dataclass(frozen=True)
class Drawn:
    """An image and its masks, before they are written."""

    name: str
    pixels: NDArray[np.uint8]
    masks: list[Mask]


def runs(mask: Mask) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": coco_mask.encode(np.asfortranarray(mask))["counts"].decode()}


def png(pixels: NDArray[Any]) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class Writer:
    """Writes drawn images in a format."""

    @staticmethod
    def draw(count: int, seed: int = 0, side: int = SIDE) -> list[Drawn]:
        rng = np.random.default_rng(seed)
        return [Drawn(f"sa_{number:03d}", *draw(rng, side)) for number in range(count)]

    @staticmethod
    def coco_content(drawn: list[Drawn]) -> dict[str, Any]:
        images = [
            {"id": n, "file_name": f"{one.name}.png", "width": one.pixels.shape[1], "height": one.pixels.shape[0]}
            for n, one in enumerate(drawn)
        ]
        annotations = [
            {"image_id": n, "segmentation": runs(mask), "area": int(mask.sum())}
            for n, one in enumerate(drawn)
            for mask in one.masks
        ]
        return {"images": images, "annotations": annotations}

    def coco(self, folder: Path, drawn: list[Drawn], split: str = "train", **content: Any) -> Path:
        self.files(folder / "images", drawn)
        (folder / "annotations").mkdir(exist_ok=True)
        file = folder / "annotations" / f"instances_{split}.json"
        file.write_text(json.dumps(self.coco_content(drawn) | content))
        return folder

    def lvis(self, folder: Path, drawn: list[Drawn]) -> Path:
        """As LVIS 1.0 has it: no file names but addresses, images of two COCO folders in one file."""
        content = self.coco_content(drawn)
        for number, image in enumerate(content["images"]):
            place = "val2017" if number % 2 else "train2017"
            image["coco_url"] = f"http://images.cocodataset.org/{place}/{image.pop('file_name')}"
            self.files(folder / place, [drawn[number]])
        (folder / "annotations").mkdir()
        (folder / "annotations" / "lvis_v1_train.json").write_text(json.dumps(content))
        return folder

    def sa1b(self, folder: Path, drawn: list[Drawn]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for one in drawn:
            for name, content in self.pair(one):
                (folder / name).write_bytes(content)
        return folder

    def tar(self, path: Path, files: list[tuple[str, bytes]]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w") as tar:
            for name, content in files:
                entry = tarfile.TarInfo(f"./{name}")
                entry.size = len(content)
                tar.addfile(entry, BytesIO(content))
        return path

    def shards(self, folder: Path, drawn: list[Drawn], count: int) -> Path:
        for shard in range(count):
            self.tar(folder / f"sa_{shard:06d}.tar", [file for one in drawn[shard::count] for file in self.pair(one)])
        return folder

    def labels(self, folder: Path, drawn: list[Drawn], suffix: str = "png") -> Path:
        self.files(folder / "images", drawn)
        (folder / "masks").mkdir()
        for one in drawn:
            labels = np.zeros(one.pixels.shape[:2], dtype=np.uint16)
            for number, mask in enumerate(one.masks):
                labels[mask == 1] = 300 * number + 7
            Image.fromarray(labels).save(folder / "masks" / f"{one.name}.{suffix}")
        return folder

    @staticmethod
    def files(folder: Path, drawn: list[Drawn]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for one in drawn:
            (folder / f"{one.name}.png").write_bytes(png(one.pixels))

    @staticmethod
    def pair(one: Drawn) -> list[tuple[str, bytes]]:
        """The two files SA-1B has of an image (a PNG here, so that its pixels can be compared)."""
        height, width = one.pixels.shape[:2]
        content = {
            "image": {"image_id": 1, "width": width, "height": height, "file_name": f"{one.name}.png"},
            "annotations": [{"segmentation": runs(mask), "area": int(mask.sum())} for mask in one.masks],
        }
        return [(f"{one.name}.png", png(one.pixels)), (f"{one.name}.json", json.dumps(content).encode())]


@pytest.fixture
def writer() -> Writer:
    return Writer()
