"""Prompts made from masks: for training at random, for evaluation as SAM does."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

Mask = NDArray[np.uint8]
Floats = NDArray[np.float32]

BOX_JITTER = 0.1  # deviation of each side's shift, as a share of the box (arXiv 2304.02643, appendix A)
BOX_JITTER_LIMIT = 20.0  # pixels of SAM's input, whose longest side is 1024


def bounding_box(mask: Mask) -> Floats:
    """Return (x0, y0, x1, y1) of the mask in pixels, the last two past its last column and row."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float32)


def central_point(mask: Mask) -> Floats:
    """Return the (x, y) inside the mask that is farthest from its border."""
    distance = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(np.argmax(distance), mask.shape)
    return np.array([x, y], dtype=np.float32)


def random_point(mask: Mask, rng: np.random.Generator) -> Floats:
    """Return a random (x, y) inside the mask."""
    ys, xs = np.nonzero(mask)
    chosen = rng.integers(len(xs))
    return np.array([xs[chosen], ys[chosen]], dtype=np.float32)


def jittered_box(mask: Mask, rng: np.random.Generator, scale: float = 1.0) -> Floats:
    """Return the bounding box with every side shifted a little.

    Args:
        scale: pixels of SAM's input to a pixel of the mask. The limit counts in the former: at a low resolution boxes
            would else be shifted further than SAM's ever are, and a network could not learn to trust them.
    """
    box = bounding_box(mask)
    size = np.tile(box[2:] - box[:2], 2)
    limit = np.minimum(BOX_JITTER_LIMIT / scale, 0.4 * size)
    shift = np.clip(rng.normal(0.0, BOX_JITTER, 4) * size, -limit, limit)
    bounds = np.tile(np.array(mask.shape[::-1], dtype=np.float32), 2)
    return np.clip(box + shift, 0, bounds).astype(np.float32)
