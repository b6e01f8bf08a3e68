"""Checkpoints of the original SAM: what segment-anything computes, ours computes, and nothing in a file is run."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from supersam.checkpoints import official as official_module
from supersam.checkpoints.files import save_checkpoint
from supersam.checkpoints.official import (
    build_official_encoder,
    is_official,
    load_decoder,
    load_encoder,
    read_official,
)
from supersam.errors import CheckpointError, MissingError, SearchSpaceError
from supersam.sam.model import Prompts, Sam
from supersam.space import StagedSpace, ViTSpace, load_space
from supersam.supernet.supernet import Supernet

Tells = Callable[..., AbstractContextManager[None]]
Randomise = Callable[..., nn.Module]


def meta_encoder(space: ViTSpace) -> ImageEncoderViT:
    """segment-anything's own encoder of the size of a space."""
    return ImageEncoderViT(
        img_size=space.resolutions[-1],
        embed_dim=space.width,
        depth=space.depth,
        num_heads=space.heads[-1],
        mlp_ratio=space.mlp_widths[-1] / space.width,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=space.window,
        global_attn_indexes=space.global_layers,
    ).eval()


@pytest.fixture
def original(tiny_vit: ViTSpace, randomise: Randomise) -> nn.Module:
    """segment-anything's encoder, prompt encoder and mask decoder with random weights."""
    torch.manual_seed(1)
    model = Sam(meta_encoder(tiny_vit))
    return randomise(model, seed=1).eval()


@pytest.fixture
def path(original: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "sam_tiny.pth"
    torch.save(original.state_dict(), path)
    return path


def images(resolution: int) -> Tensor:
    return torch.randn(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))


def damaged(path: Path, change: Callable[[dict[str, Tensor]], Any]) -> Path:
    tensors = torch.load(path, weights_only=True)
    change(tensors)
    torch.save(tensors, path)
    return path


# The same function


def test_encoder_computes_what_segment_anything_does(path: Path, original: nn.Module) -> None:
    x = images(128)

    found = build_official_encoder(read_official(path))

    with torch.no_grad():
        torch.testing.assert_close(found(x), original.image_encoder(x), atol=1e-4, rtol=1e-4)
    assert not found.training


def test_supernet_computes_what_segment_anything_does(path: Path, original: nn.Module, tiny_vit: ViTSpace) -> None:
    model, x = Sam(Supernet(tiny_vit)).eval(), images(128)
    prompts = Prompts(points=torch.tensor([[[[300.0, 700.0]]]] * 2), labels=torch.ones(2, 1, 1))

    load_encoder(model.image_encoder, read_official(path))
    load_decoder(model, read_official(path))

    with torch.no_grad():
        embedding, expected = model.image_encoder(x, tiny_vit.largest()), original.image_encoder(x)
        torch.testing.assert_close(embedding, expected, atol=1e-4, rtol=1e-4)
        masks, wanted = model.decode(embedding, prompts), original.decode(expected, prompts)
        torch.testing.assert_close(masks.logits, wanted.logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(masks.iou, wanted.iou, atol=1e-4, rtol=1e-4)


def test_encoder_of_real_width_computes_what_segment_anything_does(tmp_path: Path, randomise: Randomise) -> None:
    space = load_space("supersam-vit-b")
    assert isinstance(space, ViTSpace)
    small = space.model_copy(update={"depth": 2, "global_layers": (1,), "removable_layers": (), "resolutions": (256,)})
    original = randomise(meta_encoder(small))
    path, x = tmp_path / "sam.pth", images(256)[:1]
    torch.save({f"image_encoder.{name}": tensor for name, tensor in original.state_dict().items()}, path)
    supernet = Supernet(small).eval()

    load_encoder(supernet, read_official(path))

    with torch.no_grad():
        torch.testing.assert_close(supernet(x, small.largest()), original(x), atol=1e-4, rtol=1e-4)


# What is in a file


@pytest.mark.parametrize(
    ("size", "width", "depth", "heads"), [("b", 768, 12, 12), ("l", 1024, 24, 16), ("h", 1280, 32, 16)]
)
def test_size_is_read_from_the_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str, width: int, depth: int, heads: int
) -> None:
    with torch.device("meta"):
        whole = sam_model_registry[f"vit_{size}"]()
    path = tmp_path / "some_name.pth"
    path.touch()
    monkeypatch.setattr(official_module, "_read_tensors", lambda _: whole.state_dict())

    found = read_official(path)

    assert (found.size, found.architecture.width, found.architecture.resolution) == (size, width, 1024)
    assert [layer.heads for layer in found.architecture.layers] == [heads] * depth
    assert [layer.mlp_width for layer in found.architecture.layers] == [4 * width] * depth
    windows = [block.window_size for block in whole.image_encoder.blocks]
    assert [layer.window for layer in found.architecture.layers] == windows
    assert len(found.encoder) + len(found.decoder) == len(whole.state_dict())
    if size == "b":
        assert found.architecture == load_space("supersam-vit-b").largest()


