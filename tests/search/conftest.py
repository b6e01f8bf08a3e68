"""A space that can be enumerated and a truth for it."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supersam.latency import load_table
from supersam.results import Accuracy, Candidate, Run
from supersam.search.problem import Device, Limits, Problem
from supersam.search.study import Search
from supersam.space import AnyArchitecture, SearchSpace, count, load_space

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
SMALL_VIT = """
name: small-vit
encoder: sam_vit
description: layers that can be left out
resolutions: [256, 512]
head_dim: 16
width: 64
depth: 5
window: 7
global_layers: [2]
removable_layers: [1, 3]
heads: [2, 4]
mlp_widths: [96, 256]
"""


def known_truth(architecture: AnyArchitecture) -> Accuracy:
    """More MACs help, and mixing types helps."""
    kinds = len({stage.block for stage in getattr(architecture, "stages", ())})
    value = 0.4 + 0.2 * count(architecture).gmacs ** 0.5 + 0.02 * kinds
    return Accuracy(value, "measured", (value, value), {"birds": {"box": value}})


@pytest.fixture
def truth() -> Callable[[AnyArchitecture], Accuracy]:
    return known_truth


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return load_space(str(path))


@pytest.fixture
def few(tmp_path: Path) -> SearchSpace:
    """A space of 32 architectures."""
    path, text = tmp_path / "few.yaml", SMALL
    for many, one in (("[256, 384]", "[256]"), ("[2, 3]", "[2]"), ("[64, 96]", "[64]"), ("[16, 32]", "[16]")):
        text = text.replace(many, one)
    path.write_text(text.replace("depths: [1, 2], widths: [96]", "depths: [1], widths: [96]"))
    return load_space(str(path))


@pytest.fixture
def vit_space(tmp_path: Path) -> SearchSpace:
    path = tmp_path / "vit.yaml"
    path.write_text(SMALL_VIT)
    return load_space(str(path))


@pytest.fixture
def problem_of() -> Callable[..., Problem]:
    def make(space: SearchSpace, budget_ms: float | None = None, *others: Device, **limits: float) -> Problem:
        device = Device("jetson-orin", load_table("jetson-orin"), budget_ms)
        return Problem(space, (device, *others), "upper", Limits(**limits))

    return make


@pytest.fixture
def search_of(tmp_path: Path) -> Callable[..., Search]:
    """Make the search of a run in ``run``, continued if it is there."""

    def make(problem: Problem, accuracy=known_truth, seed=0, sampler="random", folder="run", storage=None) -> Search:
        run = Run(tmp_path / folder)
        if not run.exists:
            run.start({"budget_ms": problem.devices[0].budget_ms})
        url = storage or f"journal:///{tmp_path / folder / 'study.journal'}"  # much faster than SQLite
        return Search(run, problem, accuracy, seed, sampler, url)

    return make


@pytest.fixture
def everything() -> Callable[[Problem], Iterator[Candidate]]:
    """Enumerate a space."""

    def enumerate_(problem: Problem) -> Iterator[Candidate]:
        variables = problem.space.variables()
        seen = set()
        for values in itertools.product(*variables.values()):
            architecture = problem.space.decode(dict(zip(variables, values, strict=True)))
            if architecture not in seen:
                seen.add(architecture)
                yield Candidate(architecture, known_truth(architecture), problem.latencies(architecture)[0])

    return enumerate_
