"""BatchNorm statistics of one subnet: those of the supernet belong to no subnet (https://arxiv.org/abs/1903.05134)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from supersam.evaluate.compute import judging


@judging()
def recalibrate(encoder: nn.Module, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Set the BatchNorm statistics of a plain encoder to the means over some batches, and return them by name.

    Works on an extracted encoder, where its weights are, never on the supernet. Without BatchNorm nothing runs.
    """
    norms = {name: module for name, module in encoder.named_modules() if isinstance(module, nn.BatchNorm2d)}
    if not norms:
        return {}
    momenta = {name: norm.momentum for name, norm in norms.items()}
    was_training, device = encoder.training, next(encoder.parameters()).device
    encoder.eval()
    for norm in norms.values():
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.train()
    try:
        with torch.inference_mode():
            for batch in batches:
                encoder(batch.to(device))
    finally:
        for name, norm in norms.items():
            norm.momentum = momenta[name]
        encoder.train(was_training)
    return batch_norm_statistics(encoder)


def batch_norm_statistics(encoder: nn.Module) -> dict[str, Tensor]:
    """Return the running means and variances of an encoder by name."""
    return {
        name: buffer.detach().clone()
        for name, buffer in encoder.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    }
