"""Initial weights: an official SAM or a supernet of before, sorted or not, and what cannot be loaded."""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import yaml
from pydantic import ValidationError
from torch import Tensor, nn

from supersam._paths import starter_dir
from supersam.checkpoints import starter
from supersam.checkpoints.files import file_sha256, load_checkpoint, save_checkpoint
from supersam.checkpoints.supernets import load_supernet
from supersam.errors import CheckpointError, ConfigError, DataError, MissingError, SearchSpaceError
from supersam.sam.model import Prompts, Sam
from supersam.space import SearchSpace, StagedSpace, ViTSpace, load_space
from supersam.supernet.supernet import Supernet
from supersam.train.batches import Batch
from supersam.train.config import Optimization, Phase, TrainConfig
from supersam.train.initial import load_initial
from supersam.train.initial_config import Initial
from supersam.train.loop import train

Tells = Callable[..., AbstractContextManager[None]]
Randomise = Callable[..., nn.Module]


def batches(count: int = 3) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    points = 1024 * torch.rand(2, 1, 1, 2, generator=generator)
    boxes = torch.tensor([[[100.0, 200.0, 600.0, 700.0]]] * 2)
    targets = torch.zeros(2, 2, 32, 32)
    targets[:, :, 6:20, 5:18] = 1
    return [
        Batch(
            torch.randn(2, 3, 128, 128, generator=generator),
            Prompts(points, torch.ones(2, 1, 1), boxes),
            targets,
        )
        for _ in range(count)
    ]


def counted(content: list[Batch], drawn: list[int]) -> Iterator[Batch]:
    for number, batch in enumerate(content):
        drawn.append(number)
        yield batch


def sam(space: SearchSpace, seed: int = 0) -> Sam:
    torch.manual_seed(seed)
    return Sam(Supernet(space)).train()


@pytest.fixture
def trained(tiny_vit: ViTSpace, randomise: Randomise) -> nn.Module:
    return randomise(sam(tiny_vit, seed=5), seed=5).eval()


@pytest.fixture
def official(trained: nn.Module, tmp_path: Path) -> Path:
    """A file with the names of segment-anything."""
    path = tmp_path / "sam_tiny.pth"
    renamed = {
        name.replace("image_encoder.store.", "image_encoder.").replace("mlp.fc", "mlp.lin"): tensor
        for name, tensor in trained.state_dict().items()
    }
    torch.save(renamed, path)
    return path


@pytest.fixture
def ours(trained: nn.Module, tiny_vit: ViTSpace, tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_checkpoint(path, "supernet", {"space": tiny_vit.model_dump()}, trained.state_dict())
    return path


def answers(model: nn.Module, space: SearchSpace) -> Tensor:
    batch = batches(1)[0]
    with torch.no_grad():
        logits: Tensor = model.decode(model.image_encoder(batch.images, space.largest()), batch.prompts).logits
    return logits


def unequal(one: nn.Module, other: nn.Module) -> set[str]:
    found = other.state_dict()
    return {name.split(".")[0] for name, tensor in one.state_dict().items() if not torch.equal(tensor, found[name])}


# What is loaded


@pytest.mark.parametrize("source", ["official", "ours"])
def test_whole_model_is_loaded(
    request: pytest.FixtureRequest, trained: nn.Module, tiny_vit: ViTSpace, source: str
) -> None:
    path: Path = request.getfixturevalue(source)
    model = sam(tiny_vit)

    record = load_initial(model, Initial(weights=path), [])

    assert unequal(model, trained) == set()
    assert record == {"weights": path.name, "sha256": file_sha256(path), "parts": "all", "reorder": None}
    assert model.training


@pytest.mark.parametrize("source", ["official", "ours"])
@pytest.mark.parametrize("method", ["wanda", "magnitude", "taylor"])
def test_sorted_model_computes_what_the_file_does(
    request: pytest.FixtureRequest, trained: nn.Module, tiny_vit: ViTSpace, source: str, method: str
) -> None:
    model = sam(tiny_vit)
    expected = answers(trained, tiny_vit)
    assert expected.std() > 0.01

    record = load_initial(model, Initial(weights=request.getfixturevalue(source), reorder=method), batches())

    assert record["reorder"] == method
    assert unequal(model, trained) == {"image_encoder"}
    torch.testing.assert_close(answers(model, tiny_vit), expected, atol=1e-5, rtol=1e-5)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("source", ["official", "ours"])
def test_decoder_alone_goes_into_any_space(
    request: pytest.FixtureRequest, trained: nn.Module, tiny_staged: StagedSpace, source: str
) -> None:
    model = sam(tiny_staged)
    encoder = copy.deepcopy(model.image_encoder)

    load_initial(model, Initial(weights=request.getfixturevalue(source), parts="decoder"), [])

    assert unequal(model.mask_decoder, trained.mask_decoder) == set()
    assert unequal(model.prompt_encoder, trained.prompt_encoder) == set()
    assert unequal(model.image_encoder, encoder) == set()


def test_shipped_starter_is_known_by_its_name() -> None:
    expected, _ = starter.load_starter()
    model = sam(load_space("starter"))

    record = load_initial(model, Initial(weights=Path("starter")), [])

    assert unequal(model, expected) == set()
    assert record["sha256"] == file_sha256(starter_dir() / starter.WEIGHTS)


def test_training_goes_on_from_sorted_weights(official: Path, tiny_vit: ViTSpace) -> None:
    model = sam(tiny_vit)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)  # made before: parameters keep their identity
    load_initial(model, Initial(weights=official, reorder="wanda"), batches())
    before = copy.deepcopy(model)
    smallest = tiny_vit.smallest()

    model.image_encoder(batches(1)[0].images[:, :, :64, :64], smallest).square().mean().backward()
    optimizer.step()

    assert unequal(model, before) == {"image_encoder"}


