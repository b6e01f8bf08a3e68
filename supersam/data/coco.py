"""COCO and LVIS annotation files: a pack is a folder with ``images/`` and ``annotations/instances_<split>.json``.

LVIS (https://arxiv.org/abs/1908.03195) has COCO's format; its images are COCO's and named by ``coco_url``.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote, urlparse

from supersam.data.records import Annotation, ImageRecord, Pack
from supersam.data.skipped import Skipped
from supersam.data.splits import of_split, split_on_disk
from supersam.errors import DataError, MissingError

__all__ = ["Annotation", "ImageRecord", "Pack", "load_file", "load_pack", "load_packs"]

Parsed = TypeVar("Parsed")
PREFIXES = ("instances_", "lvis_v1_")
LOOKED_FOR = 5  # images, to tell where they are
PROBLEMS = (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError)


def load_packs(folder: Path, split: str, skipped: Skipped | None = None) -> list[Pack]:
    """Load a pack, or every pack in a folder of packs, sorted by name.

    Args:
        skipped: counts entries that cannot be used and leaves them out; without it they are errors.

    Raises:
        MissingError: if there is no pack or not this split.
        DataError: if an annotation file is damaged or does not match its images.
    """
    if (folder / "annotations").is_dir():
        return [load_pack(folder, split, skipped)]
    if not folder.is_dir():
        raise MissingError(f"there is no data folder {folder}; give one with images/ and annotations/")
    found = sorted(child for child in folder.iterdir() if (child / "annotations").is_dir())
    if not found:
        raise MissingError(f"{folder} holds neither images/ and annotations/ nor folders that do")
    return [load_pack(child, split, skipped) for child in found]


def load_pack(folder: Path, split: str, skipped: Skipped | None = None) -> Pack:
    """Load one pack: ``annotations/instances_<split>.json`` or LVIS' ``lvis_v1_<split>.json``.

    A split without a year means that of the only year there is: ``train`` is COCO's ``train2017`` where there is no
    other ``train``. A derived split such as ``train2017-fit`` is a part of ``train2017``.
    """
    there = {
        path.stem.removeprefix(prefix): path
        for prefix in reversed(PREFIXES)
        for path in (folder / "annotations").glob(f"{prefix}*.json")
    }
    whole = split in there and split_on_disk(split) != "train"  # a file of that very name, not a part of another
    on_disk = split if whole else _with_year(split_on_disk(split), there)
    if on_disk not in there:
        raise MissingError(f"{folder} has no split {split!r} (there: {', '.join(sorted(there)) or 'none'})")
    return replace(load_file(there[on_disk], None, "" if whole else split, skipped), name=folder.name)


def _with_year(split: str, there: Collection[str]) -> str:
    years = [name for name in there if re.fullmatch(rf"{re.escape(split)}\d{{4}}", name)]
    return years[0] if split not in there and len(years) == 1 else split


def load_file(
    file: Path, images: Path | None, split: str, skipped: Skipped | None = None, prefer_url: bool = False
) -> Pack:
    """Load an annotation file.

    Args:
        images: the folder its images are in, or, for images named by ``coco_url``, the folder of ``train2017/`` ...;
            None: ``images/``, a folder named after the split (also in ``images/``), or the one above ``annotations/``,
            wherever they lie.
        split: a derived split keeps its share of the images, any other all of them.
        skipped: counts entries that cannot be used and leaves them out; without it they are errors.
        prefer_url: find images by ``coco_url`` although they have a ``file_name``, for LVIS 0.5.

    Raises:
        MissingError: if the file is not there.
        DataError: if it is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))  # Windows' tools begin with a mark
        images = images or _images_of(content, file, prefer_url)
        return _pack(content, images, file, split, skipped, prefer_url)
    except FileNotFoundError as problem:
        raise MissingError(f"there is no annotation file {file}") from problem
    except PROBLEMS as problem:
        raise DataError(f"{file} is not a COCO annotation file: {problem!r}") from problem


def _images_of(content: dict[str, Any], file: Path, prefer_url: bool) -> Path:
    """Return the folder that holds the first images, or the most usual of those that are there."""
    home = file.parent.parent if file.parent.name == "annotations" else file.parent
    split = file.stem
    for prefix in PREFIXES:
        split = split.removeprefix(prefix)
    usual = (home / "images", home / split, home / "images" / split)
    places = [place for place in usual if place.is_dir()] + [home]
    named = [entry for entry in content["images"][:LOOKED_FOR] if isinstance(entry, dict)]
    for place in places:
        for entry in named:
            with suppress(*PROBLEMS):
                if (place / _image_name(entry, place, prefer_url)).is_file():
                    return place
    return places[0]


