"""Many architectures at once: the same numbers as one by one."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supersam.errors import MissingEntryError
from supersam.latency import LatencyTable, SpaceLatency, load_table
from supersam.space import SearchSpace, count, load_space, parts, shipped_spaces
from supersam.space.terms import PartTerms, space_parts, total

MADE: dict[tuple[str, str], tuple[LatencyTable, SearchSpace, SpaceLatency]] = {}


def made(device: str, name: str) -> tuple[LatencyTable, SearchSpace, SpaceLatency]:
    """Make a table, a space and its latencies once."""
    if (device, name) not in MADE:
        table, space = load_table(device), load_space(name)
        MADE[device, name] = table, space, SpaceLatency(table, space)
    return MADE[device, name]


COVERED = [
    (device, name)
    for device in ("jetson-orin", "cpu-x86-1t")
    for name in shipped_spaces()
    if load_table(device).covers(load_space(name))
]


def test_every_space_and_a_measured_table_are_among_the_cases() -> None:
    assert {name for _, name in COVERED} == set(shipped_spaces())
    assert ("cpu-x86-1t", "starter") in COVERED


@pytest.mark.parametrize(("device", "name"), COVERED)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_latencies_are_those_of_each_architecture_alone(device: str, name: str, seed: int) -> None:
    table, space, latency = made(device, name)
    variables = space.variables()
    sizes = [len(choices) for choices in variables.values()]
    indices = np.random.default_rng(seed).integers(0, sizes, (3, len(sizes)))

    found = latency.predict(indices)

    for at, row in enumerate(indices):
        choices = {name: choices[index] for (name, choices), index in zip(variables.items(), row, strict=True)}
        alone = table.predict(space.decode(choices))
        assert [found.ms[at], found.lo[at], found.hi[at]] == pytest.approx(alone[:3], rel=1e-12, abs=0)


def test_no_architectures_have_no_latencies() -> None:
    _, space, latency = made("jetson-orin", "starter")

    found = latency.predict(np.zeros((0, len(space.variables())), dtype=int))

    assert [column.shape for column in found] == [(0,)] * 3


def test_space_a_table_does_not_cover_is_refused() -> None:
    table = load_table("jetson-orin").model_copy(update={"estimator": None, "entries": {}})

    with pytest.raises(MissingEntryError, match="has no entry for"):
        SpaceLatency(table, load_space("starter"))


@pytest.mark.parametrize("name", shipped_spaces())
def test_looked_up_sums_are_the_counts_of_the_encoders(name: str) -> None:
    space, rng = load_space(name), random.Random(0)
    variables = space.variables()
    sampled = [space.sample(rng) for _ in range(20)]
    rows = np.array(
        [
            [variables[key].index(choice) for key, choice in space.encode(architecture).items()]
            for architecture in sampled
        ]
    )
    terms = PartTerms(space)

    assert total(terms.price(lambda part: part.ops.gmacs), rows) == pytest.approx([count(a).gmacs for a in sampled])
    assert total(terms.price(lambda part: 1.0), rows) == pytest.approx([len(parts(a)) for a in sampled])
    assert set(terms.parts) == set(space_parts(space))
