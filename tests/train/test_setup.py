"""What a configuration asks for and its data or space has not is refused before anything is trained."""

from pathlib import Path

import pytest
import torch

from supersam.checkpoints.supernets import load_supernet
from supersam.data.sources import DataSource, open_sources
from supersam.errors import ConfigError
from supersam.train.distillation_config import Distillation
from supersam.train.initial_config import Initial
from supersam.train.loop import train
from supersam.train.teacher_cache import sources_of
from supersam.train.teacher_cache_fill import fill, open_writer


@pytest.fixture
def photos(shapes: Path) -> list[DataSource]:
    return [DataSource(path=shapes / "images", format="images")]


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ({}, True),
        ({"distillation": Distillation(teacher="x")}, True),
        ({"distillation": Distillation(teacher="x", supervised=0, embedding={"stop": 0.5})}, True),
        ({"distillation": Distillation(teacher="x", supervised=0, embedding={"start": 0.1})}, True),
        (
            {
                "distillation": Distillation(teacher="x", supervised=0),
                "initial": Initial(weights="starter", reorder="taylor"),
            },
            True,
        ),
        ({"distillation": Distillation(teacher="x", supervised=0)}, False),
        (
            {"distillation": Distillation(teacher="x", supervised=0, embedding={"stop": 0.5}, prompts={"start": 0.5})},
            False,
        ),
    ],
)
def test_images_without_masks_teach_what_a_teacher_says_and_nothing_else(
    changed, photos, patch_teacher, build_run, tells, values, refused
):
    config = changed(data=photos, **values)

    if not refused:
        build_run(config)
        return
    with tells(ConfigError, "images has no masks", "supervised: 0"):
        build_run(config)


def test_a_supernet_is_distilled_from_cached_embeddings_of_images_without_masks(
    changed, photos, patch_teacher, tmp_path, build_run
):
    packs = open_sources(photos[0], "train")
    with open_writer(tmp_path / "cache", patch_teacher) as writer:
        fill(writer, patch_teacher, sources_of(packs))
    lessons = Distillation(teacher="x", cache=tmp_path / "cache", supervised=0)
    plain = {"crop_probability": 0, "flip_probability": 0, "brightness": 0, "tint": 0, "offset": 0}
    config = changed(data=photos, distillation=lessons, augmentation=plain)

    fresh = build_run(config).model.image_encoder.state_dict()
    trained = load_supernet(train(config))[0].image_encoder.state_dict()

    assert any(not torch.equal(weights, fresh[name].half().float()) for name, weights in trained.items())


def test_a_cache_has_no_embeddings_of_a_stream(changed, patch_teacher, shapes, tmp_path, build_run, tells):
    (tmp_path / "sa_000000.tar").touch()
    lessons = Distillation(teacher="x", cache=tmp_path / "cache")
    shards = DataSource(path=tmp_path / "sa_000000.tar", format="sa1b")

    with tells(ConfigError, "sa_000000.tar is a stream of shards", "leave out `cache`"):
        build_run(changed(data=[DataSource(path=shapes), shards], distillation=lessons))
