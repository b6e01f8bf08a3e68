"""Interactive training: first answers by a click or a box, then clicks on what is wrong.

As in SAM (https://arxiv.org/abs/2304.02643, appendix A): a corrective click is drawn from where answer and mask
differ, and the last answer may come along as a mask prompt.
"""

import torch
from torch import Tensor

from supersam.sam.model import FRAME, MULTIMASK, TOP_LEFT, Masks, Prompts, corners


def answers(masks: Masks, n_points: int) -> Tensor:
    """Return the answer to each prompt: of a first click's three masks the one of the highest predicted IoU.

    Shape:
        - masks.logits: (B, Q, 4, h, w), those of ``n_points`` clicks first
        - Output: (B, Q, h, w), without gradient
    """
    best = masks.iou[:, :n_points, MULTIMASK].argmax(dim=2) + MULTIMASK.start
    chosen = torch.cat([best, best.new_zeros(best.shape[0], masks.iou.shape[1] - n_points)], dim=1)
    index = chosen[..., None, None, None].expand(-1, -1, 1, *masks.logits.shape[-2:])
    return masks.logits.detach().gather(2, index).squeeze(2)


def corrective_clicks(
    logits: Tensor, targets: Tensor, generator: torch.Generator, share: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Draw a click from where each answer is wrong; where none is, from the object.

    Shape:
        - logits, targets: (B, Q, h, w) at stride 4; targets 0 to 1
        - share: (B, 1, h, w), how far the image covers a pixel: nobody clicks on its padding; None: there is none
        - Output: points (B, Q, 2) in the 1024 frame, and labels (B, Q): 1 on the object, 0 beside it
    """
    inside = _on_the_object(targets)
    wrong = (logits > 0) != inside
    if share is not None:
        wrong &= share > 0.5
    allowed = torch.where(wrong.flatten(2).any(2)[..., None, None], wrong, inside).flatten(2)
    drawn = draw_pixel(allowed, generator)
    points = in_frame(drawn, targets.shape[-1])
    labels = inside.flatten(2).gather(2, drawn.unsqueeze(2)).squeeze(2)
    return points, labels.float()


def _on_the_object(targets: Tensor) -> Tensor:
    """Return the pixels more than half covered; of an object too thin for any, those that it covers most."""
    peak = targets.flatten(2).amax(2)[..., None, None]
    return (targets > 0.5) | ((peak <= 0.5) & (targets == peak) & (targets > 0))


def draw_pixel(allowed: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return for every mask the index of a random allowed pixel; of any pixel if none is allowed.

    Shape:
        - allowed: (B, Q, n), boolean; output: (B, Q)
    """
    weights = torch.where(allowed.any(2, keepdim=True), allowed, torch.ones_like(allowed)).float().flatten(0, 1)
    device = generator.device if generator else weights.device
    drawn = torch.multinomial(weights.to(device), 1, generator=generator).to(weights.device)
    return drawn.view(allowed.shape[:2])


def in_frame(index: Tensor, width: int) -> Tensor:
    """Return the middle of a pixel of a square of ``width`` pixels in the 1024 frame.

    Shape:
        - index: (B, Q), row by row; output: (B, Q, 2), x and y
    """
    # SAM adds half a pixel of the frame itself
    return torch.stack([index % width, index // width], dim=-1).float().add(0.5) * (FRAME / width) - 0.5


def as_points(prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Return prompts of one click and of a box as points with labels.

    Beside boxes a click gets SAM's empty point here; without them the decoder adds it.

    Shape:
        - Output: (B, Q, P, 2) and (B, Q, P); P is 2 with boxes, else 1
    """
    parts = []
    if prompts.boxes is None:
        assert prompts.points is not None
        assert prompts.labels is not None
        return prompts.points, prompts.labels
    if prompts.points is not None and prompts.labels is not None:
        empty = torch.zeros_like(prompts.points[:, :, :1])
        labels = torch.cat([prompts.labels, torch.full_like(prompts.labels[..., :1], -1.0)], dim=2)
        parts.append((torch.cat([prompts.points, empty], dim=2), labels))
    parts.append(corners(prompts.boxes))
    points, marks = zip(*parts, strict=True)
    return torch.cat(points, dim=1), torch.cat(marks, dim=1)


def with_click(points: Tensor, labels: Tensor, click: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Put a click before the corners or the empty point, where SAM has it.

    Shape:
        - points: (B, Q, P, 2); labels: (B, Q, P); click: (B, Q, 2); label: (B, Q)
        - Output: (B, Q, P + 1, 2) and (B, Q, P + 1)
    """
    order = (labels < 0) | (labels >= TOP_LEFT)  # sorted by this, clicks stay first
    joined = torch.cat([points, click.unsqueeze(2)], dim=2)
    marks = torch.cat([labels, label.unsqueeze(2)], dim=2)
    behind = torch.cat([order, torch.zeros_like(order[..., :1])], dim=2)
    index = behind.int().argsort(dim=2, stable=True)
    return joined.gather(2, index.unsqueeze(-1).expand_as(joined)), marks.gather(2, index)
