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


def test_the_listing_loads_nothing_heavy():
    code = (
        "import sys\nfrom supersam.cli.main import app\nfrom typer.testing import CliRunner\n"
        "CliRunner().invoke(app, ['zoo', 'list'])\n"
        "print(sorted({'torch', 'timm', 'optuna', 'dash', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
