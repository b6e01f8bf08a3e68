"""Where accuracies are computed: the CPU or a GPU, not to be mistaken for the device that is searched for."""

import torch

from supersam.errors import EnvironmentProblem, UsageError

AUTO = "auto"


def compute_device(name: str, option: str, worker: int = 0) -> torch.device:
    """Return where PyTorch is to compute.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ...; ``auto`` is the GPU if there is one.
        option: of the command line that asked, for the message.
        worker: which of several processes that share the GPUs: ``auto`` and ``cuda`` give each the next one.

    Raises:
        UsageError: if there is no such kind of device.
        EnvironmentProblem: if this PyTorch or this machine has none.
    """
    kind, _, number = name.partition(":")
    if name == AUTO:
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and not number and torch.cuda.device_count():
        number = str(worker % torch.cuda.device_count())
    wanted = f"{kind}:{number}" if number else kind
    if kind == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # else convolutions keep 10 bits, and accuracies are other than a CPU's
    try:
        return torch.empty(1, device=wanted).device
    except AssertionError as problem:  # torch was built for the CPU alone
        raise EnvironmentProblem(f"there is no device {name} for this PyTorch; use {option} cpu") from problem
    except RuntimeError as problem:
        if kind in ("cuda", "mps", "xpu"):
            raise EnvironmentProblem(f"device {name} cannot be used: {str(problem).splitlines()[0]}") from problem
        raise UsageError(f"unknown device {name!r}; there are cpu, cuda, cuda:1, ... and auto") from problem
