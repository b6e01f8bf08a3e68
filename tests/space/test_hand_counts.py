"""MACs of one block of each type counted by hand, beside those of two programs, of which one misses fused attention."""

import pytest
import timm.layers
import torch
from torch.utils.flop_counter import FlopCounterMode

from supersam.profile.modules import build_part
from supersam.space import BLOCK_TYPES, Part
from supersam.space.parts import part_from_key

TOKENS, WIDTH, HIDDEN = 8 * 8, 32, 64
BY_HAND = {
    # queries, keys and values; two products in four windows of 16 tokens; output; two layers of the MLP
    "vit:8:32:2:4:16": TOKENS * WIDTH * (3 * WIDTH)
    + 2 * 4 * (16 * 16 * WIDTH)
    + TOKENS * WIDTH * WIDTH
    + 2 * TOKENS * WIDTH * HIDDEN,
    # the same with one window of 64 tokens
    "vit:8:32:2:0:16": TOKENS * WIDTH * (3 * WIDTH)
    + 2 * (TOKENS * TOKENS * WIDTH)
    + TOKENS * WIDTH * WIDTH
    + 2 * TOKENS * WIDTH * HIDDEN,
    # depth-wise 3x3; squeeze to 8 channels and excite; two point-wise layers
    "repvit:8:32:2:1": TOKENS * WIDTH * 9 + 2 * WIDTH * 8 + 2 * TOKENS * WIDTH * HIDDEN,
    # queries, keys and values; their depth-wise 5x5 and grouped 1x1; keys x values (and a one for the sum), then
    # queries x that, for two heads of 16 channels at two scales; output; expand, depth-wise 3x3, project
    "efficientvit:8:32:2:16": TOKENS * WIDTH * (3 * WIDTH)
    + TOKENS * (3 * WIDTH) * 25
    + TOKENS * (3 * WIDTH) * 16
    + 2 * (2 * 2 * TOKENS * 16 * (16 + 1))
    + TOKENS * (2 * WIDTH) * WIDTH
    + TOKENS * WIDTH * HIDDEN
    + TOKENS * HIDDEN * 9
    + TOKENS * HIDDEN * WIDTH,
    # receptance, key, value and output; key, value and receptance of the channel mix; the scan has no products
    "rwkv:8:32:2": 4 * TOKENS * WIDTH * WIDTH + 2 * TOKENS * WIDTH * HIDDEN + TOKENS * WIDTH * WIDTH,
}
FUSED = {"vit:8:32:2:4:16": 2 * 4 * (16 * 16 * WIDTH), "vit:8:32:2:0:16": 2 * (TOKENS * TOKENS * WIDTH)}


def macs(part: Part) -> int:
    return part.ops.dense_macs + part.ops.depthwise_macs


def test_every_block_type_is_counted_by_hand() -> None:
    assert {key.split(":")[0] for key in BY_HAND} == set(BLOCK_TYPES)


@pytest.mark.parametrize("key", BY_HAND)
def test_counts_are_those_done_by_hand(key: str) -> None:
    assert macs(part_from_key(key)) == BY_HAND[key]


@pytest.mark.parametrize("key", BY_HAND)
def test_torch_counts_the_same_but_for_fused_attention_at_most(key: str) -> None:
    """Newer versions of torch know the fused operator, older ones leave it out."""
    module, x = build_part(part_from_key(key))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)

    assert counter.get_total_flops() / 2 in (BY_HAND[key], BY_HAND[key] - FUSED.get(key, 0))


@pytest.mark.parametrize("key", FUSED)
@pytest.mark.filterwarnings("ignore")  # fvcore scripts and traces, which torch deprecates
def test_fvcore_misses_fused_attention(key: str) -> None:
    from fvcore.nn import FlopCountAnalysis

    assert timm.layers.use_fused_attn()
    module, x = build_part(part_from_key(key))
    counter = FlopCountAnalysis(module, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    operators = counter.by_operator()

    assert counter.unsupported_ops()["aten::scaled_dot_product_attention"] == 1
    # Its count of norms is no count of MACs, so only products are compared.
    assert sum(operators[name] for name in ("linear", "conv", "matmul", "bmm")) == BY_HAND[key] - FUSED[key]
