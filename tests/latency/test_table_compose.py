"""From parts to whole networks: known factors are found, and the interval covers what it says."""

import math
import random
from collections.abc import Sequence
from statistics import mean

import pytest

from supersam.errors import MissingEntryError
from supersam.latency import Composition, LatencyTable, Quality, conformal_quantile, fit_composition, load_table
from supersam.space import AnyArchitecture, SearchSpace, load_space, parts

FACTORS = {"vit": 1.2, "repvit": 0.9, "rwkv": 1.1}
OTHERS = 1.05

Networks = list[tuple[AnyArchitecture, float]]


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return load_space("starter")


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    """The entries of a shipped table, their sums uncorrected and their noise unknown."""
    return load_table("cpu-x86-1t").model_copy(update={"composition": Composition(), "quality": Quality()})


def draw(
    table: LatencyTable,
    space: SearchSpace,
    n: int,
    noise: float,
    rng: random.Random,
    factors: dict[str, float] = FACTORS,
) -> Networks:
    """Return random networks whose parts take a known factor more than the table says, and noise of the whole."""
    made = []
    for _ in range(n):
        architecture = space.sample(rng)
        ms = sum(table.of_part(part).ms * factors.get(part.kind, OTHERS) for part in parts(architecture))
        made.append((architecture, ms * math.exp(rng.gauss(0, noise))))
    return made


def mean_error(table: LatencyTable, networks: Networks) -> float:
    return mean(abs(table.predict(architecture).ms / ms - 1) for architecture, ms in networks)


def test_known_factors_are_found_where_nothing_disturbs(table: LatencyTable, space: SearchSpace) -> None:
    found = fit_composition(table, draw(table, space, 40, 1e-4, random.Random(0)))

    assert {kind: found.factor_per_kind[kind] for kind in FACTORS} == pytest.approx(FACTORS, rel=0.01)
    assert found.calibration_networks == 40
    assert 1 <= found.spread < 1.01


def test_one_factor_is_found_where_all_kinds_have_it(table: LatencyTable, space: SearchSpace) -> None:
    networks = draw(table, space, 16, 0.01, random.Random(0), factors={})

    found = fit_composition(table, networks)

    assert found.factor == pytest.approx(OTHERS, rel=0.01)
    assert list(found.factor_per_kind.values()) == pytest.approx([OTHERS] * len(found.factor_per_kind), rel=0.03)


def test_factors_predict_other_networks_better(table: LatencyTable, space: SearchSpace) -> None:
    rng = random.Random(1)
    found = fit_composition(table, draw(table, space, 20, 0.02, rng))
    others = draw(table, space, 40, 0.02, rng)

    def error_with(composition: Composition) -> float:
        return mean_error(table.model_copy(update={"composition": composition}), others)

    one_factor = Composition(factor=found.factor)
    assert error_with(found) < 0.75 * error_with(one_factor) < error_with(Composition())


def test_rare_kinds_are_drawn_to_the_common_factor(table: LatencyTable, space: SearchSpace) -> None:
    found = fit_composition(table, draw(table, space, 12, 0.03, random.Random(2)))

    assert found.factor_per_kind["fuse"] == pytest.approx(found.factor, rel=0.05)
    assert min(found.factor_per_kind.values()) > 0


@pytest.mark.parametrize("n", [0, 1, 3])
def test_too_few_networks_change_nothing(table: LatencyTable, space: SearchSpace, n: int) -> None:
    found = fit_composition(table, draw(table, space, n, 0.02, random.Random(0)))

    assert (found.factor, found.factor_per_kind, found.spread, found.calibration_networks) == (1.0, {}, 1.0, 0)
    assert "4 are needed" in found.note


def test_common_factor_within_the_noise_is_one(table: LatencyTable, space: SearchSpace) -> None:
    noisy = table.model_copy(update={"quality": Quality(noise_floor_pct=30.0)})
    networks = draw(table, space, 16, 0.001, random.Random(0), factors={})

    assert fit_composition(noisy, networks).factor == 1.0
    assert fit_composition(table, networks).factor == pytest.approx(OTHERS, rel=0.01)


def test_an_earlier_composition_does_not_matter(table: LatencyTable, space: SearchSpace) -> None:
    networks = draw(table, space, 10, 0.02, random.Random(3))
    before = table.model_copy(update={"composition": Composition(factor=3.0, spread=2.0)})

    assert fit_composition(before, networks) == fit_composition(table, networks)


def test_lacking_part_is_named(table: LatencyTable, space: SearchSpace) -> None:
    networks = draw(table, space, 8, 0.02, random.Random(0))
    poor = table.model_copy(update={"entries": {}})

    with pytest.raises(MissingEntryError, match="has no entry for"):
        fit_composition(poor, networks)


@pytest.mark.parametrize(
    ("errors", "value"),
    [
        (range(1, 10), 9),  # rank 9 of 9
        (range(1, 20), 18),  # ceil(0.9 * 20)
        (range(1, 101), 91),
        ([3, 1, 2], 3),  # no rank is high enough
    ],
)
def test_conformal_quantile_has_the_rank_of_a_finite_sample(errors: Sequence[float], value: float) -> None:
    assert conformal_quantile(errors) == value


@pytest.mark.parametrize("n", [10, 19])
def test_interval_covers_nine_in_ten(table: LatencyTable, space: SearchSpace, n: int) -> None:
    rng = random.Random(n)
    pool = draw(table, space, 400, 0.03, rng)  # many draws of calibration and test networks from one pool
    held = []
    for _ in range(60):
        chosen = rng.sample(pool, n + 20)
        checked = table.model_copy(update={"composition": fit_composition(table, chosen[:n])})
        for architecture, ms in chosen[n:]:
            found = checked.predict(architecture)
            held.append(found.lo <= ms <= found.hi)

    assert 0.85 <= mean(held) <= 0.95
