"""Measure networks on a device over ssh: send them, start the agent there, follow it, take its journal home.

The device goes on when the link is lost. Its journal is a file of lines; the one here is always its beginning, so
whatever breaks on either side, the same call goes on where it was.
"""

import hashlib
import io
import json
import random
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from supersam._paths import write_atomically
from supersam.errors import DamagedError, EnvironmentProblem, UsageError
from supersam.profile.link import Link, LinkLost, Target

AGENT = Path(__file__).with_name("agent.py")
SENTINEL_EVERY = 20
POLL_SECONDS = 2.0
PATIENCE_SECONDS = 300.0  # with a device that does not answer
BATCH_BYTES = 32 * 2**20
Progress = Callable[[str, int, int, str], None]  # "sending" or "measuring", done, total, name


@dataclass(frozen=True)
class Job:
    """What is to be measured and how, as the agent reads it."""

    runtime: str  # of ``agent.RUNTIMES``
    precision: str
    names: tuple[str, ...]  # of networks, in any order; the sentinel among them
    sentinel: str
    suffix: str
    rounds: int
    threads: int | None = None
    options: tuple[str, ...] = ()  # for the program; execution providers of ONNX Runtime; compute unit of Core ML
    least_s: float = 0.3  # of timed runs of a network in a round
    least_samples: int = 30
    warm_up_s: float = 0.5
    limit_s: float = 1800.0  # after which a program is given up
    opset: int | None = None  # of ONNX files, where one was asked for
    maker: str = ""  # what makes the networks: exporter, versions and source of the blocks

    def file(self, name: str) -> str:
        """Return the name of a network's file; another maker's has another one."""
        content = f"{name}\n{self.maker}"
        return f"{hashlib.sha256(content.encode()).hexdigest()[:24]}.{self.suffix}"

    def steps(self) -> list[tuple[int, int]]:
        """Return (index of a name, round) in the order of measuring: every round in random order, sentinel between."""
        sentinel = self.names.index(self.sentinel)
        others = [index for index in range(len(self.names)) if index != sentinel]
        steps = []
        for number in range(self.rounds):
            order = random.Random(f"{self.sentinel}/{number}").sample(others, len(others))
            for place, index in enumerate(order):
                if place % SENTINEL_EVERY == 0:
                    steps.append((sentinel, number))
                steps.append((index, number))
            steps.append((sentinel, number))
        return steps

    def manifest(self, program: str = "") -> dict[str, Any]:
        """Return what the agent reads; ``id`` names the measurement, whatever the program's place and the day."""
        content: dict[str, Any] = {
            "schema": 1,
            "runtime": self.runtime,
            "precision": self.precision,
            "threads": self.threads,
            "options": list(self.options),
            "least_s": self.least_s,
            "least_samples": self.least_samples,
            "warm_up_s": self.warm_up_s,
            "items": [{"name": name, "file": self.file(name)} for name in self.names],
            "sentinel": self.names.index(self.sentinel),
            "steps": self.steps(),
            "maker": self.maker,
            **({} if self.opset is None else {"opset": self.opset}),
        }
        identity = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        today = datetime.now(UTC).date().isoformat()  # of this machine: many boards have no clock that goes on
        return {**content, "id": identity, "program": program, "limit_s": self.limit_s, "date": today}


@dataclass(frozen=True)
class DeviceTiming:
    """One measurement of a network, ms for one run."""

    name: str
    round: int
    build: int  # which engine, for runtimes that build several
    ms: float
    samples: int
    samples_all: int | None = None  # with those that another process disturbed
    stat: str = "median"
    cpu_ms: float | None = None
    p25: float | None = None
    p75: float | None = None
    p99: float | None = None
    throttled: bool = False
    temperature_c: float | None = None


@dataclass(frozen=True)
class DeviceJournal:
    """What a device told."""

    timings: tuple[DeviceTiming, ...]
    failed: dict[str, str]  # networks without any timing: why
    states: tuple[dict[str, Any], ...]  # of the device when each part of the measurement began, and at its end
    forced: tuple[str, ...]  # what was refused and overruled
    id: str  # of the measurement
    complete: bool
    stopped: str = ""  # why it stopped before the end
    date: str = ""  # on which it began


