"""Run the command line in this process, as the installed script would."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from supersam.cli.main import main
from supersam.data.synthetic import write_pack


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


@pytest.fixture
def supersam(monkeypatch, capsys, tmp_path):
    """Return a function that runs a command in an empty folder and gives its exit code and both streams."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["supersam", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        streams = capsys.readouterr()
        return Answer(code, streams.out, streams.err)

    return run


@pytest.fixture(scope="session")
def kept_runs() -> dict[tuple[object, ...], tuple[Path, str]]:
    """Return the runs that tests share, with what was printed, by what was asked."""
    return {}


@pytest.fixture
def searched(supersam, kept_runs, tmp_path_factory):
    """Return a function that gives the JSON of a search and its folder `run`; the same question is searched once."""

    def search(*arguments: object) -> dict:
        if arguments not in kept_runs:
            answer = supersam(*arguments, "--out", "run", "--json")
            assert answer.code == 0, answer.err
            kept_runs[arguments] = shutil.copytree("run", tmp_path_factory.mktemp("kept") / "run"), answer.out
        else:
            shutil.copytree(kept_runs[arguments][0], "run")
        return json.loads(kept_runs[arguments][1])

    return search


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of seeded shapes."""
    return write_pack(tmp_path_factory.mktemp("shapes") / "shapes", n_train=24, n_val=3, side=96)
