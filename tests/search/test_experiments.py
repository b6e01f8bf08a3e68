"""The experiments' own parts that results rest on: rows that survive, truths whose fronts are right, kills."""

import importlib
import signal
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from supersam.search.encoding import total
from supersam.search.exact_front import front_order

FOLDER = Path(__file__).parents[2] / "experiments" / "0003-search"


@pytest.fixture
def script(monkeypatch):
    """Import a script of the experiment by its name, and forget it afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if (FOLDER / f"{name}.py").exists():
            del sys.modules[name]


def test_rows_survive_a_crash_and_a_torn_one_is_dropped(script, tmp_path):
    records = script("records").Records
    file = tmp_path / "rows.csv"
    records(file, ["name", "seed"]).append({"name": "a", "seed": 1})
    with file.open("a") as stream:
        stream.write("b,")

    kept = records(file, ["name", "seed"])
    kept.append({"name": "c", "seed": None})

    assert kept.rows() == [{"name": "a", "seed": "1"}, {"name": "c", "seed": ""}]
    assert kept.keys("name", "seed") == {("a", "1"), ("c", "")}
    with pytest.raises(SystemExit, match="other columns"):
        records(file, ["name"])


def test_a_part_of_the_readme_is_replaced_between_its_markers(script, tmp_path, monkeypatch):
    records = script("records")
    monkeypatch.setattr(records, "README", tmp_path / "README.md")
    records.README.write_text("before\n<!-- x -->\nold\n<!-- /x -->\nafter\n")

    records.write_between("x", records.table(["a"], [["1"]]))

    assert records.README.read_text() == "before\n<!-- x -->\n| a |\n| --- |\n| 1 |\n<!-- /x -->\nafter\n"
    with pytest.raises(SystemExit, match="no markers"):
        records.write_between("y", [])


def test_one_process_is_this_one_and_two_do_the_same(script):
    spread = script("records").spread

    assert list(spread(str.upper, ["a", "b"], 1)) == sorted(spread(str.upper, ["a", "b"], 2)) == ["A", "B"]


def test_a_script_that_is_told_to_end_ends_in_one_line(script, capsys):
    with pytest.raises(SystemExit) as end, script("records").stoppable():
        signal.raise_signal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    assert end.value.code == 130
    assert "Give the same command to go on" in capsys.readouterr().err


def rows_of(script, name, budget="", **values):
    """A row for each of three seeds."""
    empty = dict.fromkeys(script("compare").COLUMNS, "")
    about = {"truth": "t", "name": name, "budget_ms": budget, "evaluations": "400"}
    return [empty | about | {"seed": str(seed)} | values for seed in range(3)]


def test_goals_are_met_or_missed_by_the_medians(script):
    verdict = script("verdict")
    rows = [
        *rows_of(script, "ehvi", **{"to_0.98": "100", "at_100": "0.98"}),
        *rows_of(script, "nsga2", **{"to_0.98": "390", "at_100": "0.7"}),
        *rows_of(script, "nsga2-50", **{"to_0.98": "", "at_100": "0.6", "evaluations": "1600"}),
        *rows_of(script, "linas-published", **{"to_0.98": "", "at_100": "0.9"}),
        *rows_of(script, "ehvi", "2.0", at_100="0.01"),
        *rows_of(script, "tpe", "2.0", at_100="0.03"),
    ]

    goals = {line[0].split(", best")[0]: line for line in verdict.verdicts(verdict.gather(rows), "t")}

    found = {goal: line[-1] for goal, line in goals.items()}
    assert list(found.values()) == ["**missed**", "met", "met", "not known"]
    assert next(iter(goals.values()))[1:4] == ("100", "`nsga2` 390", "98")


def test_what_was_not_reached_counts_as_more_than_was_tried(script):
    verdict = script("verdict")
    late = {"to_0.98": "300", "at_100": "0.9"}
    rows = [*rows_of(script, "ehvi", **late), *rows_of(script, "nsga2", **{"to_0.98": "", "at_100": "0.9"})]

    (_, *found), *_ = verdict.verdicts(verdict.gather(rows), "t")

    assert found == ["300", "`nsga2` more than 400", "100", "not decided"]


def test_a_report_has_goals_tables_and_a_figure(script, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    verdict, records = script("verdict"), script("records")
    for module, name in ((verdict, "FIGURE"), (verdict, "RESULTS"), (records, "README")):
        monkeypatch.setattr(module, name, tmp_path / getattr(module, name).name)
    records.README.write_text("<!-- results -->\n<!-- /results -->\n")
    shares = {"to_0.98": "90", "to_0.95": "50", "to_0.99": "", "at_50": "0.9", "at_100": "0.99", "at_200": "0.99"}
    regrets = {"at_50": "0.02", "at_100": "0.01"}

    verdict.report(rows_of(script, "ehvi", **shares) + rows_of(script, "ehvi", "2.0", **regrets))

    text = records.README.read_text()
    assert "| `ehvi` | 3 | 0.900 (0.900, 0.900) |" in text
    assert "never (never, never)" in text
    assert "3 seeds are an indication" in text
    assert "t,ehvi,regret within,2.0,0.01,0.01,0.01,0.01,3" in verdict.RESULTS.read_text()
    assert verdict.FIGURE.stat().st_size > 0


def test_a_run_that_gave_up_keeps_what_it_found(script, pool, monkeypatch):
    compare, truth = script("compare"), script("truth")
    rows = pool.members

    def accuracy(rows):
        return rows.sum(axis=1) / 100

    known = truth.Truth("t", pool, accuracy, *truth.answers(pool, rows, accuracy(rows)))
    monkeypatch.setattr(compare, "_truth", lambda *asked: known)

    row = compare.evaluate(("t", "", "", "random", "", 0, 150))

    assert row["evaluations"] == 60
    assert row["at_75"] == row["at_150"] == 1
    assert "at_200" not in row


@pytest.fixture
def pool(script, space, problem_of):
    """A problem of 60 listed architectures and its module."""
    tabular, problem = script("tabular"), problem_of(space)
    rows = np.unique(problem.encoding.random(np.random.default_rng(0), 200), axis=0)[:60]
    return tabular.PoolProblem(problem.space, problem.devices, members=rows)


def test_on_a_list_only_its_members_are_drawn_mutated_and_crossed(pool):
    members, rng = {row.tobytes() for row in pool.members}, np.random.default_rng(1)
    first, second = pool.encoding.random(rng, 20), pool.encoding.random(rng, 20)
    mutated = pool.encoding.mutate(first, rng)

    for rows in (first, mutated, pool.encoding.cross(first, second, rng)):
        assert {row.tobytes() for row in rows} <= members
    assert (mutated != first).any(axis=1).all()


def test_the_nearest_member_is_itself_or_the_one_that_differs_least(pool):
    search = pool.encoding.pool
    for at in range(0, 60, 7):
        assert search.nearest(pool.members[at]) == at
        left = np.ones(60, dtype=bool)
        left[at] = False
        found = search.nearest(pool.members[at], left)
        assert found != at
        assert search.distances(pool.members[at])[found] == search.distances(pool.members[at])[left].min()
    assert search.nearest(pool.members[0], np.zeros(60, dtype=bool)) is None


@pytest.mark.parametrize("name", ["ehvi", "linas-published", "nsga2", "random", "regularised-evolution", "pymoo-nsga2"])
def test_every_competitor_finds_the_whole_front_of_a_list_it_exhausts(script, pool, name):
    competitors, truth = script("competitors"), script("truth")
    if competitors.missing(name):
        pytest.skip(f"{competitors.missing(name)} is not installed")
    value = dict(zip((row.tobytes() for row in pool.members), np.random.default_rng(2).random(60), strict=True))

    def accuracy(rows):
        return np.array([value[row.tobytes()] for row in rows])

    known = truth.Truth("list", pool, accuracy, *truth.answers(pool, pool.members, accuracy(pool.members)))
    points = competitors.run_one(name, known, pool, 0, 100)

    assert len(points) == len({tuple(point) for point in points}) == 60
    assert known.hypervolume(points[:, 0], points[:, 1]) == pytest.approx(1)
    assert known.hypervolume(points[:10, 0], points[:10, 1]) < 1
    ms = total(pool.median_terms[0], pool.members)
    assert len(known.front_ms) == len(front_order(accuracy(pool.members), ms))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_nas_bench_graph_is_read_whole_and_equal_networks_have_one_row(script):
    pytest.importorskip("nas_bench_graph", reason="nas-bench-graph is not installed")
    truth = script("truth").load_truth("graph:cora", "", "")
    rows = truth.problem.encoding.random(np.random.default_rng(0), 500)

    same_as = truth.problem.table.same_as
    assert len(np.unique(same_as[same_as >= 0])) == 26_206  # as published
    assert (truth.problem.encoding.canonical(rows.copy()) == rows).all()
    assert truth.problem.reachable(rows).mean() > 0.99
    known = rows[truth.problem.reachable(rows)]
    assert 0 < truth.hypervolume(truth.accuracy(known), truth.latency(known)) < 1


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_workers_killed_at_random_lose_nothing_on_postgresql(script, few, problem_of, tmp_path):
    kills, postgresql = script("kills"), script("postgresql")
    if postgresql.binaries() is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed (supersam[distributed])")
    diary = kills.Diary(tmp_path / "diary", 0.03)
    with postgresql.server() as url:
        run = kills.Run(tmp_path / "run")
        run.start({})
        search = kills.Search(run, problem_of(few), diary, 0, "random", url, "killed")
        queued = [few.smallest(), few.largest()]
        killer = kills.Killer(diary, 3, 0.1, 0, "fork")

        found = kills.search_with_kills(search, diary, killer, queued, few.size, 2)

    assert [one for one in found.wrong if not one.startswith("kills that")] == []
    assert found.evaluated == few.size
    assert found.kills >= 1
