"""SAM's training losses (https://arxiv.org/abs/2304.02643, appendix A), on soft masks at stride 4.

Objects here are often a hundredth of the image, and from fresh weights the plain focal loss settles at empty masks.
So a training may begin with a focal loss that gives object and background equal weight (``config.BalancedLoss``).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from supersam.sam.model import MULTIMASK, Masks
from supersam.train.config import FocalLoss

SAM_FOCAL = FocalLoss()
FOCAL_GAMMA = 2.0
BALANCED_WEIGHT = 2.0


def focal_loss(logits: Tensor, target: Tensor, object_weight: float = SAM_FOCAL.alpha) -> Tensor:
    """Return the focal loss (https://arxiv.org/abs/1708.02002) of each mask; targets may be shares of a pixel.

    Args:
        object_weight: the paper's alpha; a pixel beside the object has 1 - alpha.

    Shape:
        - logits, target: (..., H, W); output: (...)
    """
    probability = torch.sigmoid(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    alpha = object_weight * target + (1 - object_weight) * (1 - target)
    return (alpha * (probability - target).abs() ** FOCAL_GAMMA * entropy).mean(dim=(-2, -1))


def balanced_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the focal loss with object and background averaged apart, so that both weigh the same.

    Shape:
        - logits, target: (..., H, W); output: (...)
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = (torch.sigmoid(logits) - target).abs() ** FOCAL_GAMMA * entropy
    background = 1 - target
    inside = (focal * target).sum(dim=(-2, -1)) / target.sum(dim=(-2, -1)).clamp(min=1)
    outside = (focal * background).sum(dim=(-2, -1)) / background.sum(dim=(-2, -1)).clamp(min=1)
    return inside + outside


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the dice loss (https://arxiv.org/abs/1606.04797) of each mask.

    Shape:
        - logits, target: (..., H, W); output: (...)
    """
    probability = torch.sigmoid(logits)
    overlap = 2 * (probability * target).sum(dim=(-2, -1))
    return 1 - (overlap + 1) / (probability.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1)) + 1)


def soft_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Return the intersection over union of the thresholded mask with a soft target, without gradient."""
    predicted = (logits.detach() > 0).to(target.dtype)
    overlap = (predicted * target).sum(dim=(-2, -1))
    union = (predicted + target - predicted * target).sum(dim=(-2, -1))
    return overlap / union.clamp(min=1e-6)


def prompt_loss(
    masks: Masks, targets: Tensor, n_points: int, balance: float = 0.0, focal: FocalLoss = SAM_FOCAL
) -> Tensor:
    """Return the loss of a batch whose first ``n_points`` prompts are points and whose rest are boxes.

    A point is ambiguous: only the best of its three masks learns. A box uses the single mask. The IoU head
    learns the true overlap of every mask that was judged.

    Shape:
        - masks.logits: (B, Q, 4, h, w); targets: (B, Q, h, w); output: a scalar
    """
    every = targets.unsqueeze(2)
    points, boxes = masks.logits[:, :n_points, MULTIMASK], masks.logits[:, n_points:, :1]
    losses = []
    for logits, target, iou in (
        (points, every[:, :n_points], masks.iou[:, :n_points, MULTIMASK]),
        (boxes, every[:, n_points:], masks.iou[:, n_points:, :1]),
    ):
        if logits.shape[1] == 0:
            continue
        target = target.expand_as(logits)
        mask_loss = _focal(logits, target, balance, focal) + dice_loss(logits, target)
        iou_loss = (iou - soft_iou(logits, target)).square().mean(dim=2)
        losses.append(mask_loss.min(dim=2).values + iou_loss)
    return torch.cat(losses, dim=1).mean()


def _focal(logits: Tensor, target: Tensor, balance: float, focal: FocalLoss) -> Tensor:
    loss = torch.zeros(())
    if balance > 0:
        loss = loss + balance * BALANCED_WEIGHT * balanced_focal_loss(logits, target)
    if balance < 1:
        loss = loss + (1 - balance) * focal.weight * focal_loss(logits, target, focal.alpha)
    return loss
