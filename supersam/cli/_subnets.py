"""What `extract` and `evaluate` share: which subnet is meant, its weights, its statistics, an image to try it on."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supersam._paths import starter_dir
from supersam.checkpoints.files import file_sha256
from supersam.checkpoints.starter import WEIGHTS, starter_statistics
from supersam.checkpoints.subnets import extract_subnet, load_subnet
from supersam.checkpoints.supernets import load_supernet
from supersam.cli._output import say
from supersam.data.records import ImageRecord, displayed_size
from supersam.data.sources import open_packs
from supersam.data.synthetic import draw, write_pack
from supersam.data.transforms import to_input
from supersam.errors import MissingError, UsageError
from supersam.evaluate.evaluator import calibration_batches
from supersam.evaluate.recalibrate import recalibrate
from supersam.results import Run, load_archive
from supersam.sam.model import Sam
from supersam.space import AnyArchitecture, load_space

STARTER = "starter"
CALIBRATION_IMAGES = 64


def resolve(run: str, digest: str) -> tuple[AnyArchitecture, dict[str, Any]]:
    """Return the architecture that is meant and what is known about it."""
    if run != STARTER:
        candidate = Run(Path(run)).find(digest)
        return candidate.architecture, candidate.to_dict()
    return resolve_starter(digest), {}


def resolve_starter(digest: str) -> AnyArchitecture:
    """Return a subnet of the starter space: archived, in a run below ``runs/``, ``best``, ``largest``, ``smallest``."""
    space = load_space(STARTER)
    if digest in ("largest", "smallest"):
        return space.largest() if digest == "largest" else space.smallest()
    archive = load_archive()
    if digest == "best":
        return max(archive.measured, key=lambda architecture: archive.measured[architecture].value)
    found = archive.find(digest)
    if found is not None:
        return found
    from supersam.results import list_runs

    for run in list_runs(Path("runs")):
        for candidate in run.candidates():
            if candidate.digest == digest:
                return candidate.architecture
    raise UsageError(
        f"no subnet {digest!r} in the starter archive ({len(archive.measured)} subnets) nor in runs/; "
        "`best`, `largest` and `smallest` are names too"
    )


@dataclass(frozen=True)
class LoadedSupernet:
    """A supernet with what is known of its file."""

    model: Sam
    path: Path
    sha256: str
    data: list[str]  # what it was trained on, with licences

    @cached_property
    def is_starter(self) -> bool:
        """Whether these are the shipped weights, which alone the shipped statistics belong to."""
        return self.sha256 == file_sha256(starter_dir() / WEIGHTS)


def load_supernet_of(run: str, weights: Path | None) -> LoadedSupernet:
    """Load the supernet a run was about."""
    if weights is None and run != STARTER:
        recorded = Run(Path(run)).question().get("weights")
        weights = Path(recorded) if recorded else None
    path = weights or starter_dir() / WEIGHTS
    model, record = load_supernet(path)
    return LoadedSupernet(model, path, file_sha256(path), record.get("data", []))


def data_of(run: str) -> Path | None:
    """Return the images a run measured accuracies on, if it did and they are there."""
    accuracy = None if run == STARTER else Run(Path(run)).question().get("accuracy")
    data = Path(accuracy["data"]) if isinstance(accuracy, dict) else None
    return data if data is not None and data.exists() else None


def statistics(
    supernet: LoadedSupernet, architecture: AnyArchitecture, data: Path | None, searched_on: Path | None = None
) -> tuple[dict[str, Tensor], str]:
    """Return the BatchNorm statistics of a subnet and where they are from.

    They are of the images given, of those of the search, which its accuracies belong to, or those shipped with the
    starter, in this order; only a subnet of the starter may have them from generated images.

    Raises:
        UsageError: if there are none of these.
    """
    data = data or searched_on
    if data is None and supernet.is_starter:
        shipped = starter_statistics(architecture)
        if shipped:
            return shipped, "shipped with the starter, measured on the packs' train-fit splits"
    encoder = extract_subnet(supernet.model, architecture).image_encoder
    if not any(isinstance(module, torch.nn.BatchNorm2d) for module in encoder.modules()):
        return {}, "none needed, the subnet has no BatchNorm"
    if data is not None:
        packs, source = open_packs(data, "train"), f"{CALIBRATION_IMAGES} images of the train split of {data}"
    elif not supernet.is_starter:
        raise UsageError(
            f"{architecture.digest} has BatchNorm, and for {supernet.path} no statistics are shipped; give --data DIR, "
            "images like those it was trained on"
        )
    else:
        import tempfile

        folder = tempfile.TemporaryDirectory(prefix="supersam-")
        packs = open_packs(write_pack(Path(folder.name), CALIBRATION_IMAGES, 0), "train")
        source = f"{CALIBRATION_IMAGES} generated images"
        say(
            f"Note: no statistics are shipped for {architecture.digest}; give --data DIR to take them from real images."
        )
    return recalibrate(encoder, calibration_batches(packs, architecture.resolution, CALIBRATION_IMAGES)), source


def picture(image: Path | None, data: Path | None) -> tuple[NDArray[np.uint8], str]:
    """Return the image to compare on: the one given, one of the data, or a drawn one."""
    if image is not None:
        return read_image(image), str(image)
    if data is not None:
        record = open_packs(data, "train")[0].records[0]
        return record.read(), str(record.path)
    return draw(np.random.default_rng(0), 256)[0], "a drawn image (give --image FILE for one of yours)"


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3), RGB, turned as its EXIF data says."""
    from PIL import Image

    from supersam.errors import DataError

    if not path.is_file():
        raise MissingError(f"there is no image {path}")
    try:
        with Image.open(path) as file:
            width, height = displayed_size(file)
    except (OSError, SyntaxError, ValueError) as problem:
        raise DataError(f"image {path} does not decode ({problem})") from problem
    return ImageRecord(path, width, height, ()).read()


def difference(
    model: Sam, file: Path, architecture: AnyArchitecture, statistics: dict[str, Tensor], pixels: NDArray[np.uint8]
) -> float:
    """Return the largest absolute difference of the image embeddings of a saved subnet and the supernet."""
    subnet, _, _ = load_subnet(file)
    x = to_input(pixels, architecture.resolution)[None]
    with torch.inference_mode():
        return float((subnet.image_encoder(x) - model.image_encoder(x, architecture, statistics)).abs().max())
