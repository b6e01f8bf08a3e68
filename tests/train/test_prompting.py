"""Corrective clicks lie where the answer is wrong, say what is there, and stand where SAM has them."""

import pytest
import torch

from supersam.sam.model import FRAME, Masks, Prompts, corners
from supersam.train.prompting import answers, as_points, corrective_clicks, with_click

SIDE = 16
PIXEL = FRAME / SIDE


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def square(*rows):
    """A mask of ones in the rows and columns ``rows[0]`` to ``rows[1]``."""
    mask = torch.zeros(SIDE, SIDE)
    mask[slice(*rows), slice(*rows)] = 1
    return mask


def pixels_of(points):
    """The (row, column) whose middle a point is, with SAM's half pixel of the frame added."""
    place = (points + 0.5) / PIXEL - 0.5
    assert torch.equal(place, place.round())
    return place[..., 1].long(), place[..., 0].long()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("found", "truth", "label"), [((2, 12), (4, 8), 0), ((5, 7), (4, 12), 1), ((0, 0), (3, 6), 1)])
def test_a_click_lies_in_the_error_and_says_what_is_there(seed, found, truth, label):
    answer, target = square(*found), square(*truth)

    points, labels = corrective_clicks((20 * answer - 10)[None, None], target[None, None], generator(seed))

    row, column = pixels_of(points[0, 0])
    assert answer[row, column] != target[row, column]
    assert labels.tolist() == [[label]]
    assert target[row, column] == label


def test_every_wrong_pixel_can_be_drawn():
    answer, target = square(0, 0), square(6, 8)
    target[0, SIDE - 1] = 1  # a corner, to see that x and y are not exchanged
    many = 400

    points, _ = corrective_clicks(
        (20 * answer - 10).expand(1, many, -1, -1), target.expand(1, many, -1, -1), generator()
    )

    rows, columns = pixels_of(points[0])
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {(6, 6), (6, 7), (7, 6), (7, 7), (0, SIDE - 1)}


def test_nobody_clicks_on_the_padding():
    answer, target = square(2, 12), square(4, 8)
    share = torch.zeros(1, 1, SIDE, SIDE)
    share[..., :10, :] = 1
    share[..., 10, :] = 0.4

    points, labels = corrective_clicks(
        (20 * answer - 10).expand(1, 200, -1, -1), target.expand(1, 200, -1, -1), generator(), share
    )

    assert pixels_of(points[0])[0].max() == 9
    assert not labels.any()


def test_where_all_that_is_wrong_is_padding_the_object_is_clicked_again():
    target = square(3, 9)
    answer = target.clone()
    answer[12] = 1
    share = torch.ones(1, 1, SIDE, SIDE)
    share[..., 10:, :] = 0

    points, labels = corrective_clicks((20 * answer - 10)[None, None], target[None, None], generator(), share)

    assert target[pixels_of(points[0, 0])] == 1
    assert labels.item() == 1


def test_where_nothing_is_wrong_the_object_is_clicked_again():
    target = square(3, 9)

    points, labels = corrective_clicks((20 * target - 10)[None, None], target[None, None], generator())

    assert target[pixels_of(points[0, 0])] == 1
    assert labels.item() == 1


@pytest.mark.parametrize("found", [(0, 0), (3, 4), (2, 5)])
def test_an_object_too_thin_for_half_a_pixel_is_where_it_covers_most(found):
    answer, target = square(*found), 0.4 * square(3, 4)
    target[3, 4] = 0.2  # touched, but less

    points, labels = corrective_clicks((20 * answer - 10)[None, None], target[None, None], generator())

    place = tuple(index.item() for index in pixels_of(points[0, 0]))
    assert labels.item() == (place == (3, 3))
    assert (place == (3, 3)) == (found != (2, 5))  # too much was found there: what is beside the object is wrong


def test_clicks_depend_on_the_seed_alone():
    logits, targets = torch.randn(2, 3, SIDE, SIDE, generator=generator(5)), square(4, 12).expand(2, 3, -1, -1)

    once, again, other = (corrective_clicks(logits, targets, generator(seed))[0] for seed in (1, 1, 2))

    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_the_answer_to_a_click_is_the_mask_of_the_highest_predicted_iou_and_to_a_box_the_single_one():
    logits = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(2, 3, 4, 5, 5).clone().requires_grad_()
    iou = torch.tensor([[[0.9, 0.1, 0.8, 0.3], [0.9, 0.5, 0.1, 0.6], [0.1, 0.9, 0.9, 0.9]]] * 2)

    chosen = answers(Masks(logits, iou), n_points=2)

    assert chosen.shape == (2, 3, 5, 5)
    assert chosen[0, :, 0, 0].tolist() == [2.0, 3.0, 0.0]
    assert not chosen.requires_grad


@pytest.mark.parametrize(("n_points", "expected"), [(0, [0, 0]), (2, [3, 3])])
def test_answers_to_boxes_alone_and_to_clicks_alone(n_points, expected):
    logits = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 2, 4, 5, 5)
    iou = torch.tensor([[[0.9, 0.1, 0.2, 0.3]] * 2])

    assert answers(Masks(logits, iou), n_points)[0, :, 0, 0].tolist() == expected


CLICKS = torch.tensor([[[[10.0, 20.0]], [[30.0, 40.0]]]])
BOXES = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])


def test_clicks_stand_before_the_corners_of_a_box_and_before_the_empty_point():
    points, labels = as_points(Prompts(CLICKS, torch.ones(1, 2, 1), BOXES))
    assert points.shape == (1, 3, 2, 2)
    for number, label in enumerate((0.0, 1.0)):
        click = torch.full((1, 3, 2), 100.0 + number)
        points, labels = with_click(points, labels, click, torch.full((1, 3), label))

    assert labels[0].tolist() == [[1, 0, 1, -1], [1, 0, 1, -1], [0, 1, 2, 3]]
    assert points[0, :, :, 0].tolist() == [[10, 100, 101, 0], [30, 100, 101, 0], [100, 101, 1, 3]]
    assert points[0, 2, 2:].flatten().tolist() == BOXES.flatten().tolist()


def test_clicks_alone_have_no_empty_point_because_the_decoder_adds_it():
    points, labels = as_points(Prompts(CLICKS, torch.ones(1, 2, 1)))
    points, labels = with_click(points, labels, torch.zeros(1, 2, 2), torch.zeros(1, 2))

    assert labels.tolist() == [[[1, 0], [1, 0]]]


def test_boxes_alone_are_their_corners():
    points, labels = as_points(Prompts(boxes=BOXES))

    assert torch.equal(points, corners(BOXES)[0])
    assert labels.tolist() == [[[2, 3]]]


def test_prompts_rewritten_as_points_are_answered_alike(patch_sam):
    embedding = torch.randn(1, 256, 4, 4, generator=generator())
    for prompts in (
        Prompts(CLICKS, torch.ones(1, 2, 1), BOXES),
        Prompts(CLICKS, torch.ones(1, 2, 1)),
        Prompts(boxes=BOXES),
    ):
        with torch.no_grad():
            direct, rewritten = (patch_sam.decode(embedding, one) for one in (prompts, Prompts(*as_points(prompts))))
        torch.testing.assert_close(rewritten.logits, direct.logits)
