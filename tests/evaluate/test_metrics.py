"""Overlap of masks and the answers that need no model."""

import numpy as np
import pytest
from numpy.typing import NDArray

from supersam.data.prompts import bounding_box
from supersam.evaluate.metrics import bootstrap_interval, filled_box, inscribed_ellipse, iou

Mask = NDArray[np.uint8]


@pytest.mark.parametrize(
    ("predicted", "target", "expected"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0], 1.0),
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0),
        ([1, 1, 1, 1], [1, 1, 1, 1], 1.0),
        ([1, 1, 0, 0], [0, 0, 1, 1], 0.0),
        ([0, 0, 0, 0], [1, 0, 0, 0], 0.0),
        ([1, 0, 0, 0], [0, 0, 0, 0], 0.0),
        ([1, 1, 0, 0], [0, 1, 1, 0], 1 / 3),
        ([1, 1, 1, 1], [0, 0, 0, 1], 1 / 4),
        ([0, 0, 0, 1], [0, 1, 1, 1], 1 / 3),
    ],
)
def test_iou_is_intersection_over_union(predicted: list[int], target: list[int], expected: float) -> None:
    found = iou(np.array([predicted], dtype=bool), np.array([target], dtype=np.uint8))

    assert found == pytest.approx(expected)
    assert isinstance(found, float)


def test_iou_is_symmetric() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = rng.random((2, 13, 17)) < rng.random()

        assert iou(one, other.astype(np.uint8)) == iou(other, one.astype(np.uint8))


@pytest.mark.parametrize("box", [(0, 0, 30, 20), (3, 4, 20, 9), (29, 19, 30, 20)])
def test_filled_box_of_a_rectangle_is_the_rectangle(box: tuple[int, int, int, int]) -> None:
    mask = np.zeros((20, 30), dtype=np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1

    assert iou(filled_box(bounding_box(mask), mask.shape), mask) == 1


@pytest.mark.parametrize(("x", "y", "a", "b"), [(60, 50, 40, 25), (60.5, 50.5, 12.5, 44.5), (30, 30, 15, 15)])
def test_inscribed_ellipse_of_an_ellipse_is_the_ellipse(x: float, y: float, a: float, b: float) -> None:
    rows, columns = np.mgrid[:100, :120] + 0.5
    mask = (((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 <= 1).astype(np.uint8)

    found = inscribed_ellipse(bounding_box(mask), mask.shape)

    assert iou(found, mask) > 0.97
    assert iou(found, mask) > iou(filled_box(bounding_box(mask), mask.shape), mask) + 0.15


def test_inscribed_ellipse_touches_all_four_sides_of_its_box() -> None:
    box = np.array([10, 20, 71, 45], dtype=np.float32)

    assert bounding_box(inscribed_ellipse(box, (60, 90)).astype(np.uint8)).tolist() == box.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_interval_holds_the_mean_and_narrows_with_more_masks(seed: int) -> None:
    values = np.random.default_rng(seed).random(400)
    few, many = bootstrap_interval(values[:25].tolist()), bootstrap_interval(values.tolist())

    assert few[0] < values[:25].mean() < few[1]
    assert many[0] < values.mean() < many[1]
    assert many[1] - many[0] < 0.5 * (few[1] - few[0])
    assert many[1] - many[0] == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)


def test_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(0).random(50).tolist()

    assert bootstrap_interval(values) == bootstrap_interval(list(values))
    assert bootstrap_interval([0.5] * 10) == (0.5, 0.5)
    assert bootstrap_interval([0.25]) == (0.25, 0.25)


def test_interval_over_images_is_wider_where_masks_of_an_image_are_alike() -> None:
    values = [0.1] * 20 + [0.9] * 20 + [0.4] * 20 + [0.6] * 20
    images = [number // 20 for number in range(80)]

    low, high = bootstrap_interval(values, images)
    low_of_masks, high_of_masks = bootstrap_interval(values)

    assert low < low_of_masks < 0.5 < high_of_masks < high
    assert bootstrap_interval(values, list(range(80))) == pytest.approx((low_of_masks, high_of_masks))
    assert bootstrap_interval([0.2, 0.4], [7, 7]) == pytest.approx((0.3, 0.3))
