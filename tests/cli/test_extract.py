"""``supersam extract``: whose BatchNorm statistics a subnet gets, and what its file says of its origin."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from supersam._paths import starter_dir
from supersam.checkpoints.files import save_checkpoint
from supersam.checkpoints.starter import WEIGHTS, load_starter, starter_statistics
from supersam.checkpoints.subnets import load_subnet
from supersam.cli import _subnets

SEARCH = ["search", "--device", "jetson-orin", "--budget", "4ms", "--trials", "80"]
SHIPPED = "shipped with the starter, measured on the packs' train-fit splits"


@pytest.fixture
def run(searched):
    """Search the archive and return a function that changes what the run says it was about."""
    searched(*SEARCH)
    file = Path("run/run.json")

    def change(**values):
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


@pytest.fixture
def own_weights():
    """Write weights of the starter's space that are not the starter's."""
    model, record = load_starter()
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    record = {"space": record["space"], "data": ["photos: 9 images, licences CC0 1.0 9"]}
    save_checkpoint(Path("own.safetensors"), "supernet", record, tensors)
    return "own.safetensors"


def extracted(supersam, *options):
    answer = supersam("extract", "run", "best", "-o", "best.safetensors", *options)
    assert answer.code == 0, answer.err
    return load_subnet(Path("best.safetensors"))[2]["provenance"]


def test_a_subnet_of_the_starter_has_the_shipped_statistics_and_names_its_data(supersam, run):
    found = extracted(supersam)

    assert found["batch_norm"] == SHIPPED
    assert "MODEL_CARD.md" in found["licence"]
    assert [line.partition(":")[0] for line in found["trained_on"]] == ["coco_permissive", "nuclei", "street_facade"]


def test_a_subnet_measured_on_images_gets_their_statistics_although_some_are_shipped(supersam, run, shapes):
    run(accuracy={"data": str(shapes), "split": "train-search"})

    assert extracted(supersam)["batch_norm"] == f"64 images of the train split of {shapes}"


def test_a_copy_of_the_shipped_weights_is_the_starter_by_any_name(supersam, run, own_weights):
    shutil.copy(starter_dir() / WEIGHTS, "copy.safetensors")
    run(weights="copy.safetensors")

    assert extracted(supersam)["batch_norm"] == SHIPPED


def test_other_weights_get_statistics_of_the_images_they_were_searched_on(supersam, run, own_weights, shapes):
    run(weights=own_weights, accuracy={"data": str(shapes), "split": "train-search"})

    found = extracted(supersam)
    model, architecture, _ = load_subnet(Path("best.safetensors"))
    ours = dict(model.image_encoder.named_buffers())
    shipped = starter_statistics(architecture)

    assert found["batch_norm"] == f"64 images of the train split of {shapes}"
    assert found["trained_on"] == ["photos: 9 images, licences CC0 1.0 9"]
    assert found["licence"] == "that of the weights it was cut from"
    assert shipped.keys() <= ours.keys()
    assert any(not torch.equal(ours[name], value) for name, value in shipped.items() if name.endswith("running_mean"))


def test_other_weights_without_images_are_refused_in_one_line(supersam, run, own_weights):
    for accuracy in ("archive", {"data": "moved/away", "split": "train-search"}):
        run(weights=own_weights, accuracy=accuracy)

        answer = supersam("extract", "run", "best", "-o", "best.safetensors")

        assert answer.code == 2
        assert answer.err.count("\n") == 1
        assert "for own.safetensors no statistics are shipped; give --data DIR" in answer.err
        assert not Path("best.safetensors").exists()


@pytest.mark.parametrize("difference", [float("nan"), 0.01])
def test_a_subnet_that_answers_otherwise_is_not_written(supersam, run, monkeypatch, difference):
    extracted(supersam)
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    monkeypatch.setattr(_subnets, "difference", lambda *_: difference)

    answer = supersam("extract", "run", "best", "-o", "best.safetensors", "--json")

    assert (answer.code, answer.out) == (1, "")
    assert "answers otherwise than the supernet" in answer.err
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


def test_only_extracted_subnets_are_replaced(supersam, run, own_weights):
    shutil.copy(own_weights, "training.safetensors")
    Path("link.safetensors").symlink_to(own_weights)
    Path("notes.safetensors").write_text("not a checkpoint")
    Path("folder.safetensors").mkdir()
    before = {path: path.read_bytes() for path in Path().glob("*.safetensors") if path.is_file()}
    run(weights=own_weights)

    for name, words in {
        own_weights: "is the supernet that the subnet is cut from",
        "link.safetensors": "is the supernet that the subnet is cut from",
        "training.safetensors": "is not an extracted subnet",
        "notes.safetensors": "is not an extracted subnet",
        "folder.safetensors": "is not an extracted subnet",
    }.items():
        answer = supersam("extract", "run", "best", "-o", name)
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert f"{name} " in answer.err
        assert words in answer.err
    assert {path: path.read_bytes() for path in before} == before


def test_a_subnet_that_was_extracted_before_is_replaced(supersam, run):
    first = extracted(supersam)

    assert extracted(supersam) == first
