"""The shipped cards, and what a card may not say."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from supersam.errors import UsageError
from supersam.zoo import Card, Kind, Latency, Source, load_zoo
from supersam.zoo.catalogue import FOLDER

ZOO = load_zoo()
MINIMAL: dict[str, Any] = {
    "schema": 1,
    "name": "my-sam",
    "title": "My SAM",
    "family": "My SAM",
    "category": "model",
    "summary": "An encoder that exists in this test only.",
    "licence": {"terms": "permissive"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A zoo of one card with one figure."""
    card = {**MINIMAL, "params_m": [{"value": 1.5, "scope": "encoder", "source": "paper"}]}
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "my-sam.yaml").write_text(yaml.safe_dump(card))
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump({"paper": {"kind": "published", "what": "a paper"}}))
    return tmp_path


def change(folder: Path, **fields: Any) -> None:
    path = folder / "cards" / "my-sam.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | fields))


def test_every_shipped_card_is_valid_and_says_where_each_figure_is_from():
    assert len(ZOO.cards) >= 50
    for card in ZOO.cards.values():
        assert all(figure.source in ZOO.sources for figure in card.figures)
        assert card.summary.endswith(".")
    assert sum(len(card.figures) for card in ZOO.cards.values()) > 900


def test_every_source_is_used():
    used = {figure.source for card in ZOO.cards.values() for figure in card.figures}
    used |= {file.source for card in ZOO.cards.values() for file in card.checkpoints}

    assert set(ZOO.sources) == used


def test_known_figures_are_carried_over():
    nanosam = next(
        t for t in ZOO.cards["nanosam-resnet18"].latency if (t.device, t.scope) == ("Jetson AGX Orin", "encoder")
    )
    l0 = [a for a in ZOO.cards["efficientvit-sam-l0"].accuracy if (a.dataset, a.metric) == ("COCO val2017", "AP")]
    encoder = next(cost for cost in ZOO.cards["sam-vit-b"].params_m if cost.scope == "encoder")

    assert (nanosam.ms, nanosam.precision, nanosam.runtime) == (4.2, "fp16", "TensorRT")
    assert (l0[0].value, ZOO.kind(l0[0].source)) == (45.7, Kind.PUBLISHED)
    assert encoder.value == 89.670912


def test_figures_that_were_printed_in_another_unit_or_of_another_system_are_not_mistaken():
    fastsam, lite = ZOO.cards["fastsam-x"], ZOO.cards["lite-sam"]
    printed = next(cost for cost in fastsam.gmacs if cost.source == "tinysam_repo")
    counted = next(cost for cost in fastsam.gmacs if cost.source == "edgesam_repo")

    assert (printed.value, printed.resolution) == (172, 640)
    assert printed.value == pytest.approx(counted.value * (640 / 1024) ** 2, rel=0.02)
    assert lite.latency == ()
    assert [one.value for one in lite.statements if "SAM-B" in one.what] == ["2084 ms"]


def test_what_the_sources_do_not_say_is_not_on_a_card():
    assert {time.runtime for time in ZOO.cards["samfast"].latency} == {""}
    assert {time.batch for name in ("picosam2", "picosam3") for time in ZOO.cards[name].latency} == {None}


def test_cards_hold_no_pointer_of_a_private_index_and_nothing_from_memory():
    for path in FOLDER.rglob("*.yaml"):
        assert not re.search(r"index (file )?id|from memory|unverified|\bTBD\b", path.read_text()), path.name


def test_only_third_parties_are_secondary():
    others = ("aihub", "aihub_old", "jetson_lab_bench", "jetson_lab_evit")  # a vendor, and a tutorial
    for key in ("survey_2nd", "frontiers_2nd", "indep_cpu", "issue", *others):
        assert ZOO.kind(key) is Kind.SECONDARY
    assert not [key for key, source in ZOO.sources.items() if source.kind is Kind.MEASURED and not source.command]


def test_the_citation_is_one_line():
    assert ZOO.cards["mobile-sam"].citation.endswith("arXiv 2306.14289")
    assert Card.model_validate(MINIMAL).citation == "My SAM"


def test_a_small_zoo_loads(folder: Path):
    assert load_zoo(folder).find("my-sam").params_m[0].value == 1.5


def test_an_unknown_name_is_said_with_a_near_one(tells: Any):
    with tells(UsageError, "no 'mobile_sam'", "mobile-sam", "supersam zoo list"):
        ZOO.find("mobile_sam")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"paramsm": []}, "paramsm"),
        ({"schema": 2}, "schema"),
        ({"name": "other"}, "file and name"),
        ({"licence": {"terms": "free"}}, "licence.terms"),
        ({"params_m": [{"value": -1, "scope": "encoder", "source": "paper"}]}, "params_m.0.value"),
        ({"params_m": [{"value": 1, "scope": "encoder", "source": "rumour"}]}, "rumour"),
        ({"params_m": [{"value": 1, "scope": "encoder"}]}, "source"),
        ({"paper": {"arxiv": "not a number"}}, "paper.arxiv"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_by_file_and_key(folder: Path, tells: Any, fields: Any, words: str):
    change(folder, **fields)

    with tells(UsageError, "my-sam.yaml", words):
        load_zoo(folder)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ms": 1.0, "images_per_s": 2.0},
        {"ms": 1.0, "outcome": "out of memory"},
        {"ms": 2.0, "highest_ms": 1.0},
        {"ms": 0},
    ],
)
def test_a_latency_says_one_thing(fields: dict[str, Any]):
    with pytest.raises(ValueError, match=r"latency|ms"):
        Latency.model_validate({"device": "d", "scope": "encoder", "source": "s", **fields})


def test_a_time_is_written_with_its_unit():
    def time(**fields: Any) -> str:
        return Latency.model_validate({"device": "d", "scope": "encoder", "source": "s", **fields}).time

    assert [time(ms=8.2), time(ms=7.88, highest_ms=17.58), time(images_per_s=449), time(outcome="out of memory")] == [
        "8.2 ms",
        "7.88 to 17.58 ms",
        "449 images/s",
        "out of memory",
    ]


def test_a_system_of_several_sizes_has_a_range_of_one_source_and_its_input():
    params = {name: ZOO.cards[name].encoder_params.values for name in ("rwkv-sam", "mobile-sam", "fastsam-x")}
    gmacs = {name: ZOO.cards[name].encoder_gmacs for name in ("slimsam", "efficientvit-sam-l0", "fastsam-x")}

    assert params == {"rwkv-sam": (4.96, 197.82), "mobile-sam": (6.065532,), "fastsam-x": ()}
    assert gmacs["slimsam"] == ((46.6, 153.5), (1024,))
    assert (gmacs["slimsam"].at, gmacs["efficientvit-sam-l0"].at) == ("", "512px")
    assert (gmacs["fastsam-x"].least, gmacs["fastsam-x"].at) == (None, "")


def test_a_measurement_needs_its_command():
    with pytest.raises(ValueError, match="command"):
        Source.model_validate({"kind": "measured", "what": "here"})
    assert Source.model_validate({"kind": "measured", "what": "here", "command": "supersam evaluate"}).command
