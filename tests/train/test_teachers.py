"""Teachers: every kind of file is read as what it is, and nothing in it is executed."""

import copy
import os
from functools import partial
from types import SimpleNamespace

import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from supersam.checkpoints.files import save_checkpoint
from supersam.checkpoints.subnets import extract_subnet, save_subnet
from supersam.data.coco import load_packs
from supersam.data.synthetic import write_pack
from supersam.errors import CheckpointError, MissingError, UsageError
from supersam.sam.model import Prompts, Sam
from supersam.space import BLOCK_TYPES, load_space
from supersam.supernet.supernet import Supernet
from supersam.train import teachers
from supersam.train.teachers import STARTER, OnnxEncoder, Teacher, largest_of, load_teacher


@pytest.fixture
def original(randomise):
    """segment-anything's own encoder, small, with random weights in a whole SAM."""
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        img_size=128,
        depth=4,
        embed_dim=64,
        num_heads=4,
        window_size=3,
        global_attn_indexes=(1, 3),
        use_rel_pos=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    return randomise(Sam(encoder), seed=1).eval()


@pytest.fixture
def checkpoint(original, tmp_path):
    path = tmp_path / "sam_vit_tiny.pth"
    torch.save(original.state_dict(), path)
    return path


@pytest.fixture
def pack(tmp_path):
    return load_packs(write_pack(tmp_path / "shapes", n_train=4, n_val=0, side=64), "train")


def write_supernet(path, space, randomise):
    model = randomise(Sam(Supernet(space)), seed=2).eval()
    save_checkpoint(path, "supernet", {"space": space.model_dump(mode="json")}, model.state_dict())
    return model


