"""Masks in the pixels of the image, and the same by segment-anything's own classes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from torch import nn

from supersam.checkpoints.subnets import extract_subnet, save_subnet
from supersam.predict import Predictor, to_segment_anything
from supersam.predict.predictor import embed, predict_logits
from supersam.sam.model import Sam
from supersam.space import StagedSpace
from supersam.supernet.supernet import Supernet

Randomise = Callable[..., nn.Module]
Image = NDArray[np.uint8]


@pytest.fixture
def sam(patch_sam: Sam, randomise: Randomise) -> Sam:
    found = randomise(patch_sam)
    assert isinstance(found, Sam)
    return found


@pytest.fixture
def image() -> Image:
    """Random pixels, 96 high and 128 wide: an even multiple at every resolution of these tests."""
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


# Against segment-anything


@pytest.mark.parametrize("resolution", [1024, 256])
def test_clicks_give_what_sam_predictor_gives(sam: Sam, image: Image, resolution: int) -> None:
    original = SamPredictor(to_segment_anything(sam, resolution))
    original.set_image(image)
    points, labels = np.array([[20.0, 30.0], [100.0, 70.0]], dtype=np.float32), np.array([1.0, 0.0], dtype=np.float32)
    embedded = embed(sam, image, resolution)

    for multimask in (True, False):
        logits, scores = predict_logits(embedded, points[None], labels[None], multimask=multimask)

        expected, expected_scores, _ = original.predict(points, labels, multimask_output=multimask, return_logits=True)
        torch.testing.assert_close(logits[0], torch.from_numpy(expected), atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(scores[0], torch.from_numpy(expected_scores), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("resolution", [1024, 256])
def test_box_gives_what_sam_predictor_gives(sam: Sam, image: Image, resolution: int) -> None:
    original = SamPredictor(to_segment_anything(sam, resolution))
    original.set_image(image)
    box = np.array([10.0, 20.0, 60.0, 90.0], dtype=np.float32)

    logits, scores = predict_logits(embed(sam, image, resolution), boxes=box[None])

    expected, expected_scores, _ = original.predict(box=box, multimask_output=False, return_logits=True)
    torch.testing.assert_close(logits[0], torch.from_numpy(expected), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(scores[0], torch.from_numpy(expected_scores), atol=1e-4, rtol=1e-4)


def test_segment_anything_generates_masks_of_the_whole_image(sam: Sam, image: Image) -> None:
    generator = SamAutomaticMaskGenerator(
        to_segment_anything(sam, 128),
        points_per_side=4,
        pred_iou_thresh=-np.inf,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
    )

    found = generator.generate(image)

    assert 1 <= len(found) <= 3 * 4 * 4
    assert all(mask["segmentation"].shape == (96, 128) for mask in found)
    assert all(mask["area"] == mask["segmentation"].sum() for mask in found)
    assert len({tuple(mask["point_coords"][0]) for mask in found}) == 16


def test_segment_anything_shares_the_weights(sam: Sam) -> None:
    original = to_segment_anything(sam, 256)

    for name, tensor in sam.state_dict().items():
        if not name.startswith("image_encoder."):
            assert original.state_dict()[name].data_ptr() == tensor.data_ptr()
    assert original.image_encoder.encoder is sam.image_encoder
    assert original.image_encoder.img_size == 256
    assert not original.training


# Predictor


@pytest.fixture
def predictor(sam: Sam, image: Image) -> Predictor:
    found = Predictor(sam, 128)
    found.set_image(image)
    return found


def test_one_click_gives_three_masks_and_more_give_one(predictor: Predictor) -> None:
    for clicks, n_masks in ((1, 3), (2, 1), (3, 1)):
        masks, scores = predictor.predict(points=np.full((2, clicks, 2), 40))

        assert masks.shape == (2, n_masks, 96, 128)
        assert masks.dtype == bool
        assert scores.shape == (2, n_masks)


def test_box_gives_one_mask(predictor: Predictor) -> None:
    masks, scores = predictor.predict(boxes=[[10, 20, 60, 90], [0, 0, 128, 96], [1, 1, 2, 2]])

    assert masks.shape == (3, 1, 96, 128)
    assert scores.shape == (3, 1)


def test_prompts_asked_together_give_what_each_gives_alone(predictor: Predictor) -> None:
    points, labels = np.array([[[20, 30], [70, 80]], [[100, 9], [3, 90]]]), np.array([[1, 0], [1, 1]])

    together, scores = predictor.predict(points, labels)

    for index in range(2):
        alone, score = predictor.predict(points[index : index + 1], labels[index : index + 1])
        assert (together[index] != alone[0]).mean() < 1e-3
        assert scores[index] == pytest.approx(score[0], abs=1e-4)


def test_clicks_count_as_on_the_object_unless_labelled(predictor: Predictor) -> None:
    points = [[[20, 30], [70, 80]]]

    _, unlabelled = predictor.predict(points)
    _, on = predictor.predict(points, labels=[[1, 1]])
    _, beside = predictor.predict(points, labels=[[1, 0]])

    assert unlabelled == pytest.approx(on)
    assert unlabelled != pytest.approx(beside)


def test_masks_are_where_the_decoder_is_above_zero(predictor: Predictor, sam: Sam, image: Image) -> None:
    box = np.array([[10, 20, 60, 90]], dtype=np.float32)

    masks, _ = predictor.predict(boxes=box)

    logits, _ = predict_logits(embed(sam, image, 128), boxes=box)
    assert (masks == (logits.numpy() > 0)).all()
    assert 0 < masks.mean() < 1


def test_prompts_are_about_the_image_set_last(predictor: Predictor, image: Image) -> None:
    first, _ = predictor.predict(boxes=[[10, 20, 60, 90]])
    predictor.set_image(255 - image[:, :64])
    second, _ = predictor.predict(boxes=[[10, 20, 60, 90]])

    assert second.shape == (1, 1, 96, 64)
    assert (first[..., :64] != second).any()


@pytest.mark.parametrize("shape", [(96, 128), (96, 128, 4), (3, 96, 128), (1, 96, 128, 3)])
def test_what_is_not_a_colour_image_is_refused(sam: Sam, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\) of uint8"):
        Predictor(sam, 128).set_image(np.zeros(shape, dtype=np.uint8))


def test_image_of_floats_is_refused(sam: Sam) -> None:
    with pytest.raises(ValueError, match="float32"):
        Predictor(sam, 128).set_image(np.zeros((96, 128, 3), dtype=np.float32))  # type: ignore[arg-type]


def test_prompts_need_an_image_and_are_points_or_boxes(sam: Sam, predictor: Predictor) -> None:
    with pytest.raises(ValueError, match="call set_image before predict"):
        Predictor(sam, 128).predict(boxes=[[0, 0, 4, 4]])
    with pytest.raises(ValueError, match="either points or boxes"):
        predictor.predict()
    with pytest.raises(ValueError, match="either points or boxes"):
        predictor.predict(points=[[[1, 1]]], boxes=[[0, 0, 4, 4]])


def test_loaded_subnet_predicts_what_it_did_when_it_was_saved(
    tmp_path: Path, tiny_staged: StagedSpace, randomise: Randomise, image: Image
) -> None:
    torch.manual_seed(0)
    model = randomise(Sam(Supernet(tiny_staged)))
    architecture = tiny_staged.smallest()
    subnet = extract_subnet(model, architecture)
    save_subnet(tmp_path / "own.safetensors", subnet, architecture, {})
    before, after = Predictor(subnet, architecture.resolution), Predictor.load(str(tmp_path / "own.safetensors"))

    for predictor in (before, after):
        predictor.set_image(image)

    assert after.resolution == architecture.resolution
    assert all(
        np.array_equal(one, other)
        for one, other in zip(before.predict([[[30, 40]]]), after.predict([[[30, 40]]]), strict=True)
    )
