"""Measuring on images: in rungs or at once the same, kept, and given up when told so."""

import pytest

from supersam.checkpoints.starter import load_starter
from supersam.checkpoints.subnets import extract_subnet
from supersam.data.coco import load_packs
from supersam.data.synthetic import write_pack
from supersam.evaluate.evaluator import calibration_batches, evaluate
from supersam.evaluate.recalibrate import recalibrate
from supersam.search.accuracy_cache import AccuracyCache
from supersam.search.halving import Halving, Pruned
from supersam.search.measured import CALIBRATION_IMAGES, MeasuredAccuracy
from supersam.search.objective import Objective


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """The starter's supernet, its smallest subnet and a pack of shapes."""
    model, _ = load_starter()
    folder = write_pack(tmp_path_factory.mktemp("shapes") / "shapes", n_train=8, n_val=5, side=64)
    return model, model.image_encoder.space.smallest(), load_packs(folder, "val"), load_packs(folder, "train")


def measured_by(material, tmp_path, **options):
    model, _, packs, calibration = material
    return MeasuredAccuracy(model, packs, calibration, 4, 2, ["box"], AccuracyCache({}, tmp_path / "cache"), **options)


def test_measuring_in_rungs_is_evaluating_on_all_images(material, tmp_path):
    model, smallest, packs, calibration = material
    subnet = extract_subnet(model, smallest)
    recalibrate(subnet.image_encoder, calibration_batches(calibration, smallest.resolution, CALIBRATION_IMAGES))
    at_once = evaluate(subnet, smallest.resolution, packs, ["box"], 4, 2).accuracy()

    found = measured_by(material, tmp_path)(smallest)

    assert found.value == pytest.approx(at_once.value, abs=1e-6)
    assert found.interval == pytest.approx(at_once.interval, abs=1e-6)
    assert found.packs == at_once.packs


def test_what_was_measured_is_not_measured_again_and_weighed_anew(material, tmp_path, monkeypatch):
    smallest = material[1]
    measured_by(material, tmp_path)(smallest)
    monkeypatch.setattr(MeasuredAccuracy, "_measure", lambda self, architecture: pytest.fail("measured again"))

    again = measured_by(material, tmp_path, objective=Objective({"shapes": 2.0}))(smallest)

    assert again.value == pytest.approx(again.packs["shapes"]["box"], abs=1e-4)


def test_what_is_given_up_leaves_nothing_in_the_cache_and_can_be_measured_in_full(material, tmp_path):
    class GiveUp(Halving):
        def check(self, rung, architecture, accuracy, n_images):
            raise Pruned(f"after {n_images}")

    smallest = material[1]
    source = measured_by(material, tmp_path, halving=GiveUp(lambda architecture: 1.0))

    with pytest.raises(Pruned, match="after 1"):
        source(smallest)
    assert source.cache.get(smallest.digest) is None
    assert source.in_full()(smallest).source == "measured"


def test_halving_judges_what_is_in_the_cache_as_if_it_were_measured_now(material, tmp_path, monkeypatch):
    smallest = material[1]

    def halved():
        return measured_by(material, tmp_path, halving=Halving(lambda architecture: [1.0]))

    cold, warm = halved(), halved()
    measured = cold(smallest)
    monkeypatch.setattr(MeasuredAccuracy, "_measure", lambda self, architecture: pytest.fail("measured again"))

    assert warm(smallest) == measured
    assert warm.notes() == cold.notes()
    assert len(warm.notes()["reached"]) == 2
