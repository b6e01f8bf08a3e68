"""The agent: old Pythons, what it reads of a device, and what it makes of the outputs of programs."""

import ast
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import supersam.profile

SOURCE = Path(supersam.profile.__path__[0]) / "agent.py"
NEWER_THAN_3_8 = {
    "removeprefix",
    "removesuffix",
    "is_relative_to",
    "with_stem",
    "pairwise",
    "randbytes",
    "lcm",
    "zip_strict",
}
NEW_MODULES = {"tomllib", "zoneinfo", "graphlib"}


@pytest.fixture
def agent() -> ModuleType:
    """The agent as a module of its own, so that a test may change it."""
    spec = importlib.util.spec_from_file_location("agent_under_test", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Python 3.8, and nothing else


def test_agent_is_python_3_8() -> None:
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 8))

    first = next(node for node in tree.body if isinstance(node, ast.ImportFrom))
    assert first.module == "__future__"
    assert first.names[0].name == "annotations"  # so that list[str] and X | None are never evaluated
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & NEWER_THAN_3_8
    unions = [
        node
        for node in ast.walk(_without_annotations(tree))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)
    ]
    generics = [
        node
        for node in ast.walk(_without_annotations(tree))
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("list", "dict", "tuple", "set", "type")
    ]
    assert {ast.unparse(node) for node in unions} <= {"fcntl.LOCK_EX | fcntl.LOCK_NB"}
    assert generics == []
    with_starred_or_parenthesised = [
        node for node in ast.walk(tree) if isinstance(node, ast.With) and len(node.items) > 1
    ]
    assert with_starred_or_parenthesised == []


def _without_annotations(tree: ast.Module) -> ast.Module:
    class Strip(ast.NodeTransformer):
        def visit_arg(self, node: ast.arg) -> ast.arg:
            node.annotation = None
            return node

        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
            node.returns = None
            return self.generic_visit(node)

        def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
            return ast.Assign(targets=[node.target], value=node.value or ast.Constant(None), lineno=node.lineno)

    stripped = Strip().visit(ast.parse(ast.unparse(tree)))
    assert isinstance(stripped, ast.Module)
    return stripped