def test_run_starts_from_an_official_sam_with_one_optimizer(
    official: Path, trained: nn.Module, tiny_vit: ViTSpace, tmp_path: Path
) -> None:
    """Steps of a vanishing rate leave the function that was loaded, and the optimizer's moments live through all."""
    space = tmp_path / "tiny-vit.yaml"
    space.write_text(yaml.safe_dump(tiny_vit.model_dump(mode="json")))
    config = TrainConfig(
        space=str(space),
        data=Path("synthetic"),
        split="train",
        out=tmp_path / "run",
        steps=2,
        images_per_step=2,
        phases=(Phase(random_subnets=0),),
        initial=Initial(weights=official, reorder="wanda", calibration_images=2),
        optimization=Optimization(learning_rate=1e-9, warmup_steps=0, weight_decay=0.0),
    )

    train(config)

    state = load_checkpoint(tmp_path / "run" / "training.safetensors", "training")
    model, _ = load_supernet(state.path)
    steps = {
        t.item() for name, t in state.tensors.items() if ".step." in name and name.endswith("patch_embed.proj.weight")
    }
    assert state.record["origin"]["sha256"] == file_sha256(official)
    assert steps == {2}
    torch.testing.assert_close(answers(model, tiny_vit), answers(trained, tiny_vit), atol=1e-4, rtol=1e-4)
    assert "image_encoder" in unequal(model, trained)  # sorted


# How images are used


@pytest.mark.parametrize(("method", "n_images", "drawn"), [("wanda", 4, 2), ("wanda", 3, 2), ("taylor", 2, 1)])
def test_no_more_images_are_drawn_than_asked_for(
    ours: Path, tiny_vit: ViTSpace, method: str, n_images: int, drawn: int
) -> None:
    numbers: list[int] = []
    config = Initial(weights=ours, reorder=method, calibration_images=n_images)

    load_initial(sam(tiny_vit), config, counted(batches(), numbers))

    assert len(numbers) == drawn


@pytest.mark.parametrize("method", [None, "magnitude"])
def test_no_image_is_drawn_without_need(ours: Path, tiny_vit: ViTSpace, method: str | None) -> None:
    numbers: list[int] = []

    load_initial(sam(tiny_vit), Initial(weights=ours, reorder=method), counted(batches(), numbers))

    assert numbers == []


def test_images_decide_the_order(ours: Path, tiny_vit: ViTSpace) -> None:
    one, other, again = sam(tiny_vit), sam(tiny_vit), sam(tiny_vit)
    config = Initial(weights=ours, reorder="taylor", calibration_images=2)

    load_initial(one, config, batches()[:1])
    load_initial(other, config, batches()[1:])
    load_initial(again, config, batches()[:1])

    assert unequal(one, other) == {"image_encoder"}
    assert unequal(one, again) == set()


