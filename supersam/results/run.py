"""A search run: a folder that says what was asked, with what, and everything that was found.

A folder holds all it takes to understand and repeat the search:

``run.json``
    The question as resolved. ``schema`` (1), ``device``, ``table``, ``table_sha256``, ``budget``, ``budget_ms`` (null:
    the whole front), ``risk``, ``space``, ``space_name``, ``space_fingerprint``, ``seed``, ``accuracy`` (``"archive"``
    or what was measured on), ``weights``, ``versions``; since 0.2 also ``devices`` (each with name, table, sha256 and
    budget; the first one is repeated in the fields above), ``limits``, ``objective``, ``sampler``, ``storage``,
    ``study``, ``space_content`` (the space itself), ``accuracy_sha256`` (of the archive; or of data, weights and how
    was measured).
``tables/NAME.json``
    The latency tables the search used.
``candidates.jsonl``
    One evaluated candidate a line (README, "The JSON of a candidate"), in the order in which they were found. A line
    may add ``trial`` (number in the study), ``at`` (local time of the answer), ``seconds`` (from proposal to answer),
    ``verified`` (true: measured after the search, replaces an earlier line). Of lines of one digest the last counts.
``study.db``
    Optuna's own record in SQLite, unless another storage was asked for. Attributes of a trial: ``worker``,
    ``digest`` (claimed), ``accuracy``, ``rejected`` (why no accuracy was asked for), ``pruned``.
``timed.json``
    With ``--measure K``: subnets timed whole on the machine at hand, beside their predictions (``results.timed``).
``result.json``
    The answer as ``supersam search --json`` prints it.

Readers ignore fields they do not know.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supersam._paths import write_atomically
from supersam.errors import DamagedError, MissingError, SearchSpaceError, UsageError
from supersam.results.candidate import Candidate
from supersam.space.architecture import DIGEST_LENGTH

RUN_SCHEMA = 1
TORN = " #torn"  # ends a line that was cut by a crash and closed by the run that went on


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    folder: Path

    @property
    def question_file(self) -> Path:
        return self.folder / "run.json"

    @property
    def candidates_file(self) -> Path:
        return self.folder / "candidates.jsonl"

    @property
    def study_file(self) -> Path:
        return self.folder / "study.db"

    @property
    def tables_dir(self) -> Path:
        return self.folder / "tables"

    @property
    def result_file(self) -> Path:
        return self.folder / "result.json"

    @property
    def exists(self) -> bool:
        return self.question_file.is_file()

    def start(self, question: dict[str, Any]) -> None:
        """Write what is asked; the folder is made."""
        write_atomically(self.question_file, json.dumps({"schema": RUN_SCHEMA, **question}, indent=1) + "\n")

    def question(self) -> dict[str, Any]:
        """Return what was asked.

        Raises:
            MissingError: if the folder is not a run.
            DamagedError: if it is damaged or from a newer version.
        """
        if not self.exists:
            raise MissingError(f"{self.folder} is not a run (it has no run.json); make one with: supersam search")
        try:
            question: dict[str, Any] = json.loads(self.question_file.read_text())
            schema = int(question["schema"])
        except (KeyError, TypeError, ValueError) as problem:
            raise DamagedError(f"{self.question_file} is damaged ({problem!r})") from problem
        if schema > RUN_SCHEMA:
            raise DamagedError(f"{self.folder} was written by a newer version (schema {schema}); upgrade supersam")
        return question

    def append(self, candidate: Candidate, **noted: Any) -> None:
        """Add one candidate; a line is written whole or, if the machine dies, ignored by ``candidates``.

        Args:
            noted: more fields of the line, such as ``trial``, ``at`` and ``seconds``.
        """
        with self.candidates_file.open("a+b") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a line torn by a crash is closed, and skipped when it is read
                    file.write(TORN.encode() + b"\n")
            file.write(json.dumps(candidate.to_dict() | noted).encode() + b"\n")

    def candidates(self) -> list[Candidate]:
        """Return everything that was evaluated, each architecture once; a torn last line is left out."""
        self.question()
        found: dict[str, Candidate] = {}
        if not self.candidates_file.is_file():
            return []
        try:
            lines = self.candidates_file.read_text(encoding="utf-8").splitlines(keepends=True)
        except UnicodeDecodeError as problem:
            raise DamagedError(f"{self.candidates_file} is damaged ({problem})") from problem
        for number, line in enumerate(lines, start=1):
            if line.endswith(TORN + "\n"):
                continue
            try:
                candidate = Candidate.from_dict(json.loads(line))
            except (json.JSONDecodeError, KeyError, TypeError, ValueError, SearchSpaceError) as problem:
                if number == len(lines) and not line.endswith("\n"):
                    break
                raise DamagedError(f"{self.candidates_file} line {number} is damaged ({problem!r})") from problem
            found.pop(candidate.digest, None)  # a measurement that replaces a prediction was made when it was written
            found[candidate.digest] = candidate
        return list(found.values())

    def find(self, digest: str) -> Candidate:
        """Return the candidate with this digest, or the ``best`` of the run.

        Raises:
            UsageError: if the run has none.
        """
        if digest == "best":
            digest = self._best_digest()
        for candidate in self.candidates():
            if candidate.digest == digest:
                return candidate
        raise UsageError(
            f"{self.folder} has no subnet {digest!r} (digests have {DIGEST_LENGTH} characters); "
            f"{self.candidates_file} lists them, `best` is the best within the budget"
        )

    def _best_digest(self) -> str:
        question = self.question()
        if not self.result_file.is_file():
            raise MissingError(self._why_no_result(question.get("merged_from")))
        try:
            best = json.loads(self.result_file.read_text())["best"]
            digest = None if best is None else str(best["digest"])
        except (KeyError, TypeError, ValueError) as problem:
            raise DamagedError(f"{self.result_file} is damaged ({problem!r})") from problem
        if digest is None:
            raise UsageError(f"nothing in {self.folder} met its budget, so there is no best; name a digest instead")
        return digest

    def _why_no_result(self, parts: list[str] | None) -> str:
        if parts:
            return f"{self.folder} has no result; merge again: supersam show {' '.join(parts)} --out NEW"
        return (
            f"{self.folder} has no result yet, its search was interrupted with {len(self.candidates())} evaluated; "
            f"finish it with: supersam search --resume --out {self.folder} --trials N (as many as were asked for; "
            "default: 200)"
        )


def list_runs(folder: Path) -> list[Run]:
    """Return the runs in a folder, or the folder itself if it is one, newest first."""
    if Run(folder).exists:
        return [Run(folder)]
    if not folder.is_dir():
        return []
    runs = [Run(child) for child in folder.iterdir() if Run(child).exists]
    return sorted(runs, key=lambda run: run.question_file.stat().st_mtime, reverse=True)
