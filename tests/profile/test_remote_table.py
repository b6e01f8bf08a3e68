"""From what a device tells to a latency table, with a device that tells what it is told to."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from supersam.errors import EnvironmentProblem, UsageError
from supersam.latency import LatencyTable, read_table
from supersam.profile import device_runtimes, onnx_files, remote, remote_table
from supersam.profile.link import Link, Target
from supersam.profile.plan import Item, Plan, plan_items
from supersam.profile.remote import DeviceJournal, DeviceTiming, Job
from supersam.profile.remote_table import Wanted, alone_journal, profile_remote
from supersam.space import Part, StagedSpace, parts

Tells = Callable[..., AbstractContextManager[None]]
CALL_MS, FACTOR = 0.2, 1.1
STATE: dict[str, Any] = {
    "model": "NVIDIA Jetson AGX Orin Developer Kit",
    "cpu": "ARMv8",
    "cpus": 12,
    "system": "Linux",
    "kernel": "5.15.148-tegra",
    "python": "3.10.12",
    "tegra_release": "# R36 (release), REVISION: 4.3",
    "power_mode": "MAXN",
    "governor": "schedutil",
    "clocks_mhz": {"gpu": [1300.5, 1300.5, 1300.5], "cpu": [2201.6, 2201.6, 2201.6]},
    "clocks_locked": True,
    "jetson_clocks": "",
    "nvidia_smi": "",
    "temperatures_c": {"cpu-thermal": 51.0, "gpu-thermal": 48.5},
    "load": 0.1,
    "runtime_version": "10.3.0",
}


def part_ms(part: Part) -> float:
    return 0.05 + 100 * part.ops.gmacs


class Device:
    """Answers jobs as a device would."""

    def __init__(self, items: Callable[[], dict[str, Item]]) -> None:
        self.items = items
        self.jobs: list[Job] = []
        self.broken: set[str] = set()
        self.extra: dict[str, Any] = {"p25": 0.9, "p75": 1.1, "p99": 1.5}  # times the median
        self.own: dict[str, Callable[[int], float]] = {}  # ms of an item by round, instead of the sum of its parts
        self.state = dict(STATE)
        self.samples_all = 100

    def ms(self, name: str, number: int) -> float:
        if name in self.own:
            return self.own[name](number)
        item = self.items()[name]
        if item.architecture is not None:
            return CALL_MS + FACTOR * sum(map(part_ms, parts(item.architecture)))
        return CALL_MS + sum(map(part_ms, item.parts))

    def measure(self, target: Target, job: Job, model_of: Any, journal: Path, **options: Any) -> DeviceJournal:
        self.jobs.append(job)
        timings = []
        for index, number in job.steps():
            name = job.names[index]
            if name in self.broken:
                continue
            ms = self.ms(name, number)
            extra = {key: value * ms if key != "stat" else value for key, value in self.extra.items()}
            timings.append(DeviceTiming(name, number, number % 2, ms, 100, self.samples_all, **extra))
        failed = {name: "cannot parse" for name in job.names if name in self.broken}
        forced = ("busy: load 3.0, at most 1.2",) if options["force"] else ()
        states = (self.state, {**self.state, "temperatures_c": {"cpu-thermal": 61.0}})
        return DeviceJournal(tuple(timings), failed, states, forced, "id", complete=True, date="2026-02-03")


@pytest.fixture
def plan(staged_content: dict[str, Any]) -> Plan:
    one = {"depths": [1, 2], "widths": [16], "ratios": [2], "window": 0, "blocks": ["repvit"]}
    stages = [one, {**one, "widths": [16, 24], "blocks": ["vit", "repvit"]}, one, one]
    return plan_items(
        StagedSpace.model_validate({**staged_content, "resolutions": [64], "stages": stages}), networks=12
    )


@pytest.fixture
def device(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Device:
    alone = [Item((derivation.part,)) for derivation in plan.derivations]
    known = {item.name: item for item in (*alone, *plan.items, plan.sentinel)}
    found = Device(lambda: known)
    monkeypatch.setattr(remote_table, "measure_on", found.measure)
    return found


def run(plan: Plan, journal: Path, runtime: str = "trtexec", **options: Any) -> LatencyTable:
    force, say = options.pop("force", False), options.pop("say", lambda line: None)
    wanted = Wanted(runtime, **options)
    return profile_remote("my-orin", plan, wanted, Target("me@board"), journal, force=force, say=say)[0]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "my-orin.partial.jsonl"


def test_table_has_the_parts_of_the_plan_and_the_conditions_of_the_device(
    plan: Plan, device: Device, journal: Path, tmp_path: Path
) -> None:
    table = run(plan, journal)

    assert table.entries.keys() == {derivation.part.key for derivation in plan.derivations}
    blocks = [derivation.part for derivation in plan.derivations if derivation.part.kind in ("vit", "repvit")]
    for part in blocks:
        assert table.entries[part.key].ms == pytest.approx(part_ms(part), rel=1e-4)
    assert (table.runtime.name, table.runtime.version) == ("tensorrt", "10.3.0")
    assert table.device.name == "NVIDIA Jetson AGX Orin Developer Kit"
    assert (table.power.mode, table.power.clocks_locked, table.power.gpu_mhz) == ("MAXN", True, 1300.5)
    assert (table.precision, table.clock, table.threads) == ("fp16", "trtexec_gpu", None)
    assert table.host["temperatures_c"] == [51.0, 61.0]
    assert len(table.host["fingerprint_sha256"]) == 64
    assert table.grade == "A"
    assert table.quality.noise_floor_pct == 0
    assert "CPU time" not in table.quality.clock_note
    assert "board" not in table.to_json()  # nothing names the owner's machines
    table.save(tmp_path / "my-orin.json")
    assert read_table(tmp_path / "my-orin.json") == table


def test_table_has_the_day_on_which_the_device_began(plan: Plan, device: Device, journal: Path) -> None:
    assert run(plan, journal).date == "2026-02-03"


@pytest.mark.parametrize("what", ["torch", "timm", "onnxscript", "blocks"])
def test_networks_of_another_maker_are_another_measurement(
    plan: Plan, device: Device, journal: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def names() -> set[str]:
        run(plan, journal)
        job = device.jobs[-1]
        return {job.manifest()["id"], *map(job.file, job.names)}

    before, version = names(), device_runtimes.metadata.version
    assert names() == before
    monkeypatch.setattr(device_runtimes.metadata, "version", lambda name: "9" if name == what else version(name))
    if what == "blocks":
        monkeypatch.setattr(onnx_files, "_source_digest", lambda: "another source")

    assert not names() & before


def test_what_makes_litert_files_is_part_of_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_runtimes.metadata, "version", lambda name: "1.0")
    monkeypatch.setattr(onnx_files, "_source_digest", lambda: "abc")

    maker = device_runtimes.DEVICE_RUNTIMES["litert"].maker()

    assert maker == "litert-torch 1.0, torch 1.0, form 1, timm 1.0, blocks abc"


def test_whole_networks_of_the_device_give_the_factor(plan: Plan, device: Device, journal: Path) -> None:
    table = run(plan, journal)

    assert table.composition.calibration_networks == len(plan.calibration)
    architecture = plan.calibration[0]
    assert table.networks[architecture.digest].ms == pytest.approx(device.ms(architecture.digest, 0), rel=1e-4)
    assert table.predict(architecture).ms == pytest.approx(device.ms(architecture.digest, 0), rel=0.02)


@pytest.mark.parametrize(("runtime", "rounds", "expected"), [("trtexec", 3, 4), ("trtexec", 1, 2), ("litert", 3, 3)])
def test_every_engine_is_timed_in_as_many_rounds(
    plan: Plan, device: Device, journal: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, rounds: int, expected: int
) -> None:
    monkeypatch.setattr(device_runtimes.metadata, "version", lambda name: "1.0")

    run(plan, journal, runtime, rounds=rounds)

    assert device.jobs[0].rounds == expected


def test_network_that_fails_costs_only_the_parts_that_need_it(plan: Plan, device: Device, journal: Path) -> None:
    lost = next(derivation for derivation in plan.derivations if derivation.part.kind == "vit")
    device.broken = {lost.terms[0][1].name, plan.calibration[0].digest}
    lines: list[str] = []

    table = run(plan, journal, say=lines.append)

    needing = {
        derivation.part.key
        for derivation in plan.derivations
        if device.broken & {item.name for _, item in derivation.terms}
    }
    assert lost.part.key in needing
    assert table.entries.keys() == {derivation.part.key for derivation in plan.derivations} - needing
    assert plan.calibration[0].digest not in table.networks
    assert table.note == "2 networks could not be measured"
    assert sum(line.startswith("left out: ") and "cannot parse" in line for line in lines) == 2


def test_device_that_can_measure_nothing_is_told_with_its_first_reason(
    plan: Plan, device: Device, journal: Path, tells: Tells
) -> None:
    device.broken = {item.name for item in plan.items}

    with tells(EnvironmentProblem, "could measure no part", "cannot parse"):
        run(plan, journal)


def test_part_within_its_noise_is_timed_alone_in_a_second_job(plan: Plan, device: Device, journal: Path) -> None:
    doubtful = next(derivation for derivation in plan.derivations if derivation.part.kind == "downsample")
    positive = next(item for weight, item in doubtful.terms if weight == 1)
    device.own[positive.name] = lambda number: 0.001  # less than its neighbours alone

    table = run(plan, journal)

    assert len(device.jobs) == 2
    assert set(device.jobs[1].names) == {plan.sentinel.name, doubtful.part.key}
    entry = table.entries[doubtful.part.key]
    assert entry.ms == pytest.approx(part_ms(doubtful.part), rel=1e-4)
    assert "timed alone" in entry.source
    assert alone_journal(journal).name == "my-orin-alone.partial.jsonl"


def test_engines_that_differ_are_rounds_that_differ(plan: Plan, device: Device, journal: Path) -> None:
    fuse = next(derivation for derivation in plan.derivations if derivation.part.kind == "fuse")
    for _, chain in fuse.terms:  # all as long: a slope of 0, and half of what is left
        device.own[chain.name] = lambda number: 4.0 + number % 2

    entry = run(plan, journal).entries[fuse.part.key]

    assert entry.rounds == (2.0, 2.5, 2.0, 2.5)
    assert (entry.lo, entry.ms, entry.hi) == (2.0, 2.25, 2.5)


def test_what_the_runtime_does_not_tell_is_not_in_the_table(
    plan: Plan, device: Device, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_runtimes.metadata, "version", lambda name: "1.0")
    device.extra = {"stat": "mean"}

    table = run(plan, journal, "executorch")

    assert {(entry.p25, entry.p75, entry.p99) for entry in table.entries.values()} == {(None, None, None)}
    assert "mean of a round" in table.note
    assert (table.runtime.name, table.exporter, table.threads) == ("executorch", "executorch 1.0", 1)


def test_cpu_time_counts_where_it_is_asked_for_and_told(plan: Plan, device: Device, journal: Path) -> None:
    device.extra["cpu_ms"] = 0.5
    device.samples_all = 400
    lines: list[str] = []

    cpu = run(plan, journal, "onnxruntime", clock="cpu")
    wall = run(plan, journal, "onnxruntime", clock="wall")
    other = run(plan, journal, "trtexec", clock="cpu", say=lines.append)

    key = next(key for key in cpu.entries if key.startswith("vit"))
    assert cpu.entries[key].ms == pytest.approx(wall.entries[key].ms / 2, rel=1e-3)
    assert "wall time 2.000 times CPU time (median); 75.0 % of the samples dropped" in wall.quality.clock_note
    assert (cpu.clock, wall.clock, other.clock) == ("cpu", "wall", "trtexec_gpu")
    assert any("no CPU time" in line for line in lines)


def test_cpu_time_never_counts_where_something_else_computes(plan: Plan, device: Device, journal: Path) -> None:
    device.extra["cpu_ms"] = 0.5
    lines: list[str] = []

    gpu = run(plan, journal, "onnxruntime", clock="cpu", options=("CUDAExecutionProvider",), say=lines.append)
    cpu = run(plan, journal, "onnxruntime", clock="cpu", options=("CPUExecutionProvider",))

    key = next(key for key in cpu.entries if key.startswith("vit"))
    assert gpu.entries[key].ms == pytest.approx(2 * cpu.entries[key].ms, rel=1e-3)
    assert (gpu.clock, cpu.clock) == ("wall", "cpu")
    assert any("no CPU time" in line for line in lines)


CARD = "NVIDIA GeForce RTX 4090, 550.54.14, 450.00 W\nNVIDIA T400, 550.54.14, 31.00 W"
PC = {"model": "", "cpu": "AMD Ryzen 9 7950X", "tegra_release": "", "nvidia_smi": CARD}


@pytest.mark.parametrize(
    ("runtime", "provider", "name", "kind"),
    [
        ("trtexec", "", "NVIDIA GeForce RTX 4090", "gpu"),
        ("onnxruntime", "CUDAExecutionProvider", "NVIDIA GeForce RTX 4090", "gpu"),
        ("onnxruntime", "CPUExecutionProvider", "AMD Ryzen 9 7950X", "cpu"),
        ("onnxruntime", "", "AMD Ryzen 9 7950X", "cpu"),
        ("onnxruntime", "QNNExecutionProvider", "AMD Ryzen 9 7950X", "npu"),
    ],
)
def test_device_is_what_computes(
    plan: Plan, device: Device, journal: Path, runtime: str, provider: str, name: str, kind: str
) -> None:
    device.state |= PC

    found = run(plan, journal, runtime, options=(provider,) if provider else ()).device

    assert (found.name, found.kind) == (name, kind)


def test_gpu_of_a_jetson_is_its_board(plan: Plan, device: Device, journal: Path) -> None:
    device.state["nvidia_smi"] = "Orin (nvgpu), 540.4.0, [N/A]"

    assert run(plan, journal).device.name == "NVIDIA Jetson AGX Orin Developer Kit"


@pytest.mark.parametrize(("unit", "kind"), [("CPU_ONLY", "cpu"), ("CPU_AND_GPU", "gpu"), ("CPU_AND_NE", "npu")])
def test_compute_unit_of_a_mac_is_the_kind_of_device(
    plan: Plan, device: Device, journal: Path, monkeypatch: pytest.MonkeyPatch, unit: str, kind: str
) -> None:
    monkeypatch.setattr(device_runtimes.metadata, "version", lambda name: "1.0")

    assert run(plan, journal, "coreml", options=(unit,)).device.kind == kind


def test_clock_of_an_idle_gpu_is_not_written_down(plan: Plan, device: Device, journal: Path) -> None:
    device.state |= {"clocks_locked": False, "clocks_mhz": {"gpu": [306.0, 1300.5, 306.0]}}

    power = run(plan, journal).power

    assert (power.clocks_locked, power.gpu_mhz) == (False, None)


def test_what_was_overruled_and_unknown_costs_the_grade(plan: Plan, device: Device, journal: Path) -> None:
    device.state |= {"power_mode": "", "governor": "", "clocks_mhz": {}, "clocks_locked": None, "temperatures_c": {}}

    table = run(plan, journal, force=True)

    assert table.quality.forced == ("busy: load 3.0, at most 1.2",)
    assert table.grade == "D"
    assert table.power.mode == "not controlled"


def test_busy_device_is_refused_unless_it_is_forced(tells: Tells) -> None:
    problems = [{"what": "busy", "message": "load 3.0, at most 1.2"}, {"what": "battery", "message": "it discharges"}]
    check = {"refused": "", "problems": problems}

    with tells(EnvironmentProblem, "me@board", "busy: load 3.0", "battery", "--force"):
        remote._overruled(Target("me@board"), check, force=False)
    forced = remote._overruled(Target("me@board"), check, force=True)
    assert forced == ["busy: load 3.0, at most 1.2", "battery: it discharges"]
    assert remote._overruled(Target("me@board"), {"refused": "", "problems": []}, force=False) == []
    with tells(EnvironmentProblem, "another mode"):
        remote._overruled(Target("me@board"), {"refused": "another mode", "problems": []}, force=True)


def test_shell_that_talks_is_told(tells: Tells, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Link, "run", lambda self, *command, stdin=b"": b"Welcome to my board!\n{}")
    device = remote._Device(Link(Target("me@board")), Job("trtexec", "fp16", ("a",), "a", "onnx", rounds=1))

    with tells(EnvironmentProblem, "Welcome to my board!", "shell"):
        device.news(0)


@pytest.mark.parametrize("runtime", ["tensorrt", "", "torch"])
def test_unknown_runtime_is_answered_with_those_there_are(
    plan: Plan, journal: Path, tells: Tells, runtime: str
) -> None:
    with tells(UsageError, repr(runtime), "trtexec, onnxruntime, litert, executorch, coreml"):
        run(plan, journal, runtime)


@pytest.mark.parametrize("runtime", ["trtexec", "litert"])
def test_unknown_precision_is_answered_with_those_there_are(
    plan: Plan, journal: Path, tells: Tells, runtime: str
) -> None:
    with tells(UsageError, "fp32", "'int4'"):
        run(plan, journal, runtime, precision="int4")


@pytest.mark.parametrize(
    ("runtime", "package"), [("litert", "litert-torch"), ("executorch", "executorch"), ("coreml", "coremltools")]
)
def test_missing_converter_is_told_with_the_way_to_get_it(
    plan: Plan, journal: Path, tells: Tells, monkeypatch: pytest.MonkeyPatch, runtime: str, package: str
) -> None:
    def missing(name: str) -> str:
        raise device_runtimes.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(device_runtimes.metadata, "version", missing)

    with tells(EnvironmentProblem, f"pip install {package}"):
        run(plan, journal, runtime)


def test_order_of_measuring_is_random_and_the_same_every_time(plan: Plan) -> None:
    names = (plan.sentinel.name, *(item.name for item in plan.items))
    job = Job("trtexec", "fp16", tuple(dict.fromkeys(names)), plan.sentinel.name, "onnx", rounds=2)

    assert job.steps() == job.steps()
    first, second = ([index for index, number in job.steps() if number == n and index] for n in (0, 1))
    assert sorted(first) == sorted(second) == list(range(1, len(job.names)))
    assert first != second
    sentinels = [at for at, (index, _) in enumerate(job.steps()) if index == 0]
    assert max(b - a for a, b in pairwise(sentinels)) <= 21
    assert len(sentinels) == 2 * (math.ceil(len(first) / 20) + 1)


def test_folder_in_the_home_folder_may_be_written_with_a_tilde() -> None:
    assert Target("me@board", folder="~/measured/here").folder == "measured/here"
