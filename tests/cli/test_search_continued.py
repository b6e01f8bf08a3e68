"""What a search refuses before it leaves anything behind, and what it goes on with."""

import json


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
