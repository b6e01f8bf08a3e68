"""From an image to the network's input and back, as SAM does: longest side to R, padded below and to the right."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

# SAM's pixel statistics (https://arxiv.org/abs/2304.02643, ImageNet's mean and deviation for 0 to 255)
PIXEL_MEAN = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
PIXEL_STD = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)


def fitted_size(height: int, width: int, resolution: int) -> tuple[int, int]:
    """Return the (height, width) at which the longest side is ``resolution``."""
    scale = resolution / max(height, width)
    # halves are rounded up, as SAM does
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def to_input(image: NDArray[np.uint8], resolution: int) -> Tensor:
    """Return the network's input of an RGB image.

    Shape:
        - image: (H, W, 3), values 0 to 255
        - Output: (3, R, R), normalised; the padding is zero
    """
    height, width = fitted_size(image.shape[0], image.shape[1], resolution)
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return pad_input(np.asarray(resized), resolution)


def pad_input(image: NDArray[np.uint8], resolution: int) -> Tensor:
    """Return the network's input of an RGB image that has its size already.

    Shape:
        - image: (h, w, 3), values 0 to 255, h and w at most R
        - Output: (3, R, R), normalised; the padding is zero
    """
    height, width = image.shape[:2]
    pixels = torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1)
    return F.pad((pixels - PIXEL_MEAN) / PIXEL_STD, (0, resolution - width, 0, resolution - height))


def to_target(mask: NDArray[np.uint8], resolution: int, stride: int) -> Tensor:
    """Return the share of each output pixel that the mask covers.

    Shape:
        - mask: (H, W) of 0 and 1
        - Output: (R/stride, R/stride), values 0 to 1
    """
    height, width = fitted_size(mask.shape[0], mask.shape[1], resolution)
    image = Image.fromarray(mask * 255).resize((width, height), Image.Resampling.BOX)
    shares = np.array(image, dtype=np.float32)
    shares /= 255
    return _pooled(shares, resolution, stride)


def pad_target(mask: NDArray[np.uint8], resolution: int, stride: int) -> Tensor:
    """Return the share of each output pixel that a mask covers that has its size already.

    Shape:
        - mask: (h, w) of 0 and 1, h and w at most R
        - Output: (R/stride, R/stride), values 0 to 1
    """
    return _pooled(mask.astype(np.float32), resolution, stride)


def _pooled(shares: NDArray[np.float32], resolution: int, stride: int) -> Tensor:
    full = torch.zeros(resolution, resolution)
    full[: shares.shape[0], : shares.shape[1]] = torch.from_numpy(shares)
    side = resolution // stride
    return F.avg_pool2d(full[None, None], stride)[0, 0].reshape(side, side)


def to_original(logits: Tensor, height: int, width: int, resolution: int) -> Tensor:
    """Scale mask logits back to the pixels of the original image.

    Shape:
        - logits: (N, M, h, w), of the padded square
        - Output: (N, M, height, width)
    """
    fitted = fitted_size(height, width, resolution)
    padded = F.interpolate(logits, (resolution, resolution), mode="bilinear", align_corners=False)
    return F.interpolate(padded[..., : fitted[0], : fitted[1]], (height, width), mode="bilinear", align_corners=False)
