"""What holds for the blocks of every type, and that those named after timm's are timm's."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import pytest
import timm.models.efficientvit_mit
import timm.models.repvit
import timm.models.vision_transformer
import torch
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

from supersam.blocks import BLOCKS, SEGMENTS
from supersam.space import BLOCK_TYPES, Stage, StagedSpace
from supersam.supernet.supernet import Supernet

Randomise = Callable[..., nn.Module]


@dataclass(frozen=True)
class Size:
    """One size of a block and the side of the map it is run on."""

    width: int
    head_dim: int
    ratio: int
    window: int
    side: int

    def build(self, block: str, index: int = 0) -> nn.Module:
        stage = Stage(block, index + 1, self.width, self.ratio, self.window)
        return BLOCKS[block](stage, index, self.head_dim).eval()

    def input(self, batch: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(self.width)
        return torch.randn(batch, self.width, self.side, self.side, generator=generator)


SIZES = {
    "smallest": Size(width=4, head_dim=4, ratio=1, window=0, side=1),
    "largest": Size(width=192, head_dim=16, ratio=4, window=8, side=16),
    "odd": Size(width=60, head_dim=12, ratio=3, window=5, side=15),
    "window wider than the map": Size(width=24, head_dim=8, ratio=2, window=9, side=7),
}


@pytest.fixture(params=list(BLOCKS))
def block(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=list(SIZES.values()), ids=list(SIZES))
def size(request: pytest.FixtureRequest) -> Size:
    found: Size = request.param
    return found


def test_every_block_type_has_a_builder() -> None:
    assert BLOCKS.keys() == BLOCK_TYPES.keys()


@pytest.mark.parametrize("index", [0, 1])
def test_block_keeps_the_shape_of_its_input(block: str, size: Size, index: int) -> None:
    x = size.input()

    found = size.build(block, index)(x)

    assert found.shape == x.shape
    assert found.isfinite().all()


def test_block_runs_on_maps_that_are_not_square(block: str) -> None:
    size = SIZES["odd"]
    x = torch.randn(1, size.width, size.side, 2 * size.side)

    assert size.build(block)(x).shape == x.shape


def test_block_is_deterministic_in_evaluation(block: str, size: Size) -> None:
    module, x = size.build(block), size.input()

    assert torch.equal(module(x), module(x))


def test_images_of_a_batch_do_not_mix_in_evaluation(block: str, size: Size) -> None:
    module, x = size.build(block), size.input()

    torch.testing.assert_close(module(x)[1:], module(x[1:]), atol=1e-5, rtol=1e-5)


def test_every_parameter_of_a_block_matters(block: str, randomise: Randomise) -> None:
    size = SIZES["odd"]
    module = randomise(size.build(block))

    module(size.input()).square().sum().backward()

    still = [name for name, parameter in module.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert still == []


def test_uses_batch_norm_says_whether_there_is_one(block: str) -> None:
    found = any(isinstance(module, nn.BatchNorm2d) for module in SIZES["odd"].build(block).modules())

    assert BLOCK_TYPES[block].uses_batch_norm == found


def test_segmented_tensors_exist_and_divide() -> None:
    names = {name: tensor for block in BLOCKS for name, tensor in SIZES["odd"].build(block).state_dict().items()}

    for suffix, (dim, n) in SEGMENTS.items():
        found = [tensor for name, tensor in names.items() if name.endswith(suffix)]
        assert found
        assert all(tensor.shape[dim] % n == 0 for tensor in found)


# Against timm


def extracted(
    space: StagedSpace, randomise: Randomise, block: str, number: int, **changes: int
) -> tuple[nn.ModuleList, Stage]:
    """Take the blocks of one stage out of a supernet with random weights."""
    torch.manual_seed(0)
    supernet = randomise(Supernet(space)).eval()
    choices = space.encode(space.smallest()) | {f"stage{number}.block": block}
    choices |= {f"stage{number}.{key}": value for key, value in changes.items()}
    architecture = space.decode(choices)
    return supernet.extract(architecture).stages[number - 1].blocks, architecture.stages[number - 1]


def map_of(stage: Stage, side: int) -> Tensor:
    return torch.randn(2, stage.width, side, side, generator=torch.Generator().manual_seed(1))


def windows_one_by_one(block: nn.Module, x: Tensor, window: int) -> Tensor:
    """Apply a block of tokens to each window of a map, written without any reshaping trick."""
    out = torch.empty_like(x)
    for image, top, left in product(range(len(x)), range(0, x.shape[2], window), range(0, x.shape[3], window)):
        rows, columns = slice(top, top + window), slice(left, left + window)
        tokens = torch.stack([x[image, :, row, column] for row in range(x.shape[2])[rows]
                              for column in range(x.shape[3])[columns]])  # fmt: skip
        mixed = block(tokens[None])[0]
        out[image, :, rows, columns] = mixed.T.reshape(-1, window, window)
    return out


@pytest.mark.parametrize(
    ("number", "width", "side", "window"),
    [(2, 16, 8, 4), (2, 24, 12, 4), (2, 32, 4, 4), (1, 8, 16, 8), (3, 16, 6, 6), (3, 32, 5, 5)],
)
def test_extracted_vit_is_timms_block_applied_to_each_window(
    tiny_staged: StagedSpace, randomise: Randomise, number: int, width: int, side: int, window: int
) -> None:
    blocks, stage = extracted(tiny_staged, randomise, "vit", number, width=width)
    plain = timm.models.vision_transformer.Block(
        stage.width, num_heads=stage.width // tiny_staged.head_dim, mlp_ratio=stage.ratio, qkv_bias=True
    ).eval()
    plain.load_state_dict(blocks[0].state_dict(), strict=True)
    x = map_of(stage, side)

    torch.testing.assert_close(blocks[0](x), windows_one_by_one(plain, x, window), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("width", [16, 24, 32])
@pytest.mark.parametrize("index", [0, 1], ids=["squeeze", "no squeeze"])
def test_extracted_repvit_is_timms_block(
    tiny_staged: StagedSpace, randomise: Randomise, width: int, index: int
) -> None:
    blocks, stage = extracted(tiny_staged, randomise, "repvit", 2, width=width, depth=2, ratio=4)
    plain = timm.models.repvit.RepViTBlock(
        width, stage.ratio, kernel_size=3, use_se=index == 0, act_layer=nn.GELU
    ).eval()
    plain.load_state_dict(blocks[index].state_dict(), strict=True)
    x = map_of(stage, 8)

    assert torch.equal(blocks[index](x), plain(x))
    assert any(name.startswith("se.") for name in plain.state_dict()) == (index == 0)


@pytest.mark.parametrize("width", [16, 24, 32])
def test_extracted_efficientvit_is_timms_block(tiny_staged: StagedSpace, randomise: Randomise, width: int) -> None:
    blocks, stage = extracted(tiny_staged, randomise, "efficientvit", 2, width=width, depth=2, ratio=2)
    plain = timm.models.efficientvit_mit.EfficientVitBlock(
        width, head_dim=tiny_staged.head_dim, expand_ratio=stage.ratio
    ).eval()
    plain.load_state_dict(blocks[1].state_dict(), strict=True)
    x = map_of(stage, 8)

    assert torch.equal(blocks[1](x), plain(x))


@pytest.mark.parametrize("index", [0, 1], ids=["squeeze", "no squeeze"])
def test_deployed_repvit_computes_the_same_in_one_branch(randomise: Randomise, index: int) -> None:
    module, x = randomise(SIZES["odd"].build("repvit", index)), SIZES["odd"].input()

    deployed = reparameterize_model(module)

    torch.testing.assert_close(deployed(x), module(x), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in deployed.modules())


def test_token_reaches_its_window_and_no_further(randomise: Randomise) -> None:
    size = replace(SIZES["odd"], window=5, side=10)

    assert moved_by_one_pixel(randomise(size.build("vit")), size, row=7, column=3).nonzero().tolist() == [
        [row, column] for row in range(5, 10) for column in range(5)
    ]


@pytest.mark.parametrize("block", ["vit", "efficientvit", "rwkv"])
def test_token_reaches_the_whole_map_of_a_global_block(block: str, randomise: Randomise) -> None:
    size = replace(SIZES["odd"], window=0, side=6)

    assert moved_by_one_pixel(randomise(size.build(block)), size, row=4, column=1).all()


def moved_by_one_pixel(module: nn.Module, size: Size, row: int, column: int) -> Tensor:
    """Where the output (H, W) of a block moves when one pixel of its input does."""
    x = size.input(1).double()
    changed = x.clone()
    changed[..., row, column] += torch.randn(size.width, generator=torch.Generator().manual_seed(2))
    difference: Tensor = module.double()(changed) - module(x)
    return difference.abs().amax(dim=(0, 1)) > 0


def test_blocks_train_in_mixed_precision(block: str) -> None:
    torch.manual_seed(0)
    size = Size(width=32, head_dim=8, ratio=2, window=4, side=8)
    built, x = size.build(block), size.input()
    with torch.no_grad():
        whole = built(x)

    with torch.autocast("cpu", torch.bfloat16):
        reduced = built(x)
    reduced.float().square().mean().backward()

    assert (reduced.float() - whole).norm() < 0.02 * whole.norm()
    gradients = [parameter.grad for parameter in built.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients if gradient is not None)