def test_agent_needs_the_standard_library_only() -> None:
    tree = ast.parse(SOURCE.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert imported <= sys.stdlib_module_names - NEW_MODULES


def test_agent_never_asks_for_root() -> None:
    calls = [
        node for node in ast.walk(ast.parse(SOURCE.read_text())) if isinstance(node, ast.List | ast.Tuple | ast.Call)
    ]
    words = {
        argument.value
        for call in calls
        for argument in (call.args if isinstance(call, ast.Call) else call.elts)
        if isinstance(argument, ast.Constant)
    }
    assert not any(word in words for word in ("sudo", "su", "pkexec"))


# What it reads of a device


def system(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


JETSON = {
    "etc/nv_tegra_release": "# R35 (release), REVISION: 4.1\nmore",
    "proc/device-tree/model": "NVIDIA Jetson AGX Orin\0",
    "sys/class/devfreq/17000000.ga10b/min_freq": "1300500000",
    "sys/class/devfreq/17000000.ga10b/max_freq": "1300500000",
    "sys/class/devfreq/17000000.ga10b/cur_freq": "1300500000",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": "2201600",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "2201600",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2201600",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil",
    "sys/class/thermal/thermal_zone0/type": "gpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "48500",
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "99000",
}


@pytest.fixture
def jetson(agent: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the agent see the files of a Jetson, with changes."""
    monkeypatch.setattr(agent, "ROOT", str(tmp_path))
    said = {"nvpmodel": "NV Power Mode: MODE_30W\n2"}
    monkeypatch.setattr(agent, "tell", lambda *command: said.get(command[0], ""))
    monkeypatch.setattr(agent.os, "getloadavg", lambda: (0.1, 0.1, 0.1))
    monkeypatch.setattr(agent.os, "sched_getaffinity", lambda process: {0}, raising=False)

    def see(**changes: str) -> None:
        system(tmp_path, {**JETSON, **{name.replace("__", "/"): text for name, text in changes.items()}})

    see()
    return see


def test_state_of_a_jetson_is_read(agent: ModuleType, jetson: Callable[..., None]) -> None:
    state = agent.device_state("8.5.2")

    assert state["model"] == "NVIDIA Jetson AGX Orin"
    assert state["tegra_release"] == "# R35 (release), REVISION: 4.1"
    assert (state["power_mode"], state["governor"]) == ("MODE_30W", "schedutil")
    assert state["clocks_mhz"] == {"gpu": [1300.5] * 3, "cpu": [2201.6] * 3}
    assert state["clocks_locked"] is True
    assert state["temperatures_c"] == {"gpu-thermal": 48.5}
    assert agent.problems(state) == []
    assert agent.advice(state) == []


def test_clocks_that_are_free_are_told_with_the_lines_to_type(agent: ModuleType, jetson: Callable[..., None]) -> None:
    jetson(**{"sys/class/devfreq/17000000.ga10b/min_freq": "306000000"})

    state = agent.device_state("8.5.2")

    assert state["clocks_locked"] is False
    assert any("sudo jetson_clocks" in line for line in agent.advice(state))


def test_clocks_are_those_of_the_core_that_is_timed_on(
    agent: ModuleType, jetson: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "sys/devices/system/cpu/cpu11/cpufreq/scaling_"
    jetson(**{own + "governor": "powersave", own + "min_freq": "100000"})
    jetson(**{own + "max_freq": "2400000", own + "cur_freq": "1200000"})
    monkeypatch.setattr(agent.os, "sched_getaffinity", lambda process: {0, 4, 11}, raising=False)

    state = agent.device_state("8.5.2")

    assert state["clocks_mhz"]["cpu"] == [100.0, 2400.0, 1200.0]
    assert (state["governor"], state["clocks_locked"]) == ("powersave", False)


def test_clocks_that_nobody_locks_do_not_count(agent: ModuleType, jetson: Callable[..., None]) -> None:
    vic = "sys/class/devfreq/15340000.vic/"
    jetson(**{vic + "min_freq": "115200000", vic + "max_freq": "729600000", vic + "cur_freq": "115200000"})

    assert agent.device_state("8.5.2")["clocks_locked"] is True


def test_clocks_of_a_card_are_not_those_of_the_processor(agent: ModuleType) -> None:
    assert agent.clocks_locked({"cpu": [900.0] * 3}, has_nvidia_card=True) is None
    assert agent.clocks_locked({"cpu": [900.0] * 3}, has_nvidia_card=False) is True
    assert agent.clocks_locked({"cpu": [900.0] * 3, "gpu": [300.0, 900.0, 300.0]}, has_nvidia_card=True) is False


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"sys/class/thermal/thermal_zone0/temp": "99500"}, "throttling"),
        ({"sys/devices/gpu.0/load": "412"}, "busy"),
        ({"sys/class/power_supply/BAT0/status": "Discharging"}, "battery"),
    ],
)
def test_what_speaks_against_measuring_is_found(
    agent: ModuleType, jetson: Callable[..., None], changes: dict[str, str], what: str
) -> None:
    jetson(**changes)

    assert [problem["what"] for problem in agent.problems(agent.device_state(""))] == [what]


def test_load_speaks_against_measuring(
    agent: ModuleType, jetson: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.os, "getloadavg", lambda: (99.0, 9.0, 9.0))

    (problem,) = agent.problems(agent.device_state(""))

    assert problem["what"] == "busy"
    assert "load 99.0" in problem["message"]


def test_machine_that_shows_nothing_is_no_error(
    agent: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "ROOT", str(tmp_path))
    monkeypatch.setattr(agent, "tell", lambda *command: "")

    state = agent.device_state("")

    assert (state["clocks_locked"], state["clocks_mhz"], state["temperatures_c"]) == (None, {}, {})


def test_locked_clock_that_moves_is_throttling(agent: ModuleType) -> None:
    assert agent.moved({"gpu": [900.0, 900.0, 900.0]}, {"gpu": [900.0, 900.0, 850.0]})
    assert not agent.moved({"gpu": [900.0, 900.0, 900.0]}, {"gpu": [900.0, 900.0, 899.0]})
    assert not agent.moved({"gpu": [300.0, 900.0, 300.0]}, {"gpu": [300.0, 900.0, 900.0]})  # it was free to


# What it makes of the outputs of programs


def test_times_of_trtexec(agent: ModuleType) -> None:
    rows = [{"computeMs": ms, "latencyMs": 9.0} for ms in (1.0, 3.0, 2.0, 2.0)]

    values = agent.summary(agent.parse_trtexec_times(json.dumps(rows)))

    assert (values["ms"], values["p25"], values["p75"], values["samples"]) == (2.0, 1.75, 2.25, 4)


@pytest.mark.parametrize("text", ["", "{}", "[{}]", '[{"computeMs": "fast"}]', "[1]"])
def test_times_that_cannot_be_read_are_a_failure_of_one_network(agent: ModuleType, text: str) -> None:
    with pytest.raises(agent.Failure):
        agent.summary(agent.parse_trtexec_times(text))


@pytest.mark.parametrize("times", [[], [0.0], [-1.0, 2.0], [float("nan")], [float("inf")]])
def test_times_that_are_none_are_a_failure(agent: ModuleType, times: list[float]) -> None:
    with pytest.raises(agent.Failure):
        agent.summary(times)


BENCHMARK = """INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds
count=3 first=262144 curr=250889 min=247067 max=274474 avg=261684 std=1442{early}
INFO: Running benchmark for at least 50 iterations
INFO: count=50 first=1249 curr=1240 min=1238 max=1252 avg=1.24027e+03 std=2{late}
Inference timings in us: Init: 16242, First inference: 360262, Warmup (avg): 304586, Inference (avg): 1240
"""


@pytest.mark.parametrize(
    ("late", "ms", "stat"), [(" p5=1238 median=1239 p95=1247", 1.239, "median"), ("", 1.24027, "mean")]
)
def test_output_of_benchmark_model(agent: ModuleType, late: str, ms: float, stat: str) -> None:
    values = agent.parse_benchmark_model(BENCHMARK.format(early=late, late=late))

    assert values == {"ms": pytest.approx(ms), "stat": stat, "samples": 50}


def test_output_of_executor_runner(agent: ModuleType) -> None:
    line = "I 00:00:00.5 executorch:executor_runner.cpp:300] Model executed successfully 7 time(s) in 12.250000 ms."

    assert agent.parse_executor_runner(line) == (7, 12.25)


@pytest.mark.parametrize("parse", ["parse_benchmark_model", "parse_executor_runner"])
def test_output_without_a_time_is_a_failure(agent: ModuleType, parse: str) -> None:
    with pytest.raises(agent.Failure, match="printed no"):
        getattr(agent, parse)("Segmentation fault\n")


MANIFEST: dict[str, Any] = {
    "runtime": "executorch",
    "precision": "fp32",
    "threads": 1,
    "program": "",
    "options": [],
    "least_s": 0.1,
    "least_samples": 10,
    "warm_up_s": 0.1,
    "limit_s": 10,
}


def test_executorch_takes_the_slope_of_two_lengths(
    agent: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = agent.ExecuTorch(str(tmp_path), MANIFEST)
    monkeypatch.setattr(runtime, "executed", lambda model, count: (count, 50.0 + 2.0 * count))  # 50 ms to warm up

    values = runtime.time("network.pte", 0)

    assert values["ms"] == pytest.approx(2.0)
    assert values["stat"] == "mean"


@pytest.mark.parametrize(("banner", "version"), [("v8502", "8.5.2"), ("v100300", "10.3.0"), ("v101304", "10.13.4")])
def test_version_of_tensorrt(agent: ModuleType, tmp_path: Path, banner: str, version: str) -> None:
    runtime = agent.Trtexec(str(tmp_path), MANIFEST)
    runtime._help = f"&&&& RUNNING TensorRT.trtexec [TensorRT {banner}] # trtexec --help\n"

    assert runtime.version() == version


def test_old_trtexec_is_built_with_its_own_words(
    agent: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], limit_s: float) -> str:
        commands.append(command)
        Path(next(word for word in command if word.startswith("--saveEngine="))[13:]).write_text("engine")
        return ""

    monkeypatch.setattr(agent, "run_program", run)
    runtime = agent.Trtexec(str(tmp_path), {**MANIFEST, "precision": "fp16"})
    runtime.found, runtime._help = "trtexec", "--buildOnly  Exit after the engine has been built"
    runtime.prepare("network.onnx", 1)
    runtime.prepare("network.onnx", 1)

    (command,) = commands  # built once
    assert "--buildOnly" in command
    assert "--skipInference" not in command
    assert "--fp16" in command
    assert (tmp_path / "engines" / "network.onnx.1").read_text() == "engine"


def test_program_that_hangs_or_fails_is_a_failure_with_the_line_that_says_why(agent: ModuleType) -> None:
    with pytest.raises(agent.Failure, match="took more than"):
        agent.run_program([sys.executable, "-S", "-c", "import time; time.sleep(60)"], 0.05)
    with pytest.raises(agent.Failure, match=r"ended with 3: \[E\] out of memory"):
        agent.run_program(
            [sys.executable, "-S", "-c", "print('[E] out of memory'); print('bye'); raise SystemExit(3)"], 60
        )
    with pytest.raises(agent.Failure, match="/nowhere/trtexec"):
        agent.run_program(["/nowhere/trtexec"], 60)


def test_package_is_imported_once_and_may_take_its_time(agent: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def tell(*command: str, limit_s: float) -> str:
        asked.append(limit_s)
        return "1.2"

    monkeypatch.setattr(agent, "tell", tell)
    runtime = agent.OnnxRuntime("folder", {**MANIFEST, "program": sys.executable})

    assert (runtime.missing(), runtime.version()) == ("", "1.2")
    assert asked == [agent.IMPORT_SECONDS]
    assert agent.IMPORT_SECONDS > 2 * agent.TELL_SECONDS


def test_onnx_model_is_really_timed(agent: ModuleType, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    value = onnx.helper.make_tensor_value_info
    shape = [1, 3, 8, 8]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [value("x", onnx.TensorProto.FLOAT, shape)],
        [value("y", onnx.TensorProto.FLOAT, shape)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "relu.onnx")
    manifest = {**MANIFEST, "runtime": "onnxruntime", "warm_up_s": 0.0, "least_s": 0.0, "limit_s": 120}
    runtime = agent.OnnxRuntime(str(tmp_path), {**manifest, "program": sys.executable})

    values = runtime.time(str(tmp_path / "relu.onnx"), 0)

    assert runtime.missing() == ""
    assert values["ms"] > 0
    assert values["cpu_ms"] > 0
    assert values["samples_all"] >= 10
    with pytest.raises(agent.Failure, match="ended with 1"):
        runtime.time(str(tmp_path / "none.onnx"), 0)


def test_provider_that_is_not_there_is_a_failure_and_never_the_cpu(agent: ModuleType, tmp_path: Path) -> None:
    class Session:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            pass

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    class Runtime:
        SessionOptions, InferenceSession = type("Options", (), {}), Session

        @staticmethod
        def get_available_providers() -> list[str]:
            return ["CPUExecutionProvider"]

    modules = {"onnxruntime": Runtime, "numpy": None}
    agent.importlib = type("Importlib", (), {"import_module": staticmethod(modules.__getitem__)})
    wanted = {"model": "a.onnx", "threads": 1, "options": ["CUDAExecutionProvider"]}

    with pytest.raises(agent.Failure, match="CUDAExecutionProvider here; it has CPUExecutionProvider"):
        agent.OnnxRuntime.load(wanted)


def test_missing_package_is_told(agent: ModuleType, tmp_path: Path) -> None:
    runtime = agent.OnnxRuntime(str(tmp_path), {**MANIFEST, "program": "/nowhere/python"})

    assert "/nowhere/python cannot import onnxruntime" in runtime.missing()
    assert "--remote-python" in runtime.missing()


# The folder


def packed(*names: str, content: bytes = b"12345") -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return stream


def test_files_are_received_whole_or_not_at_all(agent: ModuleType, tmp_path: Path) -> None:
    folder = agent.Folder(str(tmp_path))
    whole = packed("models/a.onnx", "models/b.onnx", content=b"x" * 3000)

    with pytest.raises((agent.Refusal, tarfile.TarError)):
        agent.receive(folder, io.BytesIO(whole.getvalue()[:6000]))

    assert [path.name for path in (tmp_path / "models").iterdir()] == ["a.onnx"]
    agent.receive(folder, whole)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["a.onnx", "b.onnx"]


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "models/../../up", "agent.py", "models/sub/a.onnx"])
def test_files_that_are_not_of_a_measurement_are_refused(agent: ModuleType, tmp_path: Path, name: str) -> None:
    with pytest.raises(agent.Refusal, match="no file of a measurement"):
        agent.receive(agent.Folder(str(tmp_path / "folder")), packed(name))

    assert not (tmp_path / "up").exists()


def test_two_agents_never_measure_in_one_folder(agent: ModuleType, tmp_path: Path) -> None:
    folder = agent.Folder(str(tmp_path))
    lock = folder.lock()

    assert folder.running()
    with pytest.raises(agent.Refusal, match="measures in"):
        agent.run(folder, [], locked=False)
    lock.close()
    assert not folder.running()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group of its own and has nothing to do with any agent."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_stop_never_ends_a_process_that_was_an_agent_once(
    agent: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeper: subprocess.Popen[bytes]
) -> None:
    monkeypatch.setattr(agent, "STOP_SECONDS", 0.2)
    folder = agent.Folder(str(tmp_path))
    folder.append(event="begin", pid=sleeper.pid)  # of an agent that has ended; its number is another's now
    (tmp_path / "lock").write_text(str(sleeper.pid))
    lock = folder.lock()

    with pytest.raises(agent.Refusal, match="still runs after"):
        agent.stop(folder)

    assert sleeper.poll() is None
    lock.close()
    agent.stop(folder)


def test_stop_ends_an_agent_that_has_begun_nothing_yet(
    agent: ModuleType, tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nsleep 60\n")  # takes long to import anything
    program.chmod(0o755)
    manifest = {**MANIFEST, "runtime": "onnxruntime", "program": str(program)}
    folder = agent.Folder(str(tmp_path / "folder"))
    folder.write("manifest.json", json.dumps(manifest).encode())
    folder.append(event="begin", pid=sleeper.pid)
    subprocess.run([sys.executable, SOURCE, "start", folder.path], check=True)

    assert folder.running()
    agent.stop(folder)

    assert not folder.running()
    assert sleeper.poll() is None
    assert len(folder.events()) == 1


def test_looking_whether_an_agent_runs_leaves_its_name_in_the_lock(agent: ModuleType, tmp_path: Path) -> None:
    folder = agent.Folder(str(tmp_path))
    lock = folder.lock()
    folder.sign()

    assert folder.running()
    assert folder.signed() == os.getpid()
    lock.close()
    assert not folder.running()
    assert folder.signed() is None
