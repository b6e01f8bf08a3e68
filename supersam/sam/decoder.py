"""SAM's mask decoder for several prompts of each image: the same function, the arithmetic ordered for that case.

segment-anything repeats the image for every prompt and projects all of its positions four times a layer. Here

- the first layer's keys, values and queries of an image are computed once for all of its prompts;
- where a head's projection meets an attention over a few tokens, ``(P V) W`` is taken as ``P (V W)``, which needs
  products with the tokens only (the same step as in DeepSeek-V2, https://arxiv.org/abs/2405.04434, section 2.1.2);
- the up-sampling, two transposed convolutions without overlap, is two matrix products in the layout of the tokens.

Results and gradients differ by rounding; what it saves is in docs/decisions/0015. The tensors are those of
segment-anything's modules, whose own ``forward`` is not called.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def decode(decoder: Any, image: Tensor, positions: Tensor, prompted: Tensor) -> tuple[Tensor, Tensor]:
    """Decode N prompts of B images, those of an image next to each other.

    Args:
        decoder: a ``MaskDecoder`` of segment-anything.

    Shape:
        - image: (B, 256, h, w), or (N, 256, h, w) if every prompt brings an answer of its own
        - positions: (256, h, w)
        - prompted: (N, T, 256), N a multiple of B
        - output: logits (N, M, 4 h, 4 w) and predicted IoU (N, M)
    """
    height, width = image.shape[-2:]
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(prompted), -1, -1), prompted], dim=1)
    queries, keys = _transform(decoder.transformer, tokens, image.flatten(2).transpose(1, 2), positions.flatten(1).T)
    pixels = _upscale(decoder.output_upscaling, keys)  # (N, hw, 2, 2, 2, 2, 32): rows and columns below a token, twice
    mlps = decoder.output_hypernetworks_mlps
    weights = torch.stack([mlp(queries[:, 1 + number]) for number, mlp in enumerate(mlps)], dim=2)  # (N, 32, M)
    logits = (pixels.flatten(1, 5) @ weights).unflatten(1, (height, width, 2, 2, 2, 2))
    logits = logits.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(len(tokens), len(mlps), 4 * height, 4 * width)
    return logits, decoder.iou_prediction_head(queries[:, 0])


def _transform(transformer: Any, tokens: Tensor, image: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Run the two-way transformer.

    Shape:
        - tokens: (N, T, 256); image: (B or N, hw, 256); positions: (hw, 256)
        - output: (N, T, 256) and (N, hw, 256)
    """
    queries, keys = tokens, image
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            queries = layer.self_attn(queries, queries, queries)
        else:
            placed = queries + tokens
            queries = queries + layer.self_attn(placed, placed, queries)
        queries = layer.norm1(queries)
        placed_keys = keys + positions
        looked = _look_at_image(layer.cross_attn_token_to_image, queries + tokens, placed_keys, keys)
        queries = layer.norm2(queries + looked)
        queries = layer.norm3(queries + layer.mlp(queries))
        told = _tell_image(layer.cross_attn_image_to_token, placed_keys, queries + tokens, queries)
        keys = layer.norm4((keys.unsqueeze(1) + told.unflatten(0, (len(keys), -1))).flatten(0, 1))
    looked = _look_at_image(transformer.final_attn_token_to_image, queries + tokens, keys + positions, keys)
    return transformer.norm_final_attn(queries + looked), keys


def _look_at_image(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend from tokens (N, T, 256) to an image of their own each (N, hw, 256), or to that of several (B, hw, 256)."""
    if len(k) < len(q):
        of_image = q.unflatten(0, (len(k), -1)).flatten(1, 2)  # queries do not see each other
        return attention(of_image, k, v).view_as(q)
    heads = attention.num_heads
    asked = _split(attention.q_proj(q), heads)  # (N, H, T, c)
    scale = asked.shape[-1] ** -0.5
    # The bias of the keys shifts all scores of a token alike, which the softmax does not see.
    asked = torch.einsum("nhtc,hcd->nhtd", scale * asked, _by_head(attention.k_proj.weight, heads))
    shares = (asked.flatten(1, 2) @ k.transpose(1, 2)).softmax(dim=-1)  # (N, HT, hw)
    seen = (shares @ v).unflatten(1, (heads, -1))  # (N, H, T, 256)
    seen = torch.einsum("nhtd,hcd->nhtc", seen, _by_head(attention.v_proj.weight, heads))
    return attention.out_proj(_join(seen) + attention.v_proj.bias)  # shares sum to 1, so the bias comes whole


def _tell_image(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend from an image (N or B, hw, 256) to tokens (N, T, 256)."""
    heads = attention.num_heads
    keys, values = _split(attention.k_proj(k), heads), _split(attention.v_proj(v), heads)  # (N, H, T, c)
    keys = keys * keys.shape[-1] ** -0.5
    # Scores are (N, H, T, hw): a softmax over the few tokens is fast if it is not over the last dimension.
    if len(q) < len(k):
        of_image = keys.unflatten(0, (len(q), -1)).transpose(1, 2).flatten(2, 3)  # (B, H, N / B * T, c)
        scores = of_image @ _split(attention.q_proj(q), heads).transpose(2, 3)
        scores = scores.unflatten(2, (-1, k.shape[1])).transpose(1, 2).flatten(0, 1)
    else:
        met = torch.einsum("nhtc,hcd->nhtd", keys, _by_head(attention.q_proj.weight, heads)).flatten(1, 2)
        bias = (keys @ attention.q_proj.bias.view(heads, -1, 1)).flatten(1, 2)  # (N, HT, 1)
        scores = torch.baddbmm(bias, met, q.transpose(1, 2)).unflatten(1, (heads, -1))
    told = torch.einsum("nhtc,hcd->nhtd", values, attention.out_proj.weight.T.unflatten(0, (heads, -1)))
    shares = scores.softmax(dim=2).flatten(1, 2)
    return torch.baddbmm(attention.out_proj.bias, shares.transpose(1, 2), told.flatten(1, 2))


def _split(x: Tensor, heads: int) -> Tensor:
    """(N, T, H * c) to (N, H, T, c)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _join(x: Tensor) -> Tensor:
    """(N, H, T, c) to (N, T, H * c)."""
    return x.transpose(1, 2).flatten(2)


def _by_head(weight: Tensor, heads: int) -> Tensor:
    """(H * c, 256) to (H, c, 256)."""
    return weight.unflatten(0, (heads, -1))


def _upscale(layers: Any, keys: Tensor) -> Tensor:
    """Double the resolution twice.

    Shape:
        - keys: (N, hw, 256)
        - output: (N, hw, 2, 2, 2, 2, 32): row and column after the first doubling, then after the second
    """
    first, norm, act, second, last = layers
    x = _doubled(first, keys)
    x = act(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    return last(_doubled(second, x))


def _doubled(layer: Any, x: Tensor) -> Tensor:
    """A transposed convolution of kernel and stride 2: (..., c) to (..., 2, 2, c')."""
    weight = layer.weight.permute(2, 3, 1, 0)  # rows, columns, c', c
    y = F.linear(x, weight.flatten(0, 2), layer.bias.repeat(4))
    return y.unflatten(-1, weight.shape[:3])
