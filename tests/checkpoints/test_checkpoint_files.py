"""Checkpoints: what comes back, what is refused, and that a failed write harms nothing."""

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from segment_anything import sam_model_registry
from torch import Tensor, nn

from supersam import __version__
from supersam._paths import write_atomically
from supersam.checkpoints import starter
from supersam.checkpoints.files import FORMAT, KINDS, file_sha256, load_checkpoint, save_checkpoint
from supersam.checkpoints.starter import starter_statistics
from supersam.checkpoints.subnets import extract_subnet, load_subnet, save_subnet
from supersam.checkpoints.supernets import TRAINING, load_supernet
from supersam.errors import CheckpointError, MissingError
from supersam.sam.model import Sam
from supersam.space import AnyArchitecture, SearchSpace, StagedSpace
from supersam.supernet.supernet import Supernet

Tells = Callable[..., AbstractContextManager[None]]
Randomise = Callable[..., nn.Module]

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(7), "half": torch.ones(3, dtype=torch.bfloat16)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


@pytest.fixture
def supernet(tiny_space: SearchSpace, randomise: Randomise) -> Sam:
    """A supernet of either kind with its decoder, every weight random."""
    torch.manual_seed(0)
    model = randomise(Sam(Supernet(tiny_space))).eval()
    assert isinstance(model, Sam)
    return model


def architecture_of(space: SearchSpace) -> AnyArchitecture:
    """One with BatchNorm where there is a choice."""
    choices = space.encode(space.smallest())
    return space.decode(choices | {name: "repvit" for name in choices if name.endswith(".block")})


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# Any checkpoint


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint_reads_back_what_was_written(path: Path, kind: str) -> None:
    record = {"space": {"name": "tiny"}, "step": 3, "text": "µ\n"}

    written = save_checkpoint(path, kind, record, TENSORS)

    found = load_checkpoint(path, kind)
    assert (found.path, found.kind) == (path, kind)
    assert found.record == {"kind": kind, "format": FORMAT, "version": __version__, **record}
    assert equal(found.tensors, TENSORS)
    assert {name: tensor.dtype for name, tensor in found.tensors.items()} == {
        name: tensor.dtype for name, tensor in TENSORS.items()
    }
    assert written == file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_same_content_gives_the_same_file(path: Path, tmp_path: Path) -> None:
    backwards = dict(reversed(TENSORS.items()))

    one = save_checkpoint(path, "subnet", {"x": 1, "y": 2}, TENSORS)
    other = save_checkpoint(tmp_path / "other.safetensors", "subnet", {"y": 2, "x": 1}, backwards)

    assert one == other


def test_header_is_read_without_our_code(path: Path) -> None:
    save_checkpoint(path, "subnet", {"digest": "abc"}, TENSORS)

    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["supersam"])

    assert header == {"kind": "subnet", "format": 1, "version": __version__, "digest": "abc"}


def test_views_and_gradients_are_written_as_plain_tensors(path: Path) -> None:
    weight = nn.Parameter(torch.arange(12.0).view(3, 4))

    save_checkpoint(path, "subnet", {}, {"columns": weight[:, :2], "turned": weight.T})

    found = load_checkpoint(path).tensors
    assert equal(found, {"columns": weight.detach()[:, :2], "turned": weight.detach().T})
    assert not any(tensor.requires_grad for tensor in found.values())


def test_missing_file_is_told_apart_from_a_damaged_one(path: Path, tmp_path: Path, tells: Tells) -> None:
    with tells(MissingError, path):
        load_checkpoint(path)
    with tells(MissingError, tmp_path):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.999])
def test_truncated_file_is_damaged(path: Path, tells: Tells, share: float) -> None:
    save_checkpoint(path, "subnet", {}, {"a": torch.randn(1000)})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    with tells(CheckpointError, path, "damaged"):
        load_checkpoint(path)


