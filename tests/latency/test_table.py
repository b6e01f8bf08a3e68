"""Latency tables: sums done by hand, what is refused, and the tables that are shipped."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from supersam._paths import data_dir
from supersam.errors import LatencyTableError, MissingError, UsageError
from supersam.latency import (
    Composition,
    Device,
    Entry,
    Estimator,
    LatencyTable,
    Network,
    Power,
    Quality,
    Runtime,
    Transfer,
    load_table,
    read_table,
    shipped_tables,
    space_parts,
)
from supersam.space import (
    AnyArchitecture,
    Architecture,
    Layer,
    Part,
    Stage,
    ViTArchitecture,
    load_space,
    parts,
    shipped_spaces,
)

STEM, ENTRY_2, ENTRY_3, ENTRY_4 = "stem:64:16", "downsample:16:16:32", "downsample:8:32:64", "downsample:4:64:96"
NECK = {"lateral:2:8:32": 64.0, "lateral:3:4:64": 128.0, "lateral:4:2:96": 256.0, "fuse:4": 512.0}
# Powers of two, so that a part that is forgotten or counted twice always changes the sum.
TIMES_MS = {
    STEM: 1.0,
    ENTRY_2: 2.0,
    ENTRY_3: 4.0,
    ENTRY_4: 8.0,
    **NECK,
    "repvit:16:16:2:1": 1024.0,
    "repvit:8:32:2:1": 2048.0,
    "repvit:8:32:2:0": 4096.0,
    "efficientvit:8:32:4:16": 8192.0,
    "vit:4:64:2:2:16": 16384.0,
    "vit:4:64:2:0:16": 32768.0,
    "rwkv:2:96:4": 65536.0,
    "sam_patch:64:32": 131072.0,
    "sam_layer:4:32:2:16:64:0": 262144.0,
    "sam_layer:4:32:1:16:32:2": 524288.0,
    "sam_neck:4:32": 1048576.0,
}
FRAME_MS = 1.0 + 2.0 + 4.0 + 8.0 + 64.0 + 128.0 + 256.0 + 512.0  # stem, downsampling and neck

REPVIT = Stage("repvit", depth=1, width=16, ratio=2, window=0)
RWKV = Stage("rwkv", depth=1, width=96, ratio=4, window=0)
PLAIN = Architecture(64, 16, (REPVIT, Stage("repvit", 3, 32, 2, window=0), Stage("vit", 1, 64, 2, window=0), RWKV))
WINDOWED = Architecture(
    64, 16, (REPVIT, Stage("efficientvit", 2, 32, 4, window=0), Stage("vit", 2, 64, 2, window=2), RWKV)
)
SAM_VIT = ViTArchitecture(
    64, 32, 16, (Layer(0, heads=2, mlp_width=64, window=0), Layer(3, heads=1, mlp_width=32, window=2))
)
SUMS_MS: list[tuple[AnyArchitecture, float]] = [
    (PLAIN, FRAME_MS + 1024.0 + (2048.0 + 4096.0 + 2048.0) + 32768.0 + 65536.0),
    (WINDOWED, FRAME_MS + 1024.0 + 2 * 8192.0 + 2 * 16384.0 + 65536.0),
    (SAM_VIT, 131072.0 + 262144.0 + 524288.0 + 1048576.0),
]


def entry(ms: float, **changes: Any) -> Entry:
    """An entry with the interval [ms / 2, 4 ms]."""
    fields: dict[str, Any] = {"ms": ms, "lo": ms / 2, "hi": ms * 4, "method": "measured", "samples": 3}
    return Entry(**(fields | changes))


def make_table(**changes: Any) -> LatencyTable:
    """A small table with the entries TIMES_MS."""
    fields: dict[str, Any] = {
        "schema": 2,
        "name": "toy",
        "device": {"name": "Toy ™", "kind": "cpu"},
        "runtime": {"name": "onnxruntime", "version": "1.0"},
        "exporter": "none",
        "precision": "fp32",
        "power": {"mode": "none", "clocks_locked": False},
        "quality": {"repeat_cv_median_pct": 2.0},
        "clock": "wall",
        "method": "measured",
        "grade": "B",
        "date": "2026-01-31",
        "sources": ("made up for this test",),
        "licence": "CC0-1.0",
        "entries": {key: entry(ms) for key, ms in TIMES_MS.items()},
    }
    return LatencyTable(**(fields | changes))


def make_estimator(**changes: Any) -> Estimator:
    fields: dict[str, Any] = {
        "ms_per_kernel": 0.5,
        "ms_per_dense_gmac": 10.0,
        "ms_per_depthwise_gmac": 1000.0,
        "ms_per_traffic_mb": 2.0,
        "bytes_per_element": 2,
        "spread": 1.5,
        "calibration_rows": 9,
    }
    return Estimator(**(fields | changes))


def part_of(key: str) -> Part:
    kind, *arguments = key.split(":")
    return Part(kind, tuple(map(int, arguments)))


# Prediction


@pytest.mark.parametrize(("factor", "spread"), [(1.0, 1.0), (1.25, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize(("architecture", "sum_ms"), SUMS_MS, ids=["plain", "windowed", "sam_vit"])
def test_prediction_is_the_sum_done_by_hand(
    architecture: AnyArchitecture, sum_ms: float, factor: float, spread: float
) -> None:
    table = make_table(composition={"factor": factor, "spread": spread})

    assert table.predict(architecture) == (
        factor * sum_ms,
        factor * (sum_ms / 2) / spread,
        factor * (sum_ms * 4) * spread,
        "measured",
    )


def test_each_kind_has_its_own_factor() -> None:
    table = make_table(composition={"factor": 2.0, "factor_per_kind": {"repvit": 0.5, "rwkv": 1.0}})

    found = table.predict(PLAIN).ms

    assert found == 2.0 * (FRAME_MS + 32768.0) + 0.5 * (1024.0 + 2048.0 + 4096.0 + 2048.0) + 65536.0


def test_intervals_of_measured_entries_do_not_count_twice_where_networks_gave_the_spread() -> None:
    _, sum_ms = SUMS_MS[0]
    alone = make_table(composition={"spread": 1.25}).predict(PLAIN)
    checked = make_table(composition={"spread": 1.25, "calibration_networks": 12}).predict(PLAIN)

    assert (alone.lo, alone.hi) == (sum_ms / 2 / 1.25, sum_ms * 4 * 1.25)
    assert (checked.lo, checked.hi) == pytest.approx((sum_ms / 1.25, sum_ms * 1.25), rel=1e-12)
    assert alone.ms == checked.ms


def test_a_part_adds_what_the_whole_has_of_it() -> None:
    table = make_table(composition={"factor": 1.5, "factor_per_kind": {"vit": 0.5}, "spread": 1.25})

    found = [table.of_part(part) for part in parts(WINDOWED)]

    assert table.predict(WINDOWED)[:3] == pytest.approx([sum(one[at] for one in found) for at in range(3)])


def test_method_of_the_sum_is_the_worst_of_its_parts() -> None:
    keys = [key for key in TIMES_MS if key != STEM]
    table = make_table(entries={key: entry(1.0) for key in keys}, estimator=make_estimator())

    assert make_table().predict(PLAIN).method == "measured"
    assert table.predict(PLAIN).method == "estimated"


def test_table_of_whole_networks_predicts_nothing_and_says_so() -> None:
    table = make_table(entries={}, networks={"mobile-sam": {"ms": 8.0, "lo": 7.0, "hi": 9.0, "method": "measured"}})

    with pytest.raises(LatencyTableError, match="it has whole networks only and predicts nothing"):
        table.predict(PLAIN)


def test_missing_entry_names_the_part_and_the_way_out() -> None:
    table = make_table()
    table = make_table(entries={key: value for key, value in table.entries.items() if not key.startswith("repvit:8")})

    with pytest.raises(LatencyTableError) as caught:
        table.predict(PLAIN)

    message = str(caught.value)
    assert "no entry for 2 parts" in message
    assert "repvit:8:32:2:1" in message
    assert "supersam profile --device toy" in message
    assert "\n" not in message


def test_missing_lists_each_part_once() -> None:
    table = make_table(entries={})

    assert table.missing([PLAIN, PLAIN, SAM_VIT]) == [
        *dict.fromkeys(parts(PLAIN)),
        *dict.fromkeys(parts(SAM_VIT)),
    ]
    assert make_table().missing([PLAIN, WINDOWED, SAM_VIT]) == []


def test_estimate_is_the_one_done_by_hand() -> None:
    # A 1x1 convolution from 64 to 256 channels on 4 x 4 pixels, then (in "stem") depth-wise work too.
    lateral, stem = part_of("lateral:3:4:64"), part_of(STEM)
    macs, traffic = 64 * 256 * 16, 64 * 16 + 256 * 16 + 64 * 256
    stem_macs = 3 * 8 * 9 * 32**2 + 8 * 16 * 9 * 16**2
    stem_traffic = 3 * 64**2 + 8 * 32**2 + 3 * 8 * 9 + 8 * 32**2 + 16 * 16**2 + 8 * 16 * 9 + 2 * 16 * 16**2 + 16 * 9

    estimator = make_estimator(spread_of_kind={"stem": 4.0})

    assert estimator.estimate(lateral).ms == pytest.approx(0.5 + 10 * macs / 1e9 + 2 * traffic * 2 / 1e6)
    expected = 3 * 0.5 + 10 * stem_macs / 1e9 + 1000 * (16 * 9 * 16**2) / 1e9 + 2 * stem_traffic * 2 / 1e6
    assert estimator.estimate(stem).ms == pytest.approx(expected)
    for part, spread in ((lateral, 1.5), (stem, 4.0)):
        found = estimator.estimate(part)
        assert (found.lo, found.hi) == pytest.approx((found.ms / spread, found.ms * spread))
        assert (found.method, found.samples) == ("estimated", 0)


def test_estimator_speaks_only_for_parts_without_an_entry() -> None:
    estimator = make_estimator()
    full = make_table(estimator=estimator)
    without_stem = make_table(
        estimator=estimator, entries={key: value for key, value in full.entries.items() if key != STEM}
    )

    assert full.predict(PLAIN) == make_table().predict(PLAIN)
    found = without_stem.predict(PLAIN)
    assert found.ms == pytest.approx(full.predict(PLAIN).ms - TIMES_MS[STEM] + estimator.estimate(part_of(STEM)).ms)
    assert found.method == "estimated"
    assert without_stem.missing([PLAIN]) == []


# Files


NETWORK = {"ms": 8.0, "lo": 7.0, "hi": 9.0, "method": "measured", "role": "held-out", "space": "starter"}


@pytest.mark.parametrize(
    "changes",
    [{}, {"entries": {}}, {"estimator": make_estimator(), "aliases": ("toy-1", "t")}, {"networks": {"a": NETWORK}}],
)
def test_saved_table_reads_back_equal(tmp_path: Path, changes: dict[str, Any]) -> None:
    table = make_table(**changes)
    path = tmp_path / "toy.json"

    table.save(path)

    assert read_table(path) == table
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    lines = [line for line in text.splitlines() if line.startswith('  "') and '"ms"' in line]
    assert len(lines) == len(table.entries) + len(table.networks)
    assert [other.name for other in tmp_path.iterdir()] == ["toy.json"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, aliases in (("abacus", ("beads",)), ("slide-rule", ("log-rule", "slipstick"))):
        make_table(name=name, aliases=aliases).save(tmp_path / f"{name}.json")
    return tmp_path


@pytest.mark.parametrize("asked", ["slide-rule", "slipstick", "log-rule"])
def test_device_is_found_by_name_and_alias(folder: Path, asked: str) -> None:
    assert load_table(asked, folder).name == "slide-rule"


def test_device_is_found_by_path(folder: Path) -> None:
    assert load_table(str(folder / "abacus.json")).name == "abacus"


def test_missing_file_is_told_apart_from_a_damaged_one(folder: Path) -> None:
    with pytest.raises(MissingError, match="there is no latency table"):
        load_table(str(folder / "astrolabe.json"))


@pytest.mark.parametrize(("asked", "meant"), [("abacuss", "abacus"), ("slipstik", "slipstick")])
def test_unknown_device_is_answered_with_the_nearest_and_the_list(folder: Path, asked: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_table(asked, folder)

    message = str(caught.value)
    assert f"unknown device {asked!r}. Did you mean {meant!r}?" in message
    assert "abacus, beads, log-rule, slide-rule, slipstick" in message
    assert "supersam devices" in message
    assert "supersam profile" in message


# Spaces


@pytest.mark.parametrize("name", shipped_spaces())
def test_space_parts_hold_every_part_of_random_architectures(name: str) -> None:
    space = load_space(name)
    rng = random.Random(0)
    known = space_parts(space)
    assert len(known) == len(set(known))
    extremes = [space.smallest(), space.largest()]

    for architecture in [*extremes, *(space.sample(rng) for _ in range(300))]:
        assert set(parts(architecture)) <= set(known)


def test_table_covers_a_space_when_no_part_lacks() -> None:
    space = load_space("starter")
    entries = {part.key: entry(1.0) for part in space_parts(space)}
    last = list(entries)[-1]

    assert make_table(entries=entries).covers(space)
    assert not make_table(entries={key: value for key, value in entries.items() if key != last}).covers(space)
    assert make_table(entries={}, estimator=make_estimator()).covers(space)


# Shipped files


@pytest.mark.parametrize("name", shipped_tables())
def test_shipped_table_reads_under_its_name_and_aliases(name: str) -> None:
    table = load_table(name)

    assert table.name == name
    assert all(load_table(alias).name == name for alias in table.aliases)
    assert any(table.covers(load_space(space)) for space in shipped_spaces())


def test_example_of_the_readme_is_a_table(tmp_path: Path) -> None:
    readme = (data_dir("latency_tables") / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```json\n(.*?)```", readme, flags=re.DOTALL)
    assert len(blocks) == 1
    path = tmp_path / "example.json"
    path.write_text(blocks[0], encoding="utf-8")

    table = read_table(path)

    assert set(json.loads(blocks[0])) == {"schema", *LatencyTable.model_fields} - {"schema_version"}
    assert all(part_of(key).ops.kernels for key in table.entries)


@pytest.mark.parametrize(
    "model",
    [LatencyTable, Entry, Network, Device, Runtime, Power, Quality, Composition, Estimator, Transfer],
)
def test_readme_explains_every_field(model: Any) -> None:
    readme = (data_dir("latency_tables") / "README.md").read_text(encoding="utf-8")

    for name, field in model.model_fields.items():
        assert f"`{field.alias or name}`" in readme


def test_jetson_entries_are_what_its_estimator_says() -> None:
    table = load_table("jetson-orin")
    assert table.estimator is not None
    assert (table.method, table.grade) == ("estimated", "E")

    for key, found in table.entries.items():
        estimated = table.estimator.estimate(part_of(key))
        assert part_of(key).key == key
        assert (found.ms, found.lo, found.hi) == pytest.approx((estimated.ms, estimated.lo, estimated.hi), rel=6e-4)
        assert found.method == "estimated"


@pytest.mark.parametrize("name", shipped_spaces())
def test_jetson_table_has_an_entry_for_every_part_and_orders_the_extremes(name: str) -> None:
    table, space = load_table("jetson-orin"), load_space(name)

    assert {part.key for part in space_parts(space)} <= set(table.entries)
    smallest, largest = table.predict(space.smallest()), table.predict(space.largest())
    for latency in (smallest, largest):
        assert 0 < latency.lo < latency.ms < latency.hi
        assert latency.method == "estimated"
    assert smallest.ms < largest.ms
