"""``supersam teacher cache``: its plan, its summary, going on after a stop, and its mistakes."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from supersam.data.coco import load_packs
from supersam.sam.model import Sam
from supersam.supernet.supernet import Supernet
from supersam.train import teacher_cache_fill
from supersam.train.teacher_cache import TeacherCache, View, sources_of
from supersam.train.teachers import load_teacher

BYTES = 2 * 256 * 8 * 8  # of an embedding at 128 pixels


@pytest.fixture
def checkpoint(tmp_path, tiny_vit, randomise):
    """A small SAM with random weights and the names of the original."""
    sam = randomise(Sam(randomise(Supernet(tiny_vit)).extract(tiny_vit.largest())))
    path = tmp_path / "sam_vit_tiny.pth"
    torch.save({name.replace(".mlp.fc", ".mlp.lin"): tensor for name, tensor in sam.state_dict().items()}, path)
    return path


@pytest.fixture
def command(checkpoint, shapes):
    return ["teacher", "cache", checkpoint, "--data", shapes, "--split", "val", "--out", "cache", "--json"]


def test_embeddings_are_computed_once_and_read_back(supersam, command, checkpoint, shapes):
    plan, first, second = supersam(*command, "--dry-run"), supersam(*command, "--flips"), supersam(*command)

    assert json.loads(plan.out) == {"cache": "cache", "images": 3, "missing": 3, "bytes": 3 * BYTES}
    summary = json.loads(first.out)
    assert (first.code, summary["computed"], summary["kept"], summary["skipped"]) == (0, 6, 0, [])
    assert (summary["shape"], summary["bytes"]) == ([256, 8, 8], 6 * BYTES)
    assert (json.loads(second.out)["computed"], json.loads(second.out)["kept"]) == (0, 6)
    sources, teacher, cache = (
        sources_of(load_packs(shapes, "val")),
        load_teacher(str(checkpoint)),
        TeacherCache(Path("cache")),
    )
    cache.require(teacher.fingerprint, sources)
    assert cache.read(View(sources[0].key, flipped=True)).shape == teacher.shape


def test_an_interrupted_run_says_how_to_go_on_and_does(supersam, command, monkeypatch):
    write = teacher_cache_fill.CacheWriter.write

    def interrupted(cache, views, *rest):
        if cache.entries:
            raise KeyboardInterrupt
        write(cache, views, *rest)

    monkeypatch.setattr(teacher_cache_fill.CacheWriter, "write", interrupted)
    stopped = supersam(*command)
    monkeypatch.setattr(teacher_cache_fill.CacheWriter, "write", write)
    resumed = supersam(*command)

    assert stopped.code == 130
    assert "same command again" in stopped.err
    assert stopped.out == ""
    assert (json.loads(resumed.out)["computed"], json.loads(resumed.out)["kept"]) == (2, 1)


def test_a_configuration_says_teacher_images_and_folder(supersam, checkpoint, shapes):
    section = {"teacher": str(checkpoint), "cache": "embeddings"}
    config = {"space": "starter", "data": str(shapes), "split": "val", "out": "run", "steps": 1, "images_per_step": 1}
    still = {"crop_probability": 0, "flip_probability": 0, "brightness": 0, "tint": 0, "offset": 0}
    whole = config | {"distillation": section, "augmentation": still}
    moving = whole | {"augmentation": still | {"flip_probability": 0.5}}
    contents = {"whole": whole, "none": config, "shapes": whole | {"data": "synthetic"}, "moving": moving}
    for name, content in contents.items():
        Path(f"{name}.yaml").write_text(yaml.safe_dump(content))

    early = supersam("teacher", "cache", "moving.yaml")  # what no training could use is not computed
    assert "flip_probability: 0 (or fill the cache with --flips)" in early.err
    assert not Path("embeddings").exists()
    assert supersam("teacher", "cache", "moving.yaml", "--out", "elsewhere", "--dry-run").code == 0
    answer, refused = supersam("teacher", "cache", "whole.yaml", "--json"), supersam("teacher", "cache", "none.yaml")

    summary = json.loads(answer.out)
    assert (summary["cache"], summary["computed"]) == ("embeddings", 3)
    assert refused.code == 2
    assert "distillation" in refused.err
    assert supersam("teacher", "cache", checkpoint).code == 2
    assert "data: synthetic stands for shapes" in supersam("teacher", "cache", "shapes.yaml").err


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        ({2: "nowhere.pth"}, 4, "there is no teacher nowhere.pth"),
        ({4: "nowhere"}, 4, "there is no data at nowhere"),
        ({4: "synthetic"}, 2, "teacher cache reads a folder"),
        ({6: "test"}, 4, "no split 'test'"),
        ({9: "--precision=int8"}, 2, "fp32, bf16, fp16"),
        ({9: "--device=abacus"}, 2, "unknown device 'abacus'"),
    ],
)
def test_a_mistake_ends_in_one_line_and_leaves_nothing(supersam, command, changed, code, message):
    answer = supersam(*(changed.get(number, argument) for number, argument in enumerate(command)))

    errors = [line for line in answer.err.splitlines() if line.startswith("Error: ")]
    assert answer.code == code
    assert len(errors) == 1
    assert message in errors[0]
    assert answer.out == ""
    assert not Path("cache").exists()


def test_a_gpu_that_is_not_there_is_told(supersam, command):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")

    answer = supersam(*command, "--device", "cuda")

    assert answer.code == 5
    assert "cuda" in answer.err
