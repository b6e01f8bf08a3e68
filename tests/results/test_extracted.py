"""Extracted checkpoints are found by their header."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from supersam.errors import CheckpointError
from supersam.results.extracted import checkpoint_files, list_extracted, read_extracted
from supersam.space import load_space

ARCHITECTURE = load_space("starter").smallest()


def write(path: Path, **record: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"kind": "subnet", "format": 1, "architecture": ARCHITECTURE.to_dict(), **record}
    save_file({"a": np.zeros(3, np.float32)}, path, {"supersam": json.dumps(content)})
    return path


def test_a_subnet_is_known_by_its_header(tmp_path: Path):
    found = read_extracted(write(tmp_path / "best.safetensors"))

    assert found.architecture == ARCHITECTURE
    assert found.digest == ARCHITECTURE.digest
    assert found.size == (tmp_path / "best.safetensors").stat().st_size


def test_files_of_a_folder_and_of_its_runs_are_found_and_links_are_not(tmp_path: Path):
    first, second = write(tmp_path / "a.safetensors"), write(tmp_path / "run" / "b.safetensors")
    write(tmp_path / "run" / "deep" / "c.safetensors")
    (tmp_path / "link.safetensors").symlink_to(first)

    assert checkpoint_files(tmp_path) == [first, second]
    assert checkpoint_files(tmp_path / "nowhere") == []


def test_keys_differ_and_say_nothing_about_the_disk(tmp_path: Path):
    keys = {one.key for one in list_extracted([write(tmp_path / "a.safetensors"), write(tmp_path / "b.safetensors")])}

    assert len(keys) == 2
    assert all(len(key) == 16 and key.isalnum() for key in keys)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x04" + bytes(7) + b"none", (2).to_bytes(8, "little") + b"{}"])
def test_what_is_no_checkpoint_is_refused_and_left_out(tmp_path: Path, content: bytes):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match=r"odd\.safetensors"):
        read_extracted(path)
    assert list_extracted([path, tmp_path / "gone.safetensors"]) == []


@pytest.mark.parametrize(
    "record", [{"kind": "supernet"}, {"architecture": {"encoder": "other"}}, {"architecture": None}]
)
def test_other_records_are_refused(tmp_path: Path, record: dict[str, Any]):
    with pytest.raises(CheckpointError):
        read_extracted(write(tmp_path / "other.safetensors", **record))
