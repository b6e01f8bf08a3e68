"""What a run says of itself."""

import csv
import io
import random

import pytest

from supersam.errors import UsageError
from supersam.latency import Latency
from supersam.results import Accuracy, Candidate, Run, hypervolume, pareto_front
from supersam.results.merge import merge
from supersam.search.over_trials import front_over_time, hypervolume_over_trials
from supersam.search.report import (
    block_types,
    fronts,
    good_on_all,
    importances,
    report_of,
    to_csv,
)
from supersam.space import load_space

SPACE = load_space("starter")
QUESTION = {"device": "board", "budget": "5ms", "budget_ms": 5.0, "risk": "upper", "space_name": "starter"}


def made(seed, ms, value, source="measured", **also):
    accuracy = Accuracy(value, source, (value - 0.01, value + 0.01))
    latencies = {name: Latency(other, other, other, "measured") for name, other in also.items()}
    return Candidate(SPACE.sample(random.Random(seed)), accuracy, Latency(ms, ms, ms, "measured"), latencies)


@pytest.fixture
def candidates():
    rng = random.Random(0)
    return [
        made(seed, rng.uniform(1, 9), rng.uniform(0.2, 0.6), "measured" if seed % 2 else "predicted")
        for seed in range(40)
    ]


def run_of(folder, candidates, **question):
    run = Run(folder)
    run.start(QUESTION | question)
    for one in candidates:
        run.append(one)
    return run


def test_measured_and_predicted_accuracies_are_never_on_one_front(candidates):
    found = fronts(candidates, 5.0, "upper")

    assert {one["accuracy_source"] for one in found["front"]} == {"measured"}
    assert {one["accuracy_source"] for one in found["predicted"]["front"]} == {"predicted"}
    assert found["best"]["latency_interval_ms"][1] <= 5.0


def test_where_nothing_measured_is_within_the_budget_the_predicted_are_the_answer():
    found = fronts([made(0, 9.0, 0.9), made(1, 2.0, 0.3, "predicted")], 5.0, "upper")

    assert found["best"]["accuracy_source"] == "predicted"
    assert fronts([made(0, 9.0, 0.9)], 5.0, "upper")["best"] is None


def test_good_on_all_is_within_every_budget_and_beaten_by_no_other(space, problem_of):
    from supersam.latency import load_table
    from supersam.search.problem import Device

    problem = problem_of(SPACE, 5.0, Device("b", load_table("jetson-orin"), 10.0))
    both, slow_on_b, beaten = made(0, 4.0, 0.5, b=8.0), made(1, 3.0, 0.6, b=11.0), made(2, 4.5, 0.5, b=8.0)

    assert good_on_all([both, slow_on_b, beaten], problem) == [both]


def test_the_curve_rises_to_the_hypervolume_of_all(candidates):
    curve = hypervolume_over_trials(candidates)

    values = [point["hypervolume"] for point in curve]
    assert values == sorted(values)
    assert (curve[0]["n"], curve[-1]["n"]) == (1, 40)
    latencies, accuracies = [c.latency.ms for c in candidates], [c.accuracy.value for c in candidates]
    box = (max(latencies) - min(latencies)) * (max(accuracies) - min(accuracies))
    area = hypervolume(pareto_front(candidates), max(latencies), min(accuracies))
    assert values[-1] == pytest.approx(area / box, abs=1e-5)
    assert hypervolume_over_trials([]) == []


def test_the_front_at_any_time_is_who_had_joined_and_not_left(candidates):
    history = front_over_time([*candidates, candidates[0]])

    for n in (1, 7, 20, len(candidates)):
        there = {one["digest"] for one in history if one["joined"] <= n and (one["left"] is None or one["left"] > n)}
        assert there == {one.digest for one in pareto_front(candidates[:n])}
    assert len(history) == len({one["digest"] for one in history})


def test_the_choice_that_decides_is_the_most_important():
    rng = random.Random(0)
    found = []
    for _ in range(120):
        architecture = SPACE.sample(rng)
        value = 0.2 + 0.1 * ["vit", "repvit", "efficientvit", "rwkv"].index(architecture.stages[2].block)
        accuracy = Accuracy(value + rng.gauss(0, 0.005), "measured", (0, 1))
        found.append(Candidate(architecture, accuracy, Latency(1.0, 1.0, 1.0, "measured")))

    shares = importances(found)

    assert next(iter(shares)) == "stage3.block"
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)
    assert importances(found[:5]) == {}


