"""Batches: what the network sees, what is asked, and the same views for a teacher."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from supersam.data.augment import Augmentation
from supersam.data.loader import Loader
from supersam.data.sources import open_sources
from supersam.data.synthetic import write_pack
from supersam.sam.model import FRAME
from supersam.train.batches import make_batch


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="module")
def pack_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of 256 px with a large and a small square."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "images").mkdir()
    Image.new("RGB", (256, 256)).save(folder / "images" / "image.png")
    squares = [[32, 32, 64, 64], [160, 160, 12, 12]]
    annotations = [
        {"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [x, y, w, h], "area": w * h,
         "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}
        for number, (x, y, w, h) in enumerate(squares, start=1)
    ]  # fmt: skip
    content = {
        "images": [{"id": 1, "file_name": "image.png", "width": 256, "height": 256}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "square"}],
    }
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return folder


def loader_of(pack: Path, augmentation: Augmentation) -> Loader:
    return Loader(open_sources(pack, "train"), augmentation, seed=0)


def config_of(tiny_config, pack, **changes):
    return tiny_config.model_copy(update={"data": pack, "points_per_image": 2, "boxes_per_image": 1, **changes})


def test_points_lie_in_their_masks_and_boxes_around_them(tiny_config, pack):
    config = config_of(tiny_config, pack, points_per_image=3, boxes_per_image=2)

    batch = make_batch(loader_of(pack, config.augmentation), config, 128, 8, 0)

    assert batch.images.shape == (8, 3, 128, 128)
    assert batch.targets.shape == (8, 5, 32, 32)
    pixel = FRAME / 32
    for image in range(8):
        for number in range(3):
            x, y = ((batch.prompts.points[image, number, 0] + 0.5) / pixel).int().tolist()
            assert batch.targets[image, number, y, x] > 0
        for number in range(2):
            rows, columns = torch.nonzero(batch.targets[image, 3 + number] > 0, as_tuple=True)
            x0, y0, x1, y1 = (batch.prompts.boxes[image, number] / pixel).tolist()
            middle = columns.float().mean() + 0.5, rows.float().mean() + 0.5
            assert x0 < middle[0] < x1
            assert y0 < middle[1] < y1


@pytest.mark.parametrize(("resolution", "asked"), [(64, {1}), (256, {1, 2})])
def test_objects_of_less_than_a_cell_of_the_target_are_not_asked_for_while_others_are_there(
    tiny_config, pack_of_two, resolution, asked
):
    config = config_of(tiny_config, pack_of_two, augmentation=Augmentation.none(), points_per_image=4)

    targets = make_batch(loader_of(pack_of_two, config.augmentation), config, resolution, 4, 0).targets

    areas = {round(16 * target.sum().item() * (256 / resolution) ** 2) for target in targets.flatten(0, 1)}
    assert areas == {{1: 64 * 64, 2: 12 * 12}[which] for which in asked}


def test_a_teacher_sees_the_same_views_larger(tiny_config, pack):
    config = config_of(tiny_config, pack)

    batch = make_batch(loader_of(pack, config.augmentation), config, 64, 4, 0, teacher_resolution=128)

    assert batch.teacher_images.shape == (4, 3, 128, 128)
    smaller = torch.nn.functional.avg_pool2d(batch.teacher_images, 2)
    apart = (smaller - batch.images).abs().mean() / batch.images.abs().mean()
    other = (smaller.roll(1, 0) - batch.images).abs().mean() / batch.images.abs().mean()
    assert apart < 0.15 < other


def test_a_smaller_teacher_sees_the_same_views_smaller(tiny_config, pack):
    config = config_of(tiny_config, pack)

    batch = make_batch(loader_of(pack, config.augmentation), config, 128, 4, 0, teacher_resolution=64)

    smaller = torch.nn.functional.avg_pool2d(batch.images, 2)
    assert (smaller - batch.teacher_images).abs().mean() / smaller.abs().mean() < 0.15


def test_only_whole_images_in_their_own_colours_have_names_that_a_cache_knows(tiny_config, pack):
    whole = Augmentation(crop_probability=0, brightness=0, tint=0, offset=0)
    for augmentation, known in ((whole, True), (Augmentation(crop_probability=0), False), (Augmentation(), False)):
        config = config_of(tiny_config, pack, augmentation=augmentation)

        batch = make_batch(loader_of(pack, augmentation), config, 64, 4, 0)

        assert (batch.views is not None) == known


def test_a_batch_is_a_function_of_its_step(tiny_config, pack):
    config = config_of(tiny_config, pack)
    loader = loader_of(pack, config.augmentation)

    first, other = (make_batch(loader, config, 64, 3, step) for step in (5, 6))
    again = make_batch(loader_of(pack, config.augmentation), config, 64, 3, 5)

    assert torch.equal(first.images, again.images)
    assert torch.equal(first.prompts.points, again.prompts.points)
    assert not torch.equal(first.images, other.images)