def test_every_format_gives_the_same_tensors(path: Path, original: nn.Module, tmp_path: Path) -> None:
    expected = read_official(path)
    tensors = original.state_dict()
    save_file(tensors, tmp_path / "sam.safetensors")
    torch.save({"model": tensors}, tmp_path / "wrapped.pt")
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)

    for name in ("sam.safetensors", "wrapped.pt", "old.pth"):
        found = read_official(tmp_path / name)

        assert found.architecture == expected.architecture
        assert found.encoder.keys() == expected.encoder.keys()
        for part, wanted in ((found.encoder, expected.encoder), (found.decoder, expected.decoder)):
            assert all(torch.equal(tensor, wanted[name]) for name, tensor in part.items())


def test_half_precision_is_read_as_single(path: Path) -> None:
    damaged(path, lambda tensors: tensors.update({name: tensor.half() for name, tensor in tensors.items()}))

    found = read_official(path)

    assert {tensor.dtype for tensor in (*found.encoder.values(), *found.decoder.values())} == {torch.float32}


def test_own_checkpoints_are_told_apart_from_official_ones(path: Path, tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "others.safetensors", metadata={"format": "pt"})
    save_checkpoint(tmp_path / "ours.safetensors", "supernet", {}, {"a": torch.ones(1)})

    assert is_official(path)
    assert is_official(tmp_path / "others.safetensors")
    assert not is_official(tmp_path / "ours.safetensors")


# Other resolutions


@pytest.mark.parametrize("resolution", [64, 192])
def test_space_of_another_resolution_computes_what_timm_does_at_it(
    path: Path, tiny_vit: ViTSpace, resolution: int
) -> None:
    space, x = tiny_vit.model_copy(update={"resolutions": (resolution,)}), images(resolution)
    supernet, whole = Supernet(space).eval(), build_official_encoder(read_official(path))

    load_encoder(supernet, read_official(path))

    with torch.no_grad():
        torch.testing.assert_close(supernet(x, space.largest()), whole(x), atol=1e-5, rtol=1e-5)


def test_subnet_of_a_lower_resolution_has_resized_positions(path: Path, tiny_vit: ViTSpace) -> None:
    supernet, x = Supernet(tiny_vit).eval(), images(64)
    load_encoder(supernet, read_official(path))
    architecture = replace(tiny_vit.largest(), resolution=64)

    with torch.no_grad():
        found = supernet(x, architecture)
        torch.testing.assert_close(found, build_official_encoder(read_official(path))(x), atol=1e-5, rtol=1e-5)
        assert torch.equal(found, supernet.extract(architecture)(x))


# What is refused


