"""Parts between measured ones: power laws come out exactly, and nothing is said outside of what was measured."""

import math
import random
from itertools import product

import pytest

from supersam.errors import MissingEntryError
from supersam.latency import Composition, Entry, LatencyTable, load_table
from supersam.space import Part, load_space
from supersam.space.parts import ARGUMENTS, KINDS, part_from_key
from supersam.space.terms import space_parts

WIDTHS, SIDES = (16, 32, 64, 128, 256), (8, 16, 32, 64)


def power_law(part: Part) -> float:
    """Milliseconds that grow as a power of side and width."""
    side, width, ratio, *_ = part.arguments
    return 1e-6 * side**2.0 * width**1.5 * ratio


def table_of(entries: dict[str, Entry]) -> LatencyTable:
    return load_table("cpu-x86-1t").model_copy(update={"entries": entries, "composition": Composition()})


@pytest.fixture(scope="module")
def lawful() -> LatencyTable:
    """RWKV blocks of every side and width by a power law."""
    entries = {}
    for side, width, ratio in product(SIDES, WIDTHS, (2, 4)):
        part = Part("rwkv", (side, width, ratio))
        ms = power_law(part)
        entries[part.key] = Entry(ms=ms, lo=0.9 * ms, hi=1.1 * ms, method="measured")
    return table_of(entries)


@pytest.mark.parametrize("arguments", [(16, 48, 2), (16, 255, 4), (24, 64, 2), (63, 16, 4), (24, 48, 2)])
def test_power_law_is_interpolated_exactly(lawful: LatencyTable, arguments: tuple[int, ...]) -> None:
    part = Part("rwkv", arguments)

    found = lawful.entry(part)

    assert found is not None
    assert found.ms == pytest.approx(power_law(part))
    assert (found.lo, found.hi) == pytest.approx((0.9 * found.ms, 1.1 * found.ms))
    assert found.method == "interpolated"
    assert all(key in lawful.entries for key in found.derived_from)


def test_neighbours_are_the_nearest_and_named(lawful: LatencyTable) -> None:
    one_axis, two_axes = lawful.entry(Part("rwkv", (16, 48, 2))), lawful.entry(Part("rwkv", (24, 48, 2)))

    assert one_axis is not None
    assert one_axis.derived_from == ("rwkv:16:32:2", "rwkv:16:64:2")
    assert two_axes is not None
    assert set(two_axes.derived_from) == {f"rwkv:{side}:{width}:2" for side in (16, 32) for width in (32, 64)}


@pytest.mark.parametrize(
    ("arguments", "range_"),
    [
        ((16, 8, 2), "width 8 is asked, 16 to 256 is known"),
        ((16, 512, 2), "width 512 is asked, 16 to 256 is known"),
        ((128, 64, 2), "side 128 is asked, 8 to 64 is known"),
    ],
)
def test_nothing_is_said_outside_the_measured_range(
    lawful: LatencyTable, arguments: tuple[int, ...], range_: str
) -> None:
    part = Part("rwkv", arguments)

    assert lawful.entry(part) is None
    assert not lawful.knows(part)
    with pytest.raises(MissingEntryError) as caught:
        lawful.of_part(part)
    assert part.key in str(caught.value)
    assert range_ in str(caught.value)


def test_ratios_windows_and_heads_dimensions_are_never_interpolated(lawful: LatencyTable) -> None:
    assert lawful.entry(Part("rwkv", (16, 64, 3))) is None
    known = {key: Entry(ms=1, lo=1, hi=1, method="measured") for key in ("vit:16:64:2:0:16", "vit:16:64:2:8:16")}
    assert table_of(known).entry(part_from_key("vit:16:64:2:4:16")) is None


def test_interval_is_as_wide_as_interpolation_errs(lawful: LatencyTable) -> None:
    """Every other width 20 % slower: leaving one out errs by that much, whichever it is."""
    bumped = {
        key: Entry(ms=entry.ms * bump, lo=entry.ms * bump, hi=entry.ms * bump, method="measured")
        for key, entry in lawful.entries.items()
        for bump in [1.2 if part_from_key(key).arguments[1] in (32, 128) else 1.0]
    }
    found = table_of(bumped).entry(Part("rwkv", (16, 48, 2)))

    assert found is not None
    low, high = bumped["rwkv:16:32:2"].ms, bumped["rwkv:16:64:2"].ms
    share = math.log(48 / 32) / math.log(64 / 32)
    assert found.ms == pytest.approx(low ** (1 - share) * high**share)
    assert (found.ms / found.lo, found.hi / found.ms) == pytest.approx((1.2, 1.2))


def test_interval_reaches_to_the_neighbours_where_nothing_can_be_left_out() -> None:
    two = {
        "fuse:16": Entry(ms=1, lo=0.9, hi=1.2, method="measured"),
        "fuse:32": Entry(ms=4, lo=3.5, hi=4.5, method="measured"),
    }

    found = table_of(two).entry(Part("fuse", (24,)))

    assert found is not None
    assert (found.lo, found.hi) == (0.9, 4.5)


def test_prediction_with_a_part_between_says_so_and_is_wider() -> None:
    full = load_table("cpu-x86-1t")
    space = load_space("starter")
    architecture = space.decode(
        {name: choices[len(choices) // 2] for name, choices in space.variables().items()}
        | {"stage3.block": "efficientvit", "stage3.width": 96}
    )
    thin = full.model_copy(
        update={"entries": {key: e for key, e in full.entries.items() if not key.startswith("efficientvit:24:96:")}}
    )

    sure, unsure = full.predict(architecture), thin.predict(architecture)

    assert (sure.method, unsure.method) == ("measured", "interpolated")
    assert unsure.ms == pytest.approx(sure.ms, rel=0.1)
    assert unsure.hi / unsure.ms > sure.hi / sure.ms
    assert thin.covers(space)


def test_left_out_parts_of_a_measured_table_lie_in_their_intervals() -> None:
    full = load_table("cpu-x86-1t")
    rng, held = random.Random(0), []
    for key, entry in rng.sample(sorted(full.entries.items()), 60):
        rest = {other: found for other, found in full.entries.items() if other != key}
        found = full.model_copy(update={"entries": rest}).entry(part_from_key(key))
        if found is not None:
            held.append(found.lo <= entry.ms <= found.hi)

    assert len(held) > 20
    assert sum(held) / len(held) >= 0.85


def test_what_lies_between_estimates_is_an_estimate() -> None:
    guessed = {
        key: Entry(ms=1, lo=0.5, hi=2, method="estimated", derived_from=("a",)) for key in ("fuse:16", "fuse:32")
    }

    found = table_of(guessed).entry(Part("fuse", (24,)))

    assert found is not None
    assert found.method == "estimated"


@pytest.mark.parametrize("name", ["starter", "sam-1024", "supersam-vit-b"])
def test_every_part_of_a_space_is_found_by_its_key(name: str) -> None:
    for part in space_parts(load_space(name)):
        assert part_from_key(part.key) == part
        assert len(part.arguments) == len(ARGUMENTS[part.kind])
        assert part.kind in KINDS
