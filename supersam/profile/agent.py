"""Time networks on a device. This one file is copied there; it needs Python 3.8 and nothing else.

    python3 agent.py receive FOLDER      files from a tar on stdin: the manifest, networks, a journal to go on with
    python3 agent.py check FOLDER        the state of the device, what speaks against measuring, what is missing
    python3 agent.py start FOLDER        measure on, detached from the link
    python3 agent.py run FOLDER          measure on, here
    python3 agent.py status FOLDER BYTE  whether it runs, and the journal from this byte on
    python3 agent.py stop FOLDER         end the agent and what it runs; start goes on
    python3 agent.py time ARGUMENTS      time one network within Python, for runtimes that are Python packages

Every measurement is a line of ``journal.jsonl``, on the disk before the next one begins: whatever breaks, ``run``
goes on behind the last line. It never asks for root; where clocks should be locked it says which lines to type.
"""

from __future__ import annotations

import fcntl
import glob
import importlib
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from typing import IO, Any, Callable

VERSION = 1
ROOT = "/"  # of the files that describe the device
TRTEXEC_FOLDERS = ("/usr/src/tensorrt/bin", "/usr/local/tensorrt/bin")
BUSY_LOAD = 0.3  # of a core, for each core
BUSY_GPU = 5.0  # per cent
MOVED = 0.01  # a locked clock that moves by more has been throttled
PREEMPTED = 1.05  # wall over CPU time of one thread; beyond, somebody else had the core
RETRIES = 1  # of a throttled measurement
COOLING_SECONDS = 300
TELL_SECONDS = 20  # a program that only tells something
STOP_SECONDS = 10  # that an agent is given to end
IMPORT_SECONDS = 180  # of a large package, on a small or busy board


class Failure(Exception):
    """One network could not be measured; the others can."""


class Refusal(Exception):
    """Nothing should be measured now; one line for people."""


# What the device is, and in which state


def read(path: str) -> str:
    """Return the text of a file of the system, empty if there is none."""
    try:
        with open(os.path.join(ROOT, path.lstrip("/")), errors="replace") as file:
            return file.read().replace("\0", "").strip()
    except OSError:
        return ""


def paths(pattern: str) -> list[str]:
    """Return the files of the system that match, as ``read`` takes them."""
    found = sorted(glob.glob(os.path.join(ROOT, pattern.lstrip("/"))))
    return ["/" + os.path.relpath(path, ROOT) for path in found]


def tell(*command: str, limit_s: float = TELL_SECONDS) -> str:
    """Return what a program prints, empty if it is not there, fails or hangs."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=limit_s, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip()


def number(text: str) -> int | None:
    """Return the integer in a text, or nothing."""
    try:
        return int(text)
    except ValueError:
        return None


def rates(pattern: str) -> list[int]:
    """Return the lowest, highest and current rate, fewer where the system does not say."""
    found = [number(read(pattern.format(which))) for which in ("min", "max", "cur")]
    return [rate for rate in found if rate is not None]


def core() -> int:
    """Return the last core that may be used: what is timed on one thread runs there, and cores may differ."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def cpufreq(name: str) -> str:
    """Return the path of what the system says about the clock of that core."""
    return f"/sys/devices/system/cpu/cpu{core()}/cpufreq/{name}"


def clocks() -> dict[str, list[float]]:
    """Return the lowest, highest and current MHz of the GPU, the memory and the core, where the system says."""
    found = {}
    for folder in paths("/sys/class/devfreq/*"):
        name = os.path.basename(folder)
        kind = "gpu" if re.search(r"gpu|gp10b|gv11b|ga10b|mali", name) else "memory" if "emc" in name else name
        found[kind] = [1e-6 * rate for rate in rates(folder + "/{}_freq")]
    found["cpu"] = [1e-3 * rate for rate in rates(cpufreq("scaling_{}_freq"))]
    return {kind: values for kind, values in found.items() if len(values) == 3}