def _pack(
    content: dict[str, Any], images: Path, file: Path, split: str, skipped: Skipped | None, prefer_url: bool
) -> Pack:
    def image(entry: dict[str, Any]) -> tuple[int, tuple[str, int, int, str]]:
        name = _image_name(entry, images, prefer_url)
        return _id(entry["id"]), (
            name,
            int(entry["width"]),
            int(entry["height"]),
            names.get(entry.get("license"), "not stated"),
        )

    names = _licences(content)
    parsed = list(dict.fromkeys(_parse(content["images"], image, file, skipped)))
    doubled = {image_id: count for image_id, count in Counter(key for key, _ in parsed).items() if count > 1}
    for image_id, count in doubled.items():  # whose masks are whose cannot be told
        problem = f"{file} has {count} images of one id {image_id!r}; give each its own, and its masks too"
        _leave_out("image id used twice", problem, skipped, count)
    by_image, crowds = _objects(content["annotations"], file, skipped)
    for stranger in sorted(by_image.keys() - dict(parsed).keys(), key=str):
        problem = f"{file} has masks for image id {stranger!r}, which is not among its images"
        _leave_out("of no image", problem, skipped, len(by_image[stranger]))
    inside = []
    for key, (name, width, height, licence) in sorted(parsed, key=lambda item: item[1][0]):
        path = images / name
        if images.resolve() not in path.resolve().parents:
            _leave_out("outside its folder", f"{file} names the image {name!r} outside {images}", skipped)
        elif key not in doubled:
            inside.append((ImageRecord(path, width, height, tuple(by_image[key])), licence))
    kept = of_split(inside, lambda image: image[0].path.name, split, file)
    licences = Counter(licence for _, licence in kept)
    return Pack(file.stem, tuple(record for record, _ in kept), licences=dict(licences), crowds=crowds)


def _licences(content: dict[str, Any]) -> dict[Any, str]:
    entries = [entry for entry in content.get("licenses") or [] if isinstance(entry, dict)]
    return {entry["id"]: str(entry.get("name")) for entry in entries if isinstance(entry.get("id"), int | str)}


def _objects(entries: list[Any], file: Path, skipped: Skipped | None) -> tuple[dict[Any, list[Annotation]], int]:
    """Return the objects of every image id and the number of crowds, which are left out."""
    by_image: dict[Any, list[Annotation]] = defaultdict(list)
    crowds = 0
    for image_id, annotation in _parse(entries, _annotation, file, skipped):
        if annotation is None:
            crowds += 1
        else:
            by_image[image_id].append(annotation)
    if skipped is not None:
        skipped.crowds += crowds
    return by_image, crowds


def _leave_out(reason: str, problem: str, skipped: Skipped | None, count: int = 1) -> None:
    """Count entries that cannot be used, or raise if nothing counts."""
    if skipped is None:
        raise DataError(problem)
    for _ in range(count):
        skipped.add("entry", reason, problem)


def _parse(entries: list[Any], parse: Callable[[Any], Parsed], file: Path, skipped: Skipped | None) -> list[Parsed]:
    """Parse every entry; one that cannot be used is counted, or an error if nothing counts."""
    if skipped is None:
        return [parse(entry) for entry in entries]
    skipped.see("entry", len(entries))
    parsed = []
    for entry in entries:
        try:
            parsed.append(parse(entry))
        except PROBLEMS as problem:
            skipped.add("entry", "incomplete", f"{file.name}: {problem!r} in {str(entry)[:80]}")
    return parsed


def _annotation(entry: dict[str, Any]) -> tuple[int, Annotation | None]:
    """Return the image's id and the object, or None for a crowd."""
    if int(entry.get("iscrowd") or 0):
        return _id(entry["image_id"]), None
    return _id(entry["image_id"]), Annotation(entry["segmentation"], float(entry.get("area") or 0))


def _id(value: Any) -> Any:
    """Return an id, usually a number, if it can be looked up."""
    if isinstance(value, list | dict):
        raise TypeError(f"an id is {value!r}")
    return value


def _image_name(entry: dict[str, Any], images: Path, prefer_url: bool) -> str:
    """Return the image's path below ``images``: its ``file_name``, or the end of its ``coco_url``."""
    if "file_name" in entry and not (prefer_url and "coco_url" in entry):
        name = entry["file_name"]
        if not isinstance(name, str):
            raise TypeError(f"file_name is {name!r}")
        return _as_on_disk(name, images)
    if "coco_url" not in entry:
        raise KeyError("file_name")
    path = PurePosixPath(urlparse(str(entry["coco_url"])).path)
    folder = path.parent.name
    return f"{folder}/{path.name}" if folder and (images / folder).is_dir() else path.name


def _as_on_disk(name: str, images: Path) -> str:
    """Return a name as its file has it, where an exporter wrote it as in an address or with backslashes."""
    named = (name, unquote(name))
    spellings = list(dict.fromkeys((*named, *(spelling.replace("\\", "/") for spelling in named))))
    if len(spellings) == 1:
        return name  # without a look at the disk, which takes long for many
    return next((spelling for spelling in spellings if (images / spelling).is_file()), name)
