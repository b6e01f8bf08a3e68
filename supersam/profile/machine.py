"""The machine that is measured: what it is, whether it is quiet, and whether it slows itself down."""

import hashlib
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supersam.errors import EnvironmentProblem
from supersam.latency import Device, Power

MOST_LOAD = 0.3  # of each core
MOST_CLOCK_CHANGE = 0.01
SYSTEM = Path("/sys")


def pin() -> int | None:
    """Keep this process on one core, the last it may use; None where the system does not offer it."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = _last_core()
    os.sched_setaffinity(0, {core})
    return core


def disturbances(system: Path = SYSTEM) -> list[str]:
    """Return what speaks against measuring now."""
    found = []
    load, limit = os.getloadavg()[0], MOST_LOAD * (os.cpu_count() or 1)
    if load > limit:
        found.append(f"the machine is busy (load {load:.1f}, at most {limit:.1f})")
    if any(_text(supply / "status") == "Discharging" for supply in system.glob("class/power_supply/*")):
        found.append("it runs on battery")
    before = read_clocks(system)
    _work(0.1)
    after = read_clocks(system)
    if before.throttled < after.throttled:
        found.append("it throttles")
    if change := before.change(after):
        found.append(f"its clock moves ({100 * change:.0f} % within 0.1 s); fix it with the governor performance")
    return found


def require_quiet(force: bool, wait_seconds: float = 0.0) -> tuple[str, ...]:
    """Return what was overruled by ``force``.

    Args:
        wait_seconds: how long the machine may take to become quiet.

    Raises:
        EnvironmentProblem: if there is a reason not to measure and it is not forced.
    """
    deadline = time.monotonic() + wait_seconds
    found = disturbances()
    while found and not force and time.monotonic() < deadline:
        time.sleep(5)
        found = disturbances()
    if found and not force:
        raise EnvironmentProblem(f"{'; '.join(found)}; wait (--wait SECONDS), or use --force, which the table records")
    return tuple(found)


@dataclass(frozen=True)
class Clocks:
    """What the kernel says of a core; None or 0 where it says nothing."""

    mhz: float | None
    throttled: int  # events since the start of the machine

    def change(self, later: "Clocks") -> float:
        """Return the relative change of the clock if it is more than allowed, else 0."""
        if not self.mhz or not later.mhz:
            return 0.0
        change = abs(later.mhz / self.mhz - 1)
        return change if change > MOST_CLOCK_CHANGE else 0.0


def read_clocks(system: Path = SYSTEM) -> Clocks:
    """Return the clock of the core this process runs on."""
    folder = _core(system)
    khz = _text(folder / "cpufreq/scaling_cur_freq")
    events = _text(folder / "thermal_throttle/core_throttle_count")
    return Clocks(float(khz) / 1e3 if khz else None, int(events) if events else 0)


def power(system: Path = SYSTEM) -> Power:
    """Return the power mode of the core this process runs on, as far as the kernel tells."""
    folder = _core(system) / "cpufreq"
    governor = _text(folder / "scaling_governor")
    if governor is None:
        return Power(mode="not controlled", clocks_locked=False, note="the kernel shows no clocks, as in a guest")
    low, high = _text(folder / "scaling_min_freq"), _text(folder / "scaling_max_freq")
    return Power(mode=f"governor {governor}", clocks_locked=low is not None and low == high, governor=governor)


def device() -> Device:
    """Return this machine's processor as the device of a table."""
    return Device(name=cpu_name(), kind="cpu")


def host() -> dict[str, Any]:
    """Return what the machine is, and a hash of it; nothing that names its owner."""
    facts: dict[str, Any] = {
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "virtualised": _virtualised(),
    }
    text = "\n".join(f"{name} {value}" for name, value in facts.items())
    return {**facts, "fingerprint_sha256": hashlib.sha256(text.encode()).hexdigest()}


def cpu_name() -> str:
    """Return the processor's name."""
    lines = (_text(Path("/proc/cpuinfo")) or "").splitlines()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _memory_gb() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, OSError, ValueError):
        return None


def _virtualised() -> bool | None:
    flags = (line for line in (_text(Path("/proc/cpuinfo")) or "").splitlines() if line.startswith("flags"))
    line = next(flags, None)
    return None if line is None else " hypervisor" in line


def _core(system: Path) -> Path:
    """Return the folder of the core that ``pin`` takes."""
    return system / f"devices/system/cpu/cpu{_last_core()}"


def _last_core() -> int:
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def _work(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
