"""``supersam zoo list`` and ``supersam zoo show``."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from supersam.cli.main import app
from supersam.errors import UsageError
from supersam.zoo import load_zoo


def run(*arguments: str) -> str:
    answer = CliRunner().invoke(app, ["zoo", *arguments])
    if answer.exception and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_every_card_is_listed():
    listed = json.loads(run("list", "--json"))

    assert [card["name"] for card in listed] == list(load_zoo().cards)
    assert all(card["figures"].keys() == {"published", "secondary", "counted", "measured"} for card in listed)
    assert all(name in run("list") for name in load_zoo().cards)


def test_cards_are_filtered_by_licence():
    listed = json.loads(run("list", "--licence", "non-commercial", "--json"))

    assert "edge-sam" in [card["name"] for card in listed]
    assert {card["licence"]["terms"] for card in listed} == {"non-commercial"}


def test_an_unknown_licence_or_name_is_said():
    with pytest.raises(UsageError, match="Did you mean 'permissive'"):
        run("list", "--licence", "permisive")
    with pytest.raises(UsageError, match="Did you mean 'tinysam'"):
        run("show", "tinsam")


def test_a_card_is_shown_with_the_kind_and_source_of_every_figure():
    text = run("show", "mobile-sam")
    card = json.loads(run("show", "mobile-sam", "--json"))

    assert "arXiv 2306.14289" in text
    assert "Apache-2.0" in text
    assert "secondary" in text
    assert {figure["source"] for figure in card["accuracy"]} <= card["sources"].keys()
    assert card["sources"]["survey_2nd"]["kind"] == "secondary"


def test_a_system_of_several_sizes_is_listed_by_their_range_and_gmacs_with_their_input():
    listed = {card["name"]: card for card in json.loads(run("list", "--json"))}
    lines = {line.split()[0]: line for line in run("list").splitlines()}

    assert listed["slimsam"]["encoder_params_m"] == [5.658968, 23.897216]
    assert (listed["slimsam"]["encoder_gmacs"], listed["slimsam"]["encoder_gmacs_px"]) == ([46.6, 153.5], [1024])
    assert (listed["efficientvit-sam-l0"]["encoder_gmacs_px"], listed["fastsam-x"]["encoder_gmacs"]) == ([512], [])
    assert "5.659 to 23.9 " in lines["slimsam"]
    assert "46.6 to 153.5 " in lines["slimsam"]
    assert "34.77 at 512px" in lines["efficientvit-sam-l0"]


def test_the_sources_of_released_files_are_shown():
    card = json.loads(run("show", "picosam2", "--json"))
    for name, found in load_zoo().cards.items():
        assert set(found.named_sources) == json.loads(run("show", name, "--json"))["sources"].keys()

    assert {file["source"] for file in card["checkpoints"]} <= card["sources"].keys()
    assert any("picosam2_plots" in line for line in run("show", "picosam2").splitlines() if "epoch1.pt" in line)


def test_the_listing_loads_nothing_heavy():
    code = (
        "import sys\nfrom supersam.cli.main import app\nfrom typer.testing import CliRunner\n"
        "CliRunner().invoke(app, ['zoo', 'list'])\n"
        "print(sorted({'torch', 'timm', 'optuna', 'dash', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
