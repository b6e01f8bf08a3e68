"""Does the proof of a supernet's ranking count and compare rightly?"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from supersam.cli.main import app
from supersam.data.synthetic import write_pack
from supersam.space import load_space
from supersam.space.parts import count
from supersam.train.config import TrainConfig
from supersam.train.loop import train
from supersam.train.ranking import agreement, spread_subnets


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