def measure_on(
    target: Target,
    job: Job,
    model_of: Callable[[str], bytes],
    journal: Path,
    *,
    force: bool = False,
    advise: bool = True,
    on_progress: Progress = lambda stage, done, total, name: None,
    say: Callable[[str], None] = lambda line: None,
) -> DeviceJournal:
    """Measure a job on a device, or go on with it.

    Args:
        model_of: makes the file of a network; called only for those that are not on the device yet.
        journal: the copy of the device's journal on this machine.
        force: measure on a busy or throttling device; what was overruled is written down.
        advise: tell how to lock clocks, if nothing was measured yet.
        say: takes lines for people, such as those to type on the device for locked clocks.

    Raises:
        LinkLost: if the device does not answer for long; it goes on measuring.
        EnvironmentProblem: if it cannot measure, is busy, or in another mode than the one begun in.
        DamagedError: if the journal here is not that of this measurement.
    """
    device = _Device(Link(target), job)
    begun = _begun(journal, device.manifest["id"])
    if begun is not None and begun.complete and not begun.failed:
        return begun
    device.install()
    state = device.ask("check")
    forced = _overruled(target, state, force)
    say(f"networks and measurements lie in {device.folder} on {target.address}")
    advice = state["advice"] if advise and begun is None else ()
    if advice:
        say("clocks are not locked, so the table's grade will be B at best; to lock them, stop here and type there:")
    for line in advice:
        say(f"  {line}")
    if state["journal_bytes"] < (journal.stat().st_size if journal.exists() else 0) and not state["running"]:
        device.send({"journal.jsonl": journal.read_bytes()})  # the device was wiped
    device.send_models(set(state["missing"]), model_of, on_progress)
    device.tell("start", *forced)
    _follow(device, journal, on_progress, say)
    found = read_journal(journal)
    if found.stopped:
        raise EnvironmentProblem(f"{target.address}: {found.stopped}")
    return found


def _begun(journal: Path, identity: str) -> DeviceJournal | None:
    """Return what was measured before; a line that a crash has torn is fetched again.

    Raises:
        UsageError: if the journal is of another measurement.
    """
    if not journal.exists():
        return None
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        write_atomically(journal, content[:whole])
    found = read_journal(journal)
    if whole and found.id != identity:
        raise UsageError(
            f"{journal} belongs to another measurement (of other items or options, or with networks of another torch, "
            "timm, exporter or SuperSAM); remove it or choose another --out"
        )
    return found


def _overruled(target: Target, state: dict[str, Any], force: bool) -> list[str]:
    """Return what speaks against measuring and was overruled.

    Raises:
        EnvironmentProblem: if something speaks against it and was not, or nobody may overrule it.
    """
    if state["refused"]:
        raise EnvironmentProblem(f"{target.address}: {state['refused']}")
    reasons = [f"{problem['what']}: {problem['message']}" for problem in state["problems"]]
    if reasons and not force:
        raise EnvironmentProblem(
            f"{target.address} is not fit for measuring ({'; '.join(reasons)}); wait, or use --force"
        )
    return reasons


class _Device:
    """The folder of one measurement on a device, and the agent in it."""

    def __init__(self, link: Link, job: Job) -> None:
        self.link = link
        self.job = job
        self.manifest = job.manifest(link.target.program)
        self.folder = f"{link.target.folder}/{self.manifest['id']}"

    def tell(self, command: str, *arguments: str, stdin: bytes = b"") -> bytes:
        agent = f"{self.folder}/agent.py"
        return self.link.run(self.link.target.python, agent, command, self.folder, *arguments, stdin=stdin)

    def ask(self, command: str) -> dict[str, Any]:
        return self._json(self.tell(command))

    def _json(self, text: bytes) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(text)
        except ValueError as problem:
            said = text[:80].decode(errors="replace")
            raise EnvironmentProblem(
                f"{self.link.target.address} answered {said!r}, not JSON; does its shell print something at login?"
            ) from problem
        return answer

    def install(self) -> None:
        """Put the agent and the manifest there."""
        script = 'mkdir -p "$0" && cat > "$0/agent.part" && mv "$0/agent.part" "$0/agent.py"'
        self.link.run("sh", "-c", script, self.folder, stdin=AGENT.read_bytes())
        self.send({"manifest.json": json.dumps(self.manifest).encode()})

    def send(self, files: dict[str, bytes]) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        self.tell("receive", stdin=packed.getvalue())

    def send_models(self, missing: set[str], model_of: Callable[[str], bytes], on_progress: Progress) -> None:
        """Make and send the networks that are not there, some megabytes at a time."""
        names = [name for name in self.job.names if self.job.file(name) in missing]
        batch: dict[str, bytes] = {}
        for done, name in enumerate(names, start=1):
            batch[f"models/{self.job.file(name)}"] = model_of(name)
            if sum(map(len, batch.values())) >= BATCH_BYTES or done == len(names):
                self.send(batch)
                batch = {}
            on_progress("sending", done, len(names), name)

    def news(self, offset: int) -> tuple[dict[str, Any], bytes]:
        """Return the agent's state and the lines of its journal from a byte on."""
        head, _, lines = self.tell("status", str(offset)).partition(b"\n")
        return self._json(head), lines


