"""Studies on real storages, by several workers, some of which are killed."""

import contextlib
import importlib.util
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState

from supersam.errors import EnvironmentProblem, MissingError, UsageError
from supersam.results import Run
from supersam.search.ledger import is_dead, this_worker
from supersam.search.storage import (
    SqliteStorage,
    absolute,
    close,
    close_storage,
    hide_password,
    is_hidden,
    open_storage,
)
from supersam.search.study import Recorder, Search, Worker
from supersam.search.workers import UNABLE, WorkersDied, _bury, _one_thread, _work, optimize_together


@pytest.fixture(scope="module")
def server() -> ModuleType:
    """What the experiments start PostgreSQL with."""
    path = Path(__file__).parents[2] / "experiments" / "0003-search" / "postgresql.py"
    spec = importlib.util.spec_from_file_location("experiments_postgresql", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def postgresql(server) -> Iterator[str]:
    """A PostgreSQL server of our own in a temporary folder, never as root."""
    if server.binaries() is None:
        if os.environ.get("SUPERSAM_REQUIRE_POSTGRES"):
            pytest.fail("PostgreSQL is required here and not installed")
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed (supersam[distributed])")
    with server.server() as url:
        yield url


@pytest.fixture
def grpc_proxy(tmp_path, server) -> Iterator[str]:
    """Optuna's gRPC proxy in front of a journal file, in a process of its own."""
    pytest.importorskip("grpc", reason="grpcio is not installed (supersam[distributed])")
    port = server.free_port()
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from optuna.storages import run_grpc_proxy_server\n"
        "from supersam.search.storage import open_storage\n"
        "run_grpc_proxy_server(open_storage(sys.argv[1]), host='127.0.0.1', port=int(sys.argv[2]))"
    )
    server = subprocess.Popen([sys.executable, "-c", code, f"journal:///{tmp_path}/behind.journal", str(port)])
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


class Diary:
    """An accuracy that writes down what is evaluated; every so many architectures kill who evaluates them."""

    def __init__(self, file: Path, truth: Callable, kills_every: int = 0, times: int = 1) -> None:
        self.file, self.truth, self.kills_every, self.times = file, truth, kills_every, times

    def __call__(self, architecture):
        self._note("begin", architecture.digest)
        time.sleep(0.005)
        deadly = self.kills_every and int(architecture.digest, 16) % self.kills_every == 0
        if deadly and self.counts("dies")[architecture.digest] < self.times:
            self._note("dies", architecture.digest)
            os.kill(os.getpid(), signal.SIGKILL)
        self._note("end", architecture.digest)
        return self.truth(architecture)

    def _note(self, what: str, digest: str) -> None:
        handle = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{what} {digest}\n".encode())
        os.close(handle)

    def counts(self, what: str) -> Counter:
        lines = [line.split() for line in self.file.read_text().splitlines()]
        return Counter(digest for noted, digest in lines if noted == what)


def forked(search: Search, question: dict, n_trials: int, number: int):
    """Start a worker without importing everything again."""
    process = multiprocessing.get_context("fork").Process(
        target=lambda: Worker(search).work(n_trials, lambda ledger: None), name=f"worker-{number}"
    )
    process.start()
    return process


@pytest.fixture
def prepared(few, problem_of, truth, tmp_path) -> Search:
    """A search that workers can join."""
    run = Run(tmp_path / "run")
    run.start({})
    search = Search(run, problem_of(few), truth, 0, "random", f"journal:///{tmp_path}/s.journal")
    search.prepare([])
    return search


def run_together(search: Search, n_trials: int, n_workers: int = 3):
    search.prepare([])
    return optimize_together(search, {}, n_workers, n_trials, lambda ledger: None, forked)


