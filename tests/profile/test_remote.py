"""Measuring over ssh, with a real sshd on the loopback and programs that stand in for a device's own."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from supersam.cli.main import main
from supersam.errors import DamagedError, EnvironmentProblem, UsageError
from supersam.latency import read_table
from supersam.profile import remote
from supersam.profile.device_runtimes import DEVICE_RUNTIMES
from supersam.profile.link import Link, LinkLost, Target
from supersam.profile.plan import Item
from supersam.profile.remote import Job, measure_on, read_journal
from supersam.space import Part, parts
from supersam.space.parts import part_from_key

Tells = Callable[..., AbstractContextManager[None]]

REQUIRED = os.environ.get("SUPERSAM_REQUIRE_SSHD")  # where it must not be skipped
SSHD = shutil.which("sshd") or next((path for path in ("/usr/sbin/sshd",) if Path(path).exists()), None)
KEYGEN = shutil.which("ssh-keygen")
pytestmark = pytest.mark.skipif(
    not (REQUIRED or (SSHD and KEYGEN and shutil.which("ssh"))),
    reason="needs sshd, ssh and ssh-keygen (openssh-server)",
)

# Stands in for trtexec: a network's "file" says how many milliseconds it takes, or that it is broken. One run in five
# is ten times as slow.
TRTEXEC = """#!/bin/sh
echo "&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec --skipInference"
echo "$*" >> {folder}/calls
for word; do
    case "$word" in
    --onnx=*) network=${{word#*=}} ;;
    --saveEngine=*) saved=${{word#*=}} ;;
    --loadEngine=*) engine=${{word#*=}} ;;
    --exportTimes=*) times=${{word#*=}} ;;
    esac
done
if [ -n "$network" ]; then
    if grep -q broken "$network"; then
        echo "[E] Error[4]: cannot parse the network"
        exit 1
    fi
    cp "$network" "$saved"
elif [ -n "$engine" ]; then
    runs=$(grep -c loadEngine {folder}/calls)
    while [ -e {folder}/hold ] && [ "$runs" -gt "$(cat {folder}/hold)" ]; do sleep 0.05; done
    row='{{"startComputeMs": 0, "computeMs": %s, "latencyMs": 99}}'
    ms=$(cat "$engine")
    printf "[$row, $row, $row, $row, $row]" "$ms" "$ms" "9$ms" "$ms" "$ms" > "$times"
fi
"""
NVPMODEL = "#!/bin/sh\ncat {mode}\n"


@dataclass
class Board:
    """The device on the loopback: its sshd, the programs on its path and its disk."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> Target:
        options = (f"IdentityFile={self.folder}/key", f"UserKnownHostsFile={self.folder}/known_hosts")
        options += ("StrictHostKeyChecking=accept-new", "IdentitiesOnly=yes", "ConnectTimeout=2")
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        return Target(f"{user}@127.0.0.1", self.port, options, sys.executable, str(self.folder / "disk"))

    def up(self) -> None:
        """Start sshd and wait until it answers."""
        assert SSHD is not None
        with (self.folder / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", self.folder / "sshd_config"], stderr=log)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError((self.folder / "sshd.log").read_text())

    def down(self) -> None:
        """Stop sshd and cut every connection; what was started there goes on, as on a device."""
        if self.process is not None:
            own = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
            self.process.kill()
            for pid in map(int, own.stdout.split()):
                with suppress(ProcessLookupError):  # a connection that has just ended
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def hold(self, runs: int) -> None:
        """Let the device not finish its next run after so many."""
        (self.folder / "hold").write_text(f"{runs}\n")

    def release(self) -> None:
        (self.folder / "hold").unlink()

    def calls(self) -> list[dict[str, str]]:
        """Return the options of every call of trtexec so far."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [dict(word[2:].partition("=")[::2] for word in line.split()) for line in lines]

    def mode(self, name: str) -> None:
        (self.folder / "mode").write_text(f"NV Power Mode: {name}\n0\n")
        self.program("nvpmodel", NVPMODEL.format(mode=self.folder / "mode"))

    @property
    def journals(self) -> list[Path]:
        return list((self.folder / "disk").glob("*/journal.jsonl"))


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    assert KEYGEN is not None
    for name in ("key", "host_key"):
        subprocess.run([KEYGEN, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    return folder


@pytest.fixture
def board(tmp_path: Path, keys: Path) -> Iterator[Board]:
    folder = tmp_path / "board"
    shutil.copytree(keys, folder)
    (folder / "bin").mkdir()
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ListenAddress": "127.0.0.1",
        "Port": port,
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "PasswordAuthentication": "no",
        "SetEnv": f"PATH={folder / 'bin'}:{os.environ['PATH']}",
    }
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd asks for it
    found = Board(folder, port)
    found.program("trtexec", TRTEXEC.format(folder=folder))
    found.mode("MAXN")
    found.up()
    yield found
    if found.process is None and found.journals:
        found.up()
    for journal in found.journals:
        Link(found.target).run(sys.executable, str(journal.parent / "agent.py"), "stop", str(journal.parent))
    found.down()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(remote, "PATIENCE_SECONDS", 0.3)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "here" / "board.jsonl"


NETWORKS = {"stem": "1.5", "vit*2": "4.0", "vit*6": "10.0", "whole": "20.0"}
JOB = Job("trtexec", "fp16", tuple(NETWORKS), "whole", "onnx", rounds=2)


def model_of(name: str) -> bytes:
    return NETWORKS[name].encode()


def medians(found: remote.DeviceJournal) -> dict[str, set[float]]:
    return {name: {t.ms for t in found.timings if t.name == name} for name in NETWORKS}


# The whole way


def test_networks_are_sent_measured_and_told(board: Board, journal: Path) -> None:
    seen: list[tuple[str, int, int, str]] = []

    found = measure_on(
        board.target, JOB, model_of, journal, force=True, on_progress=lambda *progress: seen.append(progress)
    )

    assert found.complete
    assert not found.failed
    assert medians(found) == {name: {float(ms)} for name, ms in NETWORKS.items()}
    assert [t.round for t in found.timings if t.name == "stem"] == [0, 1]
    assert sum(t.name == "whole" for t in found.timings) == 4  # the sentinel, before and after every round
    assert {t.samples for t in found.timings} == {5}
    assert found.states[0]["power_mode"] == "MAXN"
    assert found.states[0]["runtime_version"] == "10.3.0"
    assert [stage for stage, *_ in seen].count("sending") == len(NETWORKS)
    assert seen[-1][:3] == ("measuring", 10, 10)
    assert journal.read_bytes() == board.journals[0].read_bytes()


def test_trtexec_builds_two_engines_apart_and_never_times_while_it_profiles(board: Board, journal: Path) -> None:
    measure_on(board.target, JOB, model_of, journal, force=True)

    builds = [call for call in board.calls() if "onnx" in call]
    runs = [call for call in board.calls() if "loadEngine" in call]
    assert len(builds) == 2 * len(NETWORKS)
    assert len({call["timingCacheFile"] for call in builds}) == 2
    assert all({"fp16", "skipInference"} <= call.keys() for call in builds)
    assert len(runs) == len(JOB.steps())
    assert all({"useCudaGraph", "noDataTransfers", "useSpinWait"} <= call.keys() for call in runs)
    assert not any("exportProfile" in call for call in board.calls())
    assert not list(board.journals[0].parent.glob("engines/*"))  # removed when nothing needs them any more


def test_one_network_that_fails_is_told_and_the_others_are_kept(board: Board, journal: Path) -> None:
    networks = {**NETWORKS, "vit*6": "broken"}

    found = measure_on(board.target, JOB, lambda name: networks[name].encode(), journal, force=True)

    assert found.complete
    assert list(found.failed) == ["vit*6"]
    assert "trtexec ended with 1: [E] Error[4]: cannot parse the network" in found.failed["vit*6"]
    assert {t.name for t in found.timings} == {"stem", "vit*2", "whole"}
    assert sum("onnx" in call for call in board.calls()) == 7  # the broken one was tried once


def test_finished_measurement_is_not_made_again(board: Board, journal: Path) -> None:
    first = measure_on(board.target, JOB, model_of, journal, force=True)
    board.down()

    assert measure_on(board.target, JOB, model_of, journal, force=True) == first


SPACE = """
name: two
encoder: staged
description: two architectures
resolutions: [64]
head_dim: 8
stages:
  - {blocks: [repvit], depths: [1], widths: [16], ratios: [2], window: 0}
  - {blocks: [vit], depths: [1, 2], widths: [16], ratios: [2], window: 0}
  - {blocks: [vit], depths: [1], widths: [16], ratios: [2], window: 0}
  - {blocks: [vit], depths: [1], widths: [16], ratios: [2], window: 0}
"""


def test_command_writes_the_table_of_a_device(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def part_ms(part: Part) -> float:
        return 0.5 + 100 * part.ops.gmacs

    def convert(item: Item, precision: str) -> bytes:
        row = item.parts if item.architecture is None else parts(item.architecture)
        return f"{0.25 + sum(map(part_ms, row)):.6f}".encode()

    trtexec = replace(DEVICE_RUNTIMES["trtexec"], convert=convert)
    monkeypatch.setitem(DEVICE_RUNTIMES, "trtexec", trtexec)
    (tmp_path / "two.yaml").write_text(SPACE)
    options = [word for option in board.target.options for word in ("--ssh-option", option)]
    arguments = ["--device", "loopback", "--space", tmp_path / "two.yaml", "--runtime", "trtexec", "--networks", 2]
    arguments += ["--rounds", 2, "--ssh", f"{board.target.address}:{board.port}", "--remote-python", sys.executable]
    arguments += ["--remote-folder", board.target.folder, "--force", "--out", tmp_path / "loopback.json", *options]
    monkeypatch.setattr(sys, "argv", ["supersam", "profile", *map(str, arguments)])

    with pytest.raises(SystemExit) as end:
        main()

    assert not end.value.code
    assert capsys.readouterr().out.strip() == str(tmp_path / "loopback.json")
    table = read_table(tmp_path / "loopback.json")
    (vit,) = (entry for key, entry in table.entries.items() if key.startswith("vit:8:"))
    assert vit.ms == pytest.approx(part_ms(part_from_key("vit:8:16:2:0:8")), rel=1e-4)
    assert (vit.scope, vit.rounds) == ("chain", pytest.approx((vit.ms, vit.ms)))
    assert (table.power.mode, str(table.runtime), table.precision) == ("MAXN", "tensorrt 10.3.0", "fp16")
    assert len(table.networks) == 2
    assert not list(tmp_path.glob("*.partial.jsonl"))


# What breaks


def test_lost_link_leaves_the_device_measuring_and_the_same_call_goes_on(board: Board, journal: Path) -> None:
    board.hold(3)
    lines: list[str] = []

    def cut(stage: str, done: int, total: int, name: str) -> None:
        if stage == "measuring" and board.process is not None:
            board.down()

    with pytest.raises(LinkLost, match="give the same command again"):
        measure_on(board.target, JOB, model_of, journal, force=True, on_progress=cut, say=lines.append)
    kept = read_journal(journal)
    assert 0 < len(kept.timings) < len(JOB.steps())
    assert not kept.complete
    assert any("waiting" in line for line in lines)
    board.release()
    board.up()
    sent: list[str] = []

    found = measure_on(
        board.target,
        JOB,
        lambda name: sent.append(name) or b"",
        journal,
        force=True,  # type: ignore[func-returns-value]
    )

    assert sent == []
    assert found.complete
    assert found.timings[: len(kept.timings)] == kept.timings
    assert len(found.timings) == len(JOB.steps())
    assert len(found.states) == 2  # begun once: the agent never stopped
    assert sum("loadEngine" in call for call in board.calls()) == len(JOB.steps())


def test_link_that_comes_back_in_time_is_not_even_an_error(
    board: Board, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PATIENCE_SECONDS", 60)
    board.hold(3)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if "waiting" in line:
            board.release()
            board.up()

    def cut(stage: str, done: int, total: int, name: str) -> None:
        if stage == "measuring" and len(lines) == 1:
            board.down()

    found = measure_on(board.target, JOB, model_of, journal, force=True, on_progress=cut, say=say)

    assert found.complete
    assert len(lines) == 3
    assert lines[0].startswith("networks and measurements lie in ")
    assert lines[2] == "the device answers again"


def test_killed_agent_is_told_and_goes_on_behind_its_last_line(board: Board, journal: Path) -> None:
    board.hold(3)
    killed: list[int] = []

    def kill(stage: str, done: int, total: int, name: str) -> None:
        if stage == "measuring" and not killed:
            killed.append(json.loads(journal.read_text().splitlines()[0])["pid"])
            os.killpg(killed[0], signal.SIGKILL)
            board.release()

    with pytest.raises(EnvironmentProblem, match=r"ended after \d+ of 10 measurements .* again to go on"):
        measure_on(board.target, JOB, model_of, journal, force=True, on_progress=kill)
    with board.journals[0].open("a") as file:
        file.write('{"event": "timing", "st')  # torn by the crash
    kept = read_journal(journal)

    found = measure_on(board.target, JOB, model_of, journal, force=True)

    assert found.complete
    assert found.timings[: len(kept.timings)] == kept.timings
    assert len(found.timings) == len(JOB.steps())
    assert len(found.states) == 3  # begun twice, ended once
    assert journal.read_bytes() == board.journals[0].read_bytes()


def test_wiped_device_gets_its_journal_back(board: Board, journal: Path) -> None:
    measure_on(board.target, JOB, model_of, journal, force=True)
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:6]))
    shutil.rmtree(board.folder / "disk")
    before = len(board.calls())

    found = measure_on(board.target, JOB, model_of, journal, force=True)

    assert found.complete
    assert len(found.timings) == len(JOB.steps())
    assert sum("loadEngine" in call for call in board.calls()[before:]) == len(JOB.steps()) - 5


def test_torn_copy_of_the_journal_is_fetched_again(board: Board, journal: Path) -> None:
    found = measure_on(board.target, JOB, model_of, journal, force=True)
    journal.write_bytes(journal.read_bytes()[:-40])

    again = measure_on(board.target, JOB, model_of, journal, force=True)

    assert again.timings == found.timings
    assert again.complete


# What is refused


def test_another_power_mode_is_refused_when_going_on(board: Board, journal: Path, tells: Tells) -> None:
    def stop(stage: str, done: int, total: int, name: str) -> None:
        if stage == "measuring":
            raise KeyboardInterrupt

    board.hold(3)
    with pytest.raises(KeyboardInterrupt):
        measure_on(board.target, JOB, model_of, journal, force=True, on_progress=stop)
    folder = str(board.journals[0].parent)
    Link(board.target).run(sys.executable, f"{folder}/agent.py", "stop", folder)
    board.release()
    before = journal.read_bytes()
    board.mode("MODE_15W")

    with tells(EnvironmentProblem, "not in the mode", "MODE_15W", "MAXN"):
        measure_on(board.target, JOB, model_of, journal, force=True)

    assert journal.read_bytes() == before
    board.mode("MAXN")
    assert measure_on(board.target, JOB, model_of, journal, force=True).complete


def test_mode_that_changes_meanwhile_stops_the_measurement(board: Board, journal: Path, tells: Tells) -> None:
    board.hold(2)

    def change(stage: str, done: int, total: int, name: str) -> None:
        if stage == "measuring" and (board.folder / "hold").exists():
            board.mode("MODE_15W")
            board.release()

    with tells(EnvironmentProblem, "not in the mode", "MODE_15W"):
        measure_on(board.target, JOB, model_of, journal, force=True, on_progress=change)

    kept = read_journal(journal)
    assert 0 < len(kept.timings) < len(JOB.steps())


def test_device_without_the_program_is_told_before_anything_is_sent(board: Board, journal: Path, tells: Tells) -> None:
    sent: list[str] = []

    with tells(EnvironmentProblem, "/nowhere/trtexec was not found", "--remote-program"):
        target = replace(board.target, program="/nowhere/trtexec")
        measure_on(target, JOB, lambda name: sent.append(name) or b"", journal)  # type: ignore[func-returns-value]

    assert sent == []
    assert not journal.exists()


def test_stranger_is_told_how_to_get_in(board: Board, journal: Path, tells: Tells) -> None:
    (board.folder / "authorized_keys").write_text("")

    with tells(EnvironmentProblem, "ssh-copy-id"):
        measure_on(board.target, JOB, model_of, journal)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ssh: Could not resolve hostname orinn: Name or service not known", "there is no host me@orinn"),
        ("command-line: line 0: Bad configuration option: foo", "does not take the options it was given"),
        ("me@orinn: Permission denied (publickey).", "ssh-copy-id -p 2222 me@orinn"),
    ],
)
def test_what_keeps_ssh_out_is_told_as_what_it_is(
    said: str, told: str, monkeypatch: pytest.MonkeyPatch, tells: Tells
) -> None:
    ended = subprocess.CompletedProcess([], 255, b"", f"{said}\n".encode())
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: ended)

    with tells(EnvironmentProblem, told):
        Link(Target("me@orinn", 2222)).run("true")


def test_device_that_is_off_is_told(board: Board, journal: Path, tells: Tells) -> None:
    board.down()

    with tells(LinkLost, "does not answer"):
        measure_on(board.target, JOB, model_of, journal)


def test_device_without_python_is_told(board: Board, journal: Path, tells: Tells) -> None:
    with tells(EnvironmentProblem, "has no python9", "--remote-python"):
        measure_on(replace(board.target, python="python9"), JOB, model_of, journal)


def test_journal_of_another_measurement_is_refused_and_kept(board: Board, journal: Path, tells: Tells) -> None:
    measure_on(board.target, JOB, model_of, journal, force=True)
    before = journal.read_bytes()

    for job in (replace(JOB, rounds=3), replace(JOB, maker="another torch")):
        with tells(UsageError, journal, "another measurement"):
            measure_on(board.target, job, model_of, journal, force=True)

    assert journal.read_bytes() == before


def test_networks_of_another_maker_are_sent_and_measured_anew(board: Board, journal: Path, tmp_path: Path) -> None:
    measure_on(board.target, JOB, model_of, journal, force=True)
    sent: list[str] = []

    found = measure_on(
        board.target,
        replace(JOB, maker="another torch"),
        lambda name: sent.append(name) or b"7.0",  # type: ignore[func-returns-value]
        tmp_path / "other.jsonl",
        force=True,
    )

    assert sorted(sent) == sorted(NETWORKS)
    assert {timing.ms for timing in found.timings} == {7.0}


def test_day_is_that_on_which_the_measurement_began(board: Board, journal: Path) -> None:
    measure_on(board.target, JOB, model_of, journal, force=True)
    first, *rest = journal.read_text().splitlines(keepends=True)
    today = datetime.now(UTC).date().isoformat()
    assert json.loads(first)["date"] == today
    journal.write_text("".join([first.replace(today, "2026-01-02"), *rest]))

    assert measure_on(board.target, JOB, model_of, journal, force=True).date == "2026-01-02"


TIMED = '{{"event": "timing", "step": 0, "name": "a", "round": {}, "build": 0, "ms": {}, "samples": 9, "p25": {}}}'


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"event": "timing", "step": 0}', '{"event": "begin"}']
    + [TIMED.format(*values) for values in ((0, 1.5, '"x"'), (0, 1.5, "NaN"), (0, -1, 1), (0.5, 1.5, 1))],
)
def test_damaged_line_of_a_journal_is_told(tmp_path: Path, tells: Tells, line: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(f'{{"event": "failed", "name": "a", "message": "b"}}\n{line}\n')

    with tells(DamagedError, f"{path}:2"):
        read_journal(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("me@board", ("me@board", None)),
        ("me@board:2222", ("me@board", 2222)),
        ("board", ("board", None)),
        ("me@fe80::1", ("me@fe80::1", None)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int | None]) -> None:
    assert Target.parse(text) == expected


@pytest.mark.parametrize("text", ["", "-oProxyCommand=x", "me@board:port", "me@board:99999", "a b"])
def test_addresses_that_are_none_are_refused(text: str, tells: Tells) -> None:
    with tells(UsageError, "user@host:port"):
        Target.parse(text)
