"""AdamW with a cosine schedule, and its state as named tensors so that it can be saved without pickle."""

import math

import torch
from torch import Tensor, nn

from supersam.checkpoints.supernets import OPTIMIZER_PREFIX

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def make_optimizer(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW over the weights; norms, biases and other vectors are not decayed."""
    parameters = list(model.named_parameters())
    decayed = [parameter for _, parameter in parameters if parameter.ndim >= 2]
    plain = [parameter for _, parameter in parameters if parameter.ndim < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.99))


def learning_rate_at(step: int, steps: int, peak: float, warmup: int) -> float:
    """Return the rate of a step: linear warm-up, then half a cosine to zero."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the state of the optimizer by parameter name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{OPTIMIZER_PREFIX}{moment}.{names[id(parameter)]}": state[moment]
        for parameter, state in optimizer.state.items()
        for moment in _MOMENTS
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put back what ``optimizer_tensors`` returned."""
    for name, parameter in model.named_parameters():
        state = {moment: tensors.get(f"{OPTIMIZER_PREFIX}{moment}.{name}") for moment in _MOMENTS}
        if all(tensor is not None for tensor in state.values()):
            optimizer.state[parameter] = {moment: tensor.clone() for moment, tensor in state.items()}  # type: ignore[union-attr]
