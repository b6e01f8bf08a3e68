"""Whether a machine is quiet, read from a /sys of the test's own."""

import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from supersam.errors import EnvironmentProblem
from supersam.profile import machine
from supersam.profile.machine import Clocks, disturbances, host, pin, power, read_clocks, require_quiet

Tells = Callable[..., AbstractContextManager[None]]
LOCKED = {"scaling_governor": "performance", "scaling_min_freq": "2400000", "scaling_max_freq": "2400000"}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the load; 0 at first."""

    def change(value: float) -> None:
        monkeypatch.setattr(os, "getloadavg", lambda: (value, 9.0, 9.0))

    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    change(0.0)
    return change


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /sys of two cores whose clocks are locked, on mains."""
    monkeypatch.setattr(machine, "_work", lambda seconds: None)
    for core in range(max(os.sched_getaffinity(0)) + 1):
        folder = tmp_path / f"devices/system/cpu/cpu{core}"
        for name, content in LOCKED.items():
            write(folder / "cpufreq" / name, content)
        write(folder / "cpufreq/scaling_cur_freq", "2400000\n")
        write(folder / "thermal_throttle/core_throttle_count", "7\n")
    write(tmp_path / "class/power_supply/AC/online", "1")
    write(tmp_path / "class/power_supply/BAT0/status", "Charging\n")
    return tmp_path


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def own_core(system: Path) -> Path:
    return system / f"devices/system/cpu/cpu{max(os.sched_getaffinity(0))}"


def test_quiet_machine_is_taken(system: Path, load: Callable[[float], None]) -> None:
    assert disturbances(system) == []
    load(1.2)
    assert disturbances(system) == []


def test_busy_machine_is_refused(system: Path, load: Callable[[float], None]) -> None:
    load(1.3)

    assert disturbances(system) == ["the machine is busy (load 1.3, at most 1.2)"]


def test_battery_is_refused(system: Path, load: Callable[[float], None]) -> None:
    write(system / "class/power_supply/BAT0/status", "Discharging\n")

    assert disturbances(system) == ["it runs on battery"]


@pytest.mark.parametrize(
    ("file", "later", "words"),
    [
        ("cpufreq/scaling_cur_freq", "1800000", "its clock moves (25 %"),
        ("thermal_throttle/core_throttle_count", "8", "it throttles"),
    ],
)
def test_machine_that_slows_itself_down_is_refused(
    system: Path, load: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, file: str, later: str, words: str
) -> None:
    monkeypatch.setattr(machine, "_work", lambda seconds: write(own_core(system) / file, later))

    (found,) = disturbances(system)

    assert words in found


def test_guest_that_shows_no_clocks_is_taken_as_it_is(
    tmp_path: Path, load: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_work", lambda seconds: None)

    assert disturbances(tmp_path) == []
    assert read_clocks(tmp_path) == Clocks(None, 0)
    assert (power(tmp_path).clocks_locked, power(tmp_path).governor) == (False, None)


def test_power_mode_says_whether_clocks_are_locked(system: Path) -> None:
    assert (power(system).mode, power(system).clocks_locked) == ("governor performance", True)
    write(own_core(system) / "cpufreq/scaling_min_freq", "800000")
    assert power(system).clocks_locked is False


def test_power_mode_is_that_of_the_core_that_is_timed_on(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for core, governor in ((0, "performance"), (5, "powersave")):
        for name, content in {**LOCKED, "scaling_governor": governor}.items():
            write(system / f"devices/system/cpu/cpu{core}/cpufreq" / name, content)
    write(system / "devices/system/cpu/cpu5/cpufreq/scaling_min_freq", "800000")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5}, raising=False)

    assert (power(system).governor, power(system).clocks_locked) == ("powersave", False)


def test_change_of_the_clock_counts_above_one_percent() -> None:
    assert Clocks(2000, 0).change(Clocks(2019, 0)) == 0
    assert Clocks(2000, 0).change(Clocks(1960, 0)) == pytest.approx(0.02)
    assert Clocks(None, 0).change(Clocks(1960, 0)) == 0


def test_refusal_names_the_way_out_and_force_is_remembered(
    monkeypatch: pytest.MonkeyPatch, load: Callable[[float], None], tells: Tells
) -> None:
    monkeypatch.setattr(machine, "disturbances", lambda: ["it is busy", "it throttles"])

    with tells(EnvironmentProblem, "it is busy; it throttles", "--wait", "--force"):
        require_quiet(force=False)
    assert require_quiet(force=True) == ("it is busy", "it throttles")


def test_machine_may_take_its_time_to_become_quiet(monkeypatch: pytest.MonkeyPatch, tells: Tells) -> None:
    seconds = [0.0]
    monkeypatch.setattr(machine.time, "sleep", lambda s: seconds.__setitem__(0, seconds[0] + s))
    monkeypatch.setattr(machine.time, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(machine, "disturbances", lambda: ["busy"] if seconds[0] < 60 else [])

    with tells(EnvironmentProblem, "busy"):
        require_quiet(force=False, wait_seconds=30)
    assert require_quiet(force=False, wait_seconds=90) == ()


def test_process_is_kept_on_one_core() -> None:
    before = os.sched_getaffinity(0)
    try:
        assert {pin()} == os.sched_getaffinity(0) <= before
    finally:
        os.sched_setaffinity(0, before)


def test_host_is_described_without_its_name() -> None:
    found = host()

    assert found["cpu"]
    assert re.fullmatch("[0-9a-f]{64}", found["fingerprint_sha256"])
    assert os.uname().nodename not in str(found)
    assert host() == found
