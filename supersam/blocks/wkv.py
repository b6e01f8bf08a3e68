"""The bidirectional WKV of Vision-RWKV (https://arxiv.org/abs/2403.02308, equation 4) in O(T).

For each channel, with w = decay / T, u = bonus / T:

    y_t = (sum_{i != t} exp(k_i - w (|t - i| - 1)) v_i + exp(k_t + u) v_t) / (the same sum with v = 1)

The decay over the whole sequence is the bounded number ``decay``, so both one-sided sums are plain cumulative
sums of terms scaled by exp(w i): no sequential scan, no kernel of our own, and the graph exports to ONNX.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_DECAY = 60.0  # exp(60) is far inside float32; a decay of 60 over the sequence is already nearly local


def bidirectional_wkv(decay: Tensor, bonus: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return the weighted mean of ``values`` for every token.

    Keys and values of 16 bits are taken to float32 first: exponentials and sums over thousands of tokens need it.

    Shape:
        - decay, bonus: (C,)
        - keys, values: (B, T, C)
        - Output: (B, T, C), float32 or wider
    """
    if keys.dtype.itemsize < torch.float32.itemsize:
        keys, values = keys.float(), values.float()
    tokens = keys.shape[1]
    w = decay.clamp(-MAX_DECAY, MAX_DECAY) / tokens
    # Positions centred on zero keep both exp(w i) and exp(-w i) small; the common factor cancels in the quotient.
    position = torch.arange(tokens, device=keys.device, dtype=keys.dtype) - 0.5 * (tokens - 1)
    growth = torch.exp(position[:, None] * w)
    # The largest key of a channel cancels in the quotient too and keeps exp(k) from overflowing.
    weight = torch.exp(keys - keys.amax(dim=1, keepdim=True))
    weighted = weight * values

    before_d, after_d = _one_sided(weight, growth, w)
    before_n, after_n = _one_sided(weighted, growth, w)
    own = torch.exp(bonus / tokens)
    return (before_n + after_n + own * weighted) / (before_d + after_d + own * weight)


def _one_sided(terms: Tensor, growth: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Return the decayed sums over the tokens before and after each token, itself left out."""
    # The sums are shifted, not reduced by the token's own term, which may be so large that the rest is lost in it.
    rising = (terms * growth)[:, :-1].cumsum(1)
    falling = (terms / growth)[:, 1:].flip(1).cumsum(1).flip(1)
    before = F.pad(rising, (0, 0, 1, 0)) * (torch.exp(w) / growth)
    after = F.pad(falling, (0, 0, 0, 1)) * (torch.exp(w) * growth)
    return before, after