def test_a_file_of_pytorch_is_told_where_it_belongs(tmp_path, tells):
    path = tmp_path / "sam_vit_b.pth"
    torch.save({"weight": torch.zeros(3)}, path)

    with tells(CheckpointError, path, "is a file of PyTorch", "initial.weights", "distillation.teacher"):
        load_checkpoint(path)


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_are_damaged(path: Path, tells: Tells, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    path.write_bytes(bytes(torch.randint(0, 256, (500,), generator=generator).tolist()))

    with tells(CheckpointError, path, "damaged"):
        load_checkpoint(path)


def test_pickled_weights_are_refused_and_not_run(path: Path, tmp_path: Path, tells: Tells) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"weights": Trap()}, path)

    with tells(CheckpointError, path):
        load_checkpoint(path)
    assert not (tmp_path / "sprung").exists()


def test_safetensors_of_others_are_told_apart(path: Path, tells: Tells) -> None:
    for metadata in (None, {"format": "pt"}):
        save_file(TENSORS, path, metadata=metadata)

        with tells(CheckpointError, path, "not written by SuperSAM"):
            load_checkpoint(path)


@pytest.mark.parametrize(
    "record",
    [
        "{",
        "",
        "[]",
        "3",
        "null",
        '"subnet"',
        '{"kind": "subnet"}',
        '{"format": 1}',
        '{"kind": "subnet", "format": "one"}',
        '{"kind": "subnet", "format": null}',
        "[" * 100_000,
    ],
)
def test_damaged_header_is_told_in_one_line(path: Path, tells: Tells, record: str) -> None:
    save_file(TENSORS, path, metadata={"supersam": record})

    with tells(CheckpointError, path, "damaged header"):
        load_checkpoint(path)


def test_newer_format_asks_for_an_upgrade(path: Path, tells: Tells) -> None:
    save_file(TENSORS, path, metadata={"supersam": json.dumps({"kind": "subnet", "format": FORMAT + 1})})

    with tells(CheckpointError, path, f"format {FORMAT + 1}", "upgrade"):
        load_checkpoint(path)


@pytest.mark.parametrize(("kind", "asked"), [("supernet", "subnet"), ("subnet", "training"), ("training", "supernet")])
def test_other_kind_is_refused(path: Path, tells: Tells, kind: str, asked: str) -> None:
    save_checkpoint(path, kind, {}, TENSORS)

    with tells(CheckpointError, path, f"holds a {kind}", f"a {asked} is needed"):
        load_checkpoint(path, asked)


# Writing


def test_failed_write_leaves_the_old_file_whole_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(path, "subnet", {"step": 1}, TENSORS)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for target, name in ((Path, "replace"), (Path, "chmod")):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, full)
            with pytest.raises(OSError, match="No space left"):
                save_checkpoint(path, "subnet", {"step": 2}, TENSORS)

        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]


def test_interrupted_first_write_leaves_no_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)

    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, "subnet", {}, TENSORS)

    assert list(path.parent.iterdir()) == []


def test_write_makes_folders_and_a_file_that_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "text"

    write_atomically(path, "µ")
    write_atomically(path, b"\xc2\xb5")

    assert path.read_text(encoding="utf-8") == "µ"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [child.name for child in path.parent.iterdir()] == ["text"]


# Supernets


@pytest.mark.parametrize("kind", ["supernet", "training"])
def test_supernet_comes_back_with_its_space(path: Path, supernet: Sam, kind: str) -> None:
    space = supernet.image_encoder.space
    optimizer = {TRAINING + "optimizer.step.0": torch.tensor(3.0)} if kind == "training" else {}
    save_checkpoint(path, kind, {"space": space.model_dump(), "step": 3}, supernet.state_dict() | optimizer)

    found, record = load_supernet(path)

    assert record["step"] == 3
    assert found.image_encoder.space == space
    assert equal(found.state_dict(), supernet.state_dict())
    assert not found.training


def test_supernet_is_not_made_of_a_subnet(path: Path, tells: Tells) -> None:
    save_checkpoint(path, "subnet", {}, TENSORS)

    with tells(CheckpointError, path, "holds a subnet", "a supernet is needed"):
        load_supernet(path)


