"""Training draws images from all sources, the same after a resumption, and leaves out and counts what is damaged."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from supersam.data.augment import UNUSABLE, Augmentation, Augmented
from supersam.data.loader import Loader, inspect
from supersam.data.skipped import Skipped
from supersam.data.sources import DataSource, open_sources
from supersam.errors import DataError, MissingError, UsageError

DATA = Path(os.environ.get("SUPERSAM_DATA", Path(__file__).parents[3] / "shared" / "data"))


def loader_of(data: Any, split: str = "train", **options: Any) -> Loader:
    skipped = Skipped()
    sources = open_sources(data, split, skipped)
    return Loader(sources, Augmentation(), **{"seed": 0, "skipped": skipped} | options)


def draws(loader: Loader, steps: range, slots: int = 2) -> list[Augmented]:
    return [loader.draw(step, slot, 32, 2) for step in steps for slot in range(slots)]


def same(first: list[Augmented], second: list[Augmented]) -> bool:
    return all(
        one.record.path == other.record.path and one.crop == other.crop and np.array_equal(one.image, other.image)
        for one, other in zip(first, second, strict=True)
    )


def test_draw_from_packs_is_a_function_of_seed_step_rank_and_slot(tmp_path: Path, writer) -> None:
    writer.coco(tmp_path / "a", writer.draw(6, 1))
    writer.labels(tmp_path / "b", writer.draw(6, 2))
    whole = draws(loader_of(tmp_path), range(6))

    assert same(draws(loader_of(tmp_path), range(3, 6)), whole[6:])  # resumed: nothing is remembered
    assert same(draws(loader_of(tmp_path, cache_gb=1), range(6)), whole)
    assert same(draws(pickle.loads(pickle.dumps(loader_of(tmp_path))), range(6)), whole)  # in a worker process
    assert not same(draws(loader_of(tmp_path, rank=1, world=2), range(6)), whole)
    assert not same(draws(loader_of(tmp_path, seed=1), range(6)), whole)


def test_run_on_streams_goes_on_where_it_was(tmp_path: Path, writer) -> None:
    writer.shards(tmp_path / "a", writer.draw(9, 1), 3)
    writer.coco(tmp_path / "b", writer.draw(5, 2))
    writer.shards(tmp_path / "c", writer.draw(7, 3), 2)
    loader = loader_of(tmp_path)
    draws(loader, range(7))
    state = json.loads(json.dumps(loader.state()))
    expected = draws(loader, range(7, 20))

    resumed = loader_of(tmp_path)
    resumed.restore(state)

    assert len(state) == 2
    assert same(draws(resumed, range(7, 20)), expected)
    with pytest.raises(UsageError, match="2 streams, the run to resume had 1"):
        resumed.restore(state[:1])


def test_sources_are_drawn_by_their_weights(tmp_path: Path, writer) -> None:
    writer.coco(tmp_path / "small", writer.draw(2, 1))
    writer.coco(tmp_path / "large", writer.draw(20, 2))
    sources = [DataSource(path=tmp_path / "small", weight=3), DataSource(path=tmp_path / "large")]

    found = [one.record.path.parent.parent.name for one in draws(loader_of(sources), range(150))]

    assert found.count("small") / len(found) == pytest.approx(0.75, abs=0.08)


def test_everything_damaged_is_left_out_and_counted(tmp_path: Path, writer) -> None:
    drawn = writer.draw(40)
    writer.coco(tmp_path / "coco", drawn)
    images = tmp_path / "coco" / "images"
    (images / "sa_000.png").unlink()
    Image.open(images / "sa_001.png").save(images / "sa_001.jpg")
    (images / "sa_001.png").write_bytes((images / "sa_001.jpg").read_bytes()[:500])
    (images / "sa_006.png").write_bytes((images / "sa_006.png").read_bytes()[:500])
    Image.new("RGB", (9, 9)).save(images / "sa_002.png")
    writer.sa1b(tmp_path / "sa1b", drawn)
    (tmp_path / "sa1b" / "sa_003.json").unlink()
    (tmp_path / "sa1b" / "sa_004.json").write_text("{")
    (tmp_path / "sa1b" / "sa_005.json").write_text(
        json.dumps({"image": {"width": 48, "height": 48}, "annotations": [{"area": 3}]})
    )
    loader = loader_of(tmp_path, max_skipped_share=0.3)

    found = draws(loader, range(200))

    names = {(one.record.path.parent.name, one.record.path.stem) for one in found}
    assert not {("images", f"sa_00{n}") for n in (0, 1, 2, 6)} & names
    assert not {("sa1b", f"sa_00{n}") for n in (3, 4, 5)} & names
    assert len(names) > 70
    reasons = loader.skipped.reasons
    assert set(reasons["image"]) == {"file missing", "file damaged", "annotations missing", "annotations damaged"}
    assert set(reasons["mask"]) == {"damaged"}
    assert loader.skipped.seen["image"] == 400 + loader.skipped.count("image") + loader.skipped.unused
    assert loader.skipped.unused == reasons["mask"]["damaged"]  # the image whose only mask is damaged
    examples = loader.skipped.examples["image"]["file damaged"]
    assert any("9x9 pixels" in line for line in examples) or any("does not decode" in line for line in examples)


def test_training_on_a_broken_data_set_ends_with_one_line(tmp_path: Path, writer, tells) -> None:
    writer.coco(tmp_path, writer.draw(20))
    for number in range(4):
        (tmp_path / "images" / f"sa_{number:03d}.png").write_bytes(b"words")

    loader = loader_of(tmp_path)
    with tells(DataError, "file damaged", "5.0% of max_skipped_share", ".png"):
        draws(loader, range(200))
    assert loader.skipped.seen["image"] == 100
    with tells(DataError, "entries of annotation files", "incomplete"):
        content = writer.coco_content(writer.draw(30))
        content["annotations"] = [{"image_id": 0}] * 50 + content["annotations"]
        loader_of(writer.coco(tmp_path / "other", writer.draw(30), **content))


@pytest.mark.parametrize("around_objects", [0.0, 1.0])
def test_one_image_of_many_unreadable_masks_does_not_end_a_training(tmp_path: Path, writer, around_objects) -> None:
    content = writer.coco_content(writer.draw(40))
    damaged = {"image_id": 0, "segmentation": {"size": [7, 7], "counts": [49]}, "area": 49}
    content["annotations"] = [one for one in content["annotations"] if one["image_id"]] + [damaged] * 150
    sources = open_sources(writer.coco(tmp_path, writer.draw(40), **content), "train", Skipped())
    crops = Augmentation(crop_probability=1.0, object_crop_probability=around_objects)
    loader, skipped = Loader(sources, crops, seed=0, max_skipped_share=0.2), Skipped()
    for step in range(200):
        loader.draw(step, 0, 32, 2)
        skipped.merge(loader.skipped.take())  # as a training does with every batch

    assert skipped.count("mask") >= 2 * UNUSABLE  # it was met several times, and a few of its masks tried each time
    assert skipped.count("mask") == UNUSABLE * skipped.unused
    assert skipped.share("mask") < 0.2


def test_images_that_show_nothing_end_the_training_with_one_line(tmp_path: Path, writer, tells) -> None:
    writer.coco(tmp_path, writer.draw(3), annotations=[])

    with tells(DataError, "50 images in a row", "50 image draws showed no object"):
        loader_of(tmp_path).draw(0, 0, 32, 1)


def test_pack_without_images_is_told_before_training(tmp_path: Path, writer, tells) -> None:
    writer.coco(tmp_path / "pack", writer.draw(1), images=[], annotations=[])

    with tells(MissingError, "pack has no images"):
        loader_of(tmp_path)


def test_inspection_counts_damage_without_training(tmp_path: Path, writer) -> None:
    drawn = writer.draw(6)
    writer.coco(tmp_path / "a", drawn)
    (tmp_path / "a" / "images" / "sa_000.png").unlink()
    writer.shards(tmp_path / "b", drawn, 1)
    writer.labels(tmp_path / "c", drawn)
    (tmp_path / "c" / "masks" / "sa_005.png").write_bytes(b"words")

    found = inspect(open_sources(tmp_path, "train"), 6)

    n_masks = sum(len(one.masks) for one in drawn)
    assert found.seen == {"image": 18, "mask": 3 * n_masks - len(drawn[5].masks)}
    assert found.reasons == {"image": {"file missing": 1, "annotations damaged": 1}}


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real packs are not in {DATA} (set SUPERSAM_DATA)")
def test_real_packs_are_drawn_whole_and_nothing_is_skipped() -> None:
    skipped = Skipped()
    sources = open_sources(DATA, "train-fit", skipped)
    loader = Loader(sources, Augmentation(object_crop_probability=0.5), seed=0, skipped=skipped)

    found = [loader.draw(step, 0, 128, 4) for step in range(40)]

    assert {source.name for source in sources} == {one.record.path.parent.parent.name for one in found}
    assert all(one.masks and max(one.image.shape) == 128 for one in found)
    assert not skipped.reasons
    assert skipped.summary().startswith("nothing was skipped of ")
