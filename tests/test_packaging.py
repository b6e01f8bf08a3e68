"""A wheel installs `supersam` and nothing else, with all it needs inside."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def test_only_supersam_lands_in_site_packages(wheel):
    top = {name.split("/")[0] for name in wheel}
    assert {name for name in top if not name.endswith(".dist-info")} == {"supersam"}


def test_shipped_data_and_the_dashboard_are_inside(wheel):
    names = set(wheel)
    for path in [*ROOT.glob("search_spaces/*.yaml"), *ROOT.glob("latency_tables/*.json")]:
        assert f"supersam/{path.relative_to(ROOT)}" in names
    assert "supersam/dashboard/app.py" in names
    for file in ("starter.safetensors", "archive.json", "batch_norm.safetensors", "MODEL_CARD.md"):
        assert f"supersam/starter/{file}" in names


def test_nothing_of_tests_or_runs_is_inside(wheel):
    assert not [name for name in wheel if name.startswith(("tests", "runs", "experiments")) or "__pycache__" in name]