def test_supernet_needs_a_valid_space(path: Path, tells: Tells, staged_content: dict[str, Any]) -> None:
    for record in ({}, {"space": None}, {"space": staged_content | {"head_dim": 3}}):
        save_checkpoint(path, "supernet", record, TENSORS)

        with tells(CheckpointError, path, "no valid search space"):
            load_supernet(path)


@pytest.mark.parametrize("damage", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_their_space_are_told_in_one_line(
    path: Path, tells: Tells, supernet: Sam, damage: str
) -> None:
    tensors = supernet.state_dict()
    name = "mask_decoder.iou_token.weight"
    if damage == "missing":
        del tensors[name]
    elif damage == "extra":
        name = "mask_decoder.own"
        tensors[name] = torch.zeros(1)
    else:
        tensors[name] = torch.zeros(2, 256)
    save_checkpoint(path, "supernet", {"space": supernet.image_encoder.space.model_dump()}, tensors)

    with tells(CheckpointError, path, name):
        load_supernet(path)


# Subnets


def test_subnet_comes_back_with_its_architecture(path: Path, supernet: Sam) -> None:
    architecture = architecture_of(supernet.image_encoder.space)
    subnet = extract_subnet(supernet, architecture)

    written = save_subnet(path, subnet, architecture, {"weights": "tiny"})

    found, same, record = load_subnet(path)
    assert same == architecture
    assert record["digest"] == architecture.digest
    assert record["provenance"] == {"weights": "tiny"}
    assert written == file_sha256(path)
    assert equal(found.state_dict(), subnet.state_dict())
    assert not found.training
    x = torch.randn(1, 3, architecture.resolution, architecture.resolution)
    with torch.no_grad():
        assert torch.equal(found.image_encoder(x), supernet.image_encoder(x, architecture))


def test_extracted_subnet_shares_nothing_with_the_supernet(supernet: Sam) -> None:
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    subnet = extract_subnet(supernet, architecture_of(supernet.image_encoder.space))

    with torch.no_grad():
        for tensor in subnet.state_dict().values():
            tensor.add_(1)

    assert equal(supernet.state_dict(), before)


def test_extracted_subnet_has_the_statistics_given(tiny_staged: StagedSpace) -> None:
    supernet, architecture = Sam(Supernet(tiny_staged)), architecture_of(tiny_staged)
    name = "stages.2.blocks.0.token_mixer.conv.bn.running_mean"

    subnet = extract_subnet(supernet, architecture, {name: torch.full((16,), 3.0)})

    found = subnet.image_encoder.state_dict()
    assert (found[name] == 3).all()
    assert (found[name.replace("stages.2", "stages.1")] == 0).all()


def test_subnet_file_is_safetensors_with_the_names_of_segment_anything(path: Path, supernet: Sam) -> None:
    architecture = architecture_of(supernet.image_encoder.space)
    save_subnet(path, extract_subnet(supernet, architecture), architecture, {})
    with torch.device("meta"):
        official = sam_model_registry["vit_b"]().state_dict()

    found = load_file(path)

    behind = {name: tensor.shape for name, tensor in found.items() if not name.startswith("image_encoder.")}
    assert behind == {name: tensor.shape for name, tensor in official.items() if not name.startswith("image_encoder.")}
    assert set(found) - set(behind)


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "two"])
def test_subnet_that_does_not_fit_its_architecture_is_told_in_one_line(
    path: Path, tells: Tells, tiny_staged: StagedSpace, damage: str
) -> None:
    architecture = tiny_staged.smallest()
    subnet = extract_subnet(Sam(Supernet(tiny_staged)), architecture)
    name = "image_encoder.neck.norm1.weight"
    if damage == "missing":
        del subnet.image_encoder.neck.norm1.weight
    elif damage == "extra":
        name = "image_encoder.own"
        subnet.image_encoder.own = nn.Parameter(torch.zeros(1))
    else:
        subnet.image_encoder.neck.norm1.weight = nn.Parameter(torch.zeros(3))
        if damage == "two":
            subnet.image_encoder.neck.norm2.weight = nn.Parameter(torch.zeros(3))
    save_subnet(path, subnet, architecture, {})

    with tells(CheckpointError, path, "does not fit", name):
        load_subnet(path)


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": None},
        {"architecture": {"encoder": "swin"}},
        {"architecture": {"encoder": "staged", "resolution": 64, "head_dim": 0, "stages": []}},
        {"architecture": {"encoder": "sam_vit", "resolution": 50, "width": 7, "head_dim": 3, "layers": []}},
    ],
)
def test_subnet_needs_a_valid_architecture(
    path: Path, tells: Tells, tiny_staged: StagedSpace, change: dict[str, Any]
) -> None:
    subnet = extract_subnet(Sam(Supernet(tiny_staged)), tiny_staged.smallest())
    save_checkpoint(path, "subnet", {"digest": "x", "provenance": {}, **change}, subnet.state_dict())

    with tells(CheckpointError, path, "architecture"):
        load_subnet(path)