@pytest.mark.parametrize("method", ["wanda", "taylor"])
def test_sorting_without_images_is_refused(ours: Path, tiny_vit: ViTSpace, tells: Tells, method: str) -> None:
    with tells(DataError, "no images", "magnitude"):
        load_initial(sam(tiny_vit), Initial(weights=ours, reorder=method), [])


def test_first_process_decides_the_order(ours: Path, tiny_vit: ViTSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process with other images gets the scores of the first."""
    config = Initial(weights=ours, reorder="taylor", calibration_images=2)
    first, second, sent = sam(tiny_vit), sam(tiny_vit), []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "broadcast", lambda tensor, source: sent.append(tensor.clone()))
    load_initial(first, config, batches()[:1])
    received = iter(sent)
    monkeypatch.setattr(dist, "broadcast", lambda tensor, source: tensor.copy_(next(received)))

    load_initial(second, config, batches()[1:])

    assert unequal(first, second) == set()


# What is refused


def test_missing_weights(tmp_path: Path, tiny_vit: ViTSpace, tells: Tells) -> None:
    for name in ("sam.pth", "weights.safetensors"):
        with tells(MissingError, tmp_path / name):
            load_initial(sam(tiny_vit), Initial(weights=tmp_path / name), [])


def test_official_encoder_needs_a_plain_vit(official: Path, tiny_staged: StagedSpace, tells: Tells) -> None:
    with tells(ConfigError, official, repr(tiny_staged.name), "supersam-vit-b", "initial.parts: decoder"):
        load_initial(sam(tiny_staged), Initial(weights=official), [])


@pytest.mark.parametrize("change", [{"depth": 5}, {"mlp_widths": (96, 512)}])
def test_supernet_of_a_space_with_other_tensors_is_refused(
    ours: Path, tiny_vit: ViTSpace, tells: Tells, change: dict[str, Any]
) -> None:
    space = tiny_vit.model_copy(update={"name": "other", **change})

    with tells(SearchSpaceError, ours, "'tiny-vit'", "'other'"):
        load_initial(sam(space), Initial(weights=ours), [])


def test_supernet_with_heads_of_another_size_is_refused(tmp_path: Path, tiny_staged: StagedSpace, tells: Tells) -> None:
    """The tensors of a staged space fit whatever the heads are."""
    path = tmp_path / "weights.safetensors"
    save_checkpoint(path, "supernet", {"space": tiny_staged.model_dump()}, sam(tiny_staged).state_dict())
    space = tiny_staged.model_copy(update={"head_dim": 4})

    with tells(SearchSpaceError, path, "heads of 8 channels, not 4"):
        load_initial(sam(space), Initial(weights=path), [])


def test_supernet_of_a_space_with_more_choices_is_loaded(ours: Path, tiny_vit: ViTSpace, trained: nn.Module) -> None:
    model = sam(tiny_vit.model_copy(update={"resolutions": (64, 96, 128), "removable_layers": (1, 2, 3)}))

    load_initial(model, Initial(weights=ours), [])

    assert unequal(model, trained) == set()


def test_subnet_is_no_start_for_a_supernet(tmp_path: Path, tiny_vit: ViTSpace, tells: Tells) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, "subnet", {}, {"a": torch.ones(1)})

    with tells(CheckpointError, path, "holds a subnet", "a supernet is needed"):
        load_initial(sam(tiny_vit), Initial(weights=path), [])


def test_weights_that_are_not_numbers_are_not_sorted(
    ours: Path, trained: nn.Module, tiny_vit: ViTSpace, tells: Tells
) -> None:
    with torch.no_grad():
        trained.image_encoder.store.blocks[1].mlp.fc1.weight[0, 0] = float("nan")
    save_checkpoint(ours, "supernet", {"space": tiny_vit.model_dump()}, trained.state_dict())

    with tells(CheckpointError, ours, "blocks.1.mlp", "magnitude"):
        load_initial(sam(tiny_vit), Initial(weights=ours, reorder="magnitude"), [])


@pytest.mark.parametrize(
    "change", [{"reorder": "random"}, {"parts": "encoder"}, {"calibration_images": 0}, {"path": "x"}]
)
def test_configuration_is_checked(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        Initial.model_validate({"weights": "starter", **change})
