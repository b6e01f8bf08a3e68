"""Whole tensors from sharded ones (FSDP2) and back."""

from collections.abc import Mapping

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor; where it is sharded it is gathered, so every process must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def collected(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Return whole tensors in the computer's memory, or nothing in a process that keeps none.

    They are gathered one by one, so a GPU never holds more than one of them whole.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        gathered = whole(tensor)
        if keep:
            found[name] = gathered.cpu()
    return found


def sharded_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor placed and sharded as another one is."""
    if isinstance(like, DTensor):
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return tensor.to(like.device)


def local(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