def temperatures() -> dict[str, float]:
    """Return degrees Celsius by thermal zone."""
    found = {}
    for zone in paths("/sys/class/thermal/thermal_zone*"):
        value = number(read(zone + "/temp"))
        if value:
            found[read(zone + "/type") or os.path.basename(zone)] = value / 1000
    return found


def throttling() -> list[str]:
    """Return why the device runs slower than it could, or an empty list."""
    reasons = []
    for zone in paths("/sys/class/thermal/thermal_zone*"):
        temperature = number(read(zone + "/temp")) or 0
        for kind in paths(zone + "/trip_point_*_type"):
            limit = number(read(kind[: -len("type")] + "temp")) or 0
            if read(kind) == "passive" and 0 < limit <= temperature:
                reasons.append("{} is at {:.0f} degrees".format(read(zone + "/type"), temperature / 1000))
    bits = re.search(r"0x([0-9a-fA-F]+)", tell("vcgencmd", "get_throttled"))
    if bits and int(bits.group(1), 16) & 0xF:
        reasons.append(f"the firmware throttles (vcgencmd get_throttled says 0x{bits.group(1)})")
    return reasons


def power_mode() -> str:
    """Return the name of a Jetson's power mode, else nothing."""
    mode = re.search(r"NV Power Mode:\s*(\S+)", tell("nvpmodel", "-q"))
    return mode.group(1) if mode else ""


def clocks_locked(mhz: dict[str, list[float]], has_nvidia_card: bool) -> bool | None:
    """Return whether the clocks that count stand still; None where the system does not show them.

    Other parts of a board, such as its video encoder, have clocks that nobody locks; a card's are not in these files.
    """
    known = [mhz[kind] for kind in ("gpu", "memory", "cpu") if kind in mhz]
    if not known or (has_nvidia_card and "gpu" not in mhz):
        return None
    return all(low == high for low, high, _ in known)


