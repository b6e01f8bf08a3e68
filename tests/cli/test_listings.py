"""What there is: devices and spaces, for people and for programs."""

import io
import json
import sys

from supersam import __version__
from supersam.cli._output import print_json
from supersam.latency import shipped_tables
from supersam.space import shipped_spaces


def test_devices_are_listed_with_how_far_to_trust_them(supersam):
    listed = json.loads(supersam("devices", "--json").out)

    assert [device["name"] for device in listed] == list(shipped_tables())
    for device in listed:
        assert device.keys() >= {"name", "aliases", "runtime", "precision", "method", "grade", "n_entries", "date"}
        assert device["interval_factor"] > 1  # it says something about a shipped space
    jetson = next(device for device in listed if "jetson-orin" in device["aliases"])
    assert (jetson["method"], jetson["grade"]) == ("estimated", "E")
    text = supersam("devices").out
    assert all(device["name"] in text for device in listed)


def test_a_document_is_there_before_its_command_ends(monkeypatch):
    pipe = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe))

    print_json({"url": "http://127.0.0.1:8050/"})

    assert json.loads(pipe.getvalue()) == {"url": "http://127.0.0.1:8050/"}


def test_spaces_are_listed_with_their_sizes(supersam):
    listed = json.loads(supersam("spaces", "--json").out)

    assert [space["name"] for space in listed] == shipped_spaces()
    for space in listed:
        assert space["n_architectures"] > 1000
        for figure in ("gmacs", "params_m"):
            assert 0 < space["smallest"][figure] < space["largest"][figure]
    assert "supersam-vit-b" in supersam("spaces").out


def test_the_version_is_printed(supersam):
    assert supersam("--version").out.strip() == __version__
