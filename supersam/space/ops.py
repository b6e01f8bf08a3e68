"""What each part of an encoder costs in operations, counted on paper so that no network has to be built.

MACs are those of the form that is deployed (RepViT branches fused, BatchNorm folded) and agree with
``torch.utils.flop_counter`` (tests/space/test_ops.py); elementwise operations count none.
Traffic is every kernel's inputs, outputs and weights; a kernel is a convolution, matrix product, norm,
softmax, scan or copy (BatchNorm, activations and additions are taken as fused), the definition behind the
calibration rows of the Jetson model (experiments/0001-jetson-agx-orin).
Parameters are those of the checkpoint, before any branch is fused.
"""

from typing import NamedTuple

EMBEDDING = 256  # channels of SAM's image embedding


class Ops(NamedTuple):
    """Operations of one part for one image."""

    dense_macs: int  # convolutions over all channels, linear layers, matrix products
    depthwise_macs: int
    traffic: int  # elements read and written
    kernels: int
    params: int

    def plus(self, other: "Ops") -> "Ops":
        return Ops(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def gmacs(self) -> float:
        return (self.dense_macs + self.depthwise_macs) / 1e9


NOTHING = Ops(0, 0, 0, 0, 0)


def total(parts: list[Ops]) -> Ops:
    """Return the sum over parts."""
    return Ops(*(sum(column) for column in zip(*parts, strict=True))) if parts else NOTHING


def _conv(c_in: int, c_out: int, kernel: int, side_in: int, side_out: int, extra_params: int) -> Ops:
    weights = c_in * c_out * kernel**2
    moved = c_in * side_in**2 + c_out * side_out**2 + weights
    return Ops(weights * side_out**2, 0, moved, 1, weights + extra_params)


def _depthwise(channels: int, kernel: int, side: int, extra_params: int) -> Ops:
    weights = channels * kernel**2
    return Ops(0, weights * side**2, 2 * channels * side**2 + weights, 1, weights + extra_params)


def _linear(c_in: int, c_out: int, tokens: int, extra_params: int = 0) -> Ops:
    weights = c_in * c_out
    return Ops(weights * tokens, 0, (c_in + c_out) * tokens + weights, 1, weights + extra_params)


def _pointwise(elements: int, kernels: int = 1, params: int = 0) -> Ops:
    """A norm, softmax, scan or copy: one read and one write of ``elements`` for each kernel."""
    return Ops(0, 0, 2 * elements * kernels, kernels, params)


def stem(resolution: int, width: int) -> Ops:
    """Two 3x3 stride-2 convolutions and the positional depth-wise convolution of the first stage."""
    half = width // 2
    return total(
        [
            _conv(3, half, 3, resolution, resolution // 2, 2 * half),
            _conv(half, width, 3, resolution // 2, resolution // 4, 2 * width),
            _depthwise(width, 3, resolution // 4, width),
        ]
    )


def downsample(side_in: int, c_in: int, c_out: int) -> Ops:
    """A 3x3 stride-2 convolution and the positional depth-wise convolution of the stage."""
    side = side_in // 2
    return _conv(c_in, c_out, 3, side_in, side, 2 * c_out).plus(_depthwise(c_out, 3, side, c_out))


def _attention(tokens: int, keys: int, dim: int, heads: int) -> Ops:
    scores = heads * tokens * keys
    products = Ops(2 * tokens * keys * dim, 0, 4 * tokens * dim + 2 * scores, 2, 0)
    return products.plus(_pointwise(scores))


def vit(side: int, width: int, ratio: int, window: int, head_dim: int) -> Ops:
    """timm's ``vision_transformer.Block`` on windows of ``window`` tokens a side (0: the whole map)."""
    tokens = side**2
    keys = window**2 or tokens
    hidden = ratio * width
    parts = [
        _pointwise(tokens * width, params=2 * width),
        _linear(width, 3 * width, tokens, 3 * width),
        _attention(tokens, keys, width, width // head_dim),
        _linear(width, width, tokens, width),
        _pointwise(tokens * width, params=2 * width),
        _linear(width, hidden, tokens, hidden),
        _linear(hidden, width, tokens, width),
    ]
    if window:
        parts.append(_pointwise(tokens * width, kernels=2))
    return total(parts)


def squeeze_width(width: int) -> int:
    """Return the hidden channels of RepViT's squeeze-and-excite: a quarter, to the nearest multiple of 8."""
    return max(8, int(width / 4 + 4) // 8 * 8)


def repvit(side: int, width: int, ratio: int, squeeze: bool) -> Ops:
    """timm's ``repvit.RepViTBlock``; every other block of a stage squeezes and excites, as published."""
    hidden = ratio * width
    branch_params = 2 * width + 2 * width + 2 * width  # two BatchNorms and the 1x1 branch with its bias
    parts = [_depthwise(width, 3, side, branch_params)]
    if squeeze:
        reduced = squeeze_width(width)
        parts += [
            _pointwise(width * side**2),
            _linear(width, reduced, 1, reduced),
            _linear(reduced, width, 1, width),
            _pointwise(width * side**2),
        ]
    parts += [_linear(width, hidden, side**2, 2 * hidden), _linear(hidden, width, side**2, 2 * width)]
    return total(parts)


def efficientvit(side: int, width: int, ratio: int, head_dim: int) -> Ops:
    """timm's ``efficientvit_mit.EfficientVitBlock``: multi-scale ReLU linear attention, then MBConv."""
    tokens, hidden, qkv = side**2, ratio * width, 3 * width
    per_head = qkv * head_dim  # weights of the grouped 1x1 convolution
    product = 2 * width * (head_dim + 1)  # heads of both scales together: keys x values, then queries
    state = 2 * width // head_dim * head_dim * (head_dim + 1)
    return total(
        [
            _linear(width, qkv, tokens),
            _depthwise(qkv, 5, side, 0),
            Ops(per_head * tokens, 0, 2 * qkv * tokens + per_head, 1, per_head),
            _pointwise(2 * qkv * tokens),  # both scales joined
            Ops(2 * product * tokens, 0, 2 * (4 * width * tokens + state), 2, 0),
            _pointwise(2 * width * tokens),
            _linear(2 * width, width, tokens, 2 * width),
            _linear(width, hidden, tokens, hidden),
            _depthwise(hidden, 3, side, hidden),
            _linear(hidden, width, tokens, 2 * width),
        ]
    )


def rwkv(side: int, width: int, ratio: int) -> Ops:
    """Vision-RWKV's block: spatial mix by the bidirectional WKV scan, then channel mix."""
    tokens, hidden = side**2, ratio * width
    size = tokens * width
    return total(
        [
            _pointwise(size, params=2 * width),
            _pointwise(size, kernels=4, params=3 * width),  # shift and three interpolations
            *(_linear(width, width, tokens) for _ in range(3)),
            _pointwise(size, kernels=8, params=2 * width),  # exponentials and four cumulative sums
            _linear(width, width, tokens, width),  # and the scale of the residual
            _pointwise(size, params=2 * width),
            _pointwise(size, kernels=3, params=2 * width),
            _linear(width, hidden, tokens),
            _linear(hidden, width, tokens),
            _linear(width, width, tokens, width),
        ]
    )


def lateral(level: int, side: int, width: int) -> Ops:
    """One input of the neck; ``side`` is that of the stage, level 2 is stride 8, 3 is 16, 4 is 32."""
    if level == 2:
        return _conv(width, EMBEDDING, 2, side, side // 2, 0)
    mapped = _conv(width, EMBEDDING, 1, side, side, 0)
    return mapped if level == 3 else mapped.plus(Ops(0, 0, EMBEDDING * side**2 * 5, 1, 0))


def fuse(side: int) -> Ops:
    """The neck behind its inputs: norm, depth-wise and point-wise convolution, norm."""
    size = EMBEDDING * side**2
    return total(
        [
            _pointwise(size, params=2 * EMBEDDING),
            _depthwise(EMBEDDING, 3, side, EMBEDDING),
            _linear(EMBEDDING, EMBEDDING, side**2, EMBEDDING),
            _pointwise(size, params=2 * EMBEDDING),
        ]
    )


def sam_patch(resolution: int, width: int) -> Ops:
    """SAM ViT's patch embedding (16x16) and absolute position embedding."""
    side = resolution // 16
    return _conv(3, width, 16, resolution, side, width + side**2 * width)


def sam_layer(side: int, width: int, heads: int, head_dim: int, mlp_width: int, window: int) -> Ops:
    """timm's ``vision_transformer_sam.Block``: windows are padded, positions are relative and decomposed."""
    tokens, reach = side**2, window or side
    padded = (-(-side // reach) * reach) ** 2
    inner = heads * head_dim
    relative = padded * inner * 2 * reach
    parts = [
        _pointwise(tokens * width, params=2 * width),
        _linear(width, 3 * inner, padded, 3 * inner),
        _attention(padded, reach**2, inner, heads),
        Ops(relative, 0, 2 * padded * inner + 2 * heads * padded * reach, 2, 2 * (2 * reach - 1) * head_dim),
        _linear(inner, width, padded, width),
        _pointwise(tokens * width, params=2 * width),
        _linear(width, mlp_width, tokens, mlp_width),
        _linear(mlp_width, width, tokens, width),
    ]
    if window:
        parts.append(_pointwise(padded * width, kernels=2))
    return total(parts)


def sam_neck(side: int, width: int) -> Ops:
    """SAM's own neck: 1x1 convolution, norm, 3x3 convolution, norm."""
    size = EMBEDDING * side**2
    return total(
        [
            _conv(width, EMBEDDING, 1, side, side, 0),
            _pointwise(size, params=2 * EMBEDDING),
            _conv(EMBEDDING, EMBEDDING, 3, side, side, 0),
            _pointwise(size, params=2 * EMBEDDING),
        ]
    )
