"""The real packs: they load, decode and keep to what the starter's model card says of them."""

import os
from pathlib import Path

import numpy as np
import pytest

from supersam.data.coco import load_packs

DATA = Path(os.environ.get("SUPERSAM_DATA", Path(__file__).parents[2] / "shared" / "data"))
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the real packs are not in {DATA} (set SUPERSAM_DATA)"),
]
COUNTS = {"coco_permissive": (356, 35, 240), "nuclei": (475, 90, 3784), "street_facade": (449, 88, 2575)}


def test_the_packs_have_the_images_and_masks_they_are_said_to_have():
    train, val = load_packs(DATA, "train"), load_packs(DATA, "val")

    found = {
        pack.name: (len(other.records), len(pack.records), sum(len(r.annotations) for r in pack.records))
        for pack, other in zip(val, train, strict=True)
    }
    assert found == COUNTS


def test_no_image_is_in_two_splits():
    names = {
        split: {(pack.name, record.path.name) for pack in load_packs(DATA, split) for record in pack.records}
        for split in ("train-fit", "train-search", "val", "train")
    }
    assert not names["train-fit"] & names["train-search"]
    assert names["train-fit"] | names["train-search"] == names["train"]
    assert not names["train"] & names["val"]


@pytest.mark.parametrize("pack", load_packs(DATA, "val") if DATA.is_dir() else [], ids=lambda pack: pack.name)
def test_images_and_masks_decode_to_one_size(pack):
    for record in pack.records[::12]:
        image, masks = record.read(), [record.mask(index) for index in range(min(3, len(record.annotations)))]
        assert all(mask.shape == image.shape[:2] for mask in masks)
        for mask, annotation in zip(masks, record.annotations, strict=False):
            assert np.count_nonzero(mask) == annotation.area


def test_a_click_with_the_starter_finds_part_of_the_object_on_every_pack():
    from supersam.checkpoints.starter import load_starter, starter_statistics
    from supersam.checkpoints.subnets import extract_subnet
    from supersam.evaluate.evaluator import evaluate
    from supersam.results import load_archive

    archive = load_archive()
    best = max(archive.measured, key=lambda architecture: archive.measured[architecture].value)
    subnet = extract_subnet(load_starter()[0], best, starter_statistics(best))

    report = evaluate(
        subnet, best.resolution, load_packs(DATA, "val"), ["point1"], limit=3, masks_per_image=5
    ).to_dict()

    for pack in COUNTS:
        assert report[pack]["point1"]["miou"] > 0.1
