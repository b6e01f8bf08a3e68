"""RWKV block: quarter shifts, spatial mix by the bidirectional WKV, gated channel mix with squared ReLU.

Paper: Vision-RWKV (https://arxiv.org/abs/2403.02308), used for SAM by RWKV-SAM (https://arxiv.org/abs/2406.19369).
Written from the equations; no code of either project was used.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supersam.blocks.wkv import bidirectional_wkv
from supersam.space import Stage


def quarter_shift(x: Tensor) -> Tensor:
    """Shift the four quarters of the channels right, left, down and up by one pixel, zeros coming in.

    Shape:
        - Input and output: (B, C, H, W), C a multiple of 4
    """
    right, left, down, up = x.chunk(4, dim=1)
    return torch.cat(
        [
            F.pad(right[..., :-1], (1, 0)),
            F.pad(left[..., 1:], (0, 1)),
            F.pad(down[..., :-1, :], (0, 0, 1, 0)),
            F.pad(up[..., 1:, :], (0, 0, 0, 1)),
        ],
        dim=1,
    )


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _mixed(shifted: Tensor, here: Tensor, share: Tensor) -> Tensor:
    """Interpolate tokens; autocast leaves lerp alone, and lerp takes one dtype only."""
    return torch.lerp(shifted, here, share.to(here.dtype))


class SpatialMix(nn.Module):
    """Mix tokens: sigmoid(receptance) * WKV(keys, values), projected.

    Shape:
        - Input: (B, C, H, W); output: (B, H*W, C)
    """

    def __init__(self, width: int, index: int) -> None:
        super().__init__()
        channel = torch.arange(width) / max(1, width - 1)
        # As in RWKV, decays spread over the channels from global to local, and blocks differ a little.
        self.decay = nn.Parameter(-5 + 8 * channel ** (0.7 + 0.65 * min(index, 2)))
        self.bonus = nn.Parameter(math.log(0.3) + 0.5 * ((torch.arange(width) + 1) % 3 - 1.0))
        self.mix_key = nn.Parameter(channel.clone())
        self.mix_value = nn.Parameter(channel.clone())
        self.mix_receptance = nn.Parameter(channel.sqrt())
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.receptance = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        here, shifted = _tokens(x), _tokens(quarter_shift(x))
        keys = self.key(_mixed(shifted, here, self.mix_key))
        values = self.value(_mixed(shifted, here, self.mix_value))
        gate = torch.sigmoid(self.receptance(_mixed(shifted, here, self.mix_receptance)))
        return self.output(gate * bidirectional_wkv(self.decay, self.bonus, keys, values))


class ChannelMix(nn.Module):
    """Mix channels: sigmoid(receptance) * value(relu(key)^2).

    Shape:
        - Input: (B, C, H, W); output: (B, H*W, C)
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        channel = torch.arange(width) / max(1, width - 1)
        self.mix_key = nn.Parameter(channel.clone())
        self.mix_receptance = nn.Parameter(channel.sqrt())
        self.key = nn.Linear(width, hidden, bias=False)
        self.value = nn.Linear(hidden, width, bias=False)
        self.receptance = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        here, shifted = _tokens(x), _tokens(quarter_shift(x))
        hidden = F.relu(self.key(_mixed(shifted, here, self.mix_key))).square()
        return torch.sigmoid(self.receptance(_mixed(shifted, here, self.mix_receptance))) * self.value(hidden)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a feature map.

    Shape:
        - Input and output: (B, C, H, W)
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class RWKVBlock(nn.Module):
    """x + scale1 * SpatialMix(norm(x)), then x + scale2 * ChannelMix(norm(x)).

    Shape:
        - Input and output: (B, C, H, W)
    """

    def __init__(self, width: int, ratio: int, index: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(width)
        self.spatial_mix = SpatialMix(width, index)
        self.scale1 = nn.Parameter(torch.full((width,), 0.1))
        self.norm2 = ChannelNorm(width)
        self.channel_mix = ChannelMix(width, ratio * width)
        self.scale2 = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._to_map(self.scale1 * self.spatial_mix(self.norm1(x)), x)
        return x + self._to_map(self.scale2 * self.channel_mix(self.norm2(x)), x)

    @staticmethod
    def _to_map(tokens: Tensor, like: Tensor) -> Tensor:
        return tokens.transpose(1, 2).reshape(like.shape)


def build(stage: Stage, index: int, head_dim: int) -> RWKVBlock:
    """Build one block of a stage."""
    return RWKVBlock(stage.width, stage.ratio, index)
