"""A wrong configuration is one line that names the key; the shipped ones load."""

from pathlib import Path

import pytest
import yaml

from supersam.errors import ConfigError
from supersam.space import load_space
from supersam.train.config import BalancedLoss, TrainConfig, load_config
from supersam.train.setup import check_space

ROOT = Path(__file__).parents[2]
BASE = {"space": "starter", "data": "synthetic", "out": "run", "steps": 10, "images_per_step": 2}


def load(tmp_path: Path, content: object) -> TrainConfig:
    path = tmp_path / "train.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return load_config(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, "stepz"),
        ({"steps": -1}, "steps"),
        ({"seed": -1}, "seed"),
        ({"data": []}, "data"),
        ({"learning_rate": 0.1}, "learning_rate"),
        ({"optimization": {"learning_rate": 0}}, "optimization.learning_rate"),
        ({"phases": []}, "until"),
        ({"phases": [{"until": 0.5}]}, "end at 1"),
        ({"phases": [{"until": 0.5}, {"until": 0.4}, {}]}, "must rise"),
        ({"phases": [{"subnets": "largest"}]}, "phases.0.subnets"),
        ({"phases": [{"resolution_weights": {256: -1}}]}, "resolution_weights"),
        ({"phases": [{"resolution_weights": {256: 0}}]}, "resolution_weights are all 0"),
        ({"phases": [{"subnets": "uniform", "inplace_distillation": 1.0}]}, "needs `subnets: sandwich`"),
        ({"phases": [{"subnets": "uniform", "inplace_distillation": {"masks": 1}}]}, "needs `subnets: sandwich`"),
        ({"phases": [{"inplace_distillation": -1}]}, "phases.0.inplace_distillation"),
        ({"phases": [{"inplace_distillation": {"mask": 1}}]}, "phases.0.inplace_distillation"),
        ({"points_per_image": 0, "boxes_per_image": 0}, "needs prompts"),
        ({"engine": {"strategy": "horovod"}}, "engine.strategy"),
        ({"augmentation": {"crop": 1}}, "augmentation.crop"),
        ({"shrinking": {"until": 0}}, "shrinking.until"),
        ({"distillation": {"teacher": "sam.pth", "freeze_decoder": True}}, "add start_from_teacher_decoder"),
        (
            {"initial": {"weights": "x"}, "distillation": {"teacher": "sam.pth", "start_from_teacher_decoder": True}},
            "start_from_teacher_decoder would replace the decoder of `initial`",
        ),
        ({"balanced_loss": {"until": 0.5, "plain_from": 0.4}}, "before until"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(tmp_path, tells, values, message):
    with tells(ConfigError, message, "train.yaml"):
        load(tmp_path, BASE | values)


@pytest.mark.parametrize(("text", "message"), [("- a list\n", "mapping"), ("space: [\n", "not valid YAML")])
def test_what_is_no_mapping_is_refused(tmp_path, tells, text, message):
    with tells(ConfigError, message):
        load(tmp_path, text)


def test_in_place_distillation_takes_one_weight_or_one_each(tmp_path):
    one, each, off = load(
        tmp_path,
        BASE
        | {
            "phases": [
                {"until": 0.2, "inplace_distillation": 0.5},
                {"until": 0.4, "inplace_distillation": {"embedding": 2, "masks": 0}},
                {},
            ]
        },
    ).phases

    assert (one.inplace.embedding, one.inplace.masks) == (0.5, 0.5)
    assert (each.inplace.embedding, each.inplace.masks) == (2, 0)
    assert [phase.inplace.active for phase in (one, each, off)] == [True, True, False]


def test_every_step_has_the_phase_whose_end_it_has_not_reached(tmp_path):
    phases = [{"until": 0.25, "random_subnets": 0}, {"until": 0.3, "random_subnets": 1}, {"random_subnets": 2}]
    config = load(tmp_path, BASE | {"phases": phases})

    assert [config.phase_at(step).random_subnets for step in range(10)] == [0, 0, 0, *[2] * 7]
    assert config.phase_at(10) is config.phases[-1]


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("experiments/*/train*.yaml")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_a_shipped_configuration_fits_its_space(path):
    config = load_config(path)
    trained = check_space(load_space(config.space), config)

    assert set(trained.resolutions) >= {side for phase in config.phases for side in phase.resolution_weights}


def test_the_starters_configuration_is_a_sandwich_of_four():
    config = load_config(ROOT / "experiments" / "0002-starter" / "train.yaml")

    assert [(phase.subnets, phase.random_subnets) for phase in config.phases] == [("sandwich", 2)]
    assert config.optimization.learning_rate == 7e-4


def test_the_share_of_the_balanced_loss_falls_from_one_to_zero():
    loss = BalancedLoss(until=0.5, plain_from=0.8)
    shares = [loss.share_at(progress / 20) for progress in range(21)]

    assert shares[:11] == [1.0] * 11
    assert shares[13] == pytest.approx(0.5)
    assert shares[16:] == [0.0] * 5


@pytest.mark.parametrize(("start", "before", "after"), [(0.0, 0.0, 0.0), (0.3, 1.0, 0.0)])
def test_the_balanced_loss_may_end_at_once(start, before, after):
    loss = BalancedLoss(until=start, plain_from=start)

    assert [loss.share_at(max(0.0, start - 0.01)), loss.share_at(start)] == [before, after]