def test_missing_file(tmp_path: Path, tells: Tells) -> None:
    with tells(MissingError, tmp_path / "sam.pth"):
        read_official(tmp_path / "sam.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x80\x02.", b"no checkpoint", bytes(range(256)) * 9])
def test_damaged_file_is_told_in_one_line(tmp_path: Path, tells: Tells, suffix: str, content: bytes) -> None:
    path = tmp_path / f"sam{suffix}"
    path.write_bytes(content)

    with tells(CheckpointError, path):
        read_official(path)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_truncated_file_is_told_in_one_line(path: Path, tells: Tells, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    with tells(CheckpointError, path, "damaged"):
        read_official(path)


def test_code_in_a_file_is_not_run(tmp_path: Path, tells: Tells) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    path = tmp_path / "sam.pth"
    torch.save({"image_encoder.pos_embed": Trap()}, path)

    with tells(CheckpointError, path, "never run", "state_dict"):
        read_official(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({}, "image_encoder"),
        (torch.ones(2), "state dict"),
        ([torch.ones(2)], "state dict"),
        ({"model": {"epoch": 3}}, "state dict"),
        ({0: torch.ones(2)}, "state dict"),
        ({"vision_encoder.pos_embed": torch.ones(1)}, "transformers"),
        ({"image_encoder.trunk.blocks.0.norm1.weight": torch.ones(1)}, "pos_embed"),
        ({"image_encoder.pos_embed": torch.ones(1, 4, 4, 8)}, "blocks.0"),
        ({"image_encoder.pos_embed": torch.ones(4)}, "another shape"),
    ],
)
def test_other_content_is_told_in_one_line(tmp_path: Path, tells: Tells, content: Any, word: str) -> None:
    path = tmp_path / "sam.pth"
    torch.save(content, path)

    with tells(CheckpointError, path, word):
        read_official(path)


@pytest.mark.parametrize("name", ["blocks.2.attn.qkv.weight", "blocks.2.mlp.lin2.bias", "neck.0.weight"])
def test_missing_and_misshapen_tensors_of_the_encoder_are_named(path: Path, tells: Tells, name: str) -> None:
    damaged(path, lambda tensors: tensors.update({f"image_encoder.{name}": torch.ones(2, 3)}))
    with tells(CheckpointError, path, name.replace("lin", "fc")):
        read_official(path)

    damaged(path, lambda tensors: tensors.pop(f"image_encoder.{name}"))
    with tells(CheckpointError, path, name.replace("lin", "fc")):
        read_official(path)


def test_decoder_that_does_not_fit_or_is_not_there_is_refused(path: Path, tells: Tells, tiny_vit: ViTSpace) -> None:
    model = Sam(Supernet(tiny_vit))
    damaged(path, lambda tensors: tensors.update({"mask_decoder.hf_token.weight": torch.ones(2)}))
    with tells(CheckpointError, path, "hf_token"):
        load_decoder(model, read_official(path))

    torch.save({n: t for n, t in torch.load(path).items() if n.startswith("image_encoder.")}, path)
    with tells(CheckpointError, path, "encoder alone"):
        load_decoder(model, read_official(path))


@pytest.mark.parametrize("change", [{"depth": 5}, {"global_layers": (3,)}, {"window": 4}, {"mlp_widths": (96, 128)}])
def test_space_of_another_network_is_refused(
    path: Path, tells: Tells, tiny_vit: ViTSpace, change: dict[str, Any]
) -> None:
    supernet = Supernet(tiny_vit.model_copy(update=change))

    with tells(SearchSpaceError, path, repr(tiny_vit.name), "ViT-OTHER, 4 layers of 64 at 128px"):
        load_encoder(supernet, read_official(path))


def test_staged_space_is_refused(path: Path, tells: Tells, tiny_staged: StagedSpace) -> None:
    with tells(SearchSpaceError, path, repr(tiny_staged.name), "supersam-vit-b"):
        load_encoder(Supernet(tiny_staged), read_official(path))
