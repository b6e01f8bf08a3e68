"""Masks of an image that was dropped in: the upload is checked here, the networks run in a process of their own.

Nothing is written but into a temporary folder, which is removed with the answer.
"""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from supersam.errors import DataError, EnvironmentProblem
from supersam.space import AnyArchitecture

if TYPE_CHECKING:
    from PIL.Image import Image

TYPES = ("PNG", "JPEG", "WEBP")
LARGEST = 8_000_000  # bytes of an upload
PIXELS = 25_000_000
SIDE = 1024  # longest side that is kept; encoders see less
PATIENCE_S = 180
COLOUR = (230, 159, 0)  # of a mask


@dataclass(frozen=True)
class Answer:
    """What one subnet made of the image."""

    digest: str
    picture: str  # data URL of the image with its mask
    encoder_ms: float
    decoder_ms: float
    predicted_iou: float
    share: float  # of the image that the mask covers
    batch_norm: str


def read_upload(contents: object) -> "Image":
    """Return the image of an upload (``data:...;base64,...``), at most ``SIDE`` pixels a side.

    Raises:
        DataError: if it is too large or not an image of a known type.
    """
    from PIL import Image, ImageOps

    if not isinstance(contents, str) or ";base64," not in contents[:200]:
        raise DataError("the upload is not a file")
    if len(contents) > LARGEST * 4 // 3 + 200:
        raise DataError(f"the upload is larger than {LARGEST // 1_000_000} MB")
    try:
        raw = base64.b64decode(contents.split(";base64,", 1)[1], validate=True)
        with Image.open(io.BytesIO(raw), formats=TYPES) as file:
            width, height = file.size
            if width * height > PIXELS:
                raise DataError(f"the image has {width}×{height} pixels, {PIXELS // 1_000_000} million are the most")
            image = ImageOps.exif_transpose(file).convert("RGB")
    except DataError:
        raise
    except Exception as problem:  # a damaged file may make a decoder raise anything
        raise DataError(f"the upload is not a {', '.join(TYPES)} image that can be read") from problem
    image.thumbnail((SIDE, SIDE))
    return image


def to_url(image: "Image") -> str:
    """Return an image as a data URL."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def segment(image: "Image", point: tuple[float, float], architectures: Sequence[AnyArchitecture]) -> list[Answer]:
    """Return the masks of some subnets of the starter for a click.

    Args:
        point: x and y as shares of width and height, 0 to 1.

    Raises:
        EnvironmentProblem: if the process that runs the networks fails.
    """
    with TemporaryDirectory(prefix="supersam-masks-") as name:
        folder = Path(name)
        image.save(folder / "image.png")
        pixels = [point[0] * (image.width - 1), point[1] * (image.height - 1)]
        request = {"point": pixels, "architectures": [one.to_dict() for one in architectures]}
        (folder / "request.json").write_text(json.dumps(request))
        answers = _run(folder)
        return [
            Answer(picture=to_url(_laid_over(image, folder / f"mask-{number}.png", pixels)), **answer)
            for number, answer in enumerate(answers)
        ]


def _run(folder: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "supersam.cli.mask_worker", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired as problem:
        raise EnvironmentProblem(
            f"the networks did not answer within {PATIENCE_S} s; is the machine busy?"
        ) from problem
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EnvironmentProblem(f"the networks could not run: {last}")
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def _laid_over(image: "Image", mask: Path, point: list[float]) -> "Image":
    from PIL import Image, ImageDraw

    with Image.open(mask) as file:
        weight = file.convert("L").point(lambda value: value * 5 // 10)
    shown = Image.composite(Image.new("RGB", image.size, COLOUR), image, weight)
    radius = max(3, image.width // 120)
    box = [point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius]
    ImageDraw.Draw(shown).ellipse(box, fill=(255, 255, 255), outline=(0, 0, 0))
    return shown
