"""The search against a truth that can be enumerated."""

import itertools

import pytest

from supersam.latency import load_table
from supersam.results import Accuracy, Candidate, Run, best_within, hypervolume, pareto_front
from supersam.search.study import Search, bound_ms, fastest, seeds_of
from supersam.space import count, load_space

SMALL = """
name: small
encoder: staged
description: small enough to enumerate
resolutions: [256, 384]
head_dim: 16
stages:
  - {blocks: [vit, repvit], depths: [1], widths: [16, 32], ratios: [2], window: 8}
  - {blocks: [repvit, efficientvit], depths: [1], widths: [32], ratios: [2, 4], window: 8}
  - {blocks: [vit, rwkv], depths: [2, 3], widths: [64, 96], ratios: [2], window: 0}
  - {blocks: [vit, repvit], depths: [1, 2], widths: [96], ratios: [2], window: 0}
"""


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return load_space(str(path))


@pytest.fixture
def table():
    return load_table("jetson-orin")


def truth(architecture) -> Accuracy:
    """More MACs help, and mixing types helps."""
    kinds = len({stage.block for stage in architecture.stages})
    value = 0.4 + 0.2 * count(architecture).gmacs ** 0.5 + 0.02 * kinds
    return Accuracy(value, "measured", (value, value))


def everything(space, table):
    variables = space.variables()
    for values in itertools.product(*variables.values()):
        architecture = space.decode(dict(zip(variables, values, strict=True)))
        yield Candidate(architecture, truth(architecture), table.predict(architecture))


def search_of(tmp_path, space, table, budget_ms, accuracy=truth, seed=0):
    run = Run(tmp_path / "run")
    if not run.exists:
        run.start({"budget_ms": budget_ms})
    return Search(run, space, table, budget_ms, "upper", accuracy, seed)


def test_the_search_nears_the_true_front_and_finds_the_best_within_the_budget(tmp_path, space, table):
    budget = 2.2
    known = list(everything(space, table))
    progress = search_of(tmp_path, space, table, budget).optimize(150, seeds_of(space, {}), lambda progress: None)

    best = best_within(progress.candidates.values(), budget)
    assert best.accuracy.value >= best_within(known, budget).accuracy.value - 0.005
    reachable = [candidate for candidate in known if candidate.latency.hi <= budget]
    true = hypervolume(pareto_front(reachable), 3.0, 0.4)
    assert hypervolume(pareto_front(progress.candidates.values()), 3.0, 0.4) > 0.97 * true


def test_no_architecture_is_evaluated_twice(tmp_path, space, table):
    asked = []

    def counted(architecture):
        asked.append(architecture.digest)
        return truth(architecture)

    progress = search_of(tmp_path, space, table, 5.0, counted).optimize(100, [], lambda progress: None)

    assert len(asked) == len(set(asked)) == len(progress.candidates)


def test_what_is_far_beyond_the_budget_is_rejected_before_any_accuracy_is_asked(tmp_path, space, table):
    budget = bound_ms(table, fastest(space, table, "upper"), "upper") * 1.1

    def never_slow(architecture):
        assert bound_ms(table, architecture, "upper") <= 2 * budget
        return truth(architecture)

    progress = search_of(tmp_path, space, table, budget, never_slow).optimize(60, [], lambda progress: None)

    assert progress.rejected
    assert all(bound_ms(table, architecture, "upper") > 2 * budget for architecture in progress.rejected)


def test_the_search_of_an_exhausted_space_ends(tmp_path, table):
    path = tmp_path / "one.yaml"
    one = (
        SMALL.replace("[256, 384]", "[256]")
        .replace("[vit, repvit]", "[vit]")
        .replace("[repvit, efficientvit]", "[repvit]")
    )
    one = one.replace("[vit, rwkv]", "[vit]").replace("[16, 32]", "[16]").replace("[2, 4]", "[2]")
    path.write_text(one.replace("[2, 3]", "[2]").replace("[64, 96]", "[64]"))
    space = load_space(str(path))
    assert space.size == 2

    progress = search_of(tmp_path, space, table, 5.0).optimize(3, [], lambda progress: None)

    assert progress.n_trials == 2


@pytest.mark.parametrize("risk", ["upper", "median"])
def test_the_fastest_is_the_fastest_of_all(space, table, risk):
    bounds = [bound_ms(table, candidate.architecture, risk) for candidate in everything(space, table)]

    assert bound_ms(table, fastest(space, table, risk), risk) == pytest.approx(min(bounds))


def test_a_continued_search_knows_what_was_found_and_rejected(tmp_path, space, table):
    budget = bound_ms(table, fastest(space, table, "upper"), "upper") * 1.1
    first = search_of(tmp_path, space, table, budget).optimize(40, [], lambda progress: None)
    asked = []

    def counted(architecture):
        asked.append(architecture.digest)
        return truth(architecture)

    second = search_of(tmp_path, space, table, budget, counted).optimize(60, [], lambda progress: None)

    assert second.n_trials >= 60
    assert first.candidates.keys() <= second.candidates.keys()
    assert first.rejected <= second.rejected
    assert not set(asked) & first.candidates.keys()


def test_a_search_begins_with_the_extremes_and_each_single_type(space):
    seeds = seeds_of(space, {})

    assert space.smallest() in seeds
    assert space.largest() in seeds
    assert len(seeds) == len(set(seeds))
    assert all(space.contains(architecture) for architecture in seeds)
