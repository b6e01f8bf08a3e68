"""AdamW with warm-up, cosine and layer-wise rates; its state as named tensors, so that it is saved without pickle."""

import math

import torch
from torch import Tensor, nn

from supersam.checkpoints.supernets import TRAINING
from supersam.train.config import Optimization
from supersam.train.sharding import sharded_like

PREFIX = TRAINING + "optimizer."
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_ENCODER = "model.image_encoder.store."  # names as in Objective
_POSITIONS = (".pos_embed", ".rel_pos_")
_TOKENS = (".point_embeddings.", ".not_a_point_embed.", ".no_mask_embed.", ".iou_token.", ".mask_tokens.")
_UNDECAYED = _POSITIONS + _TOKENS  # as in SAM's and ViT's recipes


def make_optimizer(model: nn.Module, config: Optimization) -> torch.optim.AdamW:
    """Return AdamW over the weights; norms, biases and other vectors, positions and tokens are not decayed.

    With ``layer_decay`` below 1 the rates fall from the neck towards the image, as in the fine-tuning of pre-trained
    encoders (https://arxiv.org/abs/2106.08254); each group keeps its factor as ``rate_factor``.
    """
    depth = _depth(model)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        factor = config.layer_decay ** (depth - _level(name, depth))
        decayed = parameter.ndim >= 2 and not any(part in name for part in _UNDECAYED)
        decay = config.weight_decay if decayed else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "rate_factor": factor}
            for (factor, decay), parameters in groups.items()
        ],
        lr=config.learning_rate,
        betas=(0.9, 0.99),
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, config: Optimization) -> float:
    """Set the rate of every group for a step and return that of the decoder."""
    rate = learning_rate_at(step, steps, config)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]
    return rate


def learning_rate_at(step: int, steps: int, config: Optimization) -> float:
    """Return the rate of a step: linear warm-up, then half a cosine down to the final share of the peak."""
    peak, last = config.learning_rate, config.learning_rate * config.final_learning_rate
    warmup = min(config.warmup_steps, steps // 2)
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return last + (peak - last) * 0.5 * (1 + math.cos(math.pi * progress))


def _level(name: str, depth: int) -> int:
    """Return how far a parameter is from the image: 0 at the patches or in the first stage, ``depth`` behind them."""
    if not name.startswith(_ENCODER):
        return depth
    kind, _, rest = name.removeprefix(_ENCODER).partition(".")
    if kind in ("stages", "blocks"):
        return int(rest.split(".")[0]) + (kind == "blocks")
    return 0 if kind in ("patch_embed", "pos_embed") else depth


def _depth(model: nn.Module) -> int:
    return 1 + max(_level(name, 0) for name, _ in model.named_parameters())


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the state of the optimizer by parameter name, sharded as the parameters are."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{PREFIX}{moment}.{names[parameter]}": state[moment]
        for parameter, state in optimizer.state.items()
        for moment in _MOMENTS
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put back what ``optimizer_tensors`` returned."""
    for name, parameter in model.named_parameters():
        state = {moment: tensors.get(f"{PREFIX}{moment}.{name}") for moment in _MOMENTS}
        if all(tensor is not None for tensor in state.values()):
            optimizer.state[parameter] = {
                moment: _placed(moment, tensor.clone(), parameter)  # type: ignore[union-attr]
                for moment, tensor in state.items()
            }


def _placed(moment: str, tensor: Tensor, parameter: nn.Parameter) -> Tensor:
    # a fused step counts on the device of its weights
    return tensor.to(parameter.device) if moment == "step" else sharded_like(tensor, parameter)
