"""``supersam dashboard --build DIR``: one file that asks for nothing."""

import json
import re
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs_version
from typer.testing import CliRunner

import dashboard
from dashboard import build
from supersam.cli.main import app
from supersam.errors import MissingError


@pytest.fixture
def page(runs: Path, tables: Path, no_archive: Path, tmp_path: Path) -> str:
    return build(runs, tmp_path / "site", tables, no_archive).read_text()


def test_the_page_has_every_front_and_all_it_needs(page: str):
    assert re.findall(r'<section class="view" data-view="([^"]+)"', page) == ["first jetson-test", "first phone-test"]
    sent = json.loads(re.search(r'type="application/json">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert sent["figures"].keys() == {"first jetson-test", "first phone-test"}
    assert sent["figures"]["first jetson-test"].keys() == {"light", "dark"}
    assert sent["config"]["showSendToCloud"] is False
    assert "MobileSAM" in page
    assert "<span>supersam</span> <span>extract</span>" in page


def test_the_page_may_load_nothing(page: str):
    assert "default-src 'none'" in page
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', markup)


def test_nothing_to_show_is_said_and_nothing_is_written(tmp_path: Path, tables: Path, no_archive: Path):
    with pytest.raises(MissingError, match="there is nothing to show in"):
        build(tmp_path / "none", tmp_path / "site", tables, no_archive)
    assert not (tmp_path / "site").exists()


def test_the_command_says_where_it_is(runs: Path, tmp_path: Path):
    answer = CliRunner().invoke(app, ["dashboard", str(runs), "--build", str(tmp_path / "site"), "--json"])

    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert Path(found["path"]).stat().st_size == found["bytes"] > 1_000_000


def test_a_folder_that_is_not_there_is_said(tmp_path: Path):
    answer = CliRunner().invoke(app, ["dashboard", str(tmp_path / "rnus"), "--build", str(tmp_path / "site"), "--json"])

    assert answer.exit_code == 0, answer.output
    assert f"There is no folder {tmp_path / 'rnus'} yet" in answer.stderr
    assert json.loads(answer.stdout)["bytes"] > 1_000_000


def test_plotly_is_the_part_that_draws_our_figures_and_of_the_version_that_python_writes_for(page: str):
    found = re.search(r"plotly\.js \(basic - minified\) v(\d+)\.", page)

    assert found is not None
    assert found[1] == get_plotlyjs_version().split(".")[0], "renew dashboard/assets/plotly-basic.min.js"
    figures = json.loads(re.search(r'type="application/json">(.*?)</script>', page, re.DOTALL)[1])["figures"]  # type: ignore[index]
    drawn = {trace["type"] for themes in figures.values() for figure in themes.values() for trace in figure["data"]}
    assert drawn == {"scatter"}


def test_the_licence_of_what_is_shipped_lies_beside_it():
    text = (Path(dashboard.__file__).parent / "assets" / "plotly-basic.LICENSE.txt").read_text()

    assert "Plotly" in text
    assert "The above copyright notice and this permission notice shall be included" in text
