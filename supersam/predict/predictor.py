"""Masks of an image by clicks and boxes, in the pixels of the original image."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from segment_anything.modeling import PromptEncoder
from segment_anything.modeling import Sam as OriginalSam
from torch import Tensor, nn

from supersam.data.transforms import PIXEL_MEAN, PIXEL_STD, to_input, to_original
from supersam.sam.model import FRAME, MULTIMASK, Prompts, Sam
from supersam.space.ops import EMBEDDING


@dataclass(frozen=True)
class Embedded:
    """An image that has been through the encoder."""

    model: Sam
    embedding: Tensor  # (1, 256, R/16, R/16)
    size: tuple[int, int]  # height and width of the original, in pixels
    resolution: int


def embed(model: Sam, image: NDArray[np.uint8], resolution: int) -> Embedded:
    """Encode an RGB image (H, W, 3) with values 0 to 255."""
    with torch.inference_mode():
        embedding = model.image_encoder(to_input(image, resolution)[None].to(model.device))
    return Embedded(model, embedding, (image.shape[0], image.shape[1]), resolution)


def answer(
    embedded: Embedded,
    points: NDArray[np.float32] | None = None,
    labels: NDArray[np.float32] | None = None,
    boxes: NDArray[np.float32] | None = None,
    multimask: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return mask logits of the padded square and predicted IoUs.

    Shape:
        - points: (N, P, 2) as (x, y); labels: (N, P); or boxes: (N, 4) as (x0, y0, x1, y1), in pixels of the original
        - Output: (N, M, R/4, R/4) and (N, M); M is 3 with ``multimask``, else 1
    """
    scale, device = FRAME / max(embedded.size), embedded.embedding.device

    def framed(values: NDArray[np.float32] | None, factor: float) -> Tensor | None:
        return None if values is None else torch.as_tensor(values * factor, dtype=torch.float32, device=device)[None]

    wanted = MULTIMASK if multimask else slice(0, 1)
    with torch.inference_mode():
        prompts = Prompts(framed(points, scale), framed(labels, 1.0), framed(boxes, scale))
        masks = embedded.model.decode(embedded.embedding, prompts)
    return masks.logits[0, :, wanted], masks.iou[0, :, wanted]


def predict_logits(
    embedded: Embedded,
    points: NDArray[np.float32] | None = None,
    labels: NDArray[np.float32] | None = None,
    boxes: NDArray[np.float32] | None = None,
    multimask: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return mask logits at the size of the original image, (N, M, H, W), and predicted IoUs; as ``answer``."""
    logits, scores = answer(embedded, points, labels, boxes, multimask)
    with torch.inference_mode():
        return to_original(logits, *embedded.size, embedded.resolution), scores


class Predictor:
    """Segment an image by clicks or boxes.

    Example:
        >>> predictor = Predictor.load("best.safetensors")
        >>> predictor.set_image(image)                                # (H, W, 3), RGB, 0 to 255
        >>> masks, scores = predictor.predict(points=[[[x, y]]])      # 3 masks for an ambiguous click
        >>> masks, scores = predictor.predict(boxes=[[x0, y0, x1, y1]])
    """

    def __init__(self, model: Sam, resolution: int) -> None:
        self.model = model.eval()
        self.resolution = resolution
        self._embedded: Embedded | None = None

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> "Predictor":
        """Load an extracted subnet onto a device of PyTorch, such as ``cuda``."""
        from supersam.checkpoints.subnets import load_subnet

        model, architecture, _ = load_subnet(Path(path))
        return cls(model.to(device), architecture.resolution)

    def set_image(self, image: NDArray[np.uint8]) -> None:
        """Encode an image; prompts that follow are about its pixels.

        Photographs are to be turned first, as in training: ``ImageOps.exif_transpose`` of Pillow.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"an image is (H, W, 3) of uint8, not {image.shape} of {image.dtype}")
        self._embedded = embed(self.model, image, self.resolution)

    def predict(
        self, points: ArrayLike | None = None, labels: ArrayLike | None = None, boxes: ArrayLike | None = None
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return masks (N, M, H, W) and their predicted IoUs (N, M).

        Args:
            points: (N, P, 2), (x, y) in pixels; a single point gives M = 3 masks, more give M = 1.
            labels: (N, P), 1 on the object and 0 beside it; default all 1.
            boxes: (N, 4), (x0, y0, x1, y1) in pixels; gives M = 1.
        """
        if self._embedded is None:
            raise ValueError("call set_image before predict")
        if (points is None) == (boxes is None):
            raise ValueError("give either points or boxes")
        if boxes is not None:
            logits, scores = predict_logits(self._embedded, boxes=np.asarray(boxes, dtype=np.float32).reshape(-1, 4))
        else:
            clicked = np.asarray(points, dtype=np.float32)
            marks = np.ones(clicked.shape[:2]) if labels is None else np.asarray(labels)
            logits, scores = predict_logits(
                self._embedded, clicked, marks.astype(np.float32), multimask=clicked.shape[1] == 1
            )
        return (logits > 0).cpu().numpy(), scores.cpu().numpy()


class _SizedEncoder(nn.Module):
    """An encoder that tells its input size, as segment-anything's classes ask it."""

    def __init__(self, encoder: nn.Module, img_size: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.img_size = img_size

    def forward(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.encoder(x)
        return embedding


class _FramedPromptEncoder(PromptEncoder):  # type: ignore[misc]
    """A prompt encoder that is given pixels of the input and encodes them in the 1024 frame it was trained in."""

    def __init__(self, resolution: int) -> None:
        side = resolution // 16
        super().__init__(EMBEDDING, (side, side), (FRAME, FRAME), mask_in_chans=16)
        self.scale = FRAME / resolution

    def forward(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        framed = None if points is None else (points[0] * self.scale, points[1])
        encoded: tuple[Tensor, Tensor] = super().forward(framed, None if boxes is None else boxes * self.scale, masks)
        return encoded


def to_segment_anything(model: Sam, resolution: int) -> OriginalSam:
    """Return the model as segment-anything's own class, for its SamPredictor and SamAutomaticMaskGenerator.

    The weights are shared, not copied.
    """
    prompts = _FramedPromptEncoder(resolution)
    prompts.load_state_dict(model.prompt_encoder.state_dict(), assign=True)
    return (
        OriginalSam(
            _SizedEncoder(model.image_encoder, resolution),  # type: ignore[arg-type]
            prompts,
            model.mask_decoder,
            pixel_mean=PIXEL_MEAN.flatten().tolist(),
            pixel_std=PIXEL_STD.flatten().tolist(),
        )
        .to(model.device)
        .eval()
    )
