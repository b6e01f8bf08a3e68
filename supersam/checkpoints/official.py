"""Checkpoints in the format of the original Segment Anything (https://arxiv.org/abs/2304.02643), ``sam_vit_{b,l,h}``.

    official = read_official(Path("sam_vit_b_01ec64.pth"))  # reads tensors, runs nothing
    teacher = build_official_encoder(official)              # a plain encoder: (B, 3, R, R) -> (B, 256, R/16, R/16)
    load_encoder(model.image_encoder, official)             # into the supernet of a plain SAM ViT
    load_decoder(model, official)                           # prompt encoder and mask decoder

Fine-tuned files in the same format are read as well. Which network it is stands in the tensors, not in the name.
"""

import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from timm.models.vision_transformer_sam import checkpoint_filter_fn
from torch import Tensor, nn

from supersam.checkpoints.files import RECORD
from supersam.errors import CheckpointError, MissingError, SearchSpaceError
from supersam.sam.model import Sam
from supersam.space import Layer, ViTArchitecture, ViTSpace
from supersam.supernet.encoder import build_sam_vit
from supersam.supernet.positions import has_positions, resize_positions
from supersam.supernet.supernet import Supernet

PATCH = 16  # pixels of a side
SIZES = {(768, 12): "b", (1024, 24): "l", (1280, 32): "h"}  # (width, depth) -> ViT-B, ViT-L, ViT-H
DECODER = ("prompt_encoder", "mask_decoder")
WRAPPERS = ("model", "state_dict")  # keys under which training scripts keep the weights
_ENCODER = "image_encoder."


@dataclass(frozen=True)
class OfficialSam:
    """The content of a file: single-precision tensors on the CPU, the encoder's by their names in timm's ViT."""

    path: Path
    architecture: ViTArchitecture
    encoder: dict[str, Tensor]
    decoder: dict[str, Tensor]  # ``prompt_encoder.*`` and ``mask_decoder.*``; empty in a file of an encoder alone

    @property
    def size(self) -> str:
        """``b``, ``l`` or ``h``; ``other`` for a plain SAM ViT of other dimensions."""
        return SIZES.get((self.architecture.width, len(self.architecture.layers)), "other")

    def describe(self) -> str:
        """Return a line for people, such as ``ViT-B, 12 layers of 768 at 1024px``."""
        found = self.architecture
        return f"ViT-{self.size.upper()}, {len(found.layers)} layers of {found.width} at {found.resolution}px"


def is_official(path: Path) -> bool:
    """Return whether a file is one for ``read_official``: anything but a checkpoint of our own."""
    try:
        with safe_open(path, framework="pt") as file:
            return RECORD not in (file.metadata() or {})
    except (SafetensorError, OSError):
        return True


def read_official(path: Path) -> OfficialSam:
    """Read a checkpoint of the original SAM: ``.pth``, ``.pt`` or ``.safetensors``.

    Raises:
        MissingError: if there is no such file.
        CheckpointError: if it is damaged, holds more than tensors, or is not a SAM with a plain ViT.
    """
    if not path.is_file():
        raise MissingError(f"there is no checkpoint {path}")
    tensors = _read_tensors(path)
    encoder = checkpoint_filter_fn({name: t for name, t in tensors.items() if name.startswith(_ENCODER)}, None)
    decoder = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] in DECODER}
    official = OfficialSam(path, _architecture(encoder, tensors, path), encoder, decoder)
    build_official_encoder(official)  # every tensor has its place and shape
    return official


def build_official_encoder(official: OfficialSam) -> nn.Module:
    """Return the whole encoder in evaluation mode; it shares its memory with ``official``.

    Shape:
        - Input: (B, 3, R, R), normalised as ``supersam.data.transforms`` does; R is a multiple of 16, best that of
          the checkpoint (``official.architecture.resolution``): at others the positions are interpolated
        - Output: (B, 256, R/16, R/16)

    Raises:
        CheckpointError: if a tensor is missing, unknown or of another shape.
    """
    with torch.device("meta"):
        encoder = build_sam_vit(official.architecture)
    _load(encoder, official.encoder, official.path, assign=True)
    return encoder.eval()


