"""What a search refuses before it leaves anything behind, and what it goes on with."""

import json

import pytest

from supersam.search.samplers import DEFAULT


def search(supersam, *arguments):
    return supersam("search", "--device", "jetson-orin", "--trials", 4, "--sampler", "random", *arguments)


def test_no_folder_is_left_where_a_study_of_another_question_is_joined(supersam, tmp_path):
    url = f"journal:///{tmp_path}/shared.journal"
    assert search(supersam, "--budget", "30ms", "--storage", url, "--out", "one").code == 0

    answer = search(supersam, "--budget", "20ms", "--storage", url, "--out", "two")

    assert answer.code == 2
    assert "other budgets_ms" in answer.err
    assert not (tmp_path / "two").exists()


def test_a_changed_table_is_refused_by_name_unless_it_is_accepted(supersam, tmp_path):
    assert search(supersam, "--out", "run").code == 0
    table = next((tmp_path / "run" / "tables").iterdir())
    table.write_text(table.read_text().replace('"note": "', '"note": "changed: ', 1))
    more = ("search", "--resume", "--out", "run", "--trials", 6)

    refused = supersam(*more)
    accepted = supersam(*more, "--accept-changed-tables")

    assert refused.code == 2
    assert table.name in refused.err
    assert accepted.code == 0
    assert supersam(*more[:-1], 7).code == 0  # it is the run's table from now on
    assert json.loads((tmp_path / "run" / "result.json").read_text())["n_trials"] == 7


def test_what_was_decided_at_the_start_is_not_passed_over_when_a_run_goes_on(supersam):
    assert search(supersam, "--out", "run").code == 0

    answer = supersam("search", "--resume", "--out", "run", "--budget", "3ms")

    assert answer.code == 2
    assert "--budget was decided when the search was begun" in answer.err
    other = search(supersam, "--resume", "--out", "run", "--budget", "3ms").err
    assert "another --device or --budget (jetson-orin no budget, table " in other
    limited = search(supersam, "--resume", "--out", "run", "--max-params", "2").err
    assert "another --max-params, --max-gmacs or --max-memory (none, now params_m 2)" in limited
    weighed = search(supersam, "--resume", "--out", "run", "--weigh", "box=2").err
    assert "another --weigh (all alike, now box=2)" in weighed


def test_which_run_shall_go_on_is_asked_and_the_newest_named(supersam):
    assert "which run shall go on" in supersam("search", "--resume").err
    assert search(supersam).code == 0

    answer = supersam("search", "--resume")

    assert answer.code == 2
    assert "--out runs/search-1" in answer.err


def test_a_run_of_another_archive_is_not_continued_and_not_merged(supersam, tmp_path):
    for name in ("run", "other"):
        assert search(supersam, "--out", name).code == 0
    file = tmp_path / "run" / "run.json"
    question = json.loads(file.read_text())
    file.write_text(json.dumps(question | {"accuracy_sha256": "of another one"}))

    continued, merged = supersam("search", "--resume", "--out", "run"), supersam("show", "run", "other")

    assert (continued.code, merged.code) == (2, 2)
    assert "the shipped archive changed since" in continued.err
    assert "differ in accuracy_sha256" in merged.err


@pytest.mark.parametrize(("option", "wrong"), [("--weigh", "objective"), ("--max-params", "limits")])
def test_no_study_is_joined_that_judges_otherwise(supersam, tmp_path, option, wrong):
    url = f"journal:///{tmp_path}/shared.journal"
    assert search(supersam, "--storage", url, "--out", "one").code == 0

    answer = search(supersam, "--storage", url, "--out", "two", option, "box=2" if option == "--weigh" else "2")

    assert answer.code == 2
    assert f"other {wrong}" in answer.err
    assert not (tmp_path / "two").exists()


def test_nothing_is_begun_without_the_package_a_sampler_needs(supersam, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nni.algorithms.hpo.tpe_tuner", None)

    answer = supersam("search", "--device", "jetson-orin", "--sampler", "nni-tpe", "--out", "run")

    assert answer.code == 5
    assert "pip install 'supersam[nni]'" in answer.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["nan", "0", "-1", "inf"])
