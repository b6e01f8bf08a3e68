"""Bad input: one line on stderr that says what was asked, what exists and what to do; nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from supersam.latency import shipped_tables

SEARCH = ["search", "--device", "jetson-orin", "--budget", "30ms"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search", "--device", "jetson-orn", "--budget", "30ms"], 2, "Did you mean 'jetson-orin'?"),
        (["search", "--device", "jetson-orin", "--budget", "30"], 2, "30ms or 30s?"),
        (["search", "--device", "jetson-orin", "--budget", "-3ms"], 2, "Write it like 30ms"),
        (["search", "--device", "jetson-orin", "--budget", "3lightyears"], 2, "unknown unit"),
        (["search", "--budget", "30ms"], 2, "--device NAME"),
        ([*SEARCH, "--budget", "5ms"], 2, "2 budgets for 1 devices"),
        ([*SEARCH, "--device", "jetson-orin"], 2, "given twice"),
        ([*SEARCH, "--sampler", "linass"], 2, "Did you mean 'linas'?"),
        ([*SEARCH, "--weigh", "nuclei"], 2, "nuclei=2"),
        ([*SEARCH, "--weigh", "nuclii=2"], 2, "Did you mean 'nuclei'?"),
        ([*SEARCH, "--halving"], 2, "--data DIR"),
        ([*SEARCH, "--evaluate", "20"], 2, "--data DIR"),
        ([*SEARCH, "--verify", "3"], 2, "--evaluate N"),
        ([*SEARCH, "--compute", "cuda"], 2, "--data DIR"),
        ([*SEARCH, "--force"], 2, "--measure K"),
        ([*SEARCH, "--study", "x"], 2, "--storage URL"),
        ([*SEARCH, "--storage", "mongodb://x"], 2, "postgresql://USER@HOST/NAME"),
        (["show", "nowhere"], 4, "is not a run"),
        (["show", "a", "--csv", "--json"], 2, "not both"),
        (["show", "a", "--out", "b"], 2, "two runs or more"),
        ([*SEARCH, "--space", "startr"], 2, "Did you mean 'starter'?"),
        ([*SEARCH, "--space", "nowhere.yaml"], 4, "supersam spaces"),
        ([*SEARCH, "--space", "sam-1024"], 4, "--data DIR"),
        ([*SEARCH, "--data", "nowhere"], 4, "there is no data at "),
        ([*SEARCH, "--weights", "w.safetensors"], 2, "--data DIR"),
        ([*SEARCH, "--resume", "--out", "nowhere"], 4, "is not a run"),
        (["extract", "nowhere", "best", "-o", "x.safetensors"], 4, "supersam search"),
        (["extract", "starter", "0000000000", "-o", "x.safetensors"], 2, "no subnet '0000000000'"),
        (["extract", "starter", "best", "-o", "x.pth"], 2, ".safetensors"),
        (["evaluate", "nowhere.safetensors", "--data", "."], 4, "holds nothing that is known"),
        (["evaluate", "starter", "--data", ".", "--compute", "abacus"], 2, "unknown device 'abacus'"),
        (["train", "nowhere.yaml"], 4, "there is no training configuration"),
        (["validate", "nowhere.yaml", "--weights", "w"], 4, "there is no training configuration"),
        (["teacher", "cache", "nowhere.yaml"], 4, "there is no training configuration"),
        (["profile", "--device", "x", "--runtime", "tensorflow"], 2, "onnxruntime, torch"),
        (["profile", "--device", "jetson-agx-orin"], 2, "--overwrite"),
        (["profile", "--device", "jetson-orin"], 2, "another name of the table jetson-agx-orin"),
        (["profile", "--device", "x", "--opset", "17"], 2, "--opset is for --ssh"),
        (["profile", "--device", "x", "--ssh", "a@b", "--runtime", "litert", "--opset", "17"], 2, "read ONNX"),
        ([*SEARCH, "--out", "/proc/nowhere/run"], 5, "/proc/nowhere"),
    ],
)
def test_a_mistake_ends_in_one_line_and_its_exit_code(supersam, arguments, code, message):
    answer = supersam(*arguments)

    errors = [line for line in answer.err.splitlines() if line.startswith("Error: ")]
    assert answer.code == code
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in answer.err
    assert answer.out == ""
    assert not list(Path().rglob("*.*")), "nothing is left behind"


def test_a_budget_nothing_meets_ends_with_3_and_the_nearest(supersam):
    answer = supersam("search", "--device", "jetson-orin", "--budget", "0.1ms", "--json")

    assert answer.code == 3
    result = json.loads(answer.out)
    assert result["best"] is None
    assert result["nearest"]["latency_interval_ms"][1] > 0.1
    assert f"the nearest is {result['nearest']['digest']}" in answer.err
    assert not Path("runs").exists()


def test_an_unknown_command_is_met_with_the_one_that_was_meant(supersam):
    answer = supersam("serch")

    assert answer.code == 2
    assert "search" in answer.err


def test_a_damaged_table_a_damaged_checkpoint_and_a_picture_that_is_none_are_told_in_one_line(supersam, tmp_path):
    table = tmp_path / "table.json"
    table.write_text(shipped_tables()["jetson-agx-orin"].read_text()[:5000])
    checkpoint = tmp_path / "subnet.safetensors"
    checkpoint.write_bytes(b"\x10" * 400)
    picture = tmp_path / "picture.jpg"
    picture.write_text("not a picture")

    for arguments, message in (
        (["search", "--device", table, "--budget", "30ms"], "latency table"),
        (["evaluate", checkpoint, "--data", tmp_path / "none"], "there is no data at"),
        (["extract", "starter", "best", "-o", "x.safetensors", "--image", picture], "does not decode"),
    ):
        answer = supersam(*arguments)
        assert answer.code in (1, 4)
        assert message in answer.err
        assert len(answer.err.strip().splitlines()) == 1
    assert not Path("x.safetensors").exists()


def test_a_run_of_another_question_is_not_continued(supersam):
    assert supersam(*SEARCH, "--trials", "15", "--out", "run").code == 0

    other = supersam("search", "--device", "jetson-orin", "--budget", "5ms", "--out", "run", "--resume")
    taken = supersam(*SEARCH, "--out", "run")

    assert (other.code, taken.code) == (2, 2)
    assert "another --device or --budget (jetson-orin 30 ms, table " in other.err
    assert "now jetson-orin 5 ms, table " in other.err
    assert "--resume" in taken.err


def test_help_and_listings_load_no_torch():
    code = "import sys, supersam.cli.main; sys.exit(sum(m in sys.modules for m in ('torch', 'optuna', 'timm', 'dash')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_default_search_loads_no_torch(tmp_path):
    code = (
        f"import sys; sys.argv = {['supersam', *SEARCH, '--trials', '15']}\n"
        "from supersam.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_interrupted_search_ends_with_130_and_can_be_continued(tmp_path):
    arguments = [sys.executable, "-m", "supersam", *SEARCH, "--trials", "3000", "--out", "run"]
    searching = subprocess.Popen(
        arguments,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    candidates = tmp_path / "run" / "candidates.jsonl"
    while not (candidates.is_file() and candidates.stat().st_size > 10_000):
        assert searching.poll() is None, searching.stderr.read()
        time.sleep(0.05)
    os.kill(searching.pid, signal.SIGINT)
    _, errors = searching.communicate(timeout=60)

    assert searching.returncode == 130
    assert "--resume" in errors
    found = len(candidates.read_text().splitlines())
    command = [*arguments[:3], *SEARCH, "--trials", str(found + 5), "--out", "run", "--resume", "--json"]
    resumed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(resumed.stdout)["n_trials"] >= found + 5


def test_searches_started_together_have_folders_of_their_own(tmp_path):
    command = [sys.executable, "-m", "supersam", *SEARCH, "--trials", "10", "--json"]
    started = [
        subprocess.Popen([*command, "--seed", str(seed)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for seed in range(3)
    ]

    answers = [json.loads(one.communicate(timeout=120)[0]) for one in started]

    assert {answer["run"] for answer in answers} == {f"runs/search-{number}" for number in (1, 2, 3)}
    for answer in answers:
        assert answer["n_trials"] == 10


def test_workers_end_with_the_search_that_started_them(tmp_path):
    command = [sys.executable, "-m", "supersam", *SEARCH, "--trials", "100000", "--workers", "2", "--out", "run"]
    searching = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    candidates = tmp_path / "run" / "candidates.jsonl"
    while not (candidates.is_file() and candidates.stat().st_size):
        assert searching.poll() is None
        time.sleep(0.1)
    workers = children(searching.pid)

    searching.kill()  # which it cannot hear of
    searching.wait()

    assert len(workers) >= 2
    ends = time.monotonic() + 60
    while any(parent(pid) is not None for pid in workers):
        assert time.monotonic() < ends
        time.sleep(0.1)


def children(pid):
    """Return the processes that a process has started and that have not ended."""
    return [child for child in (path.parent.name for path in Path("/proc").glob("[0-9]*/stat")) if parent(child) == pid]


def parent(pid):
    """Return which process started one; None if it has ended, also where nobody has taken notice yet."""
    try:
        state, started_by, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(started_by)


def test_a_reader_that_stops_early_is_no_error():
    command = f"{sys.executable} -m supersam spaces --json | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "[\n"
    assert done.stderr == ""
