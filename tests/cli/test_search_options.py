"""The options of ``supersam search`` beyond the first command, and ``supersam show``."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from typer.main import get_command

from supersam.cli.main import app
from supersam.cli.search import _where
from supersam.errors import LatencyTableError
from supersam.latency import load_table, shipped_tables
from supersam.results import Run, load_archive
from supersam.search.samplers import DEFAULT, SAMPLERS
from supersam.space import load_space

SEARCH = ["search", "--device", "jetson-orin", "--budget", "4ms", "--trials", "22"]


@pytest.fixture
def run(searched):
    return searched(*SEARCH)


def test_the_help_names_every_sampler():
    (option,) = (one for one in get_command(app).commands["search"].params if one.name == "sampler")

    assert set(re.findall(r"[\w-]+", option.help)) >= SAMPLERS.keys()


def test_a_runs_folder_says_all_that_decided_the_answer(run):
    question = Run(Path("run")).question()

    table = load_table("jetson-orin")
    assert question["space_content"] == load_space("starter").model_dump(mode="json")
    assert question["devices"] == [
        {"device": "jetson-orin", "table": table.name, "table_sha256": question["table_sha256"], "budget_ms": 4.0}
    ]
    assert question["sampler"] == DEFAULT
    assert question["versions"].keys() == {"supersam", "python", "optuna", "numpy", "scipy", "torch"}
    assert question["accuracy_sha256"] == load_archive().fingerprint
    assert load_table(f"run/tables/{table.name}.json") == table
    assert json.loads(Path("run/result.json").read_text()) == run


def test_a_damaged_table_of_another_device_is_no_hindrance(tmp_path):
    (tmp_path / "jetson-agx-orin.json").write_text(shipped_tables()["jetson-agx-orin"].read_text())
    (tmp_path / "a-broken-one.json").write_text('{"schema": 1, "na')

    assert "jetson-orin" in load_table("jetson-orin", tmp_path).aliases
    with pytest.raises(LatencyTableError, match="a-broken-one"):
        load_table("in-the-broken-one-perhaps", tmp_path)


def test_a_run_is_continued_without_being_asked_again(supersam, run):
    more = json.loads(supersam("search", "--resume", "--out", "run", "--trials", "25", "--json").out)

    assert more["n_trials"] == 25
    assert more["budget_ms"] == run["budget_ms"]


def test_a_run_of_an_earlier_version_is_continued(supersam, run):
    question = json.loads(Path("run/run.json").read_text())
    for new in ("devices", "limits", "objective", "storage", "study", "space_content"):
        del question[new]
    Path("run/run.json").write_text(json.dumps(question))

    more = supersam("search", "--resume", "--out", "run", "--trials", "24", "--json")

    assert more.code == 0, more.err
    assert json.loads(more.out)["n_trials"] == 24


def test_two_devices_have_a_front_each_and_subnets_that_are_good_on_both(supersam):
    answer = supersam(*SEARCH, "--device", "cpu-x86-1t", "--budget", "40ms", "--json")

    found = json.loads(answer.out)
    assert answer.code == 0, answer.err
    assert found["devices"].keys() == {"jetson-orin", "cpu-x86-1t"}
    for name, budget in (("jetson-orin", 4.0), ("cpu-x86-1t", 40.0)):
        here = found["devices"][name]
        assert here["best"]["latency_interval_ms"][1] <= budget == here["budget_ms"]
    shown = json.loads(supersam("show", found["run"], "--json").out)
    assert shown["devices"] == found["devices"]
    text = supersam("show", found["run"]).out
    assert "\njetson-orin\n" in text
    assert "\ncpu-x86-1t\n" in text
    row = next(csv.DictReader(io.StringIO(supersam("show", found["run"], "--csv").out)))
    assert float(row["latency_ms cpu-x86-1t"]) > 0
    for one in found["good_on_all"]:
        assert one["latency_interval_ms"][1] <= 4.0
        assert one["also"]["cpu-x86-1t"]["latency_interval_ms"][1] <= 40.0
    assert found["good_on_all"]


def test_without_a_budget_the_whole_front_is_wanted(supersam):
    found = json.loads(supersam("search", "--device", "jetson-orin", "--trials", "20", "--json").out)

    assert found["budget_ms"] is None
    assert found["n_rejected"] == 0
    assert found["best"]["accuracy"] == max(one["accuracy"] for one in found["front"])


def test_a_table_without_whole_networks_is_called_too_sure(supersam, tmp_path):
    table = load_table("cpu-x86-1t")
    sums = table.model_copy(update={"composition": type(table.composition)(), "networks": {}, "name": "sums"})
    sums.save(tmp_path / "sums.json")

    for device, warned in ((tmp_path / "sums.json", True), ("cpu-x86-1t", False)):
        answer = supersam("search", "--device", device, "--budget", "40ms", "--trials", "15")
        assert answer.code == 0
        assert ("never compared with whole networks" in answer.err) == warned


def test_limits_and_weights_are_kept(supersam):
    arguments = ["--max-params", "0.8", "--max-gmacs", "1", "--weigh", "nuclei=3,box=0", "--max-memory", "500"]
    found = json.loads(supersam(*SEARCH, *arguments, "--json").out)

    assert all(one["params_m"] <= 0.8 and one["gmacs"] <= 1 for one in found["front"])
    for one in found["front"]:
        cells = one["packs"]
        weighed = (
            3 * cells["nuclei"]["point1"] + cells["coco_permissive"]["point1"] + cells["street_facade"]["point1"]
        ) / 5
        assert one["accuracy"] == pytest.approx(weighed, abs=2e-5)


def test_with_images_some_are_measured_and_the_front_is_verified(supersam, shapes, monkeypatch, tmp_path):
    monkeypatch.setenv("SUPERSAM_CACHE", str(tmp_path / "cache"))
    arguments = ["--data", shapes, "--split", "val", "--images", "1", "--evaluate", "2", "--max-gmacs", "0.15"]
    answer = supersam("search", "--device", "jetson-orin", "--budget", "2ms", "--trials", "5", *arguments, "--json")

    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert {one["accuracy_source"] for one in found["front"]} == {"measured"}
    assert found["best"]["packs"].keys() == {"shapes"}
    assert Run(Path("runs/search-1")).question()["compute"] == "cpu"
    kept = [path for path in (tmp_path / "cache").rglob("*.json") if path.name != "protocol.json"]
    assert len(kept) >= 2


@pytest.mark.parametrize(
    ("before", "compute", "expected"),
    [
        (None, "auto", ("auto", "cuda")),
        ({}, "auto", ("cpu", "cpu")),
        ({"compute": "cuda"}, "auto", ("cuda", "cuda")),
        ({"compute": "cpu"}, "auto", ("cpu", "cpu")),
        ({"compute": "cpu"}, "cuda:1", ("cuda:1", "cuda")),
    ],
)
def test_a_run_goes_on_where_it_was_begun_unless_it_is_told(before, compute, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    run, question = None, {"accuracy": {"data": "x"}}
    if before is not None:
        run = Run(tmp_path / "run")
        run.start(before)

    assert (_where(run, compute, question), question["compute"]) == expected


def test_show_tells_what_a_run_found(supersam, run):
    text = supersam("show", "run")
    report = json.loads(supersam("show", "run", "--json").out)
    rows = list(csv.DictReader(io.StringIO(supersam("show", "run", "--csv").out)))

    assert text.code == 0, text.err
    assert run["best"]["digest"] in text.out
    assert "hypervolume" in text.out
    (members,) = report["front_over_time"].values()
    still = sum(one["left"] is None for one in members)
    assert f"newest on the front ({still} are on it, {len(members) - still} were driven off)" in text.out
    assert report["best"] == run["best"]
    assert report["n_candidates"] == len(rows) == 22


def test_runs_are_merged(supersam, run):
    assert supersam(*SEARCH, "--seed", "1", "--trials", "26", "--out", "other").code == 0

    merged = supersam("show", "run", "other", "--out", "both", "--json")

    report = json.loads(merged.out)
    found = {c.digest for folder in ("run", "other") for c in Run(Path(folder)).candidates()}
    assert report["n_candidates"] == len(found) > 22
    assert supersam("show", "both").code == 0
    assert json.loads(Path("both/result.json").read_text())["best"] == report["best"]
    extracted = supersam("extract", "both", "best", "-o", "best.safetensors", "--json")
    assert json.loads(extracted.out)["digest"] == report["best"]["digest"]


def test_a_merged_run_is_not_continued_but_its_parts_are(supersam, run):
    question = json.loads(Path("run/run.json").read_text())
    Run(Path("both")).start(question | {"merged_from": ["run", "other"]})

    for again in (["search"], SEARCH):
        answer = supersam(*again, "--resume", "--out", "both")
        assert answer.code == 2
        assert answer.err.startswith("Error: both was merged from run, other and has no study to go on with")
        assert "--resume --out run" in answer.err
        assert "supersam show run other --out NEW" in answer.err
    assert not Path("both/study.db").exists()
    assert "merge again: supersam show run other" in supersam("extract", "both", "best", "-o", "x.safetensors").err


def test_the_best_of_an_interrupted_run_is_told_with_what_finishes_it(supersam, run):
    Path("run/result.json").unlink()

    answer = supersam("extract", "run", "best", "-o", "best.safetensors")

    assert answer.code == 4
    assert "interrupted with 22 evaluated" in answer.err
    assert "supersam search --resume --out run --trials N" in answer.err


def test_a_folder_of_runs_is_told_by_the_runs_in_it(supersam):
    for number in range(10):
        Run(Path(f"runs/search-{number}")).start({})

    answer = supersam("show", "runs")

    assert answer.code == 4
    assert answer.err.startswith("Error: runs is a folder of runs, not a run; name one or several of: runs/search-")
    assert answer.err.endswith(" and 2 more\n")


def test_two_workers_answer_one_question(supersam):
    answer = supersam(*SEARCH, "--workers", "2", "--out", "run", "--json")

    assert answer.code == 0, answer.err
    found = Run(Path("run")).candidates()
    assert len(found) == len({one.digest for one in found}) >= 22
    assert json.loads(answer.out)["n_trials"] == len(found)
