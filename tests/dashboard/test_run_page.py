"""A run as it stands: states, curves, filters, importances, and every kind of broken folder."""

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from dash import html

from dashboard.columns import Column, columns, importance, importances, of_source
from dashboard.curves import curves
from dashboard.data import Data
from dashboard.parallel import LINES, describe_parallel, drawn_rows
from dashboard.progress import progress
from dashboard.run_parts import reference, side, state
from dashboard.to_html import render
from dashboard.where import parse, passing, ranges
from dashboard.wording import ms
from supersam.errors import UsageError
from supersam.latency import LatencyTable
from supersam.results import Candidate, Run, hypervolume, pareto_front

NOW_AND_LATER = (5.0, 7200.0)


@pytest.fixture
def candidates(make: Any, table: LatencyTable) -> list[Candidate]:
    found: list[Candidate] = make.candidates(60, table)
    return found


@pytest.fixture
def run(runs: Path) -> Run:
    return Run(runs / "first")


@pytest.fixture
def data(runs: Path, tables: Path, no_archive: Path) -> Data:
    return Data(runs, tables, no_archive)


def at(run: Run, seconds: float) -> float:
    """The time this long after the last change."""
    return max(file.stat().st_mtime for file in run.folder.iterdir()) + seconds


def stand(run: Run, seconds: float = 0.0) -> Any:
    return progress(run, run.candidates(), run.question(), at(run, seconds))


def test_a_run_is_running_then_stalled_then_finished(run: Run):
    assert stand(run, NOW_AND_LATER[0]).state == "running"
    late = stand(run, NOW_AND_LATER[1])
    assert (late.state, late.says) == ("stalled", "Stalled: no news for 2 h and no result. Its process may have ended.")
    run.result_file.write_text('{"best": null}')
    assert stand(run, NOW_AND_LATER[1]).state == "finished"


def test_a_stalled_run_says_how_to_go_on_with_as_many_trials_as_were_asked_for(run: Run, data: Data):
    (source,) = data.sources()
    found = progress(run, [], run.question(), at(run, NOW_AND_LATER[1]))

    text = re.sub("</?span[^>]*>", "", render(html.Div(state(found, source))))

    assert f"supersam search --resume --out {run.folder} --trials N" in text
    assert "N is as many as were asked for; default: 200" in text


def test_trials_are_read_from_the_sqlite_file_a_run_names(run: Run, tmp_path: Path):
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    for name, n in (("another", 1), ("mine", 3)):
        study = optuna.create_study(storage=storage, study_name=name)
        for _ in range(n):
            study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    question = run.question() | {"storage": storage, "study": "mine"}

    assert progress(run, [], question).counts == {"failed": 3}
    missing = progress(run, [], question | {"study": "gone"})
    assert (missing.trials, "no study 'gone'" in missing.problem) == ([], True)


@pytest.mark.parametrize("storage", ["postgresql://me:***@db/nas", "grpc://head:13000", "journal:///log"])
def test_a_study_only_optuna_can_read_is_said_with_where_it_is(run: Run, storage: str):
    found = progress(run, run.candidates(), run.question() | {"storage": storage, "study": "search"})

    assert found.trials == []
    assert f"the study is kept in {storage}, which only Optuna can read" in found.problem


def test_a_run_whose_trials_all_failed_has_failed(tmp_path: Path):
    run = Run(tmp_path / "sad")
    run.start({"device": "d", "budget_ms": 1.0})
    study = optuna.create_study(storage=f"sqlite:///{run.study_file}")
    for _ in range(3):
        study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)

    found = stand(run, 3600)

    assert (found.state, found.counts) == ("failed", {"failed": 3})
    assert "3 trials ended and none gave a candidate" in found.says


def test_trials_are_counted_by_state_and_worker(run: Run):
    study = optuna.create_study(storage=f"sqlite:///{run.study_file}", directions=["maximize", "minimize"])
    trials = [study.ask() for _ in range(4)]
    for trial, worker in zip(trials, ("a", "a", "b", "b"), strict=True):
        trial.set_user_attr("worker", worker)
    trials[1].set_user_attr("rejected", "too slow")
    study.tell(trials[0], [0.5, 2.0])
    study.tell(trials[1], state=optuna.trial.TrialState.PRUNED)

    found = stand(run)

    assert found.counts == {"running": 2, "evaluated": 1, "rejected": 1}
    assert [(one.name, one.running, one.ended) for one in found.workers] == [("a", 0, 2), ("b", 2, 0)]


def test_a_missing_or_damaged_study_leaves_the_candidates(run: Run):
    assert "there is no study" in stand(run).problem
    run.study_file.write_bytes(b"\0" * 5000)
    found = stand(run)
    assert "study.db" in found.problem
    assert (found.trials, found.state) == ([], "running")


def test_the_curves_are_those_of_the_fronts_so_far_measured_and_predicted_apart(candidates: list[Candidate]):
    found = curves(candidates, 6.0, "upper")
    slowest, lowest = found.reference

    assert list(found.by_source) == ["measured", "predicted"]
    for source, curve in found.by_source.items():
        for number, area, best in zip(curve.evaluations, curve.hypervolume, curve.best, strict=True):
            seen = [one for one in candidates[:number] if one.accuracy.source == source]
            within = [one.accuracy.value for one in seen if one.latency.hi <= 6.0]
            assert area == pytest.approx(hypervolume(pareto_front(seen), slowest, lowest))
            assert best == (max(within) if within else None)
        assert curve.evaluations[-1] == len(candidates)
    assert curves([], None, "upper").by_source == {}
    assert list(curves(candidates[:1], None, "upper").by_source) == [candidates[0].accuracy.source]


