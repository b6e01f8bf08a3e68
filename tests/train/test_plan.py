"""What a step does is a function of the configuration and the step; resolutions are elastic beyond the space."""

from collections import Counter

import pytest

from supersam.errors import ConfigError
from supersam.space import load_space
from supersam.train.config import FocalLoss, Phase, TrainConfig
from supersam.train.loss_model import LossModel
from supersam.train.plan import images_of_batch, plan_step, resolution_of_step


@pytest.fixture
def plans(changed, build_run):
    def draw(**values):
        run = build_run(changed(**values))
        arguments = (run.config, run.space, run.trained_space, LossModel(run.trained_space))
        return [plan_step(*arguments, step) for step in range(run.config.steps)]

    return draw


def test_a_plan_is_drawn_again_alike_and_differs_between_steps_and_seeds(plans):
    phases = [{"until": 0.5, "subnets": "uniform", "correction_rounds": 2, "correction_probability": 0.5}, {}]

    once, again, other = (plans(steps=40, phases=phases, seed=seed) for seed in (0, 0, 1))

    assert once == again
    assert all(one != two for one, two in zip(once, other, strict=True))
    assert [len(plan.subnets) for plan in once] == [1] * 20 + [4] * 20
    assert len({plan.settings.seed for plan in once}) == 40


def test_corrections_and_masks_come_as_often_as_they_should(plans):
    phases = [{"subnets": "uniform", "correction_rounds": 3, "correction_probability": 0.25}]

    settings = [plan.settings for plan in plans(steps=400, phases=phases)]

    rounds = Counter(one.correction_rounds for one in settings)
    assert set(rounds) == {0, 3}
    assert rounds[3] == pytest.approx(100, abs=30)
    assert sum(one.give_masks for one in settings) == pytest.approx(200, abs=40)


def test_resolutions_are_drawn_by_their_weights_also_some_that_the_space_lacks(plans):
    phases = [{"subnets": "uniform", "resolution_weights": {64: 3, 192: 1, 128: 0}}]

    found = plans(steps=300, phases=phases)

    seen = Counter(plan.resolution for plan in found)
    assert set(seen) == {64, 192}
    assert seen[192] == pytest.approx(75, abs=25)
    assert all(subnet.resolution == plan.resolution for plan in found for subnet in plan.subnets)


def test_without_weights_the_resolutions_of_the_space_are_drawn_alike(changed):
    config, space = changed(steps=300, phases=[{}]), load_space("starter")

    seen = Counter(resolution_of_step(config, space, step) for step in range(300))

    assert set(seen) == set(space.resolutions)
    assert min(seen.values()) > 300 / len(seen) - 40


def test_batches_of_all_resolutions_have_about_as_many_pixels(tiny_config):
    space = load_space("starter")
    config = tiny_config.model_copy(update={"images_per_step": 32})

    counts = {resolution: images_of_batch(config, space, resolution) for resolution in (128, 256, 512, 1024)}

    assert counts == {128: 128, 256: 32, 512: 8, 1024: 2}


@pytest.mark.parametrize(("asked", "drawn"), [(1, 1), (2, 2), (5, 2)])
def test_the_largest_images_come_in_twos_unless_one_is_asked_for(tiny_config, asked, drawn):
    config = tiny_config.model_copy(update={"images_per_step": asked})

    assert images_of_batch(config, load_space("starter"), 1024) == drawn


def test_removal_where_nothing_can_be_removed_is_refused(changed, build_run, tells):
    with tells(ConfigError, "removal_probability", "tiny has no layer to remove"):
        build_run(changed(removal_probability=0.5))


@pytest.mark.parametrize("resolution", [300, 0])
def test_a_resolution_that_does_not_fit_the_space_is_refused(changed, build_run, tells, resolution):
    with tells(ConfigError, "resolution_weights do not fit the space tiny"):
        build_run(changed(phases=[Phase(resolution_weights={resolution: 1.0})]))


@pytest.mark.parametrize("order", [("depht",), ("depth", "heads")])
def test_shrinking_of_what_the_space_has_not_is_refused(changed, build_run, tells, order):
    with tells(ConfigError, order[-1], "depth, ratio, width"):
        build_run(changed(shrinking={"order": order}))


def test_the_balanced_loss_fades_as_configured_or_is_off(plans):
    fading = [plan.settings.balance for plan in plans(steps=10, balanced_loss={"until": 0.2, "plain_from": 0.6})]
    off = [plan.settings.balance for plan in plans(steps=10, balanced_loss=None)]

    assert fading == pytest.approx([1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0, 0])
    assert off == [0] * 10


def test_every_step_has_the_focal_loss_of_the_configuration(plans):
    focal = {"weight": 10.0, "alpha": 0.5}

    assert {plan.settings.focal for plan in plans(steps=3, focal_loss=focal)} == {FocalLoss(**focal)}


@pytest.mark.parametrize(
    ("start", "balance"),
    [
        ({}, 1.0),
        ({"initial": {"weights": "starter"}}, 0.0),
        ({"initial": {"weights": "starter", "parts": "decoder"}}, 0.0),
        ({"distillation": {"teacher": "sam.pth", "start_from_teacher_decoder": True}}, 0.0),
        ({"distillation": {"teacher": "sam.pth"}}, 1.0),
    ],
)
def test_by_itself_only_a_new_decoder_begins_with_the_balanced_loss(changed, start, balance):
    config = TrainConfig.model_validate(changed().model_dump() | start)

    assert config.balance_at(0.0) == balance
    assert TrainConfig.model_validate(config.model_dump() | {"balanced_loss": {}}).balance_at(0.0) == 1.0