def test_a_limit_that_is_none_is_refused(supersam, value):
    for option in ("--max-params", "--max-gmacs", "--max-memory"):
        answer = search(supersam, option, value)
        assert answer.code == 2
        assert answer.err == f"Error: {option} must be a number above 0, not {value}\n"


def test_limits_nothing_meets_end_with_3_and_the_nearest(supersam, tmp_path):
    for option, unit in (("--max-params", "million parameters"), ("--max-gmacs", "GMACs")):
        answer = search(supersam, option, "0.0001", "--out", "run", "--json")
        assert answer.code == 3
        assert f"meets 0.0001 {unit}; the nearest is" in answer.err
        assert json.loads(answer.out)["nearest"]["digest"] in answer.err
    assert not (tmp_path / "run").exists()


def test_a_limit_of_memory_that_nothing_meets_ends_with_3_at_once(supersam):
    answer = search(supersam, "--max-memory", "0.001", "--out", "run", "--json")

    assert answer.code == 3
    assert "Nothing in starter meets 0.001 MB of memory; the nearest is" in answer.err
    assert json.loads(answer.out)["best"] is None


def change(file, **fields):
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_a_study_whose_password_was_not_written_down_is_asked_for_again(supersam, tmp_path):
    assert search(supersam, "--out", "run").code == 0
    change(tmp_path / "run" / "run.json", storage="postgresql://me:***@127.0.0.1:1/x")

    answer = supersam("search", "--resume", "--out", "run")

    assert answer.code == 2
    assert "kept in postgresql://me:***@127.0.0.1:1/x (its password is not written down)" in answer.err
    assert "give the URL again: --storage URL" in answer.err
    assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_study_in_a_file_goes_on_from_every_folder(supersam, tmp_path, monkeypatch, kind):
    assert search(supersam, "--storage", f"{kind}:///st.kept", "--out", "run").code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    more = json.loads(supersam("search", "--resume", "--out", "../run", "--trials", 6, "--json").out)

    assert more["n_trials"] == 6
    assert len((tmp_path / "run" / "candidates.jsonl").read_text().splitlines()) == 6
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_study_elsewhere_is_not_left_for_a_new_one(supersam, tmp_path):
    assert search(supersam, "--storage", "sqlite:///st.db", "--study", "mine", "--out", "run").code == 0

    silent = search(supersam, "--resume", "--out", "run")
    renamed = search(supersam, "--resume", "--out", "run", "--storage", "sqlite:///st.db")

    assert f"kept in sqlite:///{tmp_path}/st.db; give the URL again" in silent.err
    assert "another --study (mine, now search)" in renamed.err
    assert not (tmp_path / "run" / "study.db").exists()


def test_a_run_does_not_go_on_in_a_storage_that_has_not_got_its_study(supersam, tmp_path):
    assert search(supersam, "--storage", "sqlite:///st.db", "--out", "run").code == 0
    assert search(supersam, "--out", "own").code == 0

    other = supersam("search", "--resume", "--out", "run", "--storage", "sqlite:///other.db")
    own = supersam("search", "--resume", "--out", "own", "--storage", "sqlite:///other.db")

    assert f"is kept in sqlite:///{tmp_path}/st.db, and sqlite:///other.db has none of its name (search)" in other.err
    assert "the study of own is kept in the run's folder; leave out --storage" in own.err
    assert (other.code, own.code) == (2, 2)
    assert supersam("search", "--resume", "--out", "run", "--storage", "sqlite:///st.db").code == 0


def test_a_run_of_the_sampler_auto_goes_on_as_what_auto_stands_for(supersam, tmp_path):
    asked = ("search", "--device", "jetson-orin", "--out", "run")
    assert supersam(*asked, "--trials", 4).code == 0
    file = tmp_path / "run" / "run.json"
    assert json.loads(file.read_text())["sampler"] == DEFAULT
    change(file, sampler="auto")

    alone = supersam("search", "--resume", "--out", "run", "--trials", 5, "--json")
    again = supersam(*asked, "--resume", "--trials", 6, "--json")

    assert json.loads(alone.out)["sampler"] == DEFAULT
    assert json.loads(again.out)["n_trials"] == 6
