"""Masks of one image by some subnets of the starter, for the dashboard, which never imports torch.

``python -m supersam.cli.mask_worker FOLDER`` reads ``FOLDER/request.json`` (``point`` in pixels, ``architectures``) and
``FOLDER/image.png``, writes ``FOLDER/mask-N.png`` for each architecture, and prints what it did as JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from supersam.checkpoints.subnets import extract_subnet
from supersam.cli._subnets import STARTER, LoadedSupernet, load_supernet_of, statistics
from supersam.predict import Predictor
from supersam.space import AnyArchitecture, architecture_from_dict

REPEATS = 3  # of the encoder; the fastest counts, as the machine does other work too


def main(folder: Path) -> list[dict[str, Any]]:
    """Answer the request in a folder."""
    torch.set_num_threads(1)
    request = json.loads((folder / "request.json").read_text())
    image = np.asarray(Image.open(folder / "image.png").convert("RGB"))
    supernet = load_supernet_of(STARTER, None)
    answers = []
    for number, content in enumerate(request["architectures"]):
        architecture = architecture_from_dict(content)
        answers.append(_segment(supernet, architecture, image, request["point"], folder / f"mask-{number}.png"))
    return answers


def _segment(
    supernet: LoadedSupernet, architecture: AnyArchitecture, image: np.ndarray, point: list[float], path: Path
) -> dict[str, Any]:
    found, source = statistics(supernet, architecture, None)
    predictor = Predictor(extract_subnet(supernet.model, architecture, found), architecture.resolution)
    encoder_ms = min(_timed(lambda: predictor.set_image(image)) for _ in range(REPEATS))
    started = time.perf_counter()
    masks, scores = predictor.predict(points=[[point]])
    decoder_ms = 1000 * (time.perf_counter() - started)
    best = int(scores[0].argmax())
    Image.fromarray((255 * masks[0, best]).astype(np.uint8)).save(path)
    return {
        "digest": architecture.digest,
        "encoder_ms": encoder_ms,
        "decoder_ms": decoder_ms,
        "predicted_iou": float(scores[0, best]),
        "share": float(masks[0, best].mean()),
        "batch_norm": source,
    }


def _timed(run: Any) -> float:
    started = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
