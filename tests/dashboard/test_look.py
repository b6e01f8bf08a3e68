"""From the choices of a URL to what is shown."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from dashboard import explore_parts, wording
from dashboard import front_table as table_of_front
from dashboard.data import Data
from dashboard.details import details
from dashboard.front_table import front_table
from dashboard.look import look
from dashboard.query import clean, read_budget, search
from dashboard.to_html import render
from dashboard.view import Nothing, View
from supersam.errors import UsageError
from supersam.latency import Composition, LatencyTable
from supersam.results import Candidate, Run, best_within, pareto_front
from supersam.units import parse_latency_ms


@pytest.fixture
def data(runs: Path, tables: Path, no_archive: Path) -> Data:
    return Data(runs, tables, no_archive)


def view(data: Data, **chosen: str) -> View:
    found = look(data, chosen)
    assert isinstance(found, View)
    return found


def measured(found: View) -> list[Candidate]:
    return [one for one in found.candidates if one.accuracy.source == "measured"]


def test_without_choices_the_run_is_shown_as_it_was_asked_for(data: Data):
    found = view(data)

    assert (found.source.key, found.device.key, found.budget_ms, found.risk) == ("first", "jetson-test", 6.0, "upper")
    assert found.query == ""
    assert found.notices == []
    assert found.front == pareto_front(measured(found))
    assert found.best == best_within(measured(found), 6.0)


def test_a_run_that_was_asked_for_medians_is_shown_by_them(runs: Path, tables: Path, no_archive: Path):
    file = runs / "first" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"risk": "median"}))
    data = Data(runs, tables, no_archive)

    found, upper = view(data), view(data, risk="upper")

    assert (found.risk, found.query) == ("median", "")
    assert dict(parse_qsl(upper.query)) == {"risk": "upper"}
    assert found.best == best_within(measured(found), 6.0, "median")


def test_choices_come_back_in_the_url_and_defaults_do_not(data: Data):
    found = view(data, source="first", device="phone-test", budget="0.02s", risk="median")

    assert dict(parse_qsl(found.query)) == {"device": "phone-test", "budget": "20ms", "risk": "median"}
    assert view(data, **dict(parse_qsl(found.query))).query == found.query


def test_the_budget_of_a_run_is_for_its_own_device(data: Data):
    assert view(data, device="phone-test").budget_ms is None


@pytest.mark.parametrize("device", ["my/elsewhere.json", "/some/where/my-board.v2.json", "gone"])
def test_a_run_of_a_table_elsewhere_opens_on_what_it_recorded(
    make: Any, tmp_path: Path, tables: Path, no_archive: Path, device: str
):
    make.run(
        tmp_path / "runs" / "away", make.candidates(5, make.estimated_table("elsewhere", speed=7.0)), device=device
    )

    found = view(Data(tmp_path / "runs", tables, no_archive))

    assert (found.device.key, found.budget_ms, found.query) == ("recorded", 6.0, "")
    assert found.device.name == Path(device).name.removesuffix(".json")


def fingerprint(table: LatencyTable) -> str:
    return hashlib.sha256(table.to_json().encode()).hexdigest()


def test_a_run_whose_table_was_replaced_opens_on_what_it_recorded(
    make: Any, data: Data, runs: Path, tables: Path, table: LatencyTable
):
    make.run(runs / "first", [], table_sha256=fingerprint(table))
    before = view(data)
    make.estimated_table(speed=2.0).save(tables / "jetson-test.json")

    found, today = view(data), view(data, device="jetson-test")

    assert (before.device.key, before.notices) == ("jetson-test", [])
    assert (found.device.key, found.device.name, found.query) == ("recorded", "jetson-test as recorded", "")
    assert [one.latency.ms for one in found.candidates] == pytest.approx(
        [one.latency.ms for one in before.candidates], rel=1e-5
    )
    assert "recorded for jetson-test; its table is another by now." in " ".join(wording.caption(found, 0))
    assert len(found.notices) == 1
    assert "The table jetson-test is not the one first was searched with" in found.notices[0]
    assert (today.device.key, today.budget_ms, today.notices) == ("jetson-test", None, found.notices)
    assert today.candidates[0].latency.ms == pytest.approx(2 * before.candidates[0].latency.ms)


def test_a_table_that_changed_in_words_only_is_still_that_of_the_run(
    make: Any, data: Data, runs: Path, tables: Path, table: LatencyTable
):
    make.run(runs / "first", [], table_sha256=fingerprint(table))
    table.model_copy(update={"note": "Said better."}).save(tables / "jetson-test.json")

    found = view(data)

    assert (found.device.key, found.notices) == ("jetson-test", [])


def test_no_budget_can_be_chosen_where_the_run_has_one(data: Data):
    found = view(data, budget="none")

    assert found.budget_ms is None
    assert found.query == "budget=none"
    assert found.best == max(measured(found), key=lambda one: one.accuracy.value)
    assert wording.summary(found).startswith("Most accurate on jetson-test, no budget set: ")


@pytest.mark.parametrize("text", ["30", "-3ms", "fast", "0ms", "30 minutes", "1e999s"])
def test_a_bad_budget_is_said_in_the_words_of_the_command_line(data: Data, text: str):
    with pytest.raises(UsageError) as raised:
        parse_latency_ms(text)

    found = view(data, budget=text)

    assert found.budget_problem == str(raised.value)
    assert found.budget_ms == 6.0
    assert found.query == ""


@pytest.mark.parametrize("text", ["30ms", "0.03s", "30000us", " 30 ms"])
def test_budgets_are_read_as_on_the_command_line(text: str):
    assert read_budget(text, None) == (pytest.approx(30.0), "")


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"source": "frist"}, "Did you mean 'first'?"),
        ({"device": "jetson-tset"}, "Did you mean 'jetson-test'?"),
        ({"device": "board-part"}, "board-part cannot be shown: lacks"),
        ({"device": "torn"}, "torn cannot be shown: its table is damaged"),
        ({"risk": "none"}, "known: upper, median"),
    ],
)
def test_an_unknown_choice_is_said_and_falls_back(data: Data, chosen: dict[str, str], words: str):
    found = view(data, **chosen)

    assert len(found.notices) == 1
    assert words in found.notices[0]
    assert (found.device.key, found.query) == ("jetson-test", "")


def test_an_alias_of_a_device_is_as_good_as_its_name(data: Data):
    assert view(data, device="phone-test-alias").device.key == "phone-test"


def test_the_name_inside_a_table_is_as_good_as_that_of_its_file(
    make: Any, data: Data, tables: Path, runs: Path, table: LatencyTable
):
    make.estimated_table("phone-test").save(tables / "a-copy.json")
    make.estimated_table("inside", speed=2.0).save(tables / "outside.json")
    make.run(runs / "second", make.candidates(5, make.estimated_table("inside", speed=2.0)), device="inside")

    assert view(data, device="inside").device.key == "outside"
    assert view(data, source="second").device.key == "outside"
    assert view(data, source="second", device="phone-test").device.key == "phone-test"


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ({"device": ["a", "b"], "risk": 3, "unknown": "x", "budget": "  "}, {"device": "a"}),
        ({"device": [], "subnet": None}, {}),
        ("device=a", {}),
        (None, {}),
        ({"device": "x" * 1000}, {"device": "x" * 200}),
    ],
)
def test_whatever_a_browser_sends_is_reduced_to_known_texts(raw: Any, cleaned: dict[str, str]):
    assert clean(raw) == cleaned


def test_the_query_of_a_url_is_quoted():
    assert search({"source": "a b&c", "device": "d"}, {"device": "d"}) == "source=a+b%26c"


def test_if_nothing_fits_the_nearest_is_named_with_how_much_it_is_over(data: Data):
    found = view(data, budget="0.5ms")

    assert found.best is None
    nearest = min(found.candidates, key=lambda one: one.latency.hi)
    assert found.headline is nearest
    text = wording.summary(found)
    assert text.startswith(f"Nothing is within 0.5ms on jetson-test; the nearest is {nearest.digest}, ")
    assert f"{wording.ms(nearest.latency.hi - 0.5)} over" in text


def test_the_risk_says_which_bound_is_compared(data: Data):
    upper, median = view(data, budget="4ms"), view(data, budget="4ms", risk="median")

    assert all(one.latency.hi <= 4 for one in upper.candidates if upper.fits(one))
    assert sum(map(median.fits, median.candidates)) > sum(map(upper.fits, upper.candidates))
    assert "upper bound" in " ".join(wording.caption(upper, 0))
    assert "median" in " ".join(wording.caption(median, 0))


def test_the_summary_and_the_caption_hold_the_numbers(data: Data):
    found = view(data)
    best = found.best
    assert best is not None

    text, caption = wording.summary(found), " ".join(wording.caption(found, 10_000))

    assert text.startswith(f"Best within 6ms on jetson-test: {best.digest}, accuracy {best.accuracy.value:.3f} [")
    assert f"latency {wording.ms(best.latency.ms)} [" in text
    assert text.endswith("estimated")
    assert f"60 candidates, {len(found.front)} on the front" in caption
    assert "estimated, grade E, 2026-11-22." in caption
    assert "Invented for the tests." in str(explore_parts.caption(found, 0)[-1])


def test_a_best_that_is_off_the_front_of_medians_is_listed_beside_it(data: Data):
    found = view(data)
    dominated = next(one for one in measured(found) if one.digest not in found.front_digests)
    found.__dict__["best"] = dominated  # as if only its narrow interval fitted

    assert dominated in found.listed
    assert len(found.listed) == len(found.front) + 1
    assert dominated not in found.listed_apart


def test_measured_and_predicted_accuracies_never_share_a_front(data: Data):
    fastest = min(one.latency.ms for one in measured(view(data)))
    mixed = pareto_front(one for one in view(data).candidates if one.latency.ms >= fastest)
    lucky = next(one for one in mixed if one.accuracy.source == "predicted")

    found = view(data, budget=f"{lucky.latency.ms * 1.0001}ms", risk="median")

    assert {one.accuracy.source for one in found.front} == {"measured"}
    assert {one.accuracy.source for one in found.fronts.predicted} == {"predicted"}
    assert found.best is not None
    assert found.best.accuracy.value < lucky.accuracy.value
    assert found.best.accuracy.source == "measured"
    assert "predicted accuracies have a front of their own" in " ".join(wording.caption(found, 0))
    assert found.place(found.fronts.predicted[0]) == "on the predicted front"
    assert found.place(found.front[0]) == "on the front"


def test_a_predicted_subnet_is_best_only_where_no_measured_one_is_within_the_budget(data: Data):
    fastest = min(view(data).candidates, key=lambda one: one.latency.hi)
    assert fastest.accuracy.source == "predicted", "the case this is about"

    found = view(data, budget=f"{fastest.latency.hi * 1.0001}ms")

    assert found.best == fastest
    assert fastest in found.listed_apart
    assert "predicted" in wording.summary(found)


def test_a_damaged_newest_run_is_said_and_the_next_is_shown(make: Any, data: Data, runs: Path, table: LatencyTable):
    broken = make.run(runs / "broken", make.candidates(1, table))
    broken.candidates_file.write_text("{}\n{}\n")
    later = broken.question_file.stat().st_mtime_ns + 10**9
    os.utime(broken.question_file, ns=(later, later))

    found = view(data)

    assert found.source.key == "first"
    assert len(found.notices) == 1
    assert "line 1 is damaged" in found.notices[0]
    assert view(data, source="first").notices == []


def test_choosing_a_damaged_run_falls_back_with_its_reason(data: Data, runs: Path):
    broken = Run(runs / "broken")
    broken.folder.mkdir()
    broken.question_file.write_text("{")

    found = view(data, source="broken")

    assert found.source.key == "first"
    assert any("run.json is damaged" in notice for notice in found.notices)


def test_without_runs_the_command_for_a_first_one_is_shown(tmp_path: Path, tables: Path, no_archive: Path):
    found = look(Data(tmp_path / "runs", tables, no_archive), {})

    assert isinstance(found, Nothing)
    assert found.command == f"supersam search --device jetson-test --budget 30ms --out {tmp_path}/runs/first"


def test_a_run_that_has_just_begun_says_so(make: Any, tmp_path: Path, tables: Path, no_archive: Path):
    make.run(tmp_path / "runs" / "new", [])

    found = look(Data(tmp_path / "runs", tables, no_archive), {})

    assert isinstance(found, Nothing)
    assert "no candidates yet" in found.title
    assert found.command == f"supersam search --resume --out {tmp_path}/runs/new --trials N"
    assert "N is as many as were asked for; default: 200" in found.text


def test_bounds_that_no_whole_network_has_checked_are_no_interval(
    make: Any, data: Data, tables: Path, table: LatencyTable
):
    measured_here = make.measured_table("board", [one.architecture for one in make.candidates(60, table)])
    measured_here.save(tables / "board.json")
    unchecked = view(data, device="board")
    checked = {"composition": Composition(spread=1.1, calibration_networks=12)}
    measured_here.model_copy(update=checked).save(tables / "board.json")
    found = view(data, device="board")

    assert found.notices == []
    assert "(90 % interval, drawn as a bar)" in " ".join(wording.caption(found, 0))
    assert "their bounds are no 90 % interval but the summed range of rounds." in unchecked.notices[0]
    assert "(summed range of rounds, drawn as a bar)" in " ".join(wording.caption(unchecked, 0))
    assert render(details(found, found.candidates[1])).count("summed range of rounds") == 0
    assert render(details(unchecked, unchecked.candidates[1])).count("summed range of rounds") == 1


def test_the_archive_needs_a_device_that_can_predict_it(
    make: Any, tmp_path: Path, no_archive: Path, table: LatencyTable
):
    archive = tmp_path / "archive.json"
    make.archive(archive, make.candidates(3, table))
    (tmp_path / "tables").mkdir()

    found = look(Data(tmp_path / "runs", tmp_path / "tables", archive), {})

    assert isinstance(found, Nothing)
    assert "No device" in found.title


def test_the_archive_is_extracted_from_the_starter(make: Any, tmp_path: Path, tables: Path, table: LatencyTable):
    archive = tmp_path / "archive.json"
    make.archive(archive, make.candidates(3, table))

    found = view(Data(tmp_path / "runs", tables, archive))

    assert (found.source.argument, found.budget_ms, found.query) == ("starter", None, "")


def test_the_table_lists_the_dominated_where_they_are_asked_for(data: Data, monkeypatch: pytest.MonkeyPatch):
    front, whole = view(data), view(data, rows="all")
    dominated = [one.digest for one in whole.dominated]

    assert sorted(dominated) == sorted({one.digest for one in whole.candidates} - whole.front_digests)
    accuracies = [one.accuracy.value for one in whole.dominated]
    assert accuracies == sorted(accuracies, reverse=True)
    assert (front.query, whole.query) == ("", "rows=all")
    assert dominated[0] not in render(front_table(front))
    assert all(digest in render(front_table(whole)) for digest in dominated)
    assert f"{len(dominated)} dominated subnets, the most accurate first<" in render(front_table(whole))
    monkeypatch.setattr(table_of_front, "DOMINATED", 5)
    text = render(front_table(whole))
    assert dominated[4] in text
    assert dominated[5] not in text
    assert "these are 5, CSV and JSON have all" in text
    assert "There is no choice of rows 'some'" in view(data, rows="some").notices[0]


def test_a_subnet_that_the_filters_leave_out_is_still_found(data: Data):
    some = view(data, resolution="256")
    other = next(one for one in view(data).candidates if one.architecture.resolution != 256)

    assert some.find(other.digest) is None
    found = some.find_left_out(other.digest)
    assert found is not None
    assert found.digest == other.digest
    assert found.latency[:3] == pytest.approx(other.latency[:3])
    assert some.place(other) == "left out by the filters"
    assert some.find_left_out("zzz") is None
    assert view(data).find_left_out(other.digest) is None