def test_many_evaluations_make_few_points(candidates: list[Candidate]):
    for curve in curves(candidates * 40, None, "upper").by_source.values():
        assert len(curve.evaluations) <= 201


def test_reading_a_study_is_no_news_of_it(run: Run):
    """SQLite leaves an empty log beside a study that was only read: a stalled run stays stalled."""
    silent = stand(run, NOW_AND_LATER[1]).silent_s
    now = at(run, NOW_AND_LATER[1])
    log = run.study_file.with_name("study.db-wal")
    log.touch()
    os.utime(log, (now, now))

    assert progress(run, run.candidates(), run.question(), now).silent_s == silent


def test_the_best_is_a_measured_one_wherever_one_is_within_the_budget(run: Run):
    best, candidates = stand(run).best, run.candidates()
    within = [one for one in candidates if one.accuracy.source == "measured" and one.latency.hi <= 6.0]

    assert best == max(within, key=lambda one: one.accuracy.value)
    assert progress(run, candidates, {"budget_ms": None}).best is not None, "without a budget, of all"


def test_what_decides_is_told_of_measured_and_predicted_accuracies_apart(run: Run, candidates: list[Candidate]):
    found = columns(candidates)
    text = str(side(stand(run), found))

    assert len(of_source(found, "measured")["accuracy"].values) == 40
    assert "What decides the accuracy (measured, 40)" in text
    assert "What decides the accuracy (predicted, 20)" in text
    assert "What decides the latency (60)" in text
    assert of_source(columns([one for one in candidates if one.accuracy.source == "measured"]), "predicted") == {}
    assert "can be told from 16 candidates on" in str(side(stand(run), columns(candidates[:5])))


def test_ticks_of_whole_numbers_are_whole(candidates: list[Candidate]):
    found = columns(candidates)
    axes = describe_parallel(found, [], passing(found, []))["axes"]
    depth = next(axis for axis in axes if axis["name"] == "depth")

    assert len(depth["ticks"]) >= 3
    assert all(text.isdigit() for _, text in depth["ticks"])


def test_importance_is_the_share_a_choice_explains():
    choice = Column("c", np.array([0.0, 0, 0, 1, 1, 1] * 10))
    noise = np.random.default_rng(0).normal(size=60)

    assert importance(choice, choice.values * 3 + 1) == pytest.approx(1)
    assert importance(choice, noise) < 0.1
    assert importance(choice, np.ones(60)) == 0
    assert importance(Column("one", np.zeros(60)), noise) == 0


def test_columns_are_the_choices_and_the_results(candidates: list[Candidate]):
    found = columns(candidates)

    assert found["accuracy"].values.tolist() == [one.accuracy.value for one in candidates]
    assert found["gmacs"].values[0] == pytest.approx(candidates[0].to_dict()["gmacs"], abs=1e-5)
    assert found["stage2.block"].names == tuple(sorted({one.architecture.stages[1].block for one in candidates}))  # type: ignore[union-attr]
    assert {name for name, _ in importances(found, "accuracy")} >= {"resolution", "stage4.ratio"}
    assert columns([]) == {}


def test_filters_are_text(candidates: list[Candidate]):
    found = columns(candidates)

    kept = passing(found, parse("stage3.block:vit,rwkv latency_ms:..6 resolution:256,512"))

    for one, passes in zip(candidates, kept, strict=True):
        stage = one.architecture.stages[2]  # type: ignore[union-attr]
        fits = stage.block in ("vit", "rwkv") and one.latency.ms <= 6 and one.architecture.resolution in (256, 512)
        assert passes == fits
    assert passing(found, []).all()
    assert ranges(found["latency_ms"], parse("latency_ms:..6"))[0][1] == 6  # type: ignore[index]
    assert ranges(found["accuracy"], parse("latency_ms:..6")) is None


@pytest.mark.parametrize("text", ["accuracy", "accuracy:", ":3", "a:1..x", "a:nan..1", "a:3..1", "a:1...2"])
def test_what_is_no_filter_is_said(text: str):
    with pytest.raises(UsageError):
        parse(text)


def test_an_unknown_column_is_said(candidates: list[Candidate]):
    with pytest.raises(UsageError, match="Did you mean 'accuracy'"):
        passing(columns(candidates), parse("acuracy:0..1"))


def test_lines_are_between_nought_and_one_and_few(candidates: list[Candidate]):
    found = columns(candidates)
    terms = parse("accuracy:0.4..")
    drawn = describe_parallel(found, terms, passing(found, terms))

    assert [axis["name"] for axis in drawn["axes"]][-2:] == ["latency_ms", "accuracy"]
    for axis in drawn["axes"]:
        assert all(0 <= value <= 1 for value in axis["values"])
        assert all(0 <= place <= 1 for place, _ in axis["ticks"])
    assert sum(drawn["kept"]) == passing(found, terms).sum()
    assert len(drawn_rows(100_000)) == LINES
    assert not any(math.isnan(value) for value in drawn["shade"])


def test_a_run_of_one_candidate_has_axes(make: Any, table: LatencyTable):
    found = columns(make.candidates(1, table))
    assert json.dumps(describe_parallel(found, [], passing(found, [])))


def test_the_page_says_what_the_hypervolume_is_measured_from(candidates: list[Candidate]):
    found = curves(candidates, 6.0, "upper")
    text = reference(found)

    assert ms(max(one.latency.ms for one in candidates)) in text
    assert f"{min(one.accuracy.value for one in candidates):.3f}" in text
    assert reference(curves([], None, "upper")) == ""
