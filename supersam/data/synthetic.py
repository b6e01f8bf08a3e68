"""A seeded set of textured shapes with exact masks, for machines without data and for tests.

It shows that every joint works; it says nothing about real images.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

SHAPES = ("ellipse", "rectangle", "star")


def write_pack(folder: Path, n_train: int = 48, n_val: int = 16, side: int = 192, seed: int = 0) -> Path:
    """Write a pack of shapes in COCO format and return its folder; the same seed writes the same pixels."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    for split, count in (("train", n_train), ("val", n_val)):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number in range(count):
            pixels, masks = draw(rng, side)
            name = f"{split}_{number:04d}.png"
            Image.fromarray(pixels).save(folder / "images" / name)
            images.append({"id": number, "file_name": name, "width": side, "height": side})
            for mask in masks:
                rle = coco_mask.encode(np.asfortranarray(mask))
                segmentation = {"size": list(mask.shape), "counts": rle["counts"].decode()}
                annotations.append(
                    {
                        "id": len(annotations),
                        "image_id": number,
                        "category_id": 1,
                        "iscrowd": 0,
                        "area": int(mask.sum()),
                        "bbox": [float(value) for value in coco_mask.toBbox(rle)],
                        "segmentation": segmentation,
                    }
                )
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "shape"}]}
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return folder


def draw(rng: np.random.Generator, side: int) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
    """Return one image (side, side, 3) and the visible mask of each of its shapes."""
    image = _texture(rng, side)
    masks: list[NDArray[np.uint8]] = []
    for _ in range(int(rng.integers(3, 7))):
        shape = _shape(rng, side)
        masks = [mask * (1 - shape) for mask in masks] + [shape]
        image = np.where(shape[..., None].astype(bool), _texture(rng, side), image)
    return image, [mask for mask in masks if mask.sum() >= 40]


def _texture(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """A colour with smooth noise whose amplitude falls with frequency, as in natural images."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :])
    spectrum = np.fft.fft2(rng.normal(size=(side, side))) / np.maximum(frequency, 1 / side) ** rng.uniform(0.6, 1.4)
    noise = np.fft.ifft2(spectrum).real
    noise = (noise - noise.mean()) / (noise.std() + 1e-9)
    colour = rng.uniform(30, 225, 3)
    tint = rng.uniform(5, 35) * rng.uniform(0.5, 1.0, 3)
    return np.clip(colour + noise[..., None] * tint, 0, 255).astype(np.uint8)


def _shape(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[:side, :side].astype(np.float64)
    centre, radius = rng.uniform(0.15, 0.85, 2) * side, rng.uniform(0.06, 0.28, 2) * side
    angle = rng.uniform(0, np.pi)
    u = (np.cos(angle) * (x - centre[0]) + np.sin(angle) * (y - centre[1])) / radius[0]
    v = (-np.sin(angle) * (x - centre[0]) + np.cos(angle) * (y - centre[1])) / radius[1]
    match SHAPES[rng.integers(len(SHAPES))]:
        case "ellipse":
            inside = u**2 + v**2 <= 1
        case "rectangle":
            inside = np.maximum(abs(u), abs(v)) <= 0.85
        case _:
            inside = np.hypot(u, v) <= 0.7 + 0.3 * np.cos(5 * np.arctan2(v, u))
    return inside.astype(np.uint8)
