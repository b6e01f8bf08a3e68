"""Evaluation: a model that is right scores 1, one that sees nothing 0, and clicks go where the error is."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from supersam.data.coco import Annotation, ImageRecord, Pack, load_pack, load_packs
from supersam.data.prompts import bounding_box, central_point
from supersam.data.synthetic import write_pack
from supersam.errors import UsageError
from supersam.evaluate import evaluator
from supersam.evaluate.evaluator import PROMPTS, PackScores, Report, calibration_batches, evaluate, spread
from supersam.evaluate.examples import ExampleCache
from supersam.evaluate.metrics import bootstrap_interval, filled_box, inscribed_ellipse, iou
from supersam.predict.predictor import Embedded, predict_logits
from supersam.predict.predictor import embed as predictor_embed
from supersam.sam.model import Sam

Tells = Callable[..., AbstractContextManager[None]]
Mask = NDArray[np.uint8]


class Oracle:
    """Stands in for embedding and decoding, and knows the masks of the image that was embedded last."""

    def __init__(self, pack: Pack) -> None:
        self.masks = {one.read().tobytes(): [one.mask(i) for i in range(len(one.annotations))] for one in pack.records}
        self.known: list[Mask] = []
        self.embedded: list[int] = []
        self.calls: list[dict[str, object]] = []
        self.answer: Callable[[Mask], NDArray[np.float32]] = lambda mask: 2.0 * mask - 1

    def embed(self, model: object, record: ImageRecord, resolution: int, cache: object) -> Embedded:
        self.known = self.masks[record.read().tobytes()]
        self.embedded.append(resolution)
        return Embedded(None, torch.zeros(1), (record.height, record.width), resolution)  # type: ignore[arg-type]

    def asked(
        self,
        embedded: Embedded,
        points: NDArray[np.float32] | None = None,
        labels: NDArray[np.float32] | None = None,
        boxes: NDArray[np.float32] | None = None,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Answer with the mask that a prompt was made of; of several masks the second is the one to take."""
        self.calls.append({"points": points, "labels": labels, "boxes": boxes, "multimask": multimask})
        right = [self.meant(None if points is None else points[n], None if boxes is None else boxes[n])
                 for n in range(len(points if boxes is None else boxes))]  # fmt: skip
        logits = torch.from_numpy(np.stack([self.answer(mask) for mask in right]).astype(np.float32))[:, None]
        if not multimask:
            return logits, torch.ones(len(right), 1)
        return torch.cat([-logits, logits, -logits], dim=1), torch.tensor([[0.1, 0.9, 0.3]]).repeat(len(right), 1)

    def meant(self, points: NDArray[np.float32] | None, box: NDArray[np.float32] | None) -> Mask:
        for mask in self.known:
            if points is not None and (central_point(mask) == points[0]).all():
                return mask
            if box is not None and (bounding_box(mask) == box).all():
                return mask
        raise AssertionError("the prompt was made of no mask of this image")


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return load_pack(write_pack(tmp_path_factory.mktemp("shapes"), n_train=0, n_val=4, side=64), "val")