def test_a_waiting_trial_of_sqlite_is_given_to_one_worker_only(tmp_path, monkeypatch):
    url, both = f"sqlite:///{tmp_path}/study.db", threading.Barrier(2)
    study = optuna.create_study(storage=open_storage(url))
    study.enqueue_trial({})
    storages = [open_storage(url), open_storage(url)]
    check = SqliteStorage.check_trial_is_updatable

    def wait_for_the_other(self, trial_id, state):
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.5)
        check(self, trial_id, state)

    monkeypatch.setattr(SqliteStorage, "check_trial_is_updatable", wait_for_the_other)
    with ThreadPoolExecutor(2) as pool:
        given = list(pool.map(lambda storage: storage.set_trial_state_values(1, TrialState.RUNNING), storages))

    assert sorted(given) == [False, True]
    for storage in (*storages, study._storage):
        close_storage(storage)


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_workers_that_are_killed_lose_nothing_and_nothing_is_counted_twice(
    request, few, problem_of, truth, tmp_path, kind
):
    url = request.getfixturevalue("postgresql") if kind == "postgresql" else f"sqlite:///{tmp_path}/study.db"
    run = Run(tmp_path / "run")
    run.start({})
    diary = Diary(tmp_path / "diary", truth, kills_every=3)
    search = Search(run, problem_of(few), diary, 0, "random", url, "killed")

    ledger = run_together(search, 12)

    study = search.open_study()
    trials = study.trials
    close(study)
    digest = {t.number: few.decode(t.params).digest for t in trials if len(t.params) == len(few.variables())}
    complete = Counter(digest[t.number] for t in trials if t.state is TrialState.COMPLETE)
    waiting = {digest[t.number] for t in trials if t.state is TrialState.WAITING and t.number in digest}
    died = diary.counts("dies")
    assert sum(died.values()) >= 1, "the test must have killed somebody"
    assert set(complete.values()) == {1}
    assert complete.keys() == ledger.candidates.keys() == {found.digest for found in run.candidates()}
    assert len(run.candidates_file.read_text().splitlines()) == len(complete) >= 12
    assert diary.counts("begin").keys() <= complete.keys() | waiting
    assert diary.counts("begin") == diary.counts("end") + died, "each is evaluated once, and once more for each death"
    assert all(count == 1 for count in diary.counts("end").values())


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_no_two_workers_evaluate_the_same_architecture(few, problem_of, truth, tmp_path):
    url = f"journal:///{tmp_path}/study.journal"
    run = Run(tmp_path / "run")
    run.start({})
    diary = Diary(tmp_path / "diary", truth)

    ledger = run_together(Search(run, problem_of(few), diary, 0, "random", url), 20)

    assert len(ledger.candidates) >= 20
    assert set(diary.counts("begin").values()) == {1}


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_search_whose_workers_always_die_ends(few, problem_of, truth, tmp_path):
    run = Run(tmp_path / "run")
    run.start({})
    diary = Diary(tmp_path / "diary", truth, kills_every=1, times=99)

    with pytest.raises(WorkersDied, match="again and again"):
        run_together(Search(run, problem_of(few), diary, 0, "random", f"journal:///{tmp_path}/s.journal"), 5, 1)


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_who_comes_for_a_dead_worker_has_its_number(prepared):
    numbers = []

    def start(search, question, n_trials, number):
        numbers.append(number)
        if len(numbers) == 2:
            process = multiprocessing.get_context("fork").Process(target=sys.exit, args=(1,))
            process.start()
            return process
        return forked(search, question, n_trials, number)

    optimize_together(prepared, {}, 3, 8, lambda ledger: None, start)

    assert numbers == [0, 1, 2, 1]


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_problem_that_every_worker_would_meet_ends_the_search_at_once(prepared):
    launched = []

    def start(*_):
        launched.append(multiprocessing.get_context("fork").Process(target=sys.exit, args=(UNABLE,)))
        launched[-1].start()
        return launched[-1]

    with pytest.raises(WorkersDied, match="cannot go on; why stands above"):
        optimize_together(prepared, {}, 2, 5, lambda ledger: None, start)
    assert len(launched) == 2


def test_a_worker_computes_where_it_is_told(tmp_path, monkeypatch):
    built = []

    def gone(*arguments, **__):
        built.append(arguments)
        raise MissingError("enough is known")

    monkeypatch.setattr("supersam.search.build.build", gone)
    with pytest.raises(SystemExit):
        _work(str(tmp_path), {}, None, 5, "cuda", 3)

    assert built[0][-2:] == ("cuda", 3)


def test_a_worker_says_in_one_line_what_keeps_it_from_working(tmp_path, capsys, monkeypatch):
    def gone(*_, **__):
        raise MissingError("there is no data at x")

    monkeypatch.setattr("supersam.search.build.build", gone)
    with pytest.raises(SystemExit) as ended:
        _work(str(tmp_path), {}, None, 5)

    assert ended.value.code == UNABLE
    assert capsys.readouterr().err == "MainProcess: there is no data at x\n"


