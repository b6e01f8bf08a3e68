"""How much memory an encoder needs at most, counted on paper."""

from supersam.space import AnyArchitecture, Architecture, parts
from supersam.space.parts import STRIDES

BYTES = 4  # fp32


def memory_mb(architecture: AnyArchitecture) -> float:
    """Return an upper bound of the megabytes of weights and activations for one fp32 image.

    All weights, the outputs of the stages that the neck still needs, and every tensor that the largest part
    reads or writes, as if none of them were freed before the part ends.
    """
    found = [part.ops for part in parts(architecture)]
    held = 0
    if isinstance(architecture, Architecture):
        sides = [architecture.resolution // stride for stride in STRIDES]
        held = sum(stage.width * side**2 for stage, side in zip(architecture.stages[1:], sides[1:], strict=True))
    weights = sum(ops.params for ops in found)
    return BYTES * (weights + held + max(ops.traffic for ops in found)) / 1e6