@pytest.fixture
def oracle(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Oracle:
    found = Oracle(pack)
    monkeypatch.setattr(evaluator, "embed", found.embed)
    monkeypatch.setattr(evaluator, "answer", found.asked)
    monkeypatch.setattr(evaluator, "enlarge", lambda embedded, logits: logits)
    return found


def run(pack: Pack, *prompts: str, **options: int) -> Report:
    return evaluate(None, 64, [pack], list(prompts), **options)  # type: ignore[arg-type]


def test_model_that_is_right_scores_one(pack: Pack, oracle: Oracle) -> None:
    report = run(pack, *PROMPTS)

    n_masks = sum(len(one.annotations) for one in pack.records)
    found = report.to_dict()[pack.name]
    assert found.keys() == {"point1", "point3", "box"}
    for scores in found.values():
        assert (scores["miou"], scores["ci95"], scores["n_masks"]) == (1.0, [1.0, 1.0], n_masks)
    accuracy = report.accuracy()
    assert (accuracy.value, accuracy.source, accuracy.interval) == (1.0, "measured", (1.0, 1.0))
    assert accuracy.packs == {pack.name: dict.fromkeys(PROMPTS, 1.0)}


def test_model_that_sees_nothing_scores_zero(pack: Pack, oracle: Oracle) -> None:
    oracle.answer = lambda mask: -np.ones(mask.shape, dtype=np.float32)
    # Of three masks the second is taken, so the two that are everywhere must not count.

    report = run(pack, *PROMPTS)

    assert {scores["miou"] for scores in report.to_dict()[pack.name].values()} == {0.0}
    assert report.accuracy().value == 0.0


def test_score_is_the_mean_over_masks_of_the_overlap(pack: Pack, oracle: Oracle) -> None:
    def left_half(mask: Mask) -> NDArray[np.float32]:
        return np.where(np.arange(mask.shape[1]) < mask.shape[1] // 2, 2.0 * mask - 1, -1.0).astype(np.float32)

    oracle.answer = left_half
    masks = [one.mask(index) for one in pack.records for index in range(len(one.annotations))]
    expected = [iou(left_half(mask) > 0, mask) for mask in masks]

    report = run(pack, "box")

    assert report.packs[pack.name].prompts["box"] == expected
    images = [number for number, one in enumerate(pack.records) for _ in one.annotations]
    assert report.packs[pack.name].images == images
    assert report.intervals_over_images()[pack.name]["box"] == bootstrap_interval(expected, images)
    found = report.to_dict()[pack.name]["box"]
    assert found["miou"] == round(float(np.mean(expected)), 5)
    assert found["ci95"] == [round(bound, 5) for bound in bootstrap_interval(expected, images)]


def test_trivial_answers_are_scored_on_the_same_masks(pack: Pack, oracle: Oracle) -> None:
    found = run(pack, "point1", "box").to_dict()[pack.name]

    masks = [one.mask(index) for one in pack.records for index in range(len(one.annotations))]
    boxes = [bounding_box(mask) for mask in masks]
    fill = np.mean([iou(filled_box(box, mask.shape), mask) for box, mask in zip(boxes, masks, strict=True)])
    ellipse = np.mean([iou(inscribed_ellipse(box, mask.shape), mask) for box, mask in zip(boxes, masks, strict=True)])
    for prompt in ("point1", "box"):
        assert found[prompt]["trivial"] == {"box_fill": round(fill, 5), "ellipse": round(ellipse, 5)}


def test_images_are_embedded_once_at_the_resolution_asked(pack: Pack, oracle: Oracle) -> None:
    seen: list[int] = []

    report = evaluate(None, 96, [pack], list(PROMPTS), on_image=lambda: seen.append(1))  # type: ignore[arg-type]

    assert oracle.embedded == [96] * 4
    assert report.n_images == len(seen) == 4


def test_limits_take_fewer_images_and_masks(pack: Pack, oracle: Oracle) -> None:
    report = run(pack, "box", limit=2, masks_per_image=1)

    assert report.n_images == 2
    assert report.to_dict()[pack.name]["box"]["n_masks"] == 2
    firsts = [pack.records[index].mask(0) for index in (0, 3)]
    asked = [np.asarray(call["boxes"])[0].tolist() for call in oracle.calls]
    assert asked == [bounding_box(mask).tolist() for mask in firsts]


def test_many_masks_are_decoded_in_chunks(pack: Pack, oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "CHUNK", 2)

    report = run(pack, "box")

    assert max(len(np.asarray(call["boxes"])) for call in oracle.calls) == 2
    assert report.to_dict()[pack.name]["box"]["n_masks"] == sum(len(one.annotations) for one in pack.records)


@pytest.mark.parametrize("prompts", [["point2"], ["box", "text"], []])
def test_unknown_prompt_is_answered_with_those_there_are(pack: Pack, tells: Tells, prompts: list[str]) -> None:
    with tells(UsageError, "unknown prompt", *prompts[-1:], "point1, point3, box"):
        run(pack, *prompts)


def test_pack_without_masks_is_refused(tells: Tells, pack: Pack) -> None:
    bare = Pack("bare", tuple(ImageRecord(one.path, one.width, one.height, ()) for one in pack.records))

    with tells(UsageError, "bare", "no masks"):
        run(bare, "box")
    with tells(UsageError, "bare", "no masks to evaluate but 1,200 of crowds (iscrowd 1)"):
        run(replace(bare, crowds=1200), "box")


def test_empty_masks_are_counted_and_not_evaluated(pack: Pack, oracle: Oracle) -> None:
    first = pack.records[0]
    empty = Annotation({"size": [64, 64], "counts": [64 * 64]}, 0.0)
    record = ImageRecord(first.path, first.width, first.height, (empty, *first.annotations))

    report = run(Pack("one", (record,)), "box")

    assert report.to_dict()["one"]["box"]["n_masks"] == len(first.annotations)
    assert report.packs["one"].empty == 1


# Clicks


def test_first_click_is_in_the_middle_and_asks_for_three_masks(pack: Pack, oracle: Oracle) -> None:
    run(pack, "point1", limit=1)

    (call,) = oracle.calls
    middles = [central_point(pack.records[0].mask(index)) for index in range(len(pack.records[0].annotations))]
    assert np.array_equal(call["points"], np.stack(middles)[:, None])
    assert np.array_equal(call["labels"], np.ones((len(middles), 1)))
    assert call["multimask"] is True


@pytest.mark.parametrize("error", ["missed", "spilled"])
def test_further_clicks_are_in_the_middle_of_the_error(pack: Pack, oracle: Oracle, error: str) -> None:
    """A model that leaves out the right half of the object, or adds a strip of background at the top."""

    def wrong(mask: Mask) -> NDArray[np.bool_]:
        rows, columns = np.nonzero(mask)
        if error == "missed":
            return mask.astype(bool) & (np.arange(64) > np.median(columns))
        return (mask == 0) & (np.arange(64) < max(4, rows.min()))[:, None]

    oracle.answer = lambda mask: np.where(wrong(mask), 1.0 - 2.0 * mask, 2.0 * mask - 1).astype(np.float32)

    run(pack, "point3", limit=1)

    assert [np.asarray(call["points"]).shape[1] for call in oracle.calls] == [1, 2, 3]
    assert [call["multimask"] for call in oracle.calls] == [True, False, False]
    masks = [pack.records[0].mask(index) for index in range(len(pack.records[0].annotations))]
    last = oracle.calls[-1]
    for number, mask in enumerate(masks):
        middle = central_point(wrong(mask).astype(np.uint8))
        assert wrong(mask)[int(middle[1]), int(middle[0])]
        for click in (1, 2):
            assert np.array_equal(np.asarray(last["points"])[number, click], middle)
            assert np.asarray(last["labels"])[number, click] == (error == "missed")


def test_click_on_a_mask_without_error_is_in_its_middle(pack: Pack, oracle: Oracle) -> None:
    run(pack, "point3", limit=1)

    points, labels = np.asarray(oracle.calls[-1]["points"]), np.asarray(oracle.calls[-1]["labels"])
    assert (points == points[:, :1]).all()
    assert (labels == 1).all()


# The joints


def test_evaluation_of_a_model_is_between_nothing_and_all(pack: Pack, patch_sam: Sam) -> None:
    report = evaluate(patch_sam, 64, [pack], list(PROMPTS), limit=1)

    accuracy = report.accuracy()
    assert all(0 <= value <= 1 for prompts in accuracy.packs.values() for value in prompts.values())
    assert accuracy.interval[0] <= accuracy.value <= accuracy.interval[1]
    again = evaluate(patch_sam, 64, [pack], list(PROMPTS), limit=1)
    assert again.to_dict() == report.to_dict()


def test_a_cache_changes_nothing_and_reads_every_image_once(
    pack: Pack, patch_sam: Sam, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    original = ImageRecord.read
    monkeypatch.setattr(ImageRecord, "read", lambda self, *rest: (read.append(self.path), original(self, *rest))[1])
    alone = evaluate(patch_sam, 64, [pack], list(PROMPTS))
    cache = ExampleCache()
    read.clear()

    reports = [evaluate(patch_sam, 64, [pack], list(PROMPTS), cache=cache) for _ in range(2)]

    assert [report.to_dict() for report in reports] == [alone.to_dict()] * 2
    assert sorted(read) == sorted(one.path for one in pack.records)
    assert evaluate(patch_sam, 64, [pack], ["box"], None, 1, cache=cache).packs == (
        evaluate(patch_sam, 64, [pack], ["box"], None, 1).packs
    )


def test_answers_are_those_of_the_predictor(pack: Pack, patch_sam: Sam) -> None:
    record = pack.records[0]
    points = np.stack([central_point(record.mask(i)) for i in range(len(record.annotations))])[:, None]
    labels = np.ones(points.shape[:2], dtype=np.float32)

    embedded = evaluator.embed(patch_sam, record, 128, None)
    logits, scores = evaluator.answer(embedded, points, labels, multimask=True)
    enlarged = torch.stack([evaluator.enlarge(embedded, logits[:, number]) for number in range(3)], dim=1)

    expected, expected_scores = predict_logits(
        predictor_embed(patch_sam, record.read(), 128), points, labels, multimask=True
    )
    torch.testing.assert_close(enlarged, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores, expected_scores, rtol=1e-5, atol=1e-6)


def test_accuracy_weighs_packs_and_prompts_alike() -> None:
    both = {"box": [1.0, 0.0], "point1": [0.5, 0.5]}
    report = Report(3, {"a": PackScores(both, images=[0, 1]), "b": PackScores({"box": [0.25] * 100}, images=[0] * 100)})

    accuracy = report.accuracy()

    assert accuracy.value == pytest.approx((0.5 + 0.5 + 0.25) / 3)
    # a's masks have means of 0.75 and 0.25 over the prompts: the mean of both varies by sqrt(0.125 / 2) = 0.25, and
    # stands for two of three cells; b has one image, of which nothing can be told
    error = 1.96 * 0.25 * 2 / 3
    assert accuracy.interval == pytest.approx((accuracy.value - error, accuracy.value + error))
    assert accuracy.packs == {"a": {"box": 0.5, "point1": 0.5}, "b": {"box": 0.25}}


def test_masks_of_a_single_image_are_all_there_is_to_resample() -> None:
    report = Report(1, {"a": PackScores({"box": [0.2, 0.4, 0.6, 1.0]}, images=[0] * 4)})

    low, high = report.to_dict()["a"]["box"]["ci95"]

    assert low < 0.55 < high
    assert report.accuracy().interval[0] < 0.55 < report.accuracy().interval[1]


def test_masks_of_one_image_and_prompts_on_one_mask_are_not_counted_as_independent() -> None:
    rng = np.random.default_rng(0)
    of_images = rng.random(20)
    once = PackScores({"box": of_images.tolist()}, images=list(range(20)))
    often = {"box": np.repeat(of_images, 50).tolist(), "point1": np.repeat(of_images, 50).tolist()}
    many = PackScores(often, images=np.repeat(range(20), 50).tolist())

    assert once.standard_error() == pytest.approx(of_images.std(ddof=1) / np.sqrt(20))
    assert many.standard_error() == pytest.approx(once.standard_error())


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (None, [0, 1, 2, 3, 4, 5, 6]),
        (9, [0, 1, 2, 3, 4, 5, 6]),
        (7, [0, 1, 2, 3, 4, 5, 6]),
        (4, [0, 2, 4, 6]),
        (3, [0, 3, 6]),
        (2, [0, 6]),
        (1, [0]),
        (0, []),
    ],
)
def test_spread_takes_items_evenly_and_in_order(count: int | None, expected: list[int]) -> None:
    assert spread(tuple(range(7)), count) == expected


@pytest.mark.parametrize("count", range(1, 60))
def test_spread_never_repeats_an_item(count: int) -> None:
    found = spread(tuple(range(60)), count)

    assert len(set(found)) == len(found) == count
    assert found == sorted(found)


@pytest.mark.parametrize(("count", "sizes"), [(33, [6, 7, 6, 7, 7]), (8, [8]), (9, [4, 5]), (64, [8] * 8)])
def test_calibration_batches_count_alike(tmp_path: Path, count: int, sizes: list[int]) -> None:
    packs = load_packs(write_pack(tmp_path / "pack", n_train=count, n_val=1, side=32), "train")

    assert [len(batch) for batch in calibration_batches(packs, 64, count)] == sizes


def test_calibration_batches_mix_the_packs(tmp_path: Path) -> None:
    for name, n_val in (("a", 8), ("b", 3)):
        write_pack(tmp_path / name, n_train=0, n_val=n_val, side=48, seed=len(name) + n_val)
    packs = load_packs(tmp_path, "val")

    batches = list(calibration_batches(packs, 64, count=10, batch_size=4))

    assert [batch.shape for batch in batches] == [(4, 3, 64, 64), (4, 3, 64, 64)]
    a, b = (pack.records for pack in packs)
    order = [a[0], b[0], a[1], b[1], a[3], b[2], a[5], a[7]]
    expected = torch.stack([evaluator.to_input(one.read(), 64) for one in order])
    assert torch.equal(torch.cat(batches), expected)