def _follow(device: _Device, journal: Path, on_progress: Progress, say: Callable[[str], None]) -> None:
    """Append what is new on the device to the journal here until the agent ends."""
    total, seen = len(device.manifest["steps"]), 0
    journal.parent.mkdir(parents=True, exist_ok=True)
    for state, lines in _answers(device, journal, say):
        with journal.open("ab") as file:
            file.write(lines)
        found = read_journal(journal)
        done = len(found.timings)
        if done > seen:
            seen = done
            on_progress("measuring", done, total, found.timings[-1].name)
        if state["running"]:
            time.sleep(POLL_SECONDS)
            continue
        if not (found.complete or found.stopped):
            raise EnvironmentProblem(
                f"the agent on {device.link.target.address} ended after {done} of {total} measurements "
                f"({state['log'] or 'it said nothing'}); give the same command again to go on"
            )
        return


def _answers(device: _Device, journal: Path, say: Callable[[str], None]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Ask again and again; a device that does not answer is waited for."""
    lost_since: float | None = None
    while True:
        try:
            answer = device.news(journal.stat().st_size if journal.exists() else 0)
        except LinkLost as problem:
            now = time.monotonic()
            lost_since = now if lost_since is None else lost_since
            if now - lost_since > PATIENCE_SECONDS:
                raise LinkLost(
                    f"{problem}; the device goes on measuring, {journal} has what came so far: "
                    "give the same command again to go on"
                ) from problem
            if now == lost_since:
                say(f"{problem}; waiting for it")
            time.sleep(POLL_SECONDS)
            continue
        if lost_since is not None:
            say("the device answers again")
            lost_since = None
        yield answer


def read_journal(path: Path) -> DeviceJournal:
    """Read the copy of a device's journal.

    Raises:
        DamagedError: if a line cannot be read.
    """
    timings: dict[int, DeviceTiming] = {}
    failed: dict[str, str] = {}
    states: list[dict[str, Any]] = []
    forced: dict[str, None] = {}
    identity = date = ""
    last: dict[str, Any] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            last = json.loads(line)
            match last["event"]:
                case "begin":
                    identity = str(last["id"])
                    date = date or str(last.get("date", ""))
                    states.append(dict(last["state"]))
                    forced |= dict.fromkeys(last["forced"])
                case "timing":
                    timings[int(last["step"])] = _timing(last)
                case "failed":
                    failed[str(last["name"])] = str(last["message"])
                case "end":
                    states.append(dict(last["state"]))
        except (KeyError, TypeError, ValueError) as problem:
            raise DamagedError(
                f"{path}:{number} is damaged ({problem!r}); remove the file to fetch it again"
            ) from problem
    timed = {timing.name for timing in timings.values()}
    return DeviceJournal(
        timings=tuple(timings[step] for step in sorted(timings)),
        failed={name: message for name, message in failed.items() if name not in timed},
        states=tuple(states),
        forced=tuple(forced),
        id=identity,
        complete=last.get("event") == "end",
        stopped=str(last["message"]) if last.get("event") == "stopped" else "",
        date=date,
    )


def _timing(event: dict[str, Any]) -> DeviceTiming:
    fields: Sequence[str] = list(DeviceTiming.__dataclass_fields__)
    found = DeviceTiming(**{name: event[name] for name in fields if name in event})
    for name in ("ms", "cpu_ms", "p25", "p75", "p99"):
        value = getattr(found, name)
        if value is None and name != "ms":
            continue
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise ValueError(f"{name} is {value!r}, not a time")
    for name in ("round", "build", "samples"):
        if type(getattr(found, name)) is not int:
            raise ValueError(f"{name} is {getattr(found, name)!r}, not a number")
    return found
