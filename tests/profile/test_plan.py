"""What is timed, and that the times of parts follow from it."""

import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from supersam.latency import space_parts
from supersam.profile.plan import BESIDE, INTERCEPT, LENGTHS, SLOPE, Derivation, Item, derivation_of, plan_items
from supersam.space import BLOCK_TYPES, Part, SearchSpace, StagedSpace, load_space, parts


def derived_ms(board: Any, derivation: Derivation) -> float:
    return sum(weight * board.item_ms(item) for weight, item in derivation.terms)


def test_slope_of_the_chains_is_the_block_whatever_input_and_output_cost(board: Any) -> None:
    block = Part("vit", (16, 64, 2, 0, 16))

    found = derivation_of(block, [block])

    assert [item.parts for _, item in found.terms] == [(block,) * copies for copies in LENGTHS]
    assert found.scope == "chain"
    assert derived_ms(board, found) == pytest.approx(board.part_ms(block))


def test_line_through_the_chains_is_the_best_where_noise_is_a_share_of_the_time() -> None:
    lengths, noise = np.array(LENGTHS), np.random.default_rng(0).normal(size=(4000, len(LENGTHS)))
    times = (lengths * 2.0 + 0.3) * (1 + 0.03 * noise)

    def fitted(weights: dict[int, float]) -> np.ndarray:
        return times @ np.array([weights[k] for k in LENGTHS])

    two_lengths = (times[:, 0] - times[:, 1]) / 4
    assert fitted(SLOPE).mean() == pytest.approx(2.0, rel=0.01)
    assert fitted(INTERCEPT).mean() == pytest.approx(0.3, abs=0.01)
    assert fitted(SLOPE).std() == pytest.approx(1.1 * 0.03 * 2.0, rel=0.15)
    assert fitted(SLOPE).std() < 0.75 * two_lengths.std()


def test_border_costs_what_it_costs_between_its_neighbours(board: Any) -> None:
    before, after = Part("repvit", (32, 16, 2, 0)), Part("vit", (16, 64, 2, 0, 16))
    border = Part("downsample", (32, 16, 64))

    found = derivation_of(border, [border, before, after])

    assert found.scope == "border"
    assert derived_ms(board, found) == pytest.approx(board.part_ms(border))
    assert max(found.terms)[1].name == f"{border.key}+{after.key}*{BESIDE}"


def test_parts_add_up_to_whole_networks_with_their_input_and_output(board: Any, tiny_space: SearchSpace) -> None:
    known = space_parts(tiny_space)
    ms = {part: derived_ms(board, derivation_of(part, known)) for part in known}

    for seed in range(5):
        architecture = tiny_space.sample(random.Random(seed))
        assert sum(ms[part] for part in parts(architecture)) == pytest.approx(board.whole_ms(architecture))


def test_cheapest_neighbour_is_taken(staged_content: dict[str, Any]) -> None:
    space = StagedSpace.model_validate(staged_content)
    border = Part("downsample", (16, 8, 16))

    found = derivation_of(border, space_parts(space))

    chain = next(item for weight, item in found.terms if item.parts[0] == border)
    neighbour = chain.parts[1]
    fitting = [p for p in space_parts(space) if p.kind in BLOCK_TYPES and p.arguments[:2] == (8, 16)]
    assert neighbour.ops.gmacs == min(part.ops.gmacs for part in fitting)
    assert chain.parts[1:] == (neighbour,) * BESIDE


@pytest.mark.parametrize(
    "part",
    [Part("stem", (64, 8)), Part("downsample", (16, 8, 16)), Part("lateral", (3, 4, 16)), Part("sam_neck", (4, 64))],
)
def test_border_without_neighbours_is_timed_alone_and_says_so(part: Part) -> None:
    found = derivation_of(part, [part])

    assert found.scope == "isolated"
    assert [(weight, item.name) for weight, item in found.terms] == [(1.0, part.key)]


def test_plan_covers_a_space_and_times_nothing_twice(space: StagedSpace) -> None:
    plan = plan_items(space, networks=6, held_out=4)

    names = [item.name for item in plan.items]
    files = {item.file_name for item in plan.items}
    assert [one.part for one in plan.derivations] == space_parts(space)
    assert all(one.scope in ("chain", "border") for one in plan.derivations)
    assert len(set(names)) == len(names) == len(files)
    assert {item for one in plan.derivations for _, item in one.terms} <= set(plan.items)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") for name in files)
    assert {a.digest for a in (*plan.calibration, *plan.held_out)} <= set(names)


def test_held_out_networks_are_different_ones_and_the_same_again(space: StagedSpace) -> None:
    plan = plan_items(space, networks=10, held_out=12)

    assert len(set(plan.calibration)) == 10
    assert len(set(plan.held_out)) == 12
    assert not set(plan.calibration) & set(plan.held_out)
    assert plan_items(space, networks=10, held_out=12).items == plan.items
    assert plan_items(space, networks=10).calibration == plan.calibration


def test_small_space_gives_as_many_networks_as_it_has(space: StagedSpace) -> None:
    plan = plan_items(space, networks=60, held_out=10)

    assert len(plan.calibration) == space.size
    assert plan.held_out == ()


def test_isolated_parts_are_added_on_request(space: StagedSpace) -> None:
    alone = {part.key for part in space_parts(space)}

    assert not alone <= {item.name for item in plan_items(space).items}
    assert alone <= {item.name for item in plan_items(space, isolated=True).items}


def test_shipped_starter_is_measured_in_context_throughout() -> None:
    plan = plan_items(load_space("starter"))

    scopes = [one.scope for one in plan.derivations]
    assert set(scopes) == {"chain", "border"}
    assert len(plan.items) < 3 * len(scopes)
    gmacs = sorted(item.gmacs for item in plan.items if item.architecture is not None)
    assert gmacs[0] <= plan.sentinel.gmacs <= gmacs[-1]


def test_planning_loads_no_torch() -> None:
    code = "import sys, supersam.profile.plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_name_of_an_item_counts_copies_in_a_row() -> None:
    a, b = Part("repvit", (8, 16, 2, 0)), Part("lateral", (3, 8, 16))

    assert Item((a, a, b)).name == "repvit:8:16:2:0*2+lateral:3:8:16"
    assert Item((a,)).name == a.key
