"""What was skipped: counted, merged, judged and told."""

import json
import pickle

import pytest

from supersam.data.skipped import EXAMPLES, Skipped
from supersam.errors import DataError


def counted(images: int = 200, missing: int = 0, damaged: int = 0) -> Skipped:
    skipped = Skipped()
    skipped.see("image", images)
    for number in range(missing):
        skipped.add("image", "file missing", f"missing_{number}.jpg")
    for number in range(damaged):
        skipped.add("image", "file damaged", f"damaged_{number}.jpg")
    return skipped


def test_counts_of_workers_add_up_to_those_of_one() -> None:
    first, second = counted(100, missing=2), counted(50, missing=1, damaged=4)
    second.see("mask", 10)
    second.unused, second.crowds = 3, 5

    first.merge(pickle.loads(pickle.dumps(second)))

    assert first.seen == {"image": 150, "mask": 10}
    assert first.reasons == {"image": {"file missing": 3, "file damaged": 4}}
    assert (first.unused, first.crowds) == (3, 5)
    assert first.share("image") == pytest.approx(7 / 150)
    assert len(first.examples["image"]["file damaged"]) == EXAMPLES
    assert second.count("image") == 5  # merging takes nothing away


def test_taken_counts_are_counted_once() -> None:
    worker, whole = counted(100, missing=2), Skipped()
    for _ in range(3):
        whole.merge(worker.take())

    assert whole == counted(100, missing=2)
    assert worker == Skipped()


def test_taken_counts_are_still_judged_by(tells) -> None:
    worker, damaged = counted(1000), counted(100, damaged=60)
    worker.take()
    worker.merge(damaged)
    worker.check(0.06)  # 60 of 1,100
    worker.take()
    with tells(DataError, "60 of 1,100 image draws", "5.0%", "damaged_0.jpg"):
        worker.check(0.05)


def test_masks_of_a_few_images_are_not_judged(tells) -> None:
    skipped = Skipped()
    skipped.see("mask", 999)
    for number in range(999):
        skipped.add("mask", "damaged", f"object {number} of a.jpg")
    skipped.check(0.05)
    skipped.see("mask")
    with tells(DataError, "999 of 1,000 mask draws"):
        skipped.check(0.05)


def test_few_samples_are_not_judged_and_many_are(tells) -> None:
    counted(99, damaged=99).check(0.05)
    counted(100, damaged=5).check(0.05)
    with tells(DataError, "6 of 100 image draws", "6 file damaged", "5.0%", "max_skipped_share", "damaged_0.jpg"):
        counted(100, damaged=6).check(0.05)


def test_one_kind_does_not_hide_behind_another(tells) -> None:
    skipped = counted(100, damaged=50)
    skipped.see("mask", 1_000_000)

    with tells(DataError, "50 of 100 image draws"):
        skipped.check(0.05)


def test_images_without_objects_are_told_and_are_no_damage() -> None:
    skipped = counted(100)
    skipped.unused = 90
    skipped.check(0.0)

    assert skipped.summary() == "nothing was skipped of 100 image draws; 90 image draws showed no object to ask for"


def test_summary_is_one_line_with_counts_reasons_and_an_example() -> None:
    skipped = counted(1200, missing=2, damaged=1)
    skipped.see("mask", 5)
    skipped.add("mask", "empty", "object 3 of a.jpg")

    images, masks = "3 of 1,200 image draws (2 file missing, 1 file damaged)", "1 of 5 mask draws (1 empty)"
    assert skipped.summary() == f"skipped {images} and {masks}; first: missing_0.jpg"


def test_a_file_that_is_drawn_again_is_counted_again_and_is_one_example() -> None:
    skipped = Skipped()
    for name in ("a.jpg", "a.jpg", "b.jpg", "a.jpg"):
        skipped.add("image", "file damaged", name)
    skipped.merge(skipped.take())
    skipped.add("image", "file damaged", "b.jpg")

    assert skipped.count("image") == 5
    assert skipped.examples["image"]["file damaged"] == ["a.jpg", "b.jpg"]


def test_json_form_reads_back_the_same() -> None:
    skipped = counted(1200, missing=7, damaged=1)
    skipped.unused, skipped.crowds = 4, 6
    content = json.loads(json.dumps(skipped.to_dict()))

    assert content["kinds"]["image"]["reasons"]["file missing"] == {
        "count": 7,
        "examples": ["missing_0.jpg", "missing_1.jpg", "missing_2.jpg"],
    }
    assert Skipped.from_dict(content) == skipped
    del content["crowds"]  # as in checkpoints of earlier
    assert Skipped.from_dict(content).crowds == 0
