"""Where images come from: the formats that are read, told apart by what lies in a path or named in the YAML."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from supersam.data.coco import load_file, load_packs
from supersam.data.images import load_image_folder
from supersam.data.labels import holds_labels, load_label_folder
from supersam.data.records import Pack
from supersam.data.sa1b import holds_pairs, load_sa1b_folder
from supersam.data.shards import BUFFER, Stream
from supersam.data.skipped import Skipped
from supersam.data.splits import split_folder, split_folders
from supersam.data.tar_pairs import find_shards
from supersam.errors import MissingError, UsageError

Format = Literal["auto", "coco", "lvis", "sa1b", "labels", "images"]
Source = Pack | Stream
RECOGNISED = (
    "images/ and annotations/ (COCO), images/ and masks/ (label images), .tar shards or .jpg files with a .json "
    "beside each (SA-1B), a .json file (COCO or LVIS), or a folder of such folders"
)


class DataSource(BaseModel):
    """One source of images, with masks but for the format ``images``, as it stands in a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, BeforeValidator(str)]  # a folder, an annotation file, shards, or a folder of folders
    format: Format = "auto"
    images: Path | None = None  # the images of an annotation file, if they are not beside it
    split: str | None = None  # instead of the split that is asked for
    shuffle_buffer: int = Field(default=BUFFER, ge=1)  # images of a shard that wait to be mixed, as files in memory
    weight: float = Field(default=1.0, gt=0)  # how often an image is drawn from here, beside other sources
    name: str | None = None


Data = str | Path | DataSource | Sequence[DataSource]


def open_sources(data: Data, split: str, skipped: Skipped | None = None) -> list[Source]:
    """Open sources of images: packs, which have a length, and streams, which are read in turn.

    Args:
        data: a path, whose format is found out, or what a configuration says.
        split: ``train``, ``val``, ..., or a derived one, such as ``train-fit`` or ``train-search``. A single
            annotation file is one split: a derived one takes its share of it, any other all of it.
        skipped: for training: counts annotations that cannot be used and leaves them out. Without it they are errors.

    Raises:
        MissingError: if nothing readable is there, or not this split.
        DataError: if an annotation file is damaged.
        UsageError: if shards have an address that is not opened, or ``images`` is given where there is no use for it.
    """
    if isinstance(data, str | Path):
        data = DataSource(path=data)
    sources = [data] if isinstance(data, DataSource) else data
    return [opened for source in sources for opened in _open(source, source.split or split, skipped)]


def open_packs(data: Data, split: str) -> list[Pack]:
    """Open sources for evaluation: strictly, and packs only.

    Raises:
        UsageError: if a source is a stream, has no masks, or is named as another one.
        MissingError, DataError: as ``open_sources`` does.
    """
    sources = open_sources(data, split)
    for source in sources:
        if isinstance(source, Stream):
            raise UsageError(
                f"{source.name} is a stream of tar files, which training reads; unpack it to evaluate on it"
            )
        if not source.has_masks:
            raise UsageError(f"{source.name} is read as images without masks; nothing can be evaluated on it")
    names = [source.name for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{names.count(twice)} packs are named {twice}; give each a `name:` of its own")
    return [source for source in sources if isinstance(source, Pack)]


def detect(path: str) -> Format | Literal["packs", "shards"]:
    """Return the format of what lies at a path; ``packs`` is a folder of folders.

    Raises:
        MissingError: if nothing there is known.
    """
    folder = Path(path)
    if "://" in path or path.startswith("pipe:") or "{" in path or folder.suffix == ".tar":
        return "shards"
    if folder.suffix == ".json":
        return "coco"
    if not folder.is_dir():
        raise MissingError(f"there is no data at {path}; give {RECOGNISED}")
    found = _by_subfolders(folder)
    if found:
        return found
    if any(_by_subfolders(child) for child in _children(folder)):
        return "packs"
    if split_folders(folder, holds_pairs):
        return "sa1b"
    raise MissingError(f"{path} holds nothing that is known; give {RECOGNISED}")


def describe(source: Source) -> str:
    """Return one line about a source: how much it holds and under which licences, as far as the data says."""
    if isinstance(source, Stream):
        return f"{source.name}: {len(source.shards):,} shards, licences not stated"
    licences = ", ".join(f"{name} {count:,}" for name, count in sorted(source.licences.items()))
    return f"{source.name}: {len(source):,} images, licences {licences or 'not stated'}"


def _open(source: DataSource, split: str, skipped: Skipped | None) -> list[Source]:
    path = Path(source.path)
    found = detect(source.path) if source.format == "auto" else source.format
    if source.images and path.suffix != ".json":
        raise UsageError(f"`images` belongs to an annotation file, and {path} is none; give the .json as the path")
    match found:
        case "packs":
            return [
                opened
                for child in _children(path)
                if _is_known(child)
                for opened in _open(source.model_copy(update={"path": str(child), "name": None}), split, skipped)
            ]
        case "shards":
            return [_stream(source, split)]
        case "sa1b":
            is_pack = path.is_dir() and not split_folders(path, _holds_shards)
            return [_named(load_sa1b_folder(path, split), source) if is_pack else _stream(source, split)]
        case "labels":
            return [_named(load_label_folder(path, split), source)]
        case "images":
            return [_named(load_image_folder(path, split), source)]
        case "coco" | "lvis" if path.is_dir():
            return [_named(pack, source) for pack in load_packs(path, split, skipped)]
    return [_named(load_file(path, source.images, split, skipped, prefer_url=found == "lvis"), source)]


def _stream(source: DataSource, split: str) -> Stream:
    path = Path(source.path)
    place = str(split_folder(path, split, _holds_shards)) if path.is_dir() else source.path
    name = source.name or path.name
    return Stream(name, find_shards(place), split, source.weight, source.shuffle_buffer)


def _named(pack: Pack, source: DataSource) -> Pack:
    return replace(pack, name=source.name or pack.name, weight=source.weight)


def _by_subfolders(folder: Path) -> Literal["coco", "labels", "shards"] | None:
    if (folder / "annotations").is_dir():
        return "coco"
    if split_folders(folder, holds_labels):
        return "labels"
    return "shards" if split_folders(folder, _holds_shards) else None


def _is_known(folder: Path) -> bool:
    return bool(_by_subfolders(folder) or split_folders(folder, holds_pairs))


def _holds_shards(folder: Path) -> bool:
    return any(folder.glob("[!.]*.tar"))


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir())
