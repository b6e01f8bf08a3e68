"""Does the proof of a supernet's ranking count and compare rightly?"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from supersam._paths import starter_dir
from supersam.checkpoints.starter import WEIGHTS
from supersam.cli.main import app
from supersam.data.synthetic import write_pack
from supersam.errors import ConfigError, UsageError
from supersam.space import load_space
from supersam.space.parts import count
from supersam.train.config import TrainConfig
from supersam.train.distillation_config import Distillation
from supersam.train.loop import train
from supersam.train.ranking import Judged, agreement, alone_config, compare, spread_subnets


def test_values_that_are_all_equal_agree_with_nothing():
    found = agreement([0.3, 0.3, 0.3, 0.3], [0.1, 0.2, 0.3, 0.4])

    assert (found.kendall, found.spearman) == (0.0, 0.0)
    assert found.kendall_interval == found.spearman_interval == (0.0, 0.0)


def test_equal_orders_agree_and_opposite_ones_do_not():
    same = agreement([0.1, 0.2, 0.3, 0.4, 0.5], [1.0, 2.0, 3.0, 4.0, 5.0])
    opposite = agreement([0.1, 0.2, 0.3, 0.4, 0.5], [5.0, 4.0, 3.0, 2.0, 1.0])

    assert (same.kendall, same.spearman) == pytest.approx((1, 1))
    assert (opposite.kendall, opposite.spearman) == pytest.approx((-1, -1))
    assert same.kendall_interval == pytest.approx((1, 1))


def test_one_exchanged_pair_of_four_is_tau_two_thirds_inside_its_interval():
    found = agreement([1, 2, 3, 4], [2, 1, 3, 4])

    assert found.kendall == pytest.approx(2 / 3)
    assert found.kendall_interval[0] < found.kendall < found.kendall_interval[1]


def test_subnets_are_spread_over_costs_and_types():
    space = load_space("starter")

    chosen = spread_subnets(space, 256, 16)

    costs = [count(architecture).gmacs for architecture in chosen]
    assert len(set(chosen)) == 16
    assert costs == sorted(costs)
    assert costs[-1] > 4 * costs[0]
    for number, allowed in enumerate(space.stages):
        for block in allowed.blocks:
            assert 2 <= sum(architecture.stages[number].block == block for architecture in chosen) <= 6
    assert spread_subnets(space, 256, 16) == chosen


def test_subnets_near_the_front_are_the_better_ones_of_their_cost():
    space = load_space("starter")

    def expected(architecture):
        return sum(stage.block == "vit" for stage in architecture.stages)

    chosen = spread_subnets(space, 256, 8, expected=expected)

    assert len(set(chosen)) == 8
    assert sum(map(expected, chosen)) > sum(map(expected, spread_subnets(space, 256, 8)))


def judged(number: int, inherited: float, alone: float, again: float | None = None) -> Judged:
    return Judged(str(number), "", 1.0, inherited, alone, again)


def test_the_share_of_the_ceiling_is_taken_on_the_subnets_trained_twice():
    twice = [judged(1, 0.2, 0.1, 0.1), judged(2, 0.1, 0.2, 0.2), judged(3, 0.3, 0.3, 0.3), judged(4, 0.4, 0.4, 0.4)]
    once = [judged(5, 0.9, 0.5), judged(6, 0.8, 0.6), judged(7, 0.7, 0.7)]

    found = compare(twice + once)

    assert found.ceiling is not None
    assert found.ceiling.kendall == pytest.approx(1)
    assert found.share_of_ceiling == pytest.approx(2 / 3)
    assert found.inherited.n == 7
    assert not found.goal_met
    assert compare([judged(n, n / 10, n / 10) for n in range(4)]).goal_met
    assert (found.noise, found.ceiling_is_known) == (0, True)
    assert found.to_dict()["goal"]["met"] is False


def test_what_a_seed_does_to_all_subnets_alike_is_no_noise():
    apart = [judged(n, n / 10, n / 10, n / 10 + 0.05 + noise) for n, noise in enumerate((0.01, -0.01, 0.01, -0.01))]

    assert compare(apart).noise == pytest.approx((4 * 0.01**2 / 3 / 2) ** 0.5)


def test_a_ceiling_that_may_be_chance_meets_no_goal():
    """Two trainings that hardly agree with each other would let any supernet pass."""
    found = compare(
        [judged(1, 0.2, 0.1, 0.3), judged(2, 0.1, 0.2, 0.1), judged(3, 0.3, 0.3, 0.2), judged(4, 0.4, 0.4, 0.4)]
    )

    assert found.share_of_ceiling == pytest.approx(2)
    assert not found.ceiling_is_known
    assert not found.goal_met
    assert found.noise == pytest.approx((0.06 / 3 / 2) ** 0.5)
    assert found.inherited_with_mean == agreement([0.2, 0.1, 0.3, 0.4], [0.2, 0.15, 0.25, 0.4])
    assert found.gain == pytest.approx(0)


@pytest.mark.parametrize(
    ("trained", "source_split", "judged", "shared"),
    [("train", None, "train-search", 7), ("train-fit", None, "train", 33), ("train-fit", "train", "train-search", 40)],
)
def test_images_of_the_trainings_are_not_judged_by(
    trained, source_split, judged, shared, tiny_config: TrainConfig, tmp_path: Path
):
    data = {"path": str(write_pack(tmp_path / "pack", n_train=40))} | ({"split": source_split} if source_split else {})
    content = {"space": tiny_config.space, "data": [data], "split": trained, "out": "y", "steps": 1}
    config = tmp_path / "alone.yaml"
    config.write_text(json.dumps(content | {"images_per_step": 2}))  # JSON is YAML

    found = CliRunner().invoke(app, ["validate", str(config), "--weights", "w.safetensors", "--split", judged])

    assert isinstance(found.exception, UsageError)
    assert f"holds {shared} images" in str(found.exception)
    assert "train-search" in str(found.exception)


def test_weights_and_archive_of_another_space_are_told_before_any_training(tiny_config: TrainConfig, tmp_path: Path):
    config = tmp_path / "alone.yaml"
    data = write_pack(tmp_path / "pack")
    config.write_text(
        f"space: {tiny_config.space}\ndata: {data}\nout: {tmp_path / 'y'}\nsteps: 1\nimages_per_step: 2\n"
    )
    command = ["validate", str(config), "--weights", str(starter_dir() / WEIGHTS)]

    strange = CliRunner().invoke(app, command)
    front = CliRunner().invoke(app, [*command, "--front"])

    assert isinstance(strange.exception, UsageError)
    assert "starter.safetensors is a supernet of starter" in str(strange.exception)
    assert isinstance(front.exception, UsageError)
    assert "leave it out" in str(front.exception)
    assert not (tmp_path / "y").exists()


def test_validate_trains_each_subnet_alone_once_and_keeps_what_is_finished(tiny_config: TrainConfig, tmp_path: Path):
    weights = train(tiny_config.model_copy(update={"steps": 1}))
    data = write_pack(tmp_path / "pack")
    config = tmp_path / "alone.yaml"
    config.write_text(
        f"space: {tiny_config.space}\ndata: {data}\nsplit: train-fit\nout: {tmp_path / 'alone'}\nsteps: 1\n"
        "images_per_step: 2\n"
    )
    command = ["validate", str(config), "--weights", str(weights), "--architectures", "3", "--repeated", "1", "--json"]
    command += ["--images", "2", "--masks", "2"]

    first = CliRunner().invoke(app, command)
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "alone").glob("*/weights.safetensors")}
    again = CliRunner().invoke(app, command)

    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout)
    assert len(found["subnets"]) == 3
    assert [subnet["again"] is not None for subnet in found["subnets"]].count(True) == 1
    assert len(trained) == 4
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    assert json.loads(again.stdout) == found
    assert json.loads((tmp_path / "alone" / "ranking.json").read_text()) == found

    config.write_text(config.read_text() + "calibration_images: 0\n")
    supernets_own = CliRunner().invoke(app, command)
    assert supernets_own.exit_code == 0, supernets_own.output
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    values = [[subnet["inherited"] for subnet in json.loads(run.stdout)["subnets"]] for run in (first, supernets_own)]
    assert values[0] != values[1]

    config.write_text(config.read_text().replace("steps: 1", "steps: 2"))
    other = CliRunner().invoke(app, command)
    assert isinstance(other.exception, ConfigError)
    assert "another steps" in str(other.exception)
    config.write_text(config.read_text().replace("steps: 2", "steps: 1") + "optimization: {learning_rate: 2.0e-3}\n")
    faster = CliRunner().invoke(app, command)
    assert isinstance(faster.exception, ConfigError)
    assert "another optimization" in str(faster.exception)
    config.write_text(config.read_text().partition("optimization")[0])
    annotations = data / "annotations" / "instances_train.json"
    content = json.loads(annotations.read_text())
    content["licenses"] = [{"id": 1, "name": "CC0"}]
    content["images"] = [{**image, "license": 1} for image in content["images"]]
    annotations.write_text(json.dumps(content))
    relabelled = CliRunner().invoke(app, command)
    assert isinstance(relabelled.exception, ConfigError)
    assert "another data" in str(relabelled.exception)


def test_a_training_alone_begins_with_the_supernets_decoder(tiny_config: TrainConfig):
    lessons = Distillation(teacher="sam.pth", start_from_teacher_decoder=True, freeze_decoder=True)
    config = tiny_config.model_copy(update={"distillation": lessons})

    alone = alone_config(config, load_space(config.space).smallest())

    assert alone.distillation == lessons.model_copy(update={"start_from_teacher_decoder": False})