def device_state(runtime_version: str) -> Any:
    """Return all that is worth keeping beside the numbers."""
    mhz = clocks()
    card = tell("nvidia-smi", "--query-gpu=name,driver_version,power.limit", "--format=csv,noheader")
    cpu = re.search(r"^model name\s*:\s*(.+)$", read("/proc/cpuinfo"), re.MULTILINE)
    on_mac = platform.system() == "Darwin"
    return {
        "model": read("/proc/device-tree/model") or (tell("sysctl", "-n", "hw.model") if on_mac else ""),
        "cpu": cpu.group(1) if cpu else tell("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine(),
        "cpus": os.cpu_count(),
        "system": platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "tegra_release": read("/etc/nv_tegra_release").split("\n")[0],
        "power_mode": power_mode(),
        "governor": read(cpufreq("scaling_governor")),
        "clocks_mhz": mhz,
        "clocks_locked": clocks_locked(mhz, bool(card)),
        "jetson_clocks": tell("jetson_clocks", "--show"),
        "nvidia_smi": card,
        "temperatures_c": temperatures(),
        "load": os.getloadavg()[0],
        "runtime_version": runtime_version,
    }


def mode_of(state: Any) -> dict[str, Any]:
    """Return what must not change while a table is measured."""
    return {key: state[key] for key in ("model", "cpus", "power_mode", "governor", "clocks_locked", "runtime_version")}


def problems(state: Any) -> list[dict[str, str]]:
    """Return what speaks against measuring now: ``what`` it is, and a ``message``."""
    found = [{"what": "throttling", "message": reason} for reason in throttling()]
    limit = BUSY_LOAD * (state["cpus"] or 1)
    if state["load"] > limit:
        found.append({"what": "busy", "message": "load {:.1f}, at most {:.1f}".format(state["load"], limit)})
    for path in paths("/sys/devices/gpu.0/load") + paths("/sys/devices/platform/*gpu*/load"):
        if (number(read(path)) or 0) / 10 > BUSY_GPU:
            found.append({"what": "busy", "message": f"the GPU works ({path} says {read(path)})"})
    others = tell("nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader").split()
    if others and others[0].isdigit():
        found.append({"what": "busy", "message": f"process {others[0]} is on the GPU"})
    if any(read(path) == "Discharging" for path in paths("/sys/class/power_supply/*/status")):
        found.append({"what": "battery", "message": "it runs on its battery"})
    return found


def advice(state: Any) -> list[str]:
    """Return the lines to type for clocks that stand still; nothing here types them."""
    if state["clocks_locked"] is not False:
        return []
    if state["tegra_release"]:
        return ["sudo nvpmodel -m 0    # or the mode you mean", "sudo jetson_clocks"]
    return ["sudo cpupower frequency-set -g performance"]


# Runtimes: each says what is missing, makes a network ready, and times it


def run_program(command: list[str], limit_s: float) -> str:
    """Return all a program prints.

    Raises:
        Failure: if it fails or takes too long, with the line that says why.
    """
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit_s
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{os.path.basename(command[0])} took more than {limit_s} s") from None
    except OSError as problem:
        raise Failure(f"{command[0]}: {problem.strerror}") from None
    text = done.stdout.decode(errors="replace")
    if done.returncode:
        lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it printed nothing"]
        telling = [line for line in lines if re.search(r"error|\[E\]|fail|exception", line, re.IGNORECASE)]
        said = (telling or lines)[-1][:300]
        raise Failure(f"{os.path.basename(command[0])} ended with {done.returncode}: {said}")
    return text


def quantile(ordered: list[float], share: float) -> float:
    """Return a quantile of sorted numbers, interpolated."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def summary(samples: list[float]) -> dict[str, Any]:
    """Return what is kept of the milliseconds of many runs."""
    if not samples or not all(0 < sample < float("inf") for sample in samples):
        raise Failure("it gave no times, or times that are none")
    ordered = sorted(samples)
    values = {"ms": statistics.median(ordered), "stat": "median", "samples": len(ordered)}
    values.update({name: quantile(ordered, share) for name, share in (("p25", 0.25), ("p75", 0.75), ("p99", 0.99))})
    return values


def parse_trtexec_times(text: str) -> list[float]:
    """Return the GPU milliseconds of each run in the JSON of ``trtexec --exportTimes``."""
    try:
        return [float(row["computeMs"]) for row in json.loads(text)]
    except (ValueError, TypeError, KeyError) as problem:
        raise Failure(f"the times trtexec wrote cannot be read: {problem!r}") from None


def parse_benchmark_model(text: str) -> dict[str, Any]:
    """Return the summary in what LiteRT's ``benchmark_model`` prints; old versions print no median."""
    lines = [line for line in text.splitlines() if re.search(r"\bcount=\d+ .*\bavg=", line)]
    if not lines:
        raise Failure("benchmark_model printed no line with count= and avg=")
    values = dict(re.findall(r"(\w+)=([-+.\deE]+)", lines[-1]))
    stat = "median" if "median" in values else "mean"
    us = float(values["median" if stat == "median" else "avg"])
    if not 0 < us < float("inf"):
        raise Failure(f"benchmark_model printed a time of {us} us")
    return {"ms": us / 1000, "stat": stat, "samples": int(values["count"])}


def parse_executor_runner(text: str) -> tuple[int, float]:
    """Return runs and milliseconds in what ExecuTorch's ``executor_runner`` prints."""
    found = re.search(r"executed successfully (\d+) time\(s\) in ([\d.]+) ms", text)
    if not found:
        raise Failure("executor_runner printed no 'executed successfully N time(s) in T ms'")
    return int(found.group(1)), float(found.group(2))


class Runtime:
    """What all runtimes share."""

    builds = 1  # how many times a network is made ready anew, for runtimes that choose kernels by timing them
    program = ""
    install = ""

    def __init__(self, folder: str, manifest: Any) -> None:
        self.folder = folder
        self.manifest = manifest
        self.limit_s = manifest["limit_s"]
        self.found = self._find()

    def _find(self) -> str:
        wanted = self.manifest["program"] or self.program
        places = os.pathsep.join([os.environ.get("PATH", ""), *self.where()])
        return shutil.which(os.path.expanduser(wanted), path=places) or ""

    def where(self) -> tuple[str, ...]:
        """Return folders in which the program may be besides the PATH."""
        return ()

    def missing(self) -> str:
        """Return what must be installed, or nothing."""
        if self.found:
            return ""
        return "{} was not found; {}".format(self.manifest["program"] or self.program, self.install)

    def version(self) -> str:
        return ""

    def prepare(self, model: str, build: int) -> None:
        """Make a network ready to be timed."""

    def time(self, model: str, build: int) -> dict[str, Any]:
        """Return the summary of the times of a network."""
        raise NotImplementedError

    def forget(self, model: str, build: int) -> None:
        """Remove what ``prepare`` made."""


class Trtexec(Runtime):
    """TensorRT by its own program; two engines of each network, since each build may choose other kernels."""

    builds = 2
    program = "trtexec"
    install = "it is part of TensorRT (on a Jetson: sudo apt install libnvinfer-bin); say where with --remote-program"

    def where(self) -> tuple[str, ...]:
        return TRTEXEC_FOLDERS

    def version(self) -> str:
        """For example 8.5.2 of ``[TensorRT v8502]``, 10.3.0 of ``[TensorRT v100300]``."""
        banner = re.search(r"\[TensorRT v(\d+)\]", self.help())
        if not banner:
            return tell("dpkg-query", "-W", "-f=${Version}", "libnvinfer-bin")
        value = int(banner.group(1))
        step = 100 if value >= 100000 else 10
        return f"{value // (100 * step)}.{value // 100 % step}.{value % 100}"

    def help(self) -> str:
        if not hasattr(self, "_help"):
            self._help = tell(self.found, "--help")
        return self._help

    def engine(self, model: str, build: int) -> str:
        return os.path.join(self.folder, "engines", f"{os.path.basename(model)}.{build}")

    def prepare(self, model: str, build: int) -> None:
        engine = self.engine(model, build)
        if os.path.exists(engine):
            return
        os.makedirs(os.path.dirname(engine), exist_ok=True)
        precision = self.manifest["precision"]
        command = [self.found, "--onnx=" + model, "--saveEngine=" + engine + ".part"]
        command += [] if precision == "fp32" else ["--" + precision]
        # A cache for each build: with one for both the second build would repeat the first one's choice.
        command += ["--timingCacheFile=" + os.path.join(self.folder, f"timing-{build}.cache")]
        command += ["--skipInference" if "--skipInference" in self.help() or not self.help() else "--buildOnly"]
        run_program(command + self.manifest["options"], self.limit_s)
        os.replace(engine + ".part", engine)

    def time(self, model: str, build: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            times = os.path.join(scratch, "times.json")
            command = [self.found, "--loadEngine=" + self.engine(model, build), "--exportTimes=" + times]
            command += [f"--warmUp={1000 * self.manifest['warm_up_s']:.0f}"]
            command += [
                "--duration={}".format(self.manifest["least_s"]),
                f"--iterations={self.manifest['least_samples']}",
            ]
            command += ["--useCudaGraph", "--noDataTransfers", "--useSpinWait"]
            run_program(command + self.manifest["options"], self.limit_s)
            try:
                with open(times) as file:
                    return summary(parse_trtexec_times(file.read()))
            except OSError:
                raise Failure("trtexec wrote no times") from None

    def forget(self, model: str, build: int) -> None:
        if os.path.exists(self.engine(model, build)):
            os.remove(self.engine(model, build))


class LiteRT(Runtime):
    """LiteRT (TensorFlow Lite) by its ``benchmark_model``."""

    program = "benchmark_model"
    install = "download or build LiteRT's benchmark_model; say where with --remote-program"

    def time(self, model: str, build: int) -> dict[str, Any]:
        command = [self.found, "--graph=" + model, f"--num_threads={self.manifest['threads'] or 1}"]
        command += [
            "--warmup_min_secs={}".format(self.manifest["warm_up_s"]),
            "--min_secs={}".format(self.manifest["least_s"]),
        ]
        command += [f"--num_runs={self.manifest['least_samples']}"]
        return parse_benchmark_model(run_program(command + self.manifest["options"], self.limit_s))


class ExecuTorch(Runtime):
    """ExecuTorch by its ``executor_runner``, which prints a sum: two lengths give the time of one warm run."""

    program = "executor_runner"
    install = "build ExecuTorch's executor_runner; say where with --remote-program"
    few = 5

    def time(self, model: str, build: int) -> dict[str, Any]:
        _, first = self.executed(model, self.few)
        wanted = 1000 * self.manifest["least_s"] / max(first / self.few, 1e-3)
        count = self.few + int(max(self.manifest["least_samples"], wanted))
        runs, long = self.executed(model, count)
        ms = (long - first) / (runs - self.few)
        if ms <= 0:
            raise Failure(f"{runs} runs took no longer than {self.few}")
        return {"ms": ms, "stat": "mean", "samples": runs - self.few}

    def executed(self, model: str, count: int) -> tuple[int, float]:
        command = [self.found, "--model_path=" + model, f"--num_executions={count}"]
        return parse_executor_runner(run_program(command + self.manifest["options"], self.limit_s))


class InPython(Runtime):
    """A runtime that is a Python package: timed by this file, in a process of its own."""

    package = ""

    @staticmethod
    def load(wanted: Any) -> Callable[[], object]:
        """Return a call that runs a network once on random numbers."""
        raise NotImplementedError

    def _find(self) -> str:
        return self.manifest["program"] or sys.executable

    def imported(self) -> str:
        """Return the package's version, empty if it cannot be imported; asked once."""
        if not hasattr(self, "_imported"):
            script = f"import {self.package} as p; print(p.__version__)"
            self._imported = tell(self.found, "-c", script, limit_s=IMPORT_SECONDS)
        return self._imported

    def missing(self) -> str:
        if self.imported():
            return ""
        remedy = f"install it there (pip install {self.package}) or name another Python with --remote-python"
        return f"{self.found} cannot import {self.package}; {remedy}"

    def version(self) -> str:
        return self.imported()

    def time(self, model: str, build: int) -> dict[str, Any]:
        wanted = {key: self.manifest[key] for key in ("threads", "options", "least_s", "least_samples", "warm_up_s")}
        wanted.update(runtime=self.manifest["runtime"], model=model)
        text = run_program([self.found, os.path.abspath(__file__), "time", json.dumps(wanted)], self.limit_s)
        answers = [line for line in text.splitlines() if line.startswith("{")]  # a warning may come after
        if not answers:
            raise Failure(f"{self.package} told no times")
        return json.loads(answers[-1])


class OnnxRuntime(InPython):
    """ONNX Runtime; ``options`` are execution providers, the CPU if there are none."""

    package = "onnxruntime"

    @staticmethod
    def load(wanted: Any) -> Callable[[], object]:
        ort, numpy = importlib.import_module("onnxruntime"), importlib.import_module("numpy")
        options = ort.SessionOptions()
        if wanted["threads"]:
            options.intra_op_num_threads = options.inter_op_num_threads = wanted["threads"]
        options.log_severity_level = 3
        providers = wanted["options"] or ["CPUExecutionProvider"]
        session = ort.InferenceSession(wanted["model"], options, providers=providers)
        if session.get_providers()[0] != providers[0]:  # it takes the CPU and only warns
            has = ", ".join(ort.get_available_providers())
            raise Failure(f"onnxruntime cannot run on {providers[0]} here; it has {has}")
        types = {"tensor(float)": numpy.float32, "tensor(float16)": numpy.float16}
        feed = {x.name: numpy.random.standard_normal(x.shape).astype(types[x.type]) for x in session.get_inputs()}
        return lambda: session.run(None, feed)


class CoreML(InPython):
    """Core ML through coremltools, on a Mac; ``options`` is the compute unit, such as CPU_AND_NE."""

    package = "coremltools"

    def prepare(self, model: str, build: int) -> None:
        if not os.path.isdir(model[: -len(".zip")]):
            with zipfile.ZipFile(model) as archive:
                archive.extractall(model[: -len(".zip")])

    @staticmethod
    def load(wanted: Any) -> Callable[[], object]:
        coreml, numpy = importlib.import_module("coremltools"), importlib.import_module("numpy")
        unit = getattr(coreml.ComputeUnit, (wanted["options"] or ["ALL"])[0])
        model = coreml.models.MLModel(wanted["model"][: -len(".zip")], compute_units=unit)
        feed = {}
        for x in model.get_spec().description.input:
            shape = tuple(x.type.multiArrayType.shape)
            feed[x.name] = numpy.random.standard_normal(shape).astype(numpy.float32)
        return lambda: model.predict(feed)


IN_PYTHON: dict[str, type[InPython]] = {"onnxruntime": OnnxRuntime, "coreml": CoreML}
RUNTIMES: dict[str, type[Runtime]] = {"trtexec": Trtexec, "litert": LiteRT, "executorch": ExecuTorch, **IN_PYTHON}


def time_here(wanted: Any) -> dict[str, Any]:
    """Return the summary of the times of one network within this process, wall clock and CPU clock."""
    if wanted["threads"] == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core()})
    call = IN_PYTHON[wanted["runtime"]].load(wanted)
    begin = time.monotonic()
    recent: list[float] = []
    while time.monotonic() - begin < 4 * wanted["warm_up_s"] or len(recent) < 2:
        recent.append(_sample(call)[0])
        last, before = recent[-10:], recent[-20:-10]
        settled = len(before) == 10 and abs(statistics.median(last) / statistics.median(before) - 1) < 0.01
        if settled and time.monotonic() - begin >= wanted["warm_up_s"]:
            break
    samples: list[tuple[float, float]] = []
    while len(samples) < wanted["least_samples"] or sum(wall for wall, _ in samples) < 1000 * wanted["least_s"]:
        samples.append(_sample(call))
    kept = samples
    if wanted["threads"] == 1 and not wanted["options"]:
        alone = [(wall, cpu) for wall, cpu in samples if wall <= PREEMPTED * cpu]
        kept = alone if 2 * len(alone) >= len(samples) else samples
    values = summary([wall for wall, _ in kept])
    values["cpu_ms"] = statistics.median([cpu for _, cpu in kept])
    values["samples_all"] = len(samples)
    return values


