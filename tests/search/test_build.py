"""From a run's folder back to its search: its own space, its own tables, and no others."""

import json

import pytest

from supersam.data.synthetic import write_pack
from supersam.errors import DamagedError, EnvironmentProblem, UsageError
from supersam.latency import load_table, read_table
from supersam.results import Run
from supersam.search.build import accept_tables, build_accuracy, build_problem, check_tables, space_of
from supersam.search.problem import Device
from supersam.search.study import Search
from supersam.space import load_space

LIMITS = {"params_m": None, "gmacs": None, "memory_mb": None}


@pytest.fixture
def kept(space, tmp_path):
    """A run with its table, and its question."""
    run, device = Run(tmp_path / "run"), Device("jetson-orin", load_table("jetson-orin"), 3.0)
    device.table.save(run.tables_dir / f"{device.table.name}.json")
    asked = {"device": "jetson-orin", "table": device.table.name, "table_sha256": device.fingerprint, "budget_ms": 3.0}
    question = {"devices": [asked], "space": "gone.yaml", "space_content": space.model_dump(mode="json")}
    return run, question | {"risk": "upper", "limits": LIMITS}


def test_a_run_is_continued_though_the_file_of_its_space_is_gone(kept, space):
    run, question = kept

    assert build_problem(question, run).space == space


def test_the_space_of_a_plain_vit_is_read_back_too(vit_space):
    assert space_of({"space_content": vit_space.model_dump(mode="json")}) == vit_space


def test_a_run_without_its_space_takes_the_one_of_that_name():
    assert space_of({"space": "starter"}).name == "starter"


def test_a_damaged_space_is_told(tells):
    with tells(DamagedError, "space_content"):
        space_of({"space_content": {"encoder": "staged", "name": "x"}})


def test_the_tables_of_a_run_are_those_it_was_begun_with(kept):
    run, question = kept

    check_tables(question, run)


def test_a_changed_table_is_refused_by_its_name(kept, tells):
    run, question = kept
    file = run.tables_dir / f"{question['devices'][0]['table']}.json"
    content = json.loads(file.read_text())
    content["note"] = "changed"
    file.write_text(json.dumps(content))

    with tells(UsageError, file.name, "--accept-changed-tables"):
        check_tables(question, run)


def test_a_changed_table_is_accepted_if_that_is_wanted(kept, truth, tells):
    run, question = kept
    run.start(question)
    Search(run, build_problem(question, run), truth, 0, "random").optimize(2, [], lambda ledger: None)
    file = run.tables_dir / f"{question['devices'][0]['table']}.json"
    table = read_table(file)
    slower = table.composition.model_copy(update={"factor": 2 * table.composition.factor})
    table.model_copy(update={"composition": slower}).save(file)
    search = Search(run, build_problem(question, run), truth, 0, "random")
    with tells(UsageError, "other tables"):
        search.open_study()

    accept_tables(question, run, search)

    assert len(search.optimize(4, [], lambda ledger: None).candidates) == 4
    check_tables(run.question(), run)


def test_a_run_that_kept_no_hash_is_not_refused(kept):
    run, question = kept
    question["devices"][0]["table_sha256"] = None

    check_tables(question, run)


def test_accuracies_of_a_gpu_are_kept_apart_and_a_parent_of_workers_takes_none(problem_of, tmp_path, monkeypatch):
    shapes = write_pack(tmp_path / "shapes", n_train=12, n_val=2, side=64)
    asked = {"data": str(shapes), "split": "val", "images": 1, "prompts": ["box"]}
    question = {"objective": {}, "accuracy": asked, "weights": None}
    problem = problem_of(load_space("starter"))

    _, on_cpu = build_accuracy(question, problem)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)  # so that whoever takes one fails
    source, on_gpu = build_accuracy(question, problem, worker=None)

    assert on_gpu != on_cpu
    assert build_accuracy(question, problem, "cpu")[1] == on_cpu
    with pytest.raises(EnvironmentProblem, match="use --compute cpu"):
        source.device()
    with pytest.raises(EnvironmentProblem, match="use --compute cpu"):
        build_accuracy(question, problem, worker=1)
