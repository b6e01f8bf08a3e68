"""From an image to the network and back: what lies where, and nothing lost on the way."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from segment_anything.utils.transforms import ResizeLongestSide

from supersam.data.transforms import PIXEL_MEAN, PIXEL_STD, fitted_size, to_input, to_original, to_target
from supersam.evaluate.metrics import iou

SIZES = [(96, 128), (128, 96), (100, 100), (37, 211), (480, 640), (333, 500)]


@pytest.mark.parametrize("resolution", [256, 1024])
def test_fitted_size_is_that_of_segment_anything(resolution: int) -> None:
    rng = np.random.default_rng(0)
    sizes = [tuple(map(int, rng.integers(1, 3000, 2))) for _ in range(500)]
    halves = [(resolution + 1, 2 * resolution), (4 * resolution, 2 * resolution + 2), (5, 2 * resolution)]

    for height, width in [*sizes, *halves]:
        expected = ResizeLongestSide.get_preprocess_shape(height, width, resolution)
        assert fitted_size(height, width, resolution) == (max(1, expected[0]), max(1, expected[1]))


def test_very_long_image_keeps_a_pixel() -> None:
    assert fitted_size(1, 5000, 256) == (1, 256)
    assert fitted_size(5000, 1, 256) == (256, 1)
    assert to_input(np.zeros((1, 5000, 3), dtype=np.uint8), 64).shape == (3, 64, 64)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_input_is_the_normalised_image_with_zeros_below_and_to_the_right(height: int, width: int) -> None:
    image = np.full((height, width, 3), (10, 120, 250), dtype=np.uint8)
    rows, columns = fitted_size(height, width, 256)

    found = to_input(image, 256)

    expected = (torch.tensor([10.0, 120.0, 250.0]).view(3, 1, 1) - PIXEL_MEAN) / PIXEL_STD
    assert found.shape == (3, 256, 256)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[:, :rows, :columns], expected.expand(3, rows, columns))
    assert (found[:, rows:] == 0).all()
    assert (found[:, :, columns:] == 0).all()


def test_image_of_the_right_size_is_not_resampled() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)

    found = to_input(image, 64)[:, :48] * PIXEL_STD + PIXEL_MEAN

    torch.testing.assert_close(found, torch.from_numpy(image).permute(2, 0, 1).float(), atol=1e-3, rtol=0)


# Targets


@pytest.mark.parametrize("stride", [1, 4, 16])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_target_of_a_full_mask_is_one_inside_and_zero_in_the_padding(height: int, width: int, stride: int) -> None:
    rows, columns = fitted_size(height, width, 256)

    found = to_target(np.ones((height, width), dtype=np.uint8), 256, stride)

    assert found.shape == (256 // stride, 256 // stride)
    assert (found[: rows // stride, : columns // stride] == 1).all()
    assert (found[-(-rows // stride) :] == 0).all()
    assert (found[:, -(-columns // stride) :] == 0).all()
    assert found.sum() * stride**2 == pytest.approx(rows * columns, rel=1e-5)  # the border cells have their share


def test_target_is_the_share_of_each_cell_that_is_covered() -> None:
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[:4, :4] = 1
    mask[4, 4] = 1
    mask[6:, 4:] = 1

    assert to_target(mask, 8, 4).tolist() == [[1.0, 0.0], [0.0, 9 / 16]]
    assert to_target(mask, 8, 8).tolist() == [[25 / 64]]


def test_shrinking_a_mask_keeps_its_area() -> None:
    mask = (np.random.default_rng(0).random((512, 512)) < 0.3).astype(np.uint8)

    found = to_target(mask, 64, 4)

    assert float(found.mean()) == pytest.approx(mask.mean(), abs=0.005)
    assert 0 <= found.min() <= found.max() <= 1


# And back


def half_plane(height: int, width: int, angle: float) -> NDArray[np.uint8]:
    """What lies on one side of a line near the middle."""
    y, x = np.mgrid[:height, :width]
    side = np.cos(angle) * (x - 0.45 * width) + np.sin(angle) * (y - 0.55 * height)
    return (side > 0).astype(np.uint8)


@pytest.mark.parametrize("angle", [0.0, 0.5, 1.6, 3.0, 5.5])
@pytest.mark.parametrize("resolution", [256, 512])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_half_plane_comes_back_to_where_it_was(height: int, width: int, resolution: int, angle: float) -> None:
    mask = half_plane(height, width, angle)
    logits = 2 * to_target(mask, resolution, 4) - 1

    found = to_original(logits[None, None], height, width, resolution)

    assert found.shape == (1, 1, height, width)
    assert iou((found[0, 0] > 0).numpy(), mask) > 0.97


def test_every_mask_comes_back_by_itself() -> None:
    logits = torch.randn(2, 3, 16, 16)

    found = to_original(logits, 40, 50, 64)

    assert found.shape == (2, 3, 40, 50)
    torch.testing.assert_close(found[1, 2], to_original(logits[1:, 2:], 40, 50, 64)[0, 0])
