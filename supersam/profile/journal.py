"""The journal of a measurement: every timing is a line as soon as it is made, so that an interrupted run goes on."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from supersam._paths import write_atomically
from supersam.errors import DamagedError, UsageError
from supersam.latency import same_conditions
from supersam.profile.onnx_files import network_facts
from supersam.profile.protocol import Timing

SENTINEL = "sentinel"


class Journal:
    """Timings by the name of the item and the round, on disk; those of each sentinel apart."""

    def __init__(self, path: Path, conditions: dict[str, Any]) -> None:
        """Open a journal, or start it.

        Args:
            conditions: under which it is measured, by the names that a table's header has.

        Raises:
            UsageError: if the file was measured under other conditions or on other networks, or is no journal.
            DamagedError: if a line cannot be read.
        """
        self.path = path
        self._timings: dict[tuple[str, str], dict[int, Timing]] = defaultdict(dict)
        self._sentinel = ""  # the network that is the sentinel now
        self._forced: dict[str, None] = {}
        if path.exists() and b"\n" in path.read_bytes():  # without one, a crash tore its first line
            self._read(conditions)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"conditions": conditions, "networks": network_facts()}) + "\n")

    def watch(self, sentinel: str) -> None:
        """Let this network be the sentinel from here on: another space has another one."""
        if sentinel != self._sentinel:
            self._append({"sentinel": sentinel})
            self._sentinel = sentinel

    def has(self, name: str, at: int) -> bool:
        """Return whether an item was timed in round ``at`` (a sentinel: at this place of the run)."""
        return at in self._timings.get(self._key(name), {})

    def add(self, name: str, at: int, timing: Timing) -> None:
        """Keep a timing."""
        self._append({"name": name, "round": at, **asdict(timing)})
        self._timings[self._key(name)][at] = timing

    def overrule(self, reasons: Iterable[str]) -> tuple[str, ...]:
        """Keep what was overruled to measure now; return all that ever was, also before an interruption."""
        new = [reason for reason in reasons if reason not in self._forced]
        if new:
            self._append({"forced": new})
            self._forced |= dict.fromkeys(new)
        return tuple(self._forced)

    @property
    def timings(self) -> dict[str, list[Timing]]:
        """The timings of every item and of the sentinel there is now, in the order of the rounds."""
        known = ((key, rounds) for key, rounds in self._timings.items() if key == self._key(key[0]))
        return {name: [rounds[at] for at in sorted(rounds)] for (name, _), rounds in known}

    def remove(self) -> None:
        """Delete the file: its content is in a table."""
        self.path.unlink(missing_ok=True)

    def _key(self, name: str) -> tuple[str, str]:
        return name, self._sentinel if name == SENTINEL else ""

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _read(self, conditions: dict[str, Any]) -> None:
        text = self.path.read_text()
        lines = text.splitlines(keepends=True)
        try:
            header = json.loads(lines[0])
            known = header["conditions"]
        except (IndexError, KeyError, TypeError, ValueError):
            raise UsageError(f"{self.path} is no journal of a measurement; choose another --out") from None
        difference = same_conditions(known, json.loads(json.dumps(conditions)))
        if difference is not None:
            raise UsageError(
                f"{self.path}:1 was measured under other conditions: {difference} (there, then now); "
                "remove the file to start again, or choose another --out"
            )
        self._refuse_other_networks(header.get("networks"))
        if not lines[-1].endswith("\n"):  # torn by a crash: drop it, so that the next line starts clean
            lines.pop()
            write_atomically(self.path, "".join(lines))
        for number, line in enumerate(lines[1:], start=2):
            try:
                entry = json.loads(line)
                if "forced" in entry:
                    self._forced |= dict.fromkeys(map(str, entry["forced"]))
                    continue
                if "sentinel" in entry:
                    self._sentinel = str(entry["sentinel"])
                    continue
                name, at = str(entry.pop("name")), int(entry.pop("round"))
                self._timings[self._key(name)][at] = _timing(entry)
            except (AttributeError, KeyError, TypeError, ValueError) as problem:
                raise DamagedError(
                    f"{self.path}:{number} is damaged ({problem!r}); remove the file to start again"
                ) from problem

    def _refuse_other_networks(self, known: Any) -> None:
        way_out = "remove the file to start again, or choose another --out"
        if not isinstance(known, dict):
            raise UsageError(
                f"{self.path}:1 is of an older SuperSAM, which did not say what its networks are made of; {way_out}"
            )
        for name, value in network_facts().items():
            if known.get(name) != value:
                raise UsageError(
                    f"{self.path}:1 was measured on other networks: {name} is {known.get(name)!r} there and {value!r} "
                    f"now; {way_out}"
                )


def _timing(entry: dict[str, Any]) -> Timing:
    timing = Timing(**entry)
    for name in ("ms", "wall_ms", "cpu_ms", "p25", "p75", "p99"):
        value = getattr(timing, name)
        if not isinstance(value, float | int) or not 0 < value < float("inf"):
            raise ValueError(f"{name} is {value!r}, not a time")
    return timing