def _sample(call: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


# The folder of one measurement


class Folder:
    """Manifest, networks, journal and lock."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.journal = os.path.join(self.path, "journal.jsonl")
        self.log = os.path.join(self.path, "agent.log")
        self.lock_file = os.path.join(self.path, "lock")

    def manifest(self) -> Any:
        try:
            with open(os.path.join(self.path, "manifest.json")) as file:
                return json.load(file)
        except (OSError, ValueError) as problem:
            raise Refusal(f"there is no readable manifest.json in {self.path}: {problem}") from None

    def model(self, item: Any) -> str:
        return os.path.join(self.path, "models", item["file"])

    def lock(self) -> IO[str] | None:
        """Return a locked file, or nothing while an agent measures here."""
        os.makedirs(self.path, exist_ok=True)
        file = open(self.lock_file, "a")  # noqa: SIM115 - the lock lives as long as the file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        file.truncate(0)  # who held it before is gone
        return file

    def sign(self) -> None:
        """Say in the lock who measures; only whoever holds it may."""
        with open(self.lock_file, "w") as file:
            file.write(str(os.getpid()))

    def signed(self) -> int | None:
        """Return the process that measures here, nothing before it has said so."""
        with open(self.lock_file) as file:
            return number(file.read())

    def running(self) -> bool:
        lock = self.lock()
        if lock is None:
            return True
        lock.close()
        return False

    def lines(self, offset: int = 0) -> bytes:
        """Return the whole lines of the journal from a byte on."""
        if not os.path.exists(self.journal):
            return b""
        with open(self.journal, "rb") as file:
            file.seek(offset)
            content = file.read()
        return content[: content.rfind(b"\n") + 1]

    def events(self) -> list[Any]:
        return [json.loads(line) for line in self.lines().decode().splitlines()]

    def mend(self) -> None:
        """Drop a last line that a crash has torn; only whoever holds the lock may."""
        if os.path.exists(self.journal):
            os.truncate(self.journal, len(self.lines()))

    def append(self, **event: Any) -> None:
        with open(self.journal, "a") as file:
            file.write(json.dumps(event) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def write(self, name: str, content: bytes) -> None:
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".part", "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".part", path)


def receive(folder: Folder, stream: IO[bytes]) -> None:
    """Take files from a tar; one that the link tore is not kept."""
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if not re.match(r"(manifest\.json|journal\.jsonl|models/[\w.-]+)$", member.name) or not member.isfile():
                raise Refusal(f"{member.name} is no file of a measurement")
            file = archive.extractfile(member)
            content = file.read() if file else b""
            if len(content) != member.size:
                raise Refusal(f"the link was lost in the middle of {member.name}")
            folder.write(member.name, content)


def refuse_another_mode(folder: Folder, state: Any) -> None:
    """Times of two power modes, versions or boards never share a table."""
    begun = [event["mode"] for event in folder.events() if event["event"] == "begin"]
    if not begun:
        return
    now = mode_of(state)
    changed = [f"{key} is {now[key]!r} and was {begun[0].get(key)!r}" for key in now if now[key] != begun[0].get(key)]
    if changed:
        raise Refusal(
            "the device is not in the mode this measurement began in: {}; to measure anew in this one, remove {} here "
            "and the table's .partial.jsonl on the other machine".format(", ".join(changed), folder.path)
        )


def check(folder: Folder) -> dict[str, Any]:
    """Return the state of the device as the host needs it before it sends networks."""
    manifest = folder.manifest()
    runtime = RUNTIMES[manifest["runtime"]](folder.path, manifest)
    missing = runtime.missing()
    state = device_state("" if missing else runtime.version())
    answer = {
        "agent": VERSION,
        "state": state,
        "running": folder.running(),
        "advice": advice(state),
        "refused": missing,
    }
    answer["problems"] = [] if answer["running"] else problems(state)
    answer["missing"] = [item["file"] for item in manifest["items"] if not os.path.exists(folder.model(item))]
    answer["journal_bytes"] = len(folder.lines())
    if not missing:
        try:
            refuse_another_mode(folder, state)
        except Refusal as problem:
            answer["refused"] = str(problem)
    return answer


def measure(folder: Folder, forced: list[str]) -> None:
    """Measure every step of the manifest that the journal does not have."""
    manifest = folder.manifest()
    runtime = RUNTIMES[manifest["runtime"]](folder.path, manifest)
    if runtime.missing():
        raise Refusal(runtime.missing())
    version = runtime.version()
    state = device_state(version)
    refuse_another_mode(folder, state)
    events = folder.events()
    done = {event["step"] for event in events if event["event"] == "timing"}
    if len(done) == len(manifest["steps"]) and events[-1]["event"] == "end":
        return
    folder.append(
        event="begin",
        agent=VERSION,
        pid=os.getpid(),
        id=manifest["id"],
        date=manifest["date"],
        state=state,
        mode=mode_of(state),
        forced=forced,
    )
    left: dict[tuple[int, int], int] = {}
    for item, round_number in manifest["steps"]:
        left[item, round_number % runtime.builds] = left.get((item, round_number % runtime.builds), 0) + 1
    broken = set()
    for step, (item, round_number) in enumerate(manifest["steps"]):
        build = round_number % runtime.builds
        left[item, build] -= 1
        name = manifest["items"][item]["name"]
        model = folder.model(manifest["items"][item])
        if step not in done and item not in broken:
            if item == manifest["sentinel"]:
                refuse_another_mode(folder, device_state(version))
            try:
                values = timed(runtime, model, build)
                folder.append(event="timing", step=step, name=name, round=round_number, build=build, **values)
            except (Failure, LookupError, ValueError, FileNotFoundError) as problem:  # the others can be measured
                broken.add(item)
                message = str(problem) if isinstance(problem, Failure) else repr(problem)
                folder.append(event="failed", step=step, name=name, message=message)
        if not left[item, build]:
            runtime.forget(model, build)
    folder.append(event="end", state=device_state(version))


def timed(runtime: Runtime, model: str, build: int) -> dict[str, Any]:
    """Time a network once, and once more if the device throttled meanwhile."""
    if not os.path.exists(model):
        raise Failure("the network is not on the device")
    runtime.prepare(model, build)
    for _ in range(RETRIES + 1):
        cool_down()
        before = clocks()
        values = runtime.time(model, build)
        values["throttled"] = bool(throttling()) or moved(before, clocks())
        if not values["throttled"]:
            break
    values["temperature_c"] = max(temperatures().values(), default=None)
    return values


def moved(before: dict[str, list[float]], after: dict[str, list[float]]) -> bool:
    """Return whether a locked clock moved."""
    for name, (low, high, rate) in before.items():
        if low == high and name in after and abs(after[name][2] / rate - 1) > MOVED:
            return True
    return False


def cool_down() -> None:
    """Wait until nothing throttles, at most ``COOLING_SECONDS``."""
    until = time.monotonic() + COOLING_SECONDS
    while throttling() and time.monotonic() < until:
        time.sleep(5)


def start(folder: Folder, forced: list[str]) -> None:
    """Measure in a process that survives the link; the lock passes to it, so two never measure at once."""
    lock = folder.lock()
    if lock is None:
        return
    with open(folder.log, "ab") as log:
        subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "run", folder.path, "--locked", *forced],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
    lock.close()


def run(folder: Folder, forced: list[str], locked: bool) -> None:
    """Measure here."""
    lock = None if locked else folder.lock()
    if lock is None and not locked:
        raise Refusal(f"an agent measures in {folder.path} already")
    folder.sign()
    folder.mend()
    try:
        measure(folder, forced)
    except Refusal as problem:
        folder.append(event="stopped", message=str(problem))
        raise


def stop(folder: Folder) -> None:
    """End the agent that measures here, with the program it has started."""
    told = None
    until = time.monotonic() + STOP_SECONDS
    while folder.running():
        pid = folder.signed()
        if pid is not None and pid != told:
            end(pid)
            told = pid
        if time.monotonic() > until:
            raise Refusal(f"the agent (process {pid or 'unknown'}) still runs after {STOP_SECONDS} s")
        time.sleep(0.1)


def end(pid: int) -> None:
    """Tell a process to end, and what it has started where it leads a group of its own, as after ``start``."""
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGTERM)
        else:
            os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:  # it has just ended by itself
        pass


def status(folder: Folder, offset: int, out: IO[bytes]) -> None:
    """Print whether an agent runs, then the whole lines of the journal from a byte on."""
    running = folder.running()  # before the journal is read: what an agent that has ended wrote is then all there
    log = ""
    if os.path.exists(folder.log):
        with open(folder.log, "rb") as file:
            log = (file.read().decode(errors="replace").strip().splitlines() or [""])[-1]
    out.write(json.dumps({"running": running, "log": log}).encode() + b"\n" + folder.lines(offset))
    out.flush()


def main(arguments: list[str]) -> None:
    """Run one of the commands above; a refusal ends in one line and code 1."""
    if len(arguments) < 2:
        sys.exit(__doc__)
    command, folder, rest = arguments[0], Folder(arguments[1]), arguments[2:]
    forced = [word for word in rest if not word.startswith("--")]
    try:
        if command == "time":
            print(json.dumps(time_here(json.loads(arguments[1]))))
        elif command == "receive":
            receive(folder, sys.stdin.buffer)
        elif command == "check":
            print(json.dumps(check(folder)))
        elif command == "start":
            start(folder, forced)
        elif command == "run":
            run(folder, forced, "--locked" in rest)
        elif command == "stop":
            stop(folder)
        elif command == "status":
            status(folder, int(rest[0]), sys.stdout.buffer)
        else:
            sys.exit(f"unknown command {command!r}")
    except (Refusal, tarfile.TarError) as problem:
        sys.exit(f"agent: {problem}")


if __name__ == "__main__":
    main(sys.argv[1:])
