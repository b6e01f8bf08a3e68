"""Pareto fronts against a brute-force oracle, and numbers done by hand."""

import random
from collections.abc import Callable

import pytest

from supersam.results import Candidate, best_within, hypervolume, pareto_front

Make = Callable[..., Candidate]


def dominates(one: Candidate, other: Candidate) -> bool:
    mine, theirs = (one.latency.ms, -one.accuracy.value), (other.latency.ms, -other.accuracy.value)
    return mine != theirs and mine[0] <= theirs[0] and mine[1] <= theirs[1]


def by_definition(candidates: list[Candidate]) -> list[Candidate]:
    """Every candidate that no other dominates; of equal ones the first."""
    kept: dict[tuple[float, float], Candidate] = {}
    for one in candidates:
        if not any(dominates(other, one) for other in candidates):
            kept.setdefault((one.latency.ms, one.accuracy.value), one)
    return sorted(kept.values(), key=lambda found: found.latency.ms)


def cloud(make: Make, seed: int, count: int = 60) -> list[Candidate]:
    """Candidates on a coarse grid, so that many tie in one number or in both."""
    rng = random.Random(seed)
    return [make(float(rng.randint(1, 12)), rng.randint(1, 12) / 12) for _ in range(count)]


@pytest.mark.parametrize("seed", range(30))
def test_front_is_what_no_other_dominates(candidate: Make, seed: int) -> None:
    candidates = cloud(candidate, seed, count=1 + 4 * seed)

    assert pareto_front(candidates) == by_definition(candidates)


@pytest.mark.parametrize("seed", range(5))
def test_front_rises_and_is_its_own_front(candidate: Make, seed: int) -> None:
    front = pareto_front(cloud(candidate, seed))

    assert pareto_front(front) == pareto_front(reversed(front)) == front
    for slower, faster in zip(front[1:], front, strict=False):
        assert slower.latency.ms > faster.latency.ms
        assert slower.accuracy.value > faster.accuracy.value


def test_front_of_equal_candidates_is_the_first(candidate: Make) -> None:
    first, second = candidate(2.0, 0.5), candidate(2.0, 0.5)

    assert pareto_front([first, second]) == [first]
    assert pareto_front([second, first]) == [second]
    assert pareto_front([]) == []


def test_hypervolume_is_the_one_done_by_hand(candidate: Make) -> None:
    front = [candidate(2.0, 0.4), candidate(5.0, 0.6), candidate(8.0, 0.9)]

    # From 2 to 5 ms at 0.4, from 5 to 8 at 0.6, from 8 to 10 at 0.9.
    assert hypervolume(front, slowest_ms=10.0) == pytest.approx(3 * 0.4 + 3 * 0.6 + 2 * 0.9)
    assert hypervolume(front, slowest_ms=10.0, lowest_accuracy=0.5) == pytest.approx(3 * 0.1 + 2 * 0.4)
    assert hypervolume(front, slowest_ms=6.0) == pytest.approx(3 * 0.4 + 1 * 0.6)
    assert hypervolume(front, slowest_ms=1.0) == 0
    assert hypervolume(front, slowest_ms=10.0, lowest_accuracy=0.95) == 0
    assert hypervolume([], slowest_ms=10.0) == 0


@pytest.mark.parametrize("seed", range(10))
def test_hypervolume_is_the_area_counted_on_a_grid(candidate: Make, seed: int) -> None:
    candidates = cloud(candidate, seed, count=8)
    # Coordinates are whole steps, so every cell is dominated as a whole or not at all.
    cells = sum(
        any(found.latency.ms <= ms and found.accuracy.value * 12 >= step + 1 - 1e-9 for found in candidates)
        for ms in range(13)
        for step in range(12)
    )

    assert hypervolume(pareto_front(candidates), slowest_ms=13.0) == pytest.approx(cells / 12)


def test_better_front_has_more_hypervolume(candidate: Make) -> None:
    candidates = cloud(candidate, 1)
    found = [hypervolume(pareto_front(candidates[:count]), slowest_ms=20.0) for count in range(1, 60, 7)]

    assert found == sorted(found)
    assert found[0] < found[-1]


def test_best_within_looks_at_the_upper_bound_unless_told_to_look_at_the_median(candidate: Make) -> None:
    safe, risky, slow = candidate(4.0, 0.5, hi=4.5), candidate(4.8, 0.7, hi=6.0), candidate(7.0, 0.9, hi=7.1)
    candidates = [slow, risky, safe]

    assert best_within(candidates, 5.0) is safe
    assert best_within(candidates, 5.0, risk="upper") is safe
    assert best_within(candidates, 5.0, risk="median") is risky
    assert best_within(candidates, 6.0) is risky  # a bound equal to the budget is within it
    assert best_within(candidates, 100.0) is slow
    assert best_within(candidates, 4.4) is None
    assert best_within(candidates, 3.9, risk="median") is None
    assert best_within([], 5.0) is None


def test_best_within_gives_ties_to_the_faster(candidate: Make) -> None:
    slow, fast = candidate(4.0, 0.7), candidate(3.0, 0.7)

    assert best_within([slow, fast], 10.0) is fast
    assert best_within([fast, slow], 10.0) is fast


@pytest.mark.parametrize("seed", range(10))
def test_best_within_is_on_the_front(candidate: Make, seed: int) -> None:
    candidates = cloud(candidate, seed)
    front = pareto_front(candidates)

    for budget in range(1, 14):
        found = best_within(candidates, float(budget), risk="median")
        expected = [one for one in front if one.latency.ms <= budget]
        assert (found is None) == (not expected)
        if found is not None:
            assert (found.latency.ms, found.accuracy.value) == (
                expected[-1].latency.ms,
                expected[-1].accuracy.value,
            )
