"""What can be chosen: block types, search spaces, architectures and what they cost (no torch)."""

from supersam.space.architecture import (
    AnyArchitecture,
    Architecture,
    Layer,
    Stage,
    ViTArchitecture,
    architecture_from_dict,
    architecture_from_json,
)
from supersam.space.block_types import BLOCK_TYPES, BlockType
from supersam.space.parts import Part, count, parts
from supersam.space.search_space import SearchSpace, StagedSpace, ViTSpace, load_space, shipped_spaces, summary

__all__ = [
    "BLOCK_TYPES",
    "AnyArchitecture",
    "Architecture",
    "BlockType",
    "Layer",
    "Part",
    "SearchSpace",
    "Stage",
    "StagedSpace",
    "ViTArchitecture",
    "ViTSpace",
    "architecture_from_dict",
    "architecture_from_json",
    "count",
    "load_space",
    "parts",
    "shipped_spaces",
    "summary",
]
