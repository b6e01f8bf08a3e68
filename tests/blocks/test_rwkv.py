"""The bidirectional WKV and the RWKV block against their equations, written out in double precision."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from supersam.blocks.rwkv import RWKVBlock, quarter_shift
from supersam.blocks.wkv import MAX_DECAY, bidirectional_wkv

Floats = NDArray[np.float64]


def closed_form(decay: Floats, bonus: Floats, keys: Floats, values: Floats) -> Floats:
    """Equation 4 of arXiv 2403.02308 for tokens (T, C): every token looks at every other one."""
    tokens = len(keys)
    out = np.empty_like(values)
    for t in range(tokens):
        distance = np.abs(t - np.arange(tokens))[:, None]
        exponent = keys - decay / tokens * (distance - 1)
        exponent[t] = keys[t] + bonus / tokens
        weight = np.exp(exponent - exponent.max(axis=0))
        out[t] = (weight * values).sum(axis=0) / weight.sum(axis=0)
    return out


def case(tokens: int, channels: int, decay: float, reach: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random bonus, keys spread over ``reach`` and values, in double precision; decays around ``decay``."""
    generator = torch.Generator().manual_seed(tokens)
    draw = lambda *shape: torch.rand(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    decays = decay * (0.8 + 0.4 * draw(channels)).clamp(max=1.0)
    keys = reach * (draw(2, tokens, channels) - 0.5)
    return decays, 4 * draw(channels) - 2, keys, 2 * draw(2, tokens, channels) - 1


def by_closed_form(decay: Tensor, bonus: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    images = [
        closed_form(decay.numpy(), bonus.numpy(), k, v) for k, v in zip(keys.numpy(), values.numpy(), strict=True)
    ]
    return torch.from_numpy(np.stack(images))


@pytest.mark.parametrize("reach", [0.0, 2.0, 20.0, 400.0])
@pytest.mark.parametrize("decay", [-5.0, 0.0, 3.0, MAX_DECAY, -MAX_DECAY])
@pytest.mark.parametrize("tokens", [1, 2, 4, 64, 257])
def test_wkv_equals_its_closed_form(tokens: int, decay: float, reach: float) -> None:
    arguments = case(tokens, 5, decay, reach)
    expected = by_closed_form(*arguments)

    torch.testing.assert_close(bidirectional_wkv(*arguments), expected, atol=1e-10, rtol=0)
    single = bidirectional_wkv(*(tensor.float() for tensor in arguments))
    torch.testing.assert_close(single.double(), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("shift", [-500.0, 100.0, 500.0])
def test_wkv_does_not_overflow_with_large_keys(shift: float) -> None:
    decay, bonus, keys, values = (tensor.float() for tensor in case(64, 3, 3.0, 20.0))

    found = bidirectional_wkv(decay, bonus, keys + shift, values)

    torch.testing.assert_close(found, bidirectional_wkv(decay, bonus, keys, values), atol=1e-3, rtol=0)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_wkv_bounds_the_decay(sign: float) -> None:
    _, bonus, keys, values = (tensor.float() for tensor in case(64, 3, 3.0, 2.0))

    found = bidirectional_wkv(torch.full((3,), sign * 1e6), bonus, keys, values)

    assert torch.equal(found, bidirectional_wkv(torch.full((3,), sign * MAX_DECAY), bonus, keys, values))
    assert found.isfinite().all()


def test_wkv_is_a_mean_of_the_values() -> None:
    decay, bonus, keys, values = case(50, 4, 3.0, 20.0)

    found = bidirectional_wkv(decay, bonus, keys, values)

    assert (found <= values.amax(dim=1, keepdim=True) + 1e-12).all()
    assert (found >= values.amin(dim=1, keepdim=True) - 1e-12).all()
    constant = torch.full_like(values, 0.7)
    torch.testing.assert_close(bidirectional_wkv(decay, bonus, keys, constant), constant)


@pytest.mark.parametrize("decay", [-3.0, 0.5, 8.0])
def test_wkv_has_the_gradient_of_finite_differences(decay: float) -> None:
    arguments = [tensor.requires_grad_() for tensor in case(7, 2, decay, 3.0)]

    assert torch.autograd.gradcheck(bidirectional_wkv, arguments)


class _Largest(TorchDispatchMode):
    """Remembers the most elements that any operation put out."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


def test_wkv_never_makes_a_matrix_of_tokens_by_tokens() -> None:
    tokens = 4096
    arguments = [tensor.float().requires_grad_() for tensor in case(tokens, 2, 3.0, 2.0)]

    with _Largest() as largest:
        bidirectional_wkv(*arguments).sum().backward()

    assert 2 * tokens * 2 <= largest.numel <= 2 * 2 * tokens * 2
    assert largest.numel < tokens * tokens / 100


# The block


def shifted(x: Floats) -> Floats:
    """Quarters of the channels of (C, H, W) moved right, left, down and up by one pixel, zeros coming in."""
    out = np.zeros_like(x)
    quarter = len(x) // 4
    for channel in range(len(x)):
        for row in range(x.shape[1]):
            for column in range(x.shape[2]):
                towards = {0: (0, 1), 1: (0, -1), 2: (1, 0), 3: (-1, 0)}[channel // quarter]
                to_row, to_column = row + towards[0], column + towards[1]
                if 0 <= to_row < x.shape[1] and 0 <= to_column < x.shape[2]:
                    out[channel, to_row, to_column] = x[channel, row, column]
    return out


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def reference_block(weights: dict[str, Floats], image: Floats) -> Floats:
    """x + ls1 * SpatialMix(LN(x)), then x + ls2 * ChannelMix(LN(x)), for one image (C, H, W)."""

    def norm(x: Floats, name: str) -> Floats:
        centred = x - x.mean(axis=0)
        scaled = centred / np.sqrt((centred**2).mean(axis=0) + 1e-5)
        return scaled * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]

    def tokens(x: Floats) -> Floats:
        return x.reshape(len(x), -1).T

    def mixed(x: Floats, mu: str) -> Floats:
        return tokens(x) * weights[mu] + tokens(shifted(x)) * (1 - weights[mu])

    def spatial_mix(x: Floats) -> Floats:
        k = mixed(x, "spatial_mix.mix_key") @ weights["spatial_mix.key.weight"].T
        v = mixed(x, "spatial_mix.mix_value") @ weights["spatial_mix.value.weight"].T
        r = mixed(x, "spatial_mix.mix_receptance") @ weights["spatial_mix.receptance.weight"].T
        wkv = closed_form(weights["spatial_mix.decay"], weights["spatial_mix.bonus"], k, v)
        return (sigmoid(r) * wkv) @ weights["spatial_mix.output.weight"].T

    def channel_mix(x: Floats) -> Floats:
        k = np.maximum(mixed(x, "channel_mix.mix_key") @ weights["channel_mix.key.weight"].T, 0) ** 2
        r = mixed(x, "channel_mix.mix_receptance") @ weights["channel_mix.receptance.weight"].T
        return sigmoid(r) * (k @ weights["channel_mix.value.weight"].T)

    x = image
    x = x + (weights["scale1"] * spatial_mix(norm(x, "norm1"))).T.reshape(x.shape)
    return x + (weights["scale2"] * channel_mix(norm(x, "norm2"))).T.reshape(x.shape)


@pytest.mark.parametrize(("height", "width"), [(6, 6), (5, 9), (1, 1)])
def test_block_equals_the_equations(height: int, width: int) -> None:
    torch.manual_seed(0)
    block = RWKVBlock(12, ratio=3, index=1).double().eval()
    for parameter in block.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    x = torch.randn(2, 12, height, width, dtype=torch.float64)
    weights = {name: tensor.numpy() for name, tensor in block.state_dict().items()}
    expected = torch.from_numpy(np.stack([reference_block(weights, image) for image in x.numpy()]))

    with torch.no_grad():
        torch.testing.assert_close(block(x), expected, atol=1e-11, rtol=0)
        torch.testing.assert_close(block.float()(x.float()).double(), expected, atol=1e-4, rtol=1e-4)


def test_quarters_of_the_channels_shift_right_left_down_and_up() -> None:
    x = torch.zeros(1, 8, 3, 3)
    x[..., 1, 1] = torch.arange(1.0, 9.0)

    found = quarter_shift(x)[0]

    assert {tuple(place): float(found[tuple(place)]) for place in found.nonzero().tolist()} == {
        (0, 1, 2): 1, (1, 1, 2): 2, (2, 1, 0): 3, (3, 1, 0): 4, (4, 2, 1): 5, (5, 2, 1): 6, (6, 0, 1): 7, (7, 0, 1): 8,
    }  # fmt: skip


def test_shift_brings_zeros_in_and_drops_what_leaves() -> None:
    x = torch.arange(1.0, 1 + 4 * 4 * 5).reshape(1, 4, 4, 5)

    assert torch.equal(quarter_shift(x)[0], torch.from_numpy(shifted(x[0].double().numpy())).float())


def test_blocks_start_with_decays_from_global_to_local() -> None:
    for index in range(4):
        mix = RWKVBlock(16, ratio=2, index=index).requires_grad_(False).spatial_mix

        assert mix.decay[0] == -5
        assert mix.decay[-1] == pytest.approx(3)
        assert (mix.decay.diff() > 0).all()
        assert mix.bonus.unique().tolist() == pytest.approx([math.log(0.3) + x for x in (-0.5, 0.0, 0.5)])


def test_wkv_of_half_precision_is_computed_in_single_precision() -> None:
    decay, bonus, keys, values = (tensor.float() for tensor in case(4096, 3, 3.0, 6.0))
    halves = keys.bfloat16(), values.bfloat16()

    found = bidirectional_wkv(decay, bonus, *halves)

    assert found.dtype == torch.float32
    assert torch.equal(found, bidirectional_wkv(decay, bonus, halves[0].float(), halves[1].float()))
