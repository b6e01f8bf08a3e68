"""One device on a page, for people and for programs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from supersam.cli.devices import interval_factor
from supersam.latency import Composition, LatencyTable, Network, load_table
from supersam.space import load_space


@pytest.fixture
def checked(tmp_path: Path) -> LatencyTable:
    """A shipped table with three networks: two that are 10 % slower and faster than predicted, one that is unknown."""
    table, space = load_table("cpu-x86-1t"), load_space("starter")
    networks = {}
    for architecture, error in ((space.smallest(), 1.1), (space.largest(), 0.9)):
        ms = table.predict(architecture).ms * error
        networks[architecture.digest] = Network(
            ms=ms, lo=ms, hi=ms, method="measured", role="held-out", space="starter", choices=space.encode(architecture)
        )
    networks["mobile-sam"] = Network(ms=8, lo=7, hi=9, method="measured")
    made = table.model_copy(update={"name": "toy", "networks": networks})
    made.save(tmp_path / "toy.json")
    return made


def test_page_holds_what_a_user_must_know(supersam: Any, checked: LatencyTable, tmp_path: Path) -> None:
    text = supersam("devices", "show", str(tmp_path / "toy.json")).out

    assert text.startswith(f"toy: {checked.device}, {checked.runtime}, {checked.precision}\n")
    assert f"measured, grade {checked.grade}: {checked.best_grade.why}" in text
    for said in (checked.power.mode, checked.date, checked.licence, *checked.sources):
        assert str(said) in text
    assert f"{checked.composition.factor:.4g}" in text
    assert "efficientvit" in text
    assert re.search(r"SKU: +not stated", text)
    assert str(sum(one.samples for key, one in checked.entries.items() if key.startswith("vit:"))) in text
    for digest in checked.networks:
        assert digest in text
    assert "mean error of 2 networks (held-out): 10.1 %" in text
    assert "not of a search space" in text


def test_page_for_programs_holds_the_table_and_more(supersam: Any, checked: LatencyTable, tmp_path: Path) -> None:
    found = json.loads(supersam("devices", "show", str(tmp_path / "toy.json"), "--json").out)

    assert found["entries"].keys() == checked.entries.keys()
    assert found["why"] == checked.best_grade.why
    assert sum(int(part["parts"]) for part in found["parts"]) == len(checked.entries)
    assert found["mape"] == {"held-out": pytest.approx((1 - 1 / 1.1 + 1 / 0.9 - 1) / 2)}
    errors = {check["name"]: check["error"] for check in found["checks"]}
    assert errors["mobile-sam"] is None
    assert errors[load_space("starter").smallest().digest] == pytest.approx(1 / 1.1 - 1)


def test_estimated_table_shows_its_estimator(supersam: Any) -> None:
    text = supersam("devices", "show", "jetson-orin").out

    assert "estimated, grade E: estimated, not measured" in text
    assert "ms_per_kernel" in text


def test_list_tells_how_far_to_trust_each(supersam: Any) -> None:
    lines = {line.split()[0]: line for line in supersam("devices").out.splitlines()}
    listed = {device["name"]: device for device in json.loads(supersam("devices", "--json").out)}

    jetson, cpu = listed["jetson-agx-orin"], listed["cpu-x86-1t"]
    assert jetson["interval_factor"] > cpu["interval_factor"] > 1
    for device in (jetson, cpu):
        assert f"x{device['interval_factor']:.2f}" in lines[device["name"]]
        assert device["method"] in lines[device["name"]]
        assert device["why"]
    assert "1024 images at once" in lines["rtx-4090"]
    assert (listed["rtx-4090"]["batch"], cpu["batch"]) == (1024, 1)


def test_sums_that_no_network_has_checked_have_no_interval() -> None:
    table = load_table("cpu-x86-1t")

    assert interval_factor(table) is not None
    assert interval_factor(table.model_copy(update={"composition": Composition()})) is None


def test_page_says_that_an_interval_is_not_known(supersam: Any, checked: LatencyTable, tmp_path: Path) -> None:
    before = supersam("devices", "show", str(tmp_path / "toy.json")).out
    checked.model_copy(update={"composition": Composition()}).save(tmp_path / "toy.json")

    after = supersam("devices", "show", str(tmp_path / "toy.json")).out
    found = json.loads(supersam("devices", "show", str(tmp_path / "toy.json"), "--json").out)

    assert "not known" not in before.partition("composition")[2].partition("parts")[0]
    assert "90 % interval:         not known, as no whole network was timed; an encoder has the summed range" in after
    assert re.search(r"predicted ms +summed range of rounds +error", after)
    assert re.search(r"predicted ms +90 % interval +error", before)
    assert found["interval"] == "summed range of rounds"


def test_parts_that_were_timed_have_the_range_of_their_rounds(supersam: Any, checked: LatencyTable) -> None:
    measured, estimated = (supersam("devices", "show", name).out for name in ("cpu-x86-1t", "jetson-agx-orin"))

    assert re.search(r"from ms +to ms +range of rounds", measured)
    assert re.search(r"from ms +to ms +90 % interval", estimated)


def test_unknown_and_damaged_tables_are_told_in_one_line(supersam: Any, tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('{"schema": 2,\n "name"')

    unknown, torn = (supersam("devices", "show", name) for name in ("jetson-orinn", tmp_path / "torn.json"))

    assert (unknown.code, torn.code) == (2, 1)
    assert unknown.err.startswith("Error: unknown device 'jetson-orinn'")
    assert f"{tmp_path / 'torn.json'}:2 is damaged" in torn.err


def test_damaged_table_does_not_hide_the_others(supersam: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_table("cpu-x86-1t").save(tmp_path / "tables" / "cpu-x86-1t.json")
    (tmp_path / "tables" / "old.json").write_text('{"schema": 1}')
    monkeypatch.setattr("supersam.latency.read.data_dir", lambda name: tmp_path / "tables")

    found = supersam("devices")

    assert found.code == 0
    assert "cpu-x86-1t" in found.out
    assert "old.json:1 has schema 1, this version reads 2" in found.err