def test_block_types_are_shares_of_the_front(candidates):
    shares = block_types(pareto_front(candidates))

    assert shares.keys() == {"stage1", "stage2", "stage3", "stage4"}
    assert all(sum(types.values()) == pytest.approx(1, abs=0.001) for types in shares.values())


def test_a_report_tells_measured_from_predicted(tmp_path, candidates):
    report = report_of(run_of(tmp_path / "run", candidates))

    assert (report["n_candidates"], report["n_measured"], report["n_predicted"]) == (40, 20, 20)
    assert report["hypervolume"].keys() == report["importances"].keys() == {"measured", "predicted"}


def test_a_table_has_a_line_for_each_candidate(candidates):
    rows = list(csv.DictReader(io.StringIO(to_csv(candidates))))

    assert [row["digest"] for row in rows] == [one.digest for one in candidates]
    for source in ("measured", "predicted"):
        front = pareto_front(one for one in candidates if one.accuracy.source == source)
        marked = {row["digest"] for row in rows if row["on_front"] == "1" and row["accuracy_source"] == source}
        assert marked == {one.digest for one in front}
    assert float(rows[3]["accuracy"]) == pytest.approx(candidates[3].accuracy.value, abs=1e-5)


def test_merged_runs_hold_every_architecture_once_and_prefer_what_was_measured(tmp_path, candidates):
    measured = Candidate(candidates[0].architecture, Accuracy(0.4, "measured", (0.3, 0.5)), candidates[0].latency)
    one = run_of(tmp_path / "one", candidates[:25])
    two = run_of(tmp_path / "two", [measured, *candidates[20:]])

    merged = merge([one, two], tmp_path / "both")

    found = {candidate.digest: candidate for candidate in merged.candidates()}
    assert found.keys() == {candidate.digest for candidate in candidates}
    assert found[measured.digest].accuracy.source == "measured"
    assert merged.question()["merged_from"] == [str(one.folder), str(two.folder)]


def test_runs_of_other_tables_are_not_merged(tmp_path, candidates, tells):
    one = run_of(tmp_path / "one", candidates[:2], table_sha256="a")
    two = run_of(tmp_path / "two", candidates[2:4], table_sha256="b")

    other = run_of(
        tmp_path / "other", candidates[2:4], table_sha256="a", devices=[{"device": "b", "table_sha256": "c"}]
    )
    with tells(UsageError, "differ in their devices"):
        merge([one, other], tmp_path / "both")
    with tells(UsageError, "differ in table_sha256"):
        merge([one, two], tmp_path / "both")
    assert not (tmp_path / "both").exists()
    with tells(UsageError, "holds a run already"):
        merge([one, one], tmp_path / "two")


@pytest.mark.parametrize(("key", "other"), [("limits", {"params_m": 2.0}), ("risk", "median")])
def test_runs_of_other_limits_or_risk_are_not_merged(tmp_path, candidates, tells, key, other):
    one = run_of(tmp_path / "one", candidates[:2], limits={"params_m": None})
    two = run_of(tmp_path / "two", candidates[2:4], **{"limits": {"params_m": None}, key: other})

    with tells(UsageError, f"differ in {key}"):
        merge([one, two], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_what_mattered_is_told_of_plain_vits_too(tmp_path, vit_space):
    rng = random.Random(0)
    found = []
    for architecture in dict.fromkeys(vit_space.sample(rng) for _ in range(80)):
        heads = vit_space.encode(architecture)["layer2.heads"]
        accuracy = Accuracy(0.1 * heads + rng.gauss(0, 0.001), "measured", (0, 1))
        found.append(Candidate(architecture, accuracy, Latency(1.0, 1.0, 1.0, "measured")))

    report = report_of(run_of(tmp_path / "run", found, space_content=vit_space.model_dump(mode="json")))

    assert next(iter(report["importances"]["measured"])) == "layer2.heads"
    assert report["block_types"]["measured"] == {}
    assert importances(found) == {}
