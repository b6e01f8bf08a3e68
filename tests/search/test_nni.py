"""NNI's tuners behind Optuna, where NNI is installed, and a clear word where it is not."""

import sys

import optuna
import pytest
from optuna.trial import TrialState

from supersam.errors import EnvironmentProblem, UsageError
from supersam.latency import load_table
from supersam.search.nni import TUNERS, make_tuner, to_search_space
from supersam.search.problem import Device
from supersam.search.samplers import make_sampler


def test_every_variable_is_a_choice_of_nni(space):
    found = to_search_space(space)

    assert found.keys() == space.variables().keys()
    assert found["resolution"] == {"_type": "choice", "_value": [256, 384]}


def test_without_nni_the_way_to_get_it_is_told(monkeypatch, space, problem_of, tells):
    for module, _ in TUNERS.values():
        monkeypatch.setitem(sys.modules, module, None)

    with tells(EnvironmentProblem, "pip install 'supersam[nni]'"):
        make_sampler("nni-tpe", problem_of(space), 0)
    with tells(UsageError, "evolution, tpe, random"):
        make_tuner("anneal", space, 0)


@pytest.mark.parametrize("name", ["nni-evolution", "nni-tpe", "nni-random"])
@pytest.mark.parametrize("budget", [3.0, None])
@pytest.mark.filterwarnings("ignore")
def test_a_tuner_proposes_and_is_told(space, problem_of, truth, name, budget):
    pytest.importorskip("nni", reason="NNI is not installed (supersam[nni])")
    problem = problem_of(space, budget)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=make_sampler(name, problem, 0))

    for number in range(40):
        trial = study.ask()
        choices = {k: trial.suggest_categorical(k, v) for k, v in space.variables().items()}
        architecture = space.decode(choices)
        if number % 5 == 4:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, [truth(architecture).value, problem.latencies(architecture)[0].ms])

    assert len({str(trial.params) for trial in study.trials}) > 20
    assert not study.sampler._asked


def test_a_second_device_is_refused_and_not_passed_over(space, problem_of, tells):
    other = Device("board", load_table("jetson-orin"), 2.0)

    with tells(UsageError, "nni-tpe knows one device"):
        make_sampler("nni-tpe", problem_of(space, 3.0, other), 0)
