"""What an encoder consists of: the one place that says what is counted, measured and looked up.

A part's key names everything that changes its time, so the profiler, the latency tables and the counts
of MACs and parameters cannot drift apart.
"""

import inspect
import re
from dataclasses import dataclass
from functools import lru_cache

from supersam.space import ops
from supersam.space.architecture import AnyArchitecture, Architecture, Stage, ViTArchitecture

STRIDES = (4, 8, 16, 32)
KINDS = (
    "stem", "downsample", "vit", "repvit", "efficientvit", "rwkv",
    "lateral", "fuse", "sam_patch", "sam_layer", "sam_neck",
)  # fmt: skip
# What the numbers of a key are, by kind: ``vit`` has ("side", "width", "ratio", "window", "head_dim").
ARGUMENTS = {kind: tuple(inspect.signature(getattr(ops, kind)).parameters) for kind in KINDS}


@dataclass(frozen=True)
class Part:
    """One measurable part of an encoder."""

    kind: str  # "stem", "downsample", a block type, "lateral", "fuse", "sam_patch", "sam_layer" or "sam_neck"
    arguments: tuple[int, ...]  # those of the function of the same name in ``supersam.space.ops``

    @property
    def key(self) -> str:
        """For example ``vit:16:128:4:0:16`` (side, width, ratio, window, head_dim)."""
        return ":".join([self.kind, *map(str, self.arguments)])

    @property
    def ops(self) -> ops.Ops:
        return _count(self.kind, self.arguments)


@lru_cache(maxsize=65536)
def _count(kind: str, arguments: tuple[int, ...]) -> ops.Ops:
    count: ops.Ops = getattr(ops, kind)(*arguments)
    return count


def part_from_key(key: str) -> Part:
    """Return the part of a key.

    Raises:
        ValueError: if no part has this key.
    """
    kind, *arguments = key.split(":")
    if kind not in ARGUMENTS:
        raise ValueError(f"there is no kind of part {kind!r} (there: {', '.join(KINDS)})")
    if len(arguments) != len(ARGUMENTS[kind]) or not all(re.fullmatch("0|[1-9][0-9]{0,5}", a) for a in arguments):
        raise ValueError(f"{key!r} is not {kind}:{':'.join(ARGUMENTS[kind])}")
    return Part(kind, tuple(map(int, arguments)))


def effective_window(stage: Stage, side: int) -> int:
    """Return the window that is cut at this side: 0 where one window covers the whole map."""
    return 0 if stage.window >= side else stage.window


def block_part(stage: Stage, index: int, side: int, head_dim: int) -> Part:
    """Return the part of block ``index`` of a stage whose feature map has ``side`` pixels a side."""
    base = (side, stage.width, stage.ratio)
    match stage.block:
        case "vit":
            return Part("vit", (*base, effective_window(stage, side), head_dim))
        case "repvit":
            return Part("repvit", (*base, int(squeezes(index))))
        case "efficientvit":
            return Part("efficientvit", (*base, head_dim))
        case _:
            return Part(stage.block, base)


def squeezes(index: int) -> bool:
    """Return whether RepViT block ``index`` of a stage squeezes and excites: every other one, from the first."""
    return index % 2 == 0


def stage_parts(architecture: Architecture, number: int) -> list[Part]:
    """Return the parts of stage ``number`` (0 to 3): its entry, then its blocks."""
    stage = architecture.stages[number]
    side = architecture.resolution // STRIDES[number]
    if number == 0:
        entry = Part("stem", (architecture.resolution, stage.width))
    else:
        entry = Part("downsample", (2 * side, architecture.stages[number - 1].width, stage.width))
    return [entry, *(block_part(stage, index, side, architecture.head_dim) for index in range(stage.depth))]


def neck_parts(architecture: Architecture) -> list[Part]:
    """Return the parts of the neck: one for each of the stages 2 to 4, then the fusion."""
    laterals = [
        Part("lateral", (level, architecture.resolution // STRIDES[level - 1], architecture.stages[level - 1].width))
        for level in (2, 3, 4)
    ]
    return [*laterals, Part("fuse", (architecture.resolution // 16,))]


def parts(architecture: AnyArchitecture) -> list[Part]:
    """Return every part of an encoder, in the order in which it runs."""
    if isinstance(architecture, ViTArchitecture):
        side = architecture.resolution // 16
        layers = [
            Part("sam_layer", (side, architecture.width, x.heads, architecture.head_dim, x.mlp_width, x.window))
            for x in architecture.layers
        ]
        patch = Part("sam_patch", (architecture.resolution, architecture.width))
        return [patch, *layers, Part("sam_neck", (side, architecture.width))]
    stages = [part for number in range(len(architecture.stages)) for part in stage_parts(architecture, number)]
    return [*stages, *neck_parts(architecture)]


def count(architecture: AnyArchitecture) -> ops.Ops:
    """Return the operations of the whole encoder for one image."""
    return ops.total([part.ops for part in parts(architecture)])
