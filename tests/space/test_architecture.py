"""Architectures: their JSON, their digest, and what is not one."""

import json
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any

import pytest

from supersam.errors import SearchSpaceError
from supersam.space import (
    AnyArchitecture,
    Architecture,
    Layer,
    Stage,
    ViTArchitecture,
    architecture_from_dict,
    architecture_from_json,
    load_space,
    shipped_spaces,
)

Tells = Callable[..., AbstractContextManager[None]]

STAGED = Architecture(
    256,
    16,
    (
        Stage("vit", 1, 16, 2, 8),
        Stage("repvit", 2, 48, 4, 8),
        Stage("efficientvit", 3, 96, 2, 0),
        Stage("rwkv", 1, 128, 4, 0),
    ),
)
SAM_VIT = ViTArchitecture(1024, 768, 64, (Layer(0, 12, 3072, 14), Layer(3, 8, 768, 14), Layer(11, 10, 1020, 0)))


@pytest.mark.parametrize("name", shipped_spaces())
def test_json_round_trip_gives_the_same_architecture(name: str) -> None:
    space, rng = load_space(name), random.Random(0)
    for _ in range(50):
        architecture = space.sample(rng)

        again = architecture_from_json(architecture.to_json())

        assert again == architecture
        assert again.digest == architecture.digest
        assert hash(again) == hash(architecture)


@pytest.mark.parametrize(("architecture", "digest"), [(STAGED, "af9a75ec12"), (SAM_VIT, "20acb51842")])
def test_digest_never_changes(architecture: AnyArchitecture, digest: str) -> None:
    # Pinned: studies, URLs, checkpoints and the archive name subnets by it.
    assert architecture.digest == digest


@pytest.mark.parametrize("architecture", [STAGED, SAM_VIT])
def test_dictionary_is_that_of_dataclasses_with_the_kind(architecture: AnyArchitecture) -> None:
    assert architecture.digest  # kept in the object from now on, and no field of it

    assert architecture.to_dict() == {"encoder": architecture.encoder, **asdict(architecture)}


def test_json_is_canonical() -> None:
    assert STAGED.to_json() == (
        '{"encoder":"staged","head_dim":16,"resolution":256,"stages":['
        '{"block":"vit","depth":1,"ratio":2,"width":16,"window":8},'
        '{"block":"repvit","depth":2,"ratio":4,"width":48,"window":8},'
        '{"block":"efficientvit","depth":3,"ratio":2,"width":96,"window":0},'
        '{"block":"rwkv","depth":1,"ratio":4,"width":128,"window":0}]}'
    )


def test_order_of_keys_in_the_json_does_not_matter() -> None:
    content = json.loads(STAGED.to_json())
    backwards = dict(reversed(content.items())) | {"stages": [dict(reversed(s.items())) for s in content["stages"]]}

    assert architecture_from_json(json.dumps(backwards)).digest == STAGED.digest


@pytest.mark.parametrize(
    "other",
    [
        replace(STAGED, resolution=384),
        replace(STAGED, head_dim=8),
        *(
            replace(STAGED, stages=(replace(STAGED.stages[0], **change), *STAGED.stages[1:]))
            for change in ({"block": "rwkv"}, {"depth": 2}, {"width": 32}, {"ratio": 4}, {"window": 0})
        ),
    ],
)
def test_architectures_that_differ_in_one_thing_differ(other: Architecture) -> None:
    assert other != STAGED
    assert other.digest != STAGED.digest
    assert len({other, STAGED, replace(STAGED)}) == 2


def test_architecture_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        STAGED.resolution = 512  # type: ignore[misc]


def test_description_names_every_stage() -> None:
    assert STAGED.describe() == "256px vit·1×16r2 repvit·2×48r4 efficientvit·3×96r2 rwkv·1×128r4"
    assert SAM_VIT.describe() == "1024px 3 layers, MLP 768-3072, heads 8-12"


def changed(architecture: AnyArchitecture, **change: Any) -> dict[str, Any]:
    return json.loads(architecture.to_json()) | change


@pytest.mark.parametrize(
    "content",
    [
        None,
        3,
        "words",
        [],
        {},
        {"encoder": "staged"},
        changed(STAGED, encoder="swin"),
        changed(STAGED, encoder="sam_vit"),
        changed(STAGED, colour="red"),
        changed(STAGED, resolution="256"),
        changed(STAGED, resolution=None),
        changed(STAGED, head_dim=[16]),
        changed(STAGED, stages=4),
        changed(STAGED, stages=["vit"] * 4),
        changed(STAGED, stages=[{"block": "vit"}] * 4),
        changed(STAGED, stages=changed(STAGED)["stages"][:3]),
        changed(STAGED, stages=[changed(STAGED)["stages"][0] | {"block": "mamba"}] * 4),
        changed(STAGED, stages=[changed(STAGED)["stages"][0] | {"width": 16.0}] * 4),
        changed(SAM_VIT, layers=[]),
        changed(SAM_VIT, layers=[{"index": 0}]),
        changed(SAM_VIT, layers=[changed(SAM_VIT)["layers"][0] | {"heads": "12"}]),
        changed(SAM_VIT, width=-1),
    ],
)
def test_what_is_not_an_architecture_is_told_in_one_line(tells: Tells, content: Any) -> None:
    with tells(SearchSpaceError):
        architecture_from_dict(content)


@pytest.mark.parametrize("text", ["", "{", "null", "[1]", '"a"', '{"encoder": "staged"'])
def test_text_that_is_not_an_architecture_is_told_in_one_line(tells: Tells, text: str) -> None:
    with tells(SearchSpaceError):
        architecture_from_json(text)
