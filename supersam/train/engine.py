"""Several processes on one training: torchrun starts them, torch's DDP or FSDP2 keeps them together.

A step runs several backward passes over different parts of the weights; only the last one talks to the other
processes. Every process draws the same subnets, so all of them touch the same weights (docs/decisions/0005).
"""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from supersam.errors import ConfigError, EnvironmentProblem
from supersam.train.config import Engine
from supersam.train.stop import Stopped

LOCAL_RANK = "LOCAL_RANK"  # torchrun's: the number of a process on its machine, and of its GPU
PATIENCE = timedelta(hours=2)  # with a process that reads a shard again (docs/scale.md); torch's is 10 minutes on GPUs


@dataclass(frozen=True)
class Workers:
    """Which process this is, of how many, and where it computes."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0


@contextmanager
def workers(engine: Engine) -> Iterator[Workers]:
    """Join the other processes of a torchrun, if there are any, and leave them where all do.

    A process that fails by itself just ends: to leave is to wait for the others, who wait for it in the middle of a
    step, and torchrun, which ends them once a process is gone, would hear of nothing.

    Raises:
        EnvironmentProblem: if what is done meanwhile needs more memory than the GPU has.
    """
    device = device_of(engine)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Workers(dist.get_rank(), world, device) if world > 1 else Workers(0, 1, device)
    except Stopped:  # by agreement
        _leave(world)
        raise
    except torch.OutOfMemoryError as problem:
        raise EnvironmentProblem(
            "the GPU has too little memory for this training; try engine.activation_checkpointing: true, "
            "engine.autocast: all, or a smaller images_per_step with a larger engine.accumulate"
        ) from problem
    _leave(world)


def wrap(objective: nn.Module, engine: Engine, group: Workers) -> nn.Module:
    """Make a module average its gradients over the processes."""
    if group.world == 1:
        return objective
    if engine.strategy == "fsdp":
        mesh = init_device_mesh(group.device.type, (group.world,))
        fully_shard(objective, mesh=mesh)
        return objective
    # The weight of a depth-wise convolution has two equal layouts; DDP warns of the one that channels_last gives.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
    return DistributedDataParallel(objective, find_unused_parameters=True)


@contextmanager
def synchronized(module: nn.Module, last: bool) -> Iterator[None]:
    """Hold back the exchange of gradients until the last backward pass of a step."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(last)
        yield
    elif isinstance(module, DistributedDataParallel) and not last:
        with module.no_sync():
            yield
    else:
        yield


def agreed(flag: bool, group: Workers) -> bool:
    """Return whether any process raised the flag; all of them get the same answer."""
    return mean(float(flag), group) > 0


def mean(value: float, group: Workers) -> float:
    """Return the mean over all processes."""
    if group.world == 1:
        return value
    shared = torch.tensor(value, device=group.device, dtype=torch.float64)
    dist.all_reduce(shared)
    return shared.item() / group.world


def gathered(value: Any, group: Workers) -> list[Any]:
    """Return what every process has to say, in their order."""
    if group.world == 1:
        return [value]
    values: list[Any] = [None] * group.world
    dist.all_gather_object(values, value)
    return values


def wait(group: Workers) -> None:
    """Wait until every process is here."""
    if group.world > 1:
        dist.barrier()


def reduced_precision(engine: Engine, group: Workers) -> str:
    """Return where bfloat16 is used: as asked, or nowhere on a device that can only emulate it, far slower."""
    if engine.autocast == "none" or _multiplies_bfloat16(group.device):
        return engine.autocast
    if group.first:
        kind = "GPU" if group.device.type == "cuda" else "processor"
        print(f"engine.autocast: {engine.autocast} is left out: this {kind} has no bfloat16", file=sys.stderr)
    return "none"


def _leave(world: int) -> None:
    if world > 1:
        dist.destroy_process_group()


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # what torch itself asks before it uses oneDNN's kernels


def device_of(engine: Engine) -> torch.device:
    """Return where a process computes: as asked, of several GPUs the one that torchrun meant for it.

    Raises:
        ConfigError: if a GPU is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if engine.device == "cuda" and not available:
        raise ConfigError("engine.device is cuda and torch finds no GPU here; say cpu or auto")
    if engine.device == "cpu" or not available:
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get(LOCAL_RANK, "0")))
    torch.cuda.set_device(device)
    return device
