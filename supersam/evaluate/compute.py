"""Where accuracies are computed: the CPU or a GPU, not to be mistaken for the device that is searched for."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from supersam.errors import EnvironmentProblem, UsageError

AUTO = "auto"
KINDS = ("cpu", "cuda", "mps", "xpu")


def kind_of(name: str) -> str:
    """Return the kind of device that is meant: ``cpu``, ``cuda``, ``mps`` or ``xpu``; nothing is allocated there.

    Raises:
        UsageError: if nothing is called so.
    """
    kind, _, number = name.partition(":")
    if name == AUTO:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in KINDS or (":" in name and not number.isdecimal()):
        raise UsageError(f"unknown device {name!r}; there are cpu, cuda, cuda:1, mps, xpu and auto")
    return kind


def compute_device(name: str, option: str, worker: int = 0) -> torch.device:
    """Return where PyTorch is to compute, tried out.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ...; ``auto`` is a CUDA GPU if there is one.
        option: of the command line that asked, for the message.
        worker: which of several processes that share the GPUs: ``auto`` and ``cuda`` give each the next one.

    Raises:
        UsageError: if nothing is called so.
        EnvironmentProblem: if this PyTorch or this machine cannot compute there.
    """
    kind, number = kind_of(name), name.partition(":")[2]
    if kind == "cuda" and not number and torch.cuda.device_count():
        number = str(worker % torch.cuda.device_count())
    device = torch.device(f"{kind}:{number}" if number else kind)
    try:
        (torch.ones(1, device=device) + 1).item()  # a GPU can be there and this PyTorch have no kernels for it
    except (AssertionError, RuntimeError) as problem:
        why = str(problem).splitlines()[0].rstrip(".")
        raise EnvironmentProblem(f"device {device} cannot be used here ({why}); use {option} cpu") from problem
    return device


@contextmanager
def judging() -> Iterator[None]:
    """Compute accuracies: in single precision where else TF32 may stand in, as the CPU does; may decorate a function.

    Raises:
        EnvironmentProblem: if the GPU has too little memory.
    """
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    except torch.OutOfMemoryError as problem:
        torch.cuda.empty_cache()
        raise EnvironmentProblem(
            "the GPU has too little memory to evaluate a subnet beside what else is there; use fewer processes or "
            "compute on the CPU"
        ) from problem
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
