"""SAM's mask decoder for many prompts of one image: the same function, the arithmetic ordered for that case.

``Sam.decode`` repeats the image for every prompt, as segment-anything does. Here

- the first layer's keys, values and queries of the image are computed once for all prompts;
- where a head's projection meets an attention over a few tokens, ``(P V) W`` is taken as ``P (V W)``, which needs
  products with the tokens only (the same step as in DeepSeek-V2, https://arxiv.org/abs/2405.04434, section 2.1.2);
- the up-sampling, two transposed convolutions without overlap, is two matrix products in the layout of the tokens.

Results differ by rounding. For evaluation only: no mask prompts, no gradients.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from supersam.sam.model import Masks, Prompts, Sam


def decode_image(model: Sam, embedding: Tensor, prompts: Prompts) -> Masks:
    """Decode prompts of one image.

    Shape:
        - embedding: (1, 256, h, w)
        - prompts: of a batch of one image, without masks
        - Output: as ``Sam.decode``
    """
    decoder: Any = model.mask_decoder
    height, width = embedding.shape[-2:]
    prompted = model._prompt_tokens(prompts)[0]  # (Q, T, 256)
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(prompted), -1, -1), prompted], dim=1)
    image = (embedding + model._dense_prompt(None)).flatten(2).transpose(1, 2)  # (1, hw, 256)
    positions = model.prompt_encoder.pe_layer((height, width)).flatten(1).T  # (hw, 256)
    queries, keys = _transform(decoder.transformer, tokens, image, positions)
    pixels = _upscale(decoder.output_upscaling, keys)  # (Q, hw, 2, 2, 2, 2, 32): rows and columns below a token, twice
    mlps = decoder.output_hypernetworks_mlps
    weights = torch.stack([mlp(queries[:, 1 + number]) for number, mlp in enumerate(mlps)], dim=2)  # (Q, 32, M)
    logits = (pixels.flatten(1, 5) @ weights).unflatten(1, (height, width, 2, 2, 2, 2))
    logits = logits.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(len(tokens), len(mlps), 4 * height, 4 * width)
    return Masks(logits[None], decoder.iou_prediction_head(queries[:, 0])[None])


def _transform(transformer: Any, tokens: Tensor, image: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Run the two-way transformer.

    Shape:
        - tokens: (Q, T, 256); image: (1, hw, 256); positions: (hw, 256)
        - Output: (Q, T, 256) and (Q, hw, 256)
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
        keys = layer.norm4(keys + told)
    looked = _look_at_image(transformer.final_attn_token_to_image, queries + tokens, keys + positions, keys)
    return transformer.norm_final_attn(queries + looked), keys


def _look_at_image(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend from tokens (Q, T, 256) to an image of their own each (Q, hw, 256), or to one for all (1, hw, 256)."""
    if len(k) < len(q):
        return attention(q, k, v)
    heads = attention.num_heads
    asked = _split(attention.q_proj(q), heads)  # (Q, H, T, c)
    scale = asked.shape[-1] ** -0.5
    # The bias of the keys shifts all scores of a token alike, which the softmax does not see.
    asked = asked @ _by_head(attention.k_proj.weight, heads) * scale  # (Q, H, T, 256)
    shares = (asked.flatten(1, 2) @ k.transpose(1, 2)).softmax(dim=-1)  # (Q, HT, hw)
    seen = (shares @ v).unflatten(1, (heads, -1)) @ _by_head(attention.v_proj.weight, heads).transpose(1, 2)
    return attention.out_proj(_join(seen) + attention.v_proj.bias)  # shares sum to 1, so the bias comes whole


def _tell_image(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend from an image (Q or 1, hw, 256) to tokens (Q, T, 256)."""
    heads = attention.num_heads
    keys, values = _split(attention.k_proj(k), heads), _split(attention.v_proj(v), heads)  # (Q, H, T, c)
    scale = keys.shape[-1] ** -0.5
    # Scores are (Q, H, T, hw): a softmax over the few tokens is fast if it is not over the last dimension.
    if len(q) < len(k):
        scores = scale * keys @ _split(attention.q_proj(q), heads).transpose(2, 3)
    else:
        met = (scale * keys @ _by_head(attention.q_proj.weight, heads)).flatten(1, 2)  # (Q, HT, 256)
        bias = (scale * keys @ attention.q_proj.bias.view(heads, -1, 1)).flatten(1, 2)  # (Q, HT, 1)
        scores = torch.baddbmm(bias, met, q.transpose(1, 2)).unflatten(1, (heads, -1))
    told = values @ attention.out_proj.weight.T.unflatten(0, (heads, -1))  # (Q, H, T, 256)
    shares = scores.softmax(dim=2).flatten(1, 2)
    return torch.baddbmm(attention.out_proj.bias, shares.transpose(1, 2), told.flatten(1, 2))


def _split(x: Tensor, heads: int) -> Tensor:
    """(Q, T, H * c) to (Q, H, T, c)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _join(x: Tensor) -> Tensor:
    """(Q, H, T, c) to (Q, T, H * c)."""
    return x.transpose(1, 2).flatten(2)


def _by_head(weight: Tensor, heads: int) -> Tensor:
    """(H * c, 256) to (H, c, 256)."""
    return weight.unflatten(0, (heads, -1))


def _upscale(layers: Any, keys: Tensor) -> Tensor:
    """Double the resolution twice.

    Shape:
        - keys: (Q, hw, 256)
        - Output: (Q, hw, 2, 2, 2, 2, 32): row and column after the first doubling, then after the second
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
