"""An exponential moving average of the weights, which segments better than the weights of the last step.

torch's ``AveragedModel`` copies the module, which a sharded one does not allow; this keeps tensors alone.
"""

import torch
from torch import Tensor, nn

from supersam.checkpoints.supernets import AVERAGE
from supersam.train.sharding import local, sharded_like


class WeightAverage:
    """Keeps ``average = decay * average + (1 - decay) * weights``; early on it follows faster."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = dict(model.named_parameters())
        self._average = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        averages = [local(tensor) for tensor in self._average.values()]
        torch._foreach_lerp_(averages, [local(parameter) for parameter in self._parameters.values()], weight)

    def by_name(self) -> dict[str, Tensor]:
        """Return the average by parameter name, sharded as the parameters are."""
        return dict(self._average)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state, to be saved."""
        return {f"{AVERAGE}{name}": tensor for name, tensor in self.by_name().items()}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what ``tensors`` returned."""
        for name, tensor in self._average.items():
            tensor.copy_(sharded_like(tensors[f"{AVERAGE}{name}"], tensor))
