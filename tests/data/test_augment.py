"""Augmentation moves image and masks alike, decodes what is used, and is a function of its generator."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from pydantic import ValidationError
from scipy.ndimage import binary_dilation, binary_erosion

from supersam.data.augment import Augmentation, Augmented, augment
from supersam.data.cache import ImageCache
from supersam.data.records import Annotation, ImageRecord
from supersam.data.skipped import Skipped
from supersam.data.transforms import pad_input, pad_target, to_input, to_target
from supersam.errors import DataError

STILL = Augmentation.none()
NO_COLOUR = {"brightness": 0, "tint": 0, "offset": 0}


def record_of(pixels: Any, masks: list[Any], kind: str = "PNG", path: str = "a.png") -> ImageRecord:
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"quality": 95} if kind == "JPEG" else {}))
    rles = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    annotations = tuple(
        Annotation({"size": list(rle["size"]), "counts": rle["counts"].decode()}, float(coco_mask.area(rle)))
        for rle in rles
    )
    return ImageRecord(Path(path), pixels.shape[1], pixels.shape[0], annotations, file.getvalue())


def ellipse(height: int, width: int, x: float, y: float, across: float, down: float) -> Any:
    rows, columns = np.mgrid[:height, :width]
    return (((columns - x) / across) ** 2 + ((rows - y) / down) ** 2 <= 1).astype(np.uint8)


def painted(mask: Any, kind: str = "PNG") -> ImageRecord:
    """White where the mask is, black elsewhere."""
    return record_of(np.repeat(255 * mask[..., None], 3, axis=2), [mask], kind)


def augmented(record: ImageRecord, resolution: int = 64, seed: int = 0, n: int = 1, **changes: Any) -> Augmented:
    found = augment(record, STILL.model_copy(update=changes), resolution, n, np.random.default_rng(seed))
    assert found is not None
    return found


# One geometry


@st.composite
def scenes(draw: st.DrawFn) -> tuple[ImageRecord, Augmentation, int, int]:
    height, width = draw(st.integers(40, 400)), draw(st.integers(40, 400))
    across, down = draw(st.floats(6, 100)), draw(st.floats(6, 100))
    mask = ellipse(height, width, draw(st.floats(0, width)), draw(st.floats(0, height)), across, down)
    low = draw(st.floats(0.3, 2.0))
    augmentation = Augmentation(
        crop_probability=draw(st.sampled_from([0.0, 1.0])),
        smallest_crop=draw(st.floats(0.1, 1.0)),
        object_crop_probability=draw(st.sampled_from([0.0, 1.0])),
        scale_jitter=(low, low + draw(st.floats(0, 1.0))),
        flip_probability=draw(st.sampled_from([0.0, 1.0])),
        **NO_COLOUR,
    )
    kind = draw(st.sampled_from(["PNG", "JPEG"]))
    return painted(mask, kind), augmentation, draw(st.sampled_from([64, 96, 256])), draw(st.integers(0, 2**32))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(scenes())
def test_painted_object_stays_under_its_mask(scene: tuple[ImageRecord, Augmentation, int, int]) -> None:
    record, augmentation, resolution, seed = scene

    found = augment(record, augmentation, resolution, 1, np.random.default_rng(seed))

    assert found is not None
    (mask,) = found.masks
    bright = found.image[..., 1] > 127
    assert found.image.shape == (*mask.shape, 3)
    assert found.image.dtype == mask.dtype == np.uint8
    assert max(mask.shape) <= resolution
    assert set(np.unique(mask)) <= {0, 1}
    assert mask.any()
    assert bright[binary_erosion(mask, iterations=2)].all()
    assert not bright[~binary_dilation(mask, iterations=2)].any()


def test_nothing_changes_without_augmentation() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    mask = ellipse(48, 64, 20, 20, 12, 8)

    for seed in range(5):
        found = augmented(record_of(pixels, [mask]), 64, seed)
        assert np.array_equal(found.image, pixels)
        assert np.array_equal(found.masks[0], mask)
        assert found.crop == (0, 0, 64, 48)


def test_without_augmentation_the_network_sees_what_evaluation_shows_it() -> None:
    rng = np.random.default_rng(0)
    pixels, mask = rng.integers(0, 256, (150, 200, 3), dtype=np.uint8), ellipse(150, 200, 90, 70, 50, 30)
    found = augmented(record_of(pixels, [mask]), 64)

    assert np.abs((pad_input(found.image, 64) - to_input(pixels, 64)).numpy()).max() < 1e-5
    difference = pad_target(found.masks[0], 64, 4) - to_target(mask, 64, 4)
    assert difference.abs().max() < 0.35  # the mask is rounded to pixels of the input
    assert difference.mean().abs() < 0.002


def test_flip_mirrors_image_and_mask() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    mask = ellipse(40, 64, 10, 20, 8, 8)

    found = augmented(record_of(pixels, [mask]), 64, flip_probability=1.0)

    assert found.flipped
    assert np.array_equal(found.image, pixels[:, ::-1])
    assert np.array_equal(found.masks[0], mask[:, ::-1])


def test_crop_is_a_part_of_the_images_shape_and_is_where_it_says() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 400, 3), dtype=np.uint8)
    record = record_of(pixels, [np.ones((200, 400), np.uint8)])
    shares = []
    for seed in range(60):
        found = augmented(record, 50, seed, crop_probability=1.0, smallest_crop=0.4)
        x0, y0, x1, y1 = found.crop
        assert 0 <= x0 < x1 <= 400
        assert 0 <= y0 < y1 <= 200
        assert (x1 - x0) / (y1 - y0) == pytest.approx(2, abs=0.03)
        shares.append((x1 - x0) / 400)
    assert 0.4 <= min(shares) < 0.45
    assert 0.95 < max(shares) <= 1.0

    found = augmented(record, 64, 3, crop_probability=1.0)
    x0, y0, x1, y1 = found.crop
    expected = Image.fromarray(pixels[y0:y1, x0:x1]).resize(found.image.shape[1::-1], Image.Resampling.BILINEAR)
    assert np.abs(found.image.astype(int) - np.asarray(expected)).max() <= 1


def test_crop_around_an_object_shows_all_of_it_at_the_size_asked_for() -> None:
    mask = ellipse(640, 640, 500, 100, 10, 10)  # a nucleus of 20 pixels
    places, shares = set(), []
    for seed in range(40):
        found = augmented(
            painted(mask), 256, seed, crop_probability=1.0, object_crop_probability=1.0, object_share=(0.1, 0.5)
        )
        x0, y0, x1, y1 = found.crop
        assert mask[y0:y1, x0:x1].sum() == mask.sum()
        shares.append(21 / (x1 - x0))
        places.add(((500 - x0) / (x1 - x0)) > 0.5)
        assert found.masks[0].sum() > 8 * mask.sum() * (256 / 640) ** 2  # seen much larger than in the whole image
    assert 0.09 < min(shares) < 0.15
    assert 0.4 < max(shares) < 0.55
    assert places == {True, False}  # not always in the middle


def test_scale_below_one_leaves_room_and_above_one_shows_a_part() -> None:
    record = painted(np.ones((100, 100), np.uint8))

    small = augmented(record, 64, scale_jitter=(0.5, 0.5))
    assert small.image.shape == (32, 32, 3)
    assert small.crop == (0, 0, 100, 100)
    large = augmented(record, 64, scale_jitter=(2.0, 2.0))
    assert large.image.shape == (64, 64, 3)
    assert large.crop[2] - large.crop[0] == 50


def test_colour_changes_within_its_range_and_channels_apart() -> None:
    pixels = np.full((40, 40, 3), 100, dtype=np.uint8)
    record = record_of(pixels, [np.ones((40, 40), np.uint8)])
    found = np.array(
        [augmented(record, 40, seed, brightness=0.2, tint=0.05, offset=15.0).image[0, 0] for seed in range(200)]
    ).astype(int)

    assert found.min() >= round(100 * 0.8 * 0.95 - 15)
    assert found.max() <= round(100 * 1.2 * 1.05 + 15)
    assert found.std() > 8
    assert (found[:, 0] != found[:, 1]).mean() > 0.8
    bright = record_of(np.full((40, 40, 3), 250, np.uint8), [np.ones((40, 40), np.uint8)])
    assert augmented(bright, 40, 1, offset=200.0).image.max() <= 255  # no value wraps around


def test_same_generator_gives_the_same_and_another_another() -> None:
    record = painted(ellipse(200, 300, 150, 100, 60, 50))
    first, again, other = (
        augment(record, Augmentation(crop_probability=1.0), 96, 1, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )

    assert first is not None
    assert again is not None
    assert other is not None
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.masks[0], again.masks[0])
    assert first.crop == again.crop != other.crop


# Objects


def grid(side: int, n: int) -> list[Any]:
    """n x n squares."""
    cell, masks = side // n, []
    for row in range(n):
        for column in range(n):
            mask = np.zeros((side, side), np.uint8)
            mask[row * cell + 1 : (row + 1) * cell - 1, column * cell + 1 : (column + 1) * cell - 1] = 1
            masks.append(mask)
    return masks


def test_objects_are_different_ones_drawn_at_random_and_as_many_as_asked_for() -> None:
    masks = grid(96, 3)
    record = record_of(np.zeros((96, 96, 3), np.uint8), masks)
    drawn = [augmented(record, 96, seed, n=4) for seed in range(30)]

    for found in drawn:
        assert len(set(found.objects)) == len(found.masks) == 4
        assert all(np.array_equal(mask, masks[index]) for mask, index in zip(found.masks, found.objects, strict=True))
    assert {index for found in drawn for index in found.objects} == set(range(9))
    assert len(augmented(record, 96, 0, n=20).masks) == 9


def test_only_masks_that_are_used_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of(np.zeros((200, 200, 3), np.uint8), grid(200, 10))
    decode, decoded = ImageRecord.mask, []
    monkeypatch.setattr(ImageRecord, "mask", lambda self, index: decoded.append(index) or decode(self, index))

    found = augmented(record, 64, 0, n=3)
    assert decoded == list(found.objects)

    decoded.clear()
    found = augmented(record, 64, 4, n=100, crop_probability=1.0, smallest_crop=0.4)
    assert len(decoded) < 100 * ((found.crop[2] - found.crop[0]) / 200 + 0.1) ** 2


def test_object_that_the_crop_hardly_shows_is_not_asked_for() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[:4, :4] = 1
    record = record_of(np.zeros((100, 100, 3), np.uint8), [mask])

    assert augmented(record, 100).masks[0].sum() == 16
    assert augment(record, STILL.model_copy(update={"smallest_object": 17}), 64, 1, np.random.default_rng(0)) is None
    for seed in range(20):  # where a crop misses the object, the whole image is shown
        crop = augmented(record, 100, seed, crop_probability=1.0).crop
        assert crop == (0, 0, 100, 100) or mask[crop[1] : crop[3], crop[0] : crop[2]].sum() >= 16


def test_object_smaller_than_a_pixel_of_the_input_keeps_one() -> None:
    mask = np.zeros((1000, 1000), np.uint8)
    mask[500:504, 300:304] = 1

    found = augmented(record_of(np.zeros((1000, 1000, 3), np.uint8), [mask]), 32)

    assert np.argwhere(found.masks[0]).tolist() == [[16, 9]]


def test_image_without_objects_shows_none() -> None:
    record = record_of(np.zeros((50, 50, 3), np.uint8), [])
    assert augment(record, Augmentation(object_crop_probability=1.0), 64, 3, np.random.default_rng(0)) is None


def test_damaged_and_empty_masks_are_passed_over_and_counted(tells) -> None:
    masks = grid(60, 3)
    record = record_of(np.zeros((60, 60, 3), np.uint8), [*masks[:6], np.zeros((60, 60), np.uint8)])
    good = record.annotations
    wrong = [None, {"size": [50, 50], "counts": [2500]}, {"size": [60, 60], "counts": [7]}]
    polygon = [[70.0, 70.0, 80.0, 70.0, 80.0, 80.0]]  # outside: rasterises to nothing
    annotations = (*good, *(Annotation(one, 1.0) for one in [*wrong, polygon]))
    record = ImageRecord(record.path, 60, 60, annotations, record.content)
    skipped = Skipped()

    found = augment(record, STILL, 60, 20, np.random.default_rng(0), skipped)

    assert found is not None
    assert sorted(found.objects) == list(range(6))
    assert skipped.seen == {"mask": 11}
    assert skipped.reasons == {"mask": {"damaged": 3, "empty": 2}}
    with tells(DataError, "a.png", "mask"):
        augment(record, STILL, 60, 20, np.random.default_rng(0))


# Decoding


@pytest.mark.parametrize(("resolution", "reduction"), [(64, 8), (100, 4), (200, 2), (300, 1), (600, 1)])
def test_jpeg_is_decoded_no_larger_than_needed(resolution: int, reduction: int) -> None:
    record = painted(ellipse(531, 403, 200, 250, 90, 120), "JPEG")
    asked = []

    def read(record: ImageRecord, reduce: int) -> Any:
        asked.append(reduce)
        return record.read(reduce)

    found = augment(record, STILL, resolution, 1, np.random.default_rng(0), read=read)

    assert asked == [reduction]
    full = augment(record, STILL, resolution, 1, np.random.default_rng(0), read=lambda record, _: record.read())
    assert found is not None
    assert full is not None
    assert found.image.shape == full.image.shape
    assert np.abs(found.image.astype(int) - full.image).mean() < 1.5


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_reduced_images_are_rgb_whatever_the_jpeg_is(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.jpg"
    Image.new(mode, (65, 50), "grey").save(path)
    record = ImageRecord(path, 65, 50, ())

    assert [record.read(reduce).shape for reduce in (1, 2, 4, 8)] == [(50, 65, 3), (25, 33, 3), (13, 17, 3), (7, 9, 3)]
    assert abs(int(record.read(8).mean()) - int(record.read().mean())) <= 2


def test_cache_changes_no_pixel_and_keeps_to_its_limit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    records = []
    for number in range(6):
        path = tmp_path / f"{number}.jpg"
        Image.fromarray(rng.integers(0, 256, (100, 100, 3), dtype=np.uint8)).save(path)
        records.append(ImageRecord(path, 100, 100, ()))
    cache = ImageCache(limit_gb=100_000e-9)

    for _ in range(2):
        for record in records:
            assert np.array_equal(cache.read(record, 1), record.read(1))
            assert np.array_equal(cache.read(record, 2), record.read(2))
    assert cache.n_bytes == 2 * (30_000 + 7_500) + 7_500 + 7_500 + 7_500  # what fits, the first to come

    for record in records:
        record.path.unlink()
    assert cache.read(records[0], 2).shape == (50, 50, 3)
    off = ImageCache()
    assert off.read(painted(np.ones((20, 20), np.uint8))).shape == (20, 20, 3)
    assert off.n_bytes == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop_probability": 2},
        {"smallest_crop": 0},
        {"scale_jitter": (2, 1)},
        {"scale_jitter": (0, 1)},
        {"object_share": (0.5, 0.1)},
        {"zoom": 1},
    ],
)
def test_wrong_augmentations_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Augmentation.model_validate(wrong)
