"""A subnet as two ONNX files: the encoder, run once an image, and the decoder, run once a prompt.

The decoder's inputs and outputs have the names and shapes of segment-anything's own ONNX export
(https://arxiv.org/abs/2304.02643), without its last step, which scales the masks to the size of the photograph.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from supersam.errors import SuperSAMError
from supersam.export.graph import deployed, to_onnx
from supersam.sam.decoder import decode
from supersam.sam.model import Sam
from supersam.space.ops import EMBEDDING

EMBEDDINGS = ("image_embeddings",)
DECODER_INPUTS = ("point_coords", "point_labels", "mask_input", "has_mask_input")
DECODER_OUTPUTS = ("low_res_masks", "iou_predictions")
MOST_POINTS = 64  # of one prompt
LARGEST_DIFFERENCE = 1e-3  # of the largest value of an output; by rounding it is 1e-6


class PromptDecoder(nn.Module):
    """SAM's prompt encoder and mask decoder for one prompt of one image.

    A click has a padding point (0, 0) with label -1 behind it, a box is two points with labels 2 and 3; coordinates
    are in the frame whose longest side is 1024, whatever the resolution.

    Shape:
        - image_embeddings: (1, 256, h, w)
        - point_coords: (1, P, 2), (x, y); point_labels: (1, P), P at least 2
        - mask_input: (1, 1, 4 h, 4 w), logits of an earlier answer; has_mask_input: (1,), 1 or 0
        - output: low_res_masks (1, 4, 4 h, 4 w), logits: the first for a clear prompt, the others for an ambiguous one;
          iou_predictions (1, 4)
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        encoder = self.sam.prompt_encoder
        tokens = self.sam.point_tokens(point_coords.unsqueeze(0), point_labels.unsqueeze(0))[0]
        none = encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        image = image_embeddings + torch.lerp(none, encoder.mask_downscaling(mask_input), has_mask_input)
        positions = encoder.pe_layer(image_embeddings.shape[-2:])
        logits, iou = decode(self.sam.mask_decoder, image, positions, tokens)
        return logits, iou


@dataclass(frozen=True)
class OnnxPart:
    """The encoder or the decoder as a file, with the module it was made from and inputs to compare them on."""

    content: bytes
    module: nn.Module
    inputs: tuple[Tensor, ...]

    def compare(self) -> float:
        """Return the largest difference of ONNX Runtime to PyTorch, as a share of the largest value of that output.

        Raises:
            SuperSAMError: if it is above 0.001, or a value is not finite: the file is of no use.
        """
        import onnxruntime as ort

        session = ort.InferenceSession(self.content, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
        found = session.run(None, {name: x.numpy() for name, x in zip(names, self.inputs, strict=True)})
        with torch.inference_mode():
            wanted = self.module(*self.inputs)
        wanted = (wanted,) if isinstance(wanted, Tensor) else wanted
        shares = [
            float((torch.from_numpy(one) - other).abs().max() / other.abs().max())
            for one, other in zip(found, wanted, strict=True)
        ]
        if not all(share <= LARGEST_DIFFERENCE for share in shares):  # nan neither
            raise SuperSAMError(
                f"ONNX Runtime {ort.__version__} answers otherwise than PyTorch {torch.__version__}, by "
                f"{max(shares):.2g} of the largest value; nothing was written; try another --opset"
            )
        return max(shares)


def export_encoder(sam: Sam, resolution: int, notes: Mapping[str, str], opset: int | None = None) -> OnnxPart:
    """Return the image encoder of a model in evaluation mode.

    Shape:
        - image (1, 3, R, R), normalised and padded as ``to_input`` does; image_embeddings (1, 256, R/16, R/16)
    """
    image = torch.randn(1, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))
    content = to_onnx(
        deployed(sam.image_encoder),
        image,
        inputs_named=("image",),
        outputs_named=EMBEDDINGS,
        notes=notes,
        opset=opset,
    )
    return OnnxPart(content, sam.image_encoder, (image,))


def export_decoder(sam: Sam, resolution: int, notes: Mapping[str, str], opset: int | None = None) -> OnnxPart:
    """Return prompt encoder and mask decoder, with the inputs of ``PromptDecoder``, for 2 to 64 points."""
    decoder, inputs = PromptDecoder(sam).eval(), decoder_example(resolution, points=3)
    points = torch.export.Dim("points", min=2, max=MOST_POINTS)
    content = to_onnx(
        decoder,
        *inputs,
        inputs_named=(*EMBEDDINGS, *DECODER_INPUTS),
        outputs_named=DECODER_OUTPUTS,
        dynamic=({}, {1: points}, {1: points}, {}, {}),
        notes=notes,
        opset=opset,
    )
    return OnnxPart(content, decoder, inputs)


def decoder_example(resolution: int, points: int) -> tuple[Tensor, ...]:
    """Return inputs of a decoder: clicks on and beside an object, the last point a padding, with an earlier mask."""
    side = resolution // 16
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(points).remainder(2).float()
    labels[-1] = -1.0
    return (
        torch.randn(1, EMBEDDING, side, side, generator=generator),
        1024 * torch.rand(1, points, 2, generator=generator),
        labels[None],
        4 * torch.randn(1, 1, 4 * side, 4 * side, generator=generator),
        torch.ones(1),
    )