def test_subnet_with_an_unbuildable_stage_is_told_in_one_line(
    path: Path, tells: Tells, tiny_staged: StagedSpace
) -> None:
    architecture = tiny_staged.smallest()
    subnet = extract_subnet(Sam(Supernet(tiny_staged)), architecture)
    content = architecture.to_dict()
    content["stages"] = [{**stage, "width": 6, "block": "vit"} for stage in content["stages"]]  # less than one head
    save_checkpoint(path, "subnet", {"architecture": content}, subnet.state_dict())

    with tells(CheckpointError, path, "architecture"):
        load_subnet(path)


@pytest.mark.parametrize("change", [{"depth": 10**9}, {"width": 400_000}])
def test_a_network_larger_than_the_file_is_refused_before_it_is_built(
    path: Path, tells: Tells, tiny_staged: StagedSpace, change: dict[str, int]
) -> None:
    architecture = tiny_staged.smallest()
    subnet = extract_subnet(Sam(Supernet(tiny_staged)), architecture)
    content = architecture.to_dict()
    content["stages"] = [{**stage, **change} for stage in content["stages"]]
    save_checkpoint(path, "subnet", {"architecture": content}, subnet.state_dict())

    with tells(CheckpointError, path, "larger than the file"):
        load_subnet(path)


# Shipped statistics


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(starter, "starter_dir", lambda: tmp_path)
    return tmp_path / starter.STATISTICS


def test_statistics_are_those_of_the_digest(shipped: Path, tiny_staged: StagedSpace) -> None:
    smallest, largest = tiny_staged.smallest(), tiny_staged.largest()
    assert starter_statistics(smallest) == {}
    save_file({f"{smallest.digest}/stem.running_mean": torch.ones(2), "0123456789/stem": torch.zeros(2)}, shipped)

    assert equal(starter_statistics(smallest), {"stem.running_mean": torch.ones(2)})
    assert starter_statistics(largest) == {}


def test_damaged_statistics_ask_for_a_new_installation(shipped: Path, tells: Tells, tiny_staged: StagedSpace) -> None:
    shipped.write_bytes(b"\x00" * 20)

    with tells(CheckpointError, shipped, "reinstall"):
        starter_statistics(tiny_staged.smallest())


def test_starter_is_the_supernet_in_its_folder(shipped: Path, tiny_staged: StagedSpace, tells: Tells) -> None:
    with tells(MissingError, shipped.parent / starter.WEIGHTS):
        starter.load_starter()
    own = shipped.parent / "own.safetensors"
    model = Sam(Supernet(tiny_staged))
    save_checkpoint(own, "supernet", {"space": tiny_staged.model_dump()}, model.state_dict())
    shutil.move(own, shipped.parent / starter.WEIGHTS)

    found, _ = starter.load_starter()

    assert equal(found.state_dict(), model.state_dict())
