"""Tables of devices nobody here has: they are what the published rows give, and their intervals hold what they say."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from supersam.latency import LatencyTable, load_table, read_table
from supersam.space import load_space
from supersam.space.parts import part_from_key

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "0009-estimated-devices"
OWN_MODULES = ("devices", "jetsons", "known", "report")
SHIPPED = ("cpu-i7-12700h", "cpu-i9-10940x", "rtx-4090", "iphone-12")
JETSONS = ("jetson-orin-nx", "jetson-orin-nano", "jetson-xavier-nx")
WIDTHS = (64, 96, 128, 192, 256)


@pytest.fixture(scope="module")
def fit(script_module: Any) -> Iterator[ModuleType]:
    """The experiment as a module; its folder is not a package."""
    with script_module(EXPERIMENT / "fit.py") as module:
        yield module
    sys.path.remove(str(EXPERIMENT))
    for name in OWN_MODULES:
        del sys.modules[name]


@pytest.fixture(scope="module")
def fits(fit: ModuleType) -> dict[str, Any]:
    return {one.device.name: one for one in fit.devices.fit_all()}


@pytest.fixture(scope="module")
def transfers(fit: ModuleType) -> dict[str, Any]:
    return {one.name: one for one in fit.jetsons.transfer_all()}


@pytest.fixture(scope="module", params=[*SHIPPED, *JETSONS, "jetson-agx-orin"])
def table(request: pytest.FixtureRequest) -> LatencyTable:
    return load_table(request.param)


def test_shipped_files_are_what_the_fit_makes(fit: ModuleType) -> None:
    assert fit.main(["--check"]) == 0


def test_check_fails_when_a_table_differs(
    fit: ModuleType,
    fits: dict[str, Any],
    transfers: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fit.devices, "fit_all", lambda: list(fits.values()))
    monkeypatch.setattr(fit.jetsons, "transfer_all", lambda: list(transfers.values()))
    for path in fit.TABLES.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        changed = text.replace('"ms_per_kernel": ', '"ms_per_kernel": 1') if path.stem == "rtx-4090" else text
        (tmp_path / path.name).write_text(changed, encoding="utf-8")
    monkeypatch.setattr(fit, "TABLES", tmp_path)

    assert fit.main(["--check"]) == 1

    assert "rtx-4090.json is not what" in capsys.readouterr().out


def test_only_tables_worth_it_are_shipped(fit: ModuleType, fits: dict[str, Any]) -> None:
    assert {name for name, one in fits.items() if one.device.shipped} == set(SHIPPED)
    for name, one in fits.items():
        assert (fit.TABLES / f"{name}.json").is_file() == one.device.shipped
        if one.device.shipped:
            assert one.errors.mape <= 0.25
            assert one.errors.spearman >= 0.93


@pytest.mark.parametrize("name", SHIPPED)
def test_intervals_hold_nine_in_ten_rows_of_families_they_have_not_seen(fits: dict[str, Any], name: str) -> None:
    one = fits[name]

    assert 0.85 <= one.held_in_splits <= 0.95
    if one.held is not None:
        assert 0.85 <= one.held.mean() <= 0.95
    assert (np.abs(np.log(one.left_out_ms / one.ms)) <= math.log(one.spread)).mean() >= 0.9


@pytest.mark.parametrize("name", JETSONS)
def test_two_rates_carry_over_better_than_an_affine_law(transfers: dict[str, Any], name: str) -> None:
    one = transfers[name]

    assert one.laws["two rates"].mape < min(one.laws[law].mape for law in ("affine", "power", "one rate"))
    assert one.laws["two rates"].mape <= 0.1
    assert 1 < one.start < one.work  # a smaller GPU has fewer units, and hardly slower ones


@pytest.mark.parametrize("name", ["jetson-orin-nano", "jetson-xavier-nx"])
def test_intervals_hold_networks_timed_on_the_device_itself(
    fit: ModuleType, transfers: dict[str, Any], name: str
) -> None:
    one = transfers[name]

    assert len(one.own_rows) >= 9
    widened = {"jetson-orin-nano": 1.0, "jetson-xavier-nx": 1.1}  # at most, so that it holds them
    assert 1 <= fit.jetsons.widening(one) <= widened[name]
    assert fit.jetsons.held_own(one) >= 0.85


def test_every_network_takes_some_time_however_small_its_image(transfers: dict[str, Any]) -> None:
    for one in transfers.values():
        assert (one.points.floor_ms > 0).all()


def test_interval_of_a_transfer_is_wider_than_that_of_its_origin() -> None:
    origin = load_table("jetson-agx-orin").estimator
    assert origin is not None
    for name in JETSONS:
        estimator = load_table(name).estimator
        assert estimator is not None
        assert origin.spread < estimator.spread < 2
        assert all(estimator.spread_of_kind[kind] > wide for kind, wide in origin.spread_of_kind.items())


def test_smaller_jetsons_are_slower() -> None:
    space = load_space("starter")
    for architecture in (space.smallest(), space.largest()):
        agx, nx, nano = (
            load_table(name).predict(architecture).ms
            for name in ("jetson-agx-orin", "jetson-orin-nx", "jetson-orin-nano")
        )
        assert agx < nx < nano


def test_time_grows_with_width_within_a_kind(table: LatencyTable) -> None:
    for key in ("vit:16:{}:4:0:32", "repvit:32:{}:2:0", "efficientvit:16:{}:4:16", "rwkv:16:{}:4"):
        times = [table.of_part(part_from_key(key.format(width))).ms for width in WIDTHS]
        assert times == sorted(times)
        assert times[0] < times[-1]


def test_extrapolated_kinds_have_wider_intervals(table: LatencyTable) -> None:
    assert table.estimator is not None
    assert "rwkv" in table.estimator.spread_of_kind
    assert all(wide > table.estimator.spread for wide in table.estimator.spread_of_kind.values())


def test_tables_say_what_they_are(table: LatencyTable) -> None:
    assert table.method == "estimated"
    assert table.grade == "E"
    assert "never run here" in table.note
    assert table.licence.endswith("no text or code")
    assert table.sources[0].startswith("https://github.com/")
    assert read_table(Path(__file__).parents[2] / "latency_tables" / f"{table.name}.json") == table


def test_throughput_is_not_taken_for_latency() -> None:
    table = load_table("rtx-4090")

    assert table.batch == 1024
    assert "throughput" in str(table.device)
    assert "This is throughput" in table.note


def test_every_row_says_where_it_is_from(fits: dict[str, Any]) -> None:
    for one in fits.values():
        for row in one.rows:
            assert row.ms > 0
            assert min(row.features) >= 0
            assert "@" in row.source
            assert row.source.endswith(")")


def test_known_encoders_are_predicted_without_their_family(fit: ModuleType, fits: dict[str, Any]) -> None:
    encoders = fit.known.predict_all(list(fits.values()))

    shipped = [one for one in encoders if one.shipped]
    assert {one.table for one in shipped} >= {"jetson-agx-orin", "cpu-i7-12700h", "rtx-4090", "iphone-12"}
    assert np.mean([one.holds for one in shipped]) >= 0.85
    nanosam = next(one for one in encoders if one.encoder == "NanoSAM ResNet-18")
    assert nanosam.predicted_ms == pytest.approx(nanosam.published_ms, rel=0.15)
