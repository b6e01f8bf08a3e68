"""Prompts made from masks lie where they should."""

import numpy as np
import pytest
from numpy.typing import NDArray

from supersam.data.prompts import (
    BOX_JITTER,
    BOX_JITTER_LIMIT,
    bounding_box,
    central_point,
    jittered_box,
    random_point,
)

Mask = NDArray[np.uint8]


def disc(height: int, width: int, x: float, y: float, radius: float) -> Mask:
    rows, columns = np.mgrid[:height, :width]
    return ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).astype(np.uint8)


def rectangle(height: int, width: int, box: tuple[int, int, int, int]) -> Mask:
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return mask


def blobs(seed: int) -> Mask:
    rng = np.random.default_rng(seed)
    mask = np.zeros((60, 90), dtype=np.uint8)
    for _ in range(4):
        mask |= disc(60, 90, *rng.uniform(0, 90, 2), rng.uniform(2, 20))
    mask[30, 45] = 1
    return mask


@pytest.mark.parametrize("box", [(0, 0, 90, 60), (3, 5, 80, 41), (89, 59, 90, 60), (0, 7, 1, 8)])
def test_bounding_box_ends_past_the_last_pixel(box: tuple[int, int, int, int]) -> None:
    assert bounding_box(rectangle(60, 90, box)).tolist() == list(box)


@pytest.mark.parametrize(("x", "y", "radius"), [(40, 30, 20), (12, 11, 10), (45, 47, 3)])
def test_central_point_of_a_disc_is_its_centre(x: int, y: int, radius: int) -> None:
    assert central_point(disc(60, 90, x, y, radius)).tolist() == [x, y]


def test_central_point_of_two_discs_is_in_the_larger() -> None:
    assert central_point(disc(60, 90, 20, 20, 9) | disc(60, 90, 60, 40, 12)).tolist() == [60, 40]


def test_edge_of_the_image_counts_as_border() -> None:
    x, y = central_point(np.ones((21, 41), dtype=np.uint8))

    assert y == 10
    assert 10 <= x <= 30


@pytest.mark.parametrize("seed", range(10))
def test_no_pixel_of_a_mask_is_farther_from_its_border_than_the_central_point(seed: int) -> None:
    mask = blobs(seed)[:40, :50]
    inside, outside = np.argwhere(mask), np.argwhere(np.pad(mask, 1) == 0) - 1
    distances = np.hypot(*(inside[:, None] - outside[None]).transpose(2, 0, 1)).min(axis=1)

    x, y = central_point(mask)

    assert mask[int(y), int(x)] == 1
    assert distances[(inside == [y, x]).all(axis=1)] == pytest.approx(distances.max())


def test_random_points_are_inside_and_spread_over_the_mask() -> None:
    mask, rng = blobs(1), np.random.default_rng(0)
    found = np.array([random_point(mask, rng) for _ in range(3000)]).astype(int)

    assert all(mask[y, x] == 1 for x, y in found)
    assert len({(x, y) for x, y in found.tolist()}) > 0.5 * mask.sum()
    centre = np.argwhere(mask)[:, ::-1].mean(axis=0)
    assert found.mean(axis=0) == pytest.approx(centre, abs=1.5)


@pytest.mark.parametrize("box", [(20, 10, 70, 50), (40, 30, 43, 32), (0, 0, 90, 60), (30, 20, 31, 21)])
def test_jittered_box_stays_within_its_limits(box: tuple[int, int, int, int]) -> None:
    mask, rng = rectangle(60, 90, box), np.random.default_rng(0)
    size = np.array([box[2] - box[0], box[3] - box[1]] * 2)
    limit = np.minimum(BOX_JITTER_LIMIT, 0.4 * size)
    found = np.array([jittered_box(mask, rng) for _ in range(500)])

    assert found.dtype == np.float32
    assert (np.abs(found - box) <= limit + 1e-4).all()
    assert (found >= 0).all()
    assert (found <= [90, 60, 90, 60]).all()
    assert (found[:, :2] < found[:, 2:]).all()


def test_sides_of_a_jittered_box_move_by_themselves_by_a_tenth_of_its_size() -> None:
    mask, rng = rectangle(400, 600, (200, 150, 300, 200)), np.random.default_rng(0)
    shift = np.array([jittered_box(mask, rng) for _ in range(2000)]) - [200, 150, 300, 200]

    assert shift.mean(axis=0) == pytest.approx([0] * 4, abs=0.8)
    assert shift.std(axis=0) == pytest.approx([10, 5, 10, 5], rel=0.1)
    assert np.abs(np.corrcoef(shift.T) - np.eye(4)).max() < 0.1
    assert BOX_JITTER == 0.1


@pytest.mark.parametrize("scale", [1, 4])
def test_large_box_moves_twenty_pixels_of_sams_input_at_most(scale: int) -> None:
    box = np.array([300, 300, 1700, 700]) // scale
    mask, rng = rectangle(1000 // scale, 2000 // scale, tuple(box.tolist())), np.random.default_rng(0)
    shift = np.array([jittered_box(mask, rng, scale) for _ in range(300)]) - box

    assert scale * np.abs(shift).max() == 20


def test_same_seed_gives_the_same_prompts() -> None:
    mask = blobs(2)

    def drawn(seed: int) -> list[float]:
        rng = np.random.default_rng(seed)
        return [*jittered_box(mask, rng), *random_point(mask, rng)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