def load_encoder(supernet: Supernet, official: OfficialSam) -> None:
    """Put the encoder into the supernet of a plain SAM ViT; positions are resized to the space's resolution.

    Raises:
        SearchSpaceError: if the largest architecture of the space is not the network of the file.
    """
    space = supernet.space
    largest = space.largest()
    if not isinstance(space, ViTSpace) or replace(official.architecture, resolution=largest.resolution) != largest:
        raise SearchSpaceError(
            f"{official.path} holds {official.describe()}; the largest encoder of the space {space.name!r} is another "
            f"network ({largest.describe()}). A SAM ViT-B goes into the space supersam-vit-b"
        )
    store = supernet.store.state_dict()
    resized = {
        name: resize_positions(tensor, store[name].shape) if has_positions(name) else tensor
        for name, tensor in official.encoder.items()
    }
    _load(supernet.store, resized, official.path)


def load_decoder(model: Sam, official: OfficialSam) -> None:
    """Put the prompt encoder and the mask decoder into a model.

    Raises:
        CheckpointError: if the file has none, or a tensor is missing, unknown or of another shape.
    """
    if not official.decoder:
        raise CheckpointError(f"{official.path} holds an encoder alone, without prompt encoder and mask decoder")
    for part in DECODER:
        own = {n.removeprefix(f"{part}."): t for n, t in official.decoder.items() if n.startswith(f"{part}.")}
        _load(getattr(model, part), own, official.path)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except pickle.UnpicklingError as problem:
        raise CheckpointError(
            f"{path} is damaged or holds other objects than tensors, which are never run; save its state_dict alone"
        ) from problem
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError) as problem:
        first = str(problem).splitlines()[0] if str(problem) else repr(problem)
        raise CheckpointError(f"{path} is damaged or not a checkpoint ({first})") from problem
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    named = isinstance(content, dict) and all(isinstance(name, str) for name in content)
    if not named or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise CheckpointError(f"{path} holds no state dict (names with their tensors)")
    return {name: tensor.float() for name, tensor in content.items()}


def _architecture(encoder: dict[str, Tensor], tensors: dict[str, Tensor], path: Path) -> ViTArchitecture:
    """Read the dimensions of the network from the shapes of its tensors."""
    if not encoder:
        known = "; it is named as in transformers" if any(n.startswith("vision_encoder.") for n in tensors) else ""
        raise CheckpointError(
            f"{path} has no tensors of a SAM encoder named `{_ENCODER}*`{known}: "
            f"the file of the original segment-anything is needed (sam_vit_b, sam_vit_l or sam_vit_h)"
        )
    try:
        side, width = encoder["pos_embed"].shape[1], encoder["pos_embed"].shape[3]
        depth = len({name.split(".")[1] for name in encoder if name.startswith("blocks.")})
        layers = tuple(_layer(encoder, index, side, width) for index in range(depth))
        head_dim = encoder["blocks.0.attn.rel_pos_h"].shape[1]
    except KeyError as problem:
        raise CheckpointError(f"{path} holds no SAM with a plain ViT ({problem.args[0]} is missing)") from problem
    except (IndexError, ValueError, ArithmeticError) as problem:
        raise CheckpointError(f"{path} holds no SAM with a plain ViT (a tensor has another shape)") from problem
    return ViTArchitecture(side * PATCH, width, head_dim, layers)


def _layer(encoder: dict[str, Tensor], index: int, side: int, width: int) -> Layer:
    offsets, head_dim = encoder[f"blocks.{index}.attn.rel_pos_h"].shape  # of one token to another, both ways
    window = 0 if offsets == 2 * side - 1 else (offsets + 1) // 2
    return Layer(index, width // head_dim, encoder[f"blocks.{index}.mlp.fc1.weight"].shape[0], window)


def _load(module: nn.Module, tensors: dict[str, Tensor], path: Path, assign: bool = False) -> None:
    try:
        module.load_state_dict(tensors, strict=True, assign=assign)
    except RuntimeError as problem:
        first = str(problem).splitlines()[1].strip()
        raise CheckpointError(f"{path} is not a SAM that fits ({first[:200]})") from problem