def test_workers_use_one_thread_each_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with _one_thread():
        assert os.environ["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with _one_thread():
        assert os.environ["OMP_NUM_THREADS"] == "4"


def test_a_study_behind_a_grpc_proxy_is_shared(few, problem_of, truth, tmp_path, grpc_proxy):
    found = []
    for machine in ("one", "two"):
        run = Run(tmp_path / machine)
        run.start({})
        diary = Diary(tmp_path / f"diary-{machine}", truth)
        search = Search(run, problem_of(few), diary, 0, "random", grpc_proxy)
        found.append(search.optimize(4 if machine == "one" else 8, [], lambda ledger: None))

    assert found[0].candidates.keys() < found[1].candidates.keys()
    assert {c.digest for c in Run(tmp_path / "two").candidates()} == found[1].candidates.keys()
    begun = [Diary(tmp_path / f"diary-{m}", truth).counts("begin").keys() for m in ("one", "two")]
    assert not begun[0] & begun[1]


def test_a_worker_of_this_machine_is_known_to_be_dead():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    assert is_dead(f"{socket.gethostname()}:{gone.pid}")
    assert not is_dead(this_worker())
    assert not is_dead(f"elsewhere:{gone.pid}")
    assert not is_dead("")


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("mongodb://host/x", UsageError, "postgresql://USER@HOST/NAME"),
        ("study.db", UsageError, "journal:///FILE"),
        ("sqlite:////nowhere/at/all/study.db", EnvironmentProblem, "cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_is_told_in_one_line(tells, url, error, words):
    with tells(error, words):
        open_storage(url)


def test_a_database_nobody_answers_for_is_told_without_its_password(tells, server):
    pytest.importorskip("psycopg")
    with tells(EnvironmentProblem, "cannot be opened", "me:***@127.0.0.1"):
        open_storage(f"postgresql://me:secret@127.0.0.1:{server.free_port()}/x")


def test_the_trial_of_a_process_of_another_machine_with_the_same_number_is_not_touched(
    few, problem_of, truth, tmp_path
):
    run = Run(tmp_path / "run")
    run.start({})
    search = Search(run, problem_of(few), truth, 0, "random", f"journal:///{tmp_path}/s.journal")
    study = search.open_study()
    for host in ("elsewhere", socket.gethostname()):
        study.enqueue_trial(few.encode(few.smallest()))
        trial = study.ask()
        for name, allowed in few.variables().items():
            trial.suggest_categorical(name, allowed)
        trial.set_user_attr("worker", f"{host}:4242")

    _bury(Recorder(search), SimpleNamespace(pid=4242))

    states = [trial.state for trial in search.open_study().trials]
    assert states == [TrialState.RUNNING, TrialState.FAIL, TrialState.WAITING]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host/x", "postgresql://me:***@host/x"),
        ("postgresql://me:p/w@h/x", "postgresql://me:***@h/x"),
        ("postgresql://me:p@w@h/x", "postgresql://me:***@h/x"),
        ("postgresql://me:p?w@h/x", "postgresql://me:***@h/x"),
        ("postgresql+psycopg://me@corp:pw@h:5432/x", "postgresql+psycopg://me@corp:***@h:5432/x"),
        ("postgresql://h/x?user=me&password=secret&port=5", "postgresql://h/x?user=me&password=***&port=5"),
        ("postgresql://h/x?sslpassword=secret", "postgresql://h/x?sslpassword=***"),
        ("postgresql://me@h:5432/x", "postgresql://me@h:5432/x"),
        ("grpc://host:1234", "grpc://host:1234"),
        ("sqlite:////tmp/st.db", "sqlite:////tmp/st.db"),
    ],
)
def test_passwords_are_hidden(url, shown):
    assert hide_password(url) == shown
    assert is_hidden(shown) == (url != shown)


def test_a_storage_of_a_file_is_the_same_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert absolute("sqlite:///st.db") == f"sqlite:///{tmp_path}/st.db"
    assert absolute("sqlite:///st.db?timeout=5") == f"sqlite:///{tmp_path}/st.db?timeout=5"
    assert absolute("journal:///in/st.log") == f"journal:///{tmp_path}/in/st.log"
    for same in ("sqlite:////tmp/st.db", "sqlite:///:memory:", "sqlite:///file:x?uri=true", "postgresql://me@h/x"):
        assert absolute(same) == same


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("journal://x.log", ("names no file", "journal:///FILE", "four slashes")),
        ("journal:x.log", ("names no file", "journal:///FILE")),
        ("sqlite://x.db", ("names no file", "sqlite:///FILE")),
        ("postgresql://me:p@w@h/x", ("me:***@h/x", "%40")),
        ("grpc://localhost:abc", ("grpc://localhost:abc", "'abc'", "no number")),
        ("postgresql://me:secret@h:abc/x", ("me:***@h", "'abc'", "no number")),
        ("mongodb://x", ("is no storage", "four slashes")),
    ],
)
def test_a_storage_that_would_be_misunderstood_is_refused_in_one_line(url, words, tells, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with tells(UsageError, *words):
        open_storage(url)
    assert not list(tmp_path.iterdir())


def test_a_missing_driver_is_told_with_the_way_to_get_it(monkeypatch, tells):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with tells(EnvironmentProblem, "supersam[distributed]"):
        open_storage("postgresql://me@127.0.0.1:1/x")


def test_notes_of_a_line_do_not_disturb_its_readers(few, problem_of, truth, tmp_path):
    run = Run(tmp_path / "run")
    run.start({})
    Search(run, problem_of(few), truth, 0, "random", f"journal:///{tmp_path}/s.journal").optimize(2, [], lambda _: None)

    line = json.loads(run.candidates_file.read_text().splitlines()[0])

    assert {"trial", "at", "seconds"} <= line.keys()
    assert run.candidates()[0].digest == line["digest"]