def test_an_original_checkpoint_computes_what_segment_anything_does(original, checkpoint):
    teacher = load_teacher(str(checkpoint))
    x = torch.randn(2, 3, 128, 128)
    prompts = Prompts(boxes=torch.tensor([[[100.0, 100, 400, 500]]]).expand(2, 1, 4))

    with torch.no_grad():
        expected = original.image_encoder(x)
        masks = original.decode(expected, prompts)

    torch.testing.assert_close(teacher(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(teacher.decoder.decode(expected, prompts).logits, masks.logits, atol=1e-5, rtol=1e-5)
    assert (teacher.resolution, teacher.shape) == (128, (256, 8, 8))


def test_stages_of_a_plain_vit_are_the_outputs_of_the_layers_at_its_quarters(original, checkpoint):
    teacher = load_teacher(str(checkpoint))
    x = torch.randn(1, 3, 128, 128)
    seen = []
    for block in original.image_encoder.blocks:
        block.register_forward_hook(lambda module, inputs, output: seen.append(output.permute(0, 3, 1, 2)))

    with torch.no_grad():
        original.image_encoder(x)
    embedding, stages = teacher.features(x)

    torch.testing.assert_close(embedding, teacher(x))
    assert teacher.stage_widths == [stage.shape[1] for stage in stages] == [64] * 4
    for ours, theirs in zip(stages, seen, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


class Malice:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch, tells):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "sam.pth"
    torch.save({"image_encoder.pos_embed": Malice()}, path)

    with tells(CheckpointError, path):
        load_teacher(str(path))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", ["tiny_staged", "tiny_vit"])
def test_a_supernet_teaches_by_its_largest_subnet(request, kind, tmp_path, randomise, pack):
    space = request.getfixturevalue(kind)
    model = write_supernet(tmp_path / "weights.safetensors", space, randomise)
    teacher = load_teacher(str(tmp_path / "weights.safetensors"), "largest", pack)
    x = torch.randn(1, 3, 128, 128)

    statistics = dict(teacher.encoder.named_buffers())
    with torch.no_grad():
        expected = model.image_encoder(x, space.largest(), statistics)

    torch.testing.assert_close(teacher(x), expected, atol=1e-5, rtol=1e-5)
    assert teacher.architecture == space.largest()


def test_batch_norm_of_a_supernets_teacher_is_taken_from_images(tmp_path, tiny_staged, randomise, pack, tells):
    path = tmp_path / "weights.safetensors"
    model = write_supernet(path, tiny_staged, randomise)

    with tells(MissingError, "BatchNorm", "images"):
        load_teacher(str(path), "repvit")
    teacher = load_teacher(str(path), "repvit", pack)

    own = model.image_encoder.extract(teacher.architecture).state_dict()
    means = [name for name in own if name.endswith("running_mean")]
    assert means
    assert not any(torch.allclose(own[name], teacher.encoder.state_dict()[name]) for name in means)


@pytest.mark.parametrize("block", list(BLOCK_TYPES))
def test_largest_of_a_block_type_has_it_in_every_stage_that_allows_it(tiny_staged, block):
    architecture = largest_of(tiny_staged, block)
    choices, largest = tiny_staged.encode(architecture), tiny_staged.encode(tiny_staged.largest())

    assert [stage.block for stage in architecture.stages] == [block] * 4
    assert {name: value for name, value in choices.items() if not name.endswith(".block")} == {
        name: value for name, value in largest.items() if not name.endswith(".block")
    }


def test_an_unknown_subnet_is_met_with_those_there_are(tiny_staged, tiny_vit, tells):
    with tells(UsageError, "'repvitt'", "largest", "Did you mean 'repvit'?"):
        largest_of(tiny_staged, "repvitt")
    with tells(UsageError, "'rwkv'", "largest"):
        largest_of(tiny_vit, "rwkv")


def test_an_extracted_subnet_teaches(tmp_path, tiny_staged, randomise):
    supernet = randomise(Sam(Supernet(tiny_staged)), seed=3).eval()
    subnet = extract_subnet(supernet, tiny_staged.smallest())
    save_subnet(tmp_path / "subnet.safetensors", subnet, tiny_staged.smallest(), {})
    x = torch.randn(1, 3, 64, 64)

    teacher = load_teacher(str(tmp_path / "subnet.safetensors"))

    with torch.no_grad():
        assert torch.equal(teacher(x), subnet.image_encoder(x))
    assert teacher.stage_widths == [stage.width for stage in tiny_staged.smallest().stages]


def test_the_shipped_starter_teaches(pack, monkeypatch):
    monkeypatch.setattr(teachers, "CALIBRATION_IMAGES", 1)
    teacher = load_teacher(STARTER, "vit", pack)
    space = load_space(STARTER)

    assert teacher.architecture == largest_of(space, "vit")
    assert teacher(torch.randn(1, 3, 64, 64)).shape == (1, 256, 4, 4)


def test_an_exported_encoder_teaches_without_a_decoder(tmp_path, patch_sam, tells):
    path, patches = tmp_path / "encoder.onnx", patch_sam.image_encoder
    path.write_bytes(onnx_convolution(patches))
    x = torch.randn(2, 3, 64, 64)

    teacher = load_teacher(str(path))

    with torch.no_grad():
        torch.testing.assert_close(teacher(x), patches(x), atol=1e-4, rtol=1e-4)
    assert (teacher.resolution, teacher.decoder) == (64, None)
    with tells(UsageError, "encoder.onnx", "stages"):
        _ = teacher.stage_widths


def test_a_teacher_in_onnx_runs_on_the_device_it_was_moved_to(tmp_path, patch_sam, monkeypatch):
    path, opened, real = tmp_path / "encoder.onnx", [], ort.InferenceSession
    path.write_bytes(onnx_convolution(patch_sam.image_encoder))

    def noted(file, options, providers):
        opened.append((options.intra_op_num_threads, providers))
        return real(file, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "InferenceSession", noted)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    encoder = OnnxEncoder(path)
    encoder._buffers["place"] = SimpleNamespace(device=torch.device("cuda", 3))  # as .to("cuda:3") does
    for _ in range(2):
        encoder(torch.zeros(1, 3, 64, 64))

    threads = torch.get_num_threads()
    cuda = ("CUDAExecutionProvider", {"device_id": 3})
    assert opened == [(threads, ["CPUExecutionProvider"]), (threads, [cuda, "CPUExecutionProvider"])]
    assert [buffer.device.type for buffer in OnnxEncoder(path).buffers()] == ["cpu"]  # a cache asks them


def onnx_convolution(layer):
    """A file with one convolution for images of 64 pixels, written by hand: an export takes half a minute."""
    tensors = [numpy_helper.from_array(layer.get_parameter(n).detach().numpy(), n) for n in ("weight", "bias")]
    node = helper.make_node("Conv", ["image", "weight", "bias"], ["embedding"], strides=list(layer.stride))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *shape])
        for name, shape in (("image", (3, 64, 64)), ("embedding", (256, 4, 4)))
    ]
    graph = helper.make_graph([node], "patches", ends[:1], ends[1:], tensors)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("nowhere.pth", None, MissingError, "there is no teacher"),
        ("teacher.ckpt", b"x", UsageError, ".onnx"),
        ("teacher.pth", b"not a checkpoint", CheckpointError, "teacher.pth"),
        ("teacher.onnx", b"not a network", CheckpointError, "teacher.onnx"),
        ("teacher.safetensors", b"\x10" * 99, CheckpointError, "teacher.safetensors"),
    ],
)
def test_what_is_no_teacher_is_told_in_one_line(tmp_path, tells, name, content, error, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with tells(error, message):
        load_teacher(str(tmp_path / name))


def test_an_encoder_whose_output_is_no_embedding_is_refused(tells):
    teacher = Teacher("stride 8", nn.Conv2d(3, 256, 8, stride=8), 64)

    with tells(CheckpointError, "stride 8", "(1, 256, 8, 8)", "(1, 256, 4, 4)"):
        teacher(torch.randn(1, 3, 64, 64))


def test_a_teacher_stays_frozen_and_in_evaluation_mode(patch_sam):
    teacher = Teacher("patches", patch_sam.image_encoder, 64)
    nn.ModuleList([teacher]).train()

    assert not teacher.encoder.training
    assert not teacher(torch.randn(1, 3, 64, 64)).requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_fingerprint_knows_the_weights_and_the_resolution(patch_sam, checkpoint, original):
    encoder = patch_sam.image_encoder
    same, other = copy.deepcopy(encoder), copy.deepcopy(encoder)
    with torch.no_grad():
        other.bias[0] += 1e-3
    first = load_teacher(str(checkpoint)).fingerprint
    with torch.no_grad():
        original.image_encoder.pos_embed += 1e-3
    torch.save(original.state_dict(), checkpoint)

    assert Teacher("a", encoder, 64).fingerprint == Teacher("b", same, 64).fingerprint
    assert len({Teacher("", module, side).fingerprint for module in (encoder, other) for side in (64, 128)}) == 4
    assert load_teacher(str(checkpoint)).fingerprint != first
