"""SAM's losses against hand-made values."""

import math

import pytest
import torch

from supersam.sam.model import Masks
from supersam.train.config import FocalLoss
from supersam.train.losses import balanced_focal_loss, dice_loss, focal_loss, prompt_loss, soft_iou


def test_focal_loss_of_a_pixel_is_the_formula_of_the_paper():
    logit, p = torch.tensor([[0.8]]), 1 / (1 + math.exp(-0.8))

    inside = focal_loss(logit, torch.ones(1, 1)).item()
    outside = focal_loss(logit, torch.zeros(1, 1)).item()

    assert inside == pytest.approx(-0.25 * (1 - p) ** 2 * math.log(p), rel=1e-5)
    assert outside == pytest.approx(-0.75 * p**2 * math.log(1 - p), rel=1e-5)


def test_alpha_of_the_focal_loss_is_the_weight_of_the_object():
    logits = torch.tensor([[0.8]])

    inside = focal_loss(logits, torch.ones(1, 1), 0.5) / focal_loss(logits, torch.ones(1, 1))
    outside = focal_loss(logits, torch.zeros(1, 1), 0.5) / focal_loss(logits, torch.zeros(1, 1))

    assert (inside.item(), outside.item()) == (pytest.approx(2), pytest.approx(0.5 / 0.75))


def test_the_focal_loss_enters_by_its_weight_and_not_into_the_balanced_one():
    logits = torch.randn(1, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    masks, targets = Masks(logits, torch.zeros(1, 1, 4)), torch.zeros(1, 1, 8, 8)
    targets[..., 2:6, 2:6] = 1

    def loss(weight, balance=0.0):
        return prompt_loss(masks, targets, 0, balance, FocalLoss(weight=weight, alpha=0.5)).item()

    share = focal_loss(logits[0, 0, 0], targets[0, 0], 0.5).item()
    assert loss(10) - loss(0) == pytest.approx(10 * share, rel=1e-4)
    assert loss(10, balance=1.0) == loss(0, balance=1.0)


def test_balanced_focal_loss_does_not_depend_on_how_large_the_object_is():
    small, large = torch.zeros(32, 32), torch.zeros(32, 32)
    small[:2, :2] = 1
    large[:16, :] = 1
    logits = torch.zeros(32, 32)

    assert balanced_focal_loss(logits, small).item() == pytest.approx(balanced_focal_loss(logits, large).item())


def test_dice_loss_is_zero_for_the_right_mask_and_near_one_for_the_opposite():
    target = torch.zeros(16, 16)
    target[4:12, 4:12] = 1
    sure = 40 * (target - 0.5)

    assert dice_loss(sure, target).item() == pytest.approx(0, abs=1e-4)
    assert dice_loss(-sure, target).item() > 0.99


def test_soft_iou_counts_shares_of_pixels():
    target = torch.tensor([[1.0, 0.5, 0.0, 0.0]])
    logits = torch.tensor([[1.0, 1.0, 1.0, -1.0]])

    assert soft_iou(logits, target).item() == pytest.approx(1.5 / 3.0)


@pytest.mark.parametrize("balance", [0.0, 0.4, 1.0])
def test_of_three_masks_of_a_click_only_the_best_learns_and_a_box_uses_the_first(balance):
    logits = torch.randn(1, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    targets = torch.zeros(1, 2, 8, 8)
    targets[..., 2:6, 2:6] = 1
    logits[0, 0, 2] = 8 * (targets[0, 0] - 0.5)  # the second of the three masks is nearly right
    logits.requires_grad_()

    prompt_loss(Masks(logits, torch.zeros(1, 2, 4)), targets, n_points=1, balance=balance).backward()

    learns = logits.grad[0].abs().amax(dim=(-2, -1)) > 0
    assert learns.tolist() == [[False, False, True, False], [True, False, False, False]]


def test_the_iou_head_learns_the_overlap_of_every_judged_mask():
    logits = torch.full((1, 2, 4, 8, 8), -5.0)
    iou = torch.full((1, 2, 4), 0.5, requires_grad=True)

    prompt_loss(Masks(logits, iou), torch.ones(1, 2, 8, 8), n_points=1).backward()

    assert (iou.grad[0] != 0).tolist() == [[False, True, True, True], [True, False, False, False]]
