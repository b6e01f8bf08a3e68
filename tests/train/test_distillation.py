"""Distillation: each loss against values by hand, and a student that comes nearer to its teacher."""

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from supersam.checkpoints.subnets import extract_subnet
from supersam.data.augment import Augmentation
from supersam.data.coco import load_packs
from supersam.data.synthetic import write_pack
from supersam.data.transforms import to_input
from supersam.errors import ConfigError, MissingError, UsageError
from supersam.sam.model import FRAME, Masks, Prompts, Sam
from supersam.supernet.supernet import Supernet
from supersam.train import distillation
from supersam.train.distillation import AllowedViews, Distiller, Projection, build_distiller, check_views
from supersam.train.distillation_config import Distillation
from supersam.train.distillation_losses import (
    Outputs,
    Target,
    covered,
    embedding_loss,
    inplace_masks_loss,
    mask_loss,
    prompt_in_the_loop_loss,
    resized,
    stage_loss,
    with_clicks,
)
from supersam.train.teacher_cache import TeacherCache, View, image_key, sources_of
from supersam.train.teacher_cache_fill import fill, open_writer
from supersam.train.teachers import Teacher

POINT = Prompts(torch.tensor([[[[300.0, 300.0]]]]), torch.ones(1, 1, 1))
BOTH = replace(POINT, boxes=torch.tensor([[[100.0, 200, 600, 700], [0, 0, 50, 50]]]))


@dataclass(frozen=True)
class Batch:
    images: Tensor
    prompts: Prompts = BOTH
    views: tuple[View, ...] | None = None
    teacher_images: Tensor | None = None


def padded(side: int = 64, height: int = 32, batch: int = 1) -> Tensor:
    """Images whose lower part is padding."""
    images = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))
    images[:, :, height:] = 0
    return images


@pytest.fixture
def teacher(randomise):
    torch.manual_seed(1)
    sam = randomise(Sam(nn.Conv2d(3, 256, 16, stride=16)), seed=4).eval()
    return Teacher("patches", sam.image_encoder, 128, decoder=sam)


@pytest.fixture
def staged_teacher(tiny_staged, randomise):
    supernet = randomise(Sam(Supernet(tiny_staged)), seed=5).eval()
    largest = tiny_staged.largest()
    sam = extract_subnet(supernet, largest)
    return Teacher("largest", sam.image_encoder, largest.resolution, decoder=sam, architecture=largest)


@pytest.fixture
def student(tiny_staged):
    torch.manual_seed(0)
    return Sam(Supernet(tiny_staged)).train()


# Padding and grids


def test_cells_are_covered_by_the_image_and_not_by_its_padding():
    image = to_input(torch.zeros(30, 60, 3, dtype=torch.uint8).numpy(), 64)  # black is a colour, not padding

    assert covered(image[None], 4)[0, 0].tolist() == [[1.0] * 4] * 2 + [[0.0] * 4] * 2
    assert covered(padded(64, 24), 4)[0, 0, :, 0].tolist() == [1.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize("side", [2, 3, 4, 8])
def test_resizing_keeps_a_constant_and_the_mean_over_halves(side):
    maps = torch.randn(2, 3, 4, 4)

    assert resized(torch.full((1, 2, 4, 4), 1.5), side).unique().tolist() == pytest.approx([1.5])
    assert resized(maps, side).shape == (2, 3, side, side)
    if side == 4:
        assert torch.equal(resized(maps, side), maps)


# Embeddings


def test_embedding_loss_is_the_formula():
    student, teacher = torch.randn(1, 8, 2, 2), torch.randn(1, 8, 2, 2)
    inside = torch.tensor([[[[1.0, 0.5], [0.0, 0.0]]]])
    distance = (student - teacher).abs()
    huber = torch.where(distance < 1, 0.5 * distance**2, distance - 0.5).mean(1)[0]
    cosine = 1 - (student * teacher).sum(1)[0] / (student.norm(dim=1) * teacher.norm(dim=1))[0]

    for regression, values in (("huber", huber), ("mse", distance.square().mean(1)[0])):
        both = values + 0.3 * cosine
        by_hand = (both[0, 0] + 0.5 * both[0, 1]) / 1.5
        torch.testing.assert_close(embedding_loss(student, teacher, inside, regression, 0.3), by_hand)


def test_padding_has_no_say_in_the_embedding():
    student, teacher = torch.randn(2, 8, 4, 4, requires_grad=True), torch.randn(2, 8, 4, 4)
    inside = covered(padded(64, 32, batch=2), 4)

    embedding_loss(student, teacher, inside).backward()

    assert (student.grad[:, :, 2:] == 0).all()
    assert (student.grad[:, :, :2] != 0).all()


def test_a_teacher_on_a_finer_grid_is_brought_to_the_students():
    coarse = torch.randn(1, 8, 4, 4)
    fine = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    inside = torch.ones(1, 1, 4, 4)

    assert embedding_loss(coarse, coarse, inside).item() == pytest.approx(0, abs=1e-6)
    assert embedding_loss(coarse, fine, inside) < 0.2 * embedding_loss(coarse.flip(2), fine, inside)


def test_no_gradient_goes_to_a_teacher():
    student, teacher = (torch.randn(1, 256, 2, 2, requires_grad=True) for _ in range(2))
    masks = [Masks(torch.randn(1, 2, 4, 8, 8, requires_grad=True), torch.zeros(1, 2, 4)) for _ in range(2)]

    inside = torch.ones(1, 1, 2, 2)
    (embedding_loss(student, teacher, inside) + inplace_masks_loss(*masks, inside)).backward()

    assert student.grad is not None
    assert masks[0].logits.grad is not None
    assert teacher.grad is None
    assert masks[1].logits.grad is None


# Stages


def test_a_projection_takes_any_width_up_to_the_widest():
    projection = Projection(16, 5)
    x = torch.randn(1, 8, 2, 2)

    by_hand = torch.einsum("oc,bchw->bohw", projection.conv.weight[:, :8, 0, 0], x)
    torch.testing.assert_close(projection(x), by_hand + projection.conv.bias.view(1, -1, 1, 1))


def test_stage_loss_is_zero_for_normalised_equals_and_takes_the_coarser_grid():
    theirs = [torch.randn(1, 6, 8, 8), torch.randn(1, 6, 4, 4)]
    ours = [F.layer_norm(stage.movedim(1, -1), (6,)).movedim(-1, 1) for stage in theirs]
    same = nn.ModuleList([nn.Identity(), nn.Identity()])
    finer = [ours[0], ours[1].repeat_interleave(2, 2).repeat_interleave(2, 3)]
    wrong = [ours[0], finer[1].flip(2)]

    assert stage_loss(ours, [1000 * stage + 3 for stage in theirs], same, padded()).item() == pytest.approx(0, abs=1e-5)
    assert stage_loss(finer, theirs, same, padded()) < 0.5 * stage_loss(wrong, theirs, same, padded())
    assert stage_loss([-stage for stage in ours], theirs, same, padded()) > 0.5


def test_projections_learn_and_are_in_no_subnet(student, staged_teacher):
    config = Distillation(teacher="x", embedding=None, stages={})
    distiller = Distiller(config, student.image_encoder.space, staged_teacher)
    smallest = student.image_encoder.space.smallest()
    images = padded(64, 40, batch=2)
    target = distiller.target(Batch(images, teacher_images=padded(128, 80, batch=2)))

    outputs = distiller.encode(student.image_encoder, images, smallest, 0.0)
    losses = distiller.losses(outputs, target, student, 0.0)
    losses["stages"].backward()

    assert set(losses) == {"stages"}
    for projection, stage in zip(distiller.projections, smallest.stages, strict=True):
        used = projection.conv.weight.grad.abs().amax(dim=(0, 2, 3)) > 0
        assert used.sum() == stage.width
    assert not any("projection" in name for name in extract_subnet(student, smallest).state_dict())
    assert any(p.grad is not None for p in student.image_encoder.parameters())
    assert all(p.grad is None for p in staged_teacher.parameters())


# Prompts in the loop


def masks_of(inside: Tensor, iou: list[float]) -> Masks:
    """Four masks of one prompt from one map of truth values."""
    logits = 8 * (inside.float() - 0.5)
    return Masks(logits.expand(1, 1, 4, *inside.shape).contiguous(), torch.tensor([[iou]]))


def test_mask_loss_is_zero_for_the_teachers_masks_and_does_not_see_padding():
    teacher = torch.randn(1, 2, 4, 16, 16)
    inside = covered(padded(), 16)
    student = 100 * teacher
    opposite = torch.where(inside.unsqueeze(2) > 0, student, -student)

    assert mask_loss(student, teacher, inside).item() == pytest.approx(0, abs=2e-2)
    torch.testing.assert_close(mask_loss(opposite, teacher, inside), mask_loss(student, teacher, inside))
    assert mask_loss(-student, teacher, inside) > 1


@pytest.mark.parametrize("seed", range(8))
def test_a_click_lies_where_the_masks_differ_and_tells_the_teachers_answer(seed):
    teacher, student = torch.zeros(16, 16, dtype=torch.bool), torch.zeros(16, 16, dtype=torch.bool)
    teacher[2:6, 3:9] = True
    student[4:6, 3:9] = True  # misses two rows and has three columns too many
    student[4:6, 9:12] = True
    inside = torch.ones(1, 1, 16, 16)

    found = with_clicks(
        POINT, masks_of(student, [0] * 4), masks_of(teacher, [0] * 4), inside, torch.Generator().manual_seed(seed)
    )

    x, y = ((found.points[0, 0, 1] + 0.5) / (FRAME / 16)).long().tolist()
    assert teacher[y, x] != student[y, x]
    assert found.labels[0, 0].tolist() == [1, int(teacher[y, x])]
    assert torch.equal(found.points[:, :, :1], POINT.points)


def test_where_masks_agree_or_differ_in_the_padding_the_click_is_empty():
    teacher, student = torch.zeros(16, 16, dtype=torch.bool), torch.zeros(16, 16, dtype=torch.bool)
    teacher[12:] = True

    found = with_clicks(POINT, masks_of(student, [0] * 4), masks_of(teacher, [0] * 4), covered(padded(), 16))

    assert found.labels[0, 0].tolist() == [1, -1]


def test_the_mask_that_clicks_correct_is_the_teachers_best_of_a_point_and_the_first_of_more():
    teacher = masks_of(torch.zeros(8, 8, dtype=torch.bool), [0.9, 0.1, 0.8, 0.2])
    teacher.logits[0, 0, 2, 5, 6] = 8.0  # only the second of the three masks of a point has this pixel
    teacher.logits[0, 0, 0, 1, 2] = 8.0
    student = masks_of(torch.zeros(8, 8, dtype=torch.bool), [0] * 4)
    two = Prompts(POINT.points.repeat(1, 1, 2, 1), torch.ones(1, 1, 2))

    for prompts, (y, x) in ((POINT, (5, 6)), (two, (1, 2))):
        click = with_clicks(prompts, student, teacher, torch.ones(1, 1, 8, 8)).points[0, 0, -1]
        assert ((click + 0.5) / (FRAME / 8)).long().tolist() == [x, y]


def test_clicks_repeat_with_their_seed():
    teacher, student = torch.ones(16, 16, dtype=torch.bool), torch.zeros(16, 16, dtype=torch.bool)

    def click(seed):
        generator = torch.Generator().manual_seed(seed)
        masks = masks_of(student, [0] * 4), masks_of(teacher, [0] * 4)
        return with_clicks(POINT, *masks, torch.ones(1, 1, 16, 16), generator).points.tolist()

    assert click(3) == click(3)
    assert len({str(click(seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize("rounds", [0, 2])
def test_the_teachers_own_embedding_has_the_least_loss_of_prompts_in_the_loop(teacher, rounds):
    images = padded(128, 96)
    embedding = teacher(images)
    target = Target(Outputs(embedding), images, BOTH)

    def loss(student):
        generator = torch.Generator().manual_seed(0)
        return prompt_in_the_loop_loss(teacher.decoder, student, teacher.decoder, target, rounds, generator)

    other = (embedding + torch.randn_like(embedding)).requires_grad_()
    assert loss(embedding) < loss(other)
    loss(other).backward()
    assert other.grad.abs().sum() > 0


def test_a_coarser_student_is_compared_with_the_teachers_masks(teacher):
    images = padded(128, 96)
    target = Target(Outputs(teacher(images)), images, BOTH)

    loss = prompt_in_the_loop_loss(teacher.decoder, torch.randn(1, 256, 4, 4), teacher.decoder, target)

    assert loss.isfinite()


def test_prompts_in_the_loop_are_decoded_in_the_precision_that_is_asked_for(teacher):
    images, asked = padded(128, 96), []
    target = Target(Outputs(teacher(images)), images, BOTH)
    embedding = torch.randn(1, 256, 8, 8, generator=torch.Generator().manual_seed(0))

    def bfloat16():
        asked.append(True)
        return torch.autocast("cpu", torch.bfloat16)

    def loss(**options):
        generator = torch.Generator().manual_seed(0)
        return prompt_in_the_loop_loss(teacher.decoder, embedding, teacher.decoder, target, 0, generator, **options)

    found, single = loss(precision=bfloat16), loss()

    assert len(asked) == 2  # points and boxes
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(single.item(), rel=0.05)
    assert found.item() != single.item()


# In place


def test_inplace_losses_are_zero_where_both_agree_and_positive_elsewhere():
    embedding, logits, inside = torch.randn(1, 256, 2, 2), torch.randn(1, 2, 4, 8, 8), torch.ones(1, 1, 2, 2)
    masks, others = Masks(logits, torch.zeros(1, 2, 4)), Masks(-logits, torch.zeros(1, 2, 4))

    assert embedding_loss(embedding, embedding, inside).item() == pytest.approx(0, abs=1e-6)
    assert embedding_loss(-embedding, embedding, inside) > 1
    assert inplace_masks_loss(masks, masks, inside).item() == pytest.approx(0, abs=1e-6)
    assert inplace_masks_loss(others, masks, inside) > 0.1


def test_inplace_divergence_is_that_of_kullback_and_leibler():
    ours, theirs = torch.tensor([[[[[0.3]]]]]), torch.tensor([[[[[-1.1]]]]])
    p, q = theirs.sigmoid(), ours.sigmoid()
    by_hand = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()

    found = inplace_masks_loss(*(Masks(x, torch.zeros(1, 1, 1)) for x in (ours, theirs)), torch.ones(1, 1, 1, 1))

    torch.testing.assert_close(found, by_hand.squeeze(), atol=1e-5, rtol=1e-4)


# The distiller


def test_a_student_that_learns_comes_nearer_to_the_teacher(student, teacher):
    space = student.image_encoder.space
    config = Distillation(teacher="x", prompts={"weight": 0.2})
    distiller = Distiller(config, space, teacher)
    batch = Batch(padded(64, 48), teacher_images=padded(128, 96))
    target = distiller.target(batch)
    optimizer = torch.optim.AdamW(student.parameters(), lr=4e-3)
    seen = []

    for step in range(7):
        optimizer.zero_grad()
        outputs = distiller.encode(student.image_encoder, batch.images.expand(2, -1, -1, -1), space.smallest(), 0.0)
        outputs = Outputs(outputs.embedding[:1])
        losses = distiller.losses(outputs, target, student, 0.0, torch.Generator().manual_seed(step))
        sum(losses.values()).backward()
        optimizer.step()
        seen.append({name: loss.item() for name, loss in losses.items()})

    for name in ("embedding", "prompts"):
        assert seen[-1][name] < 0.9 * seen[0][name], [losses[name] for losses in seen]


def test_each_lesson_has_its_part_of_the_training(tiny_staged, teacher, student):
    config = Distillation(teacher="x", embedding={"weight": 2.0, "stop": 0.8}, prompts={"start": 0.5, "stop": 0.9})
    distiller = Distiller(config, tiny_staged, teacher)
    target = distiller.target(Batch(padded(128, 96)))
    outputs = Outputs(torch.randn(1, 256, 8, 8))

    def names(progress):
        return set(distiller.losses(outputs, target, student, progress))

    assert [names(progress) for progress in (0.0, 0.5, 0.8, 0.9)] == [
        {"embedding"},
        {"embedding", "prompts"},
        {"prompts"},
        set(),
    ]
    assert [distiller.active(progress) for progress in (0.0, 0.85, 0.9)] == [True, True, False]
    plain = Distiller(Distillation(teacher="x"), tiny_staged, teacher).losses(outputs, target, student, 0.0)
    torch.testing.assert_close(distiller.losses(outputs, target, student, 0.0)["embedding"], 2 * plain["embedding"])


@pytest.mark.parametrize("stages", [None, {}])
def test_a_teacher_sees_a_few_images_at_a_time(tiny_staged, staged_teacher, monkeypatch, stages):
    distiller = Distiller(Distillation(teacher="x", stages=stages), tiny_staged, staged_teacher)
    batch = Batch(padded(64, 48, batch=5))
    whole = distiller.target(batch).outputs
    seen = []
    first = next(part for part in staged_teacher.encoder.modules() if isinstance(part, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    monkeypatch.setattr(distillation, "TEACHER_BATCH", 2)

    found = distiller.target(batch).outputs

    assert max(seen) == 2
    torch.testing.assert_close(found.embedding, whole.embedding)
    torch.testing.assert_close(found.stages, whole.stages)


def test_a_teacher_without_images_of_its_own_sees_the_students(tiny_staged, teacher):
    distiller = Distiller(Distillation(teacher="x"), tiny_staged, teacher)
    images = padded(64, 48)

    found = distiller.target(Batch(images)).outputs.embedding

    assert distiller.teacher_resolution == 128
    assert found.shape == (1, 256, 8, 8)
    torch.testing.assert_close(found, teacher(resized(images, 128)))


def test_cached_embeddings_are_those_of_the_views(tmp_path, teacher, tiny_staged, student):
    packs = load_packs(write_pack(tmp_path / "shapes", n_train=3, n_val=0, side=48), "train")
    with open_writer(tmp_path / "cache", teacher) as writer:
        fill(writer, teacher, sources_of(packs), flips=True)
    distiller = Distiller(Distillation(teacher="x"), tiny_staged, teacher, TeacherCache(tmp_path / "cache"))
    record = packs[0].records[1]
    views = tuple(View(image_key("shapes", record), flipped) for flipped in (False, True))
    image = record.read()
    pictures = torch.stack([to_input(picture, 128) for picture in (image, image[:, ::-1].copy())])

    target = distiller.target(Batch(padded(64, 64, batch=2), views=views))

    assert distiller.views == AllowedViews(crops=False, flips=True, colours=False)
    assert distiller.teacher_resolution is None
    torch.testing.assert_close(target.outputs.embedding, teacher(pictures), atol=2e-3, rtol=2e-3)
    with pytest.raises(ConfigError, match="crops"):
        distiller.target(Batch(padded()))


def test_a_distiller_is_built_from_the_configuration(tmp_path, student, tiny_vit, tiny_staged, randomise, tells):
    packs = load_packs(write_pack(tmp_path / "shapes", n_train=2, n_val=0, side=48), "train")
    path = str(tmp_path / "sam.pth")
    encoder = randomise(Supernet(tiny_vit), seed=1).extract(tiny_vit.largest())
    original = randomise(Sam(encoder), seed=2)
    torch.save({name.replace(".mlp.fc", ".mlp.lin"): t for name, t in original.state_dict().items()}, path)
    options = {"teacher": path, "start_from_teacher_decoder": True, "freeze_decoder": True, "prompts": {}}
    cached = Distillation(**options, cache=tmp_path / "cache")

    with tells(MissingError, "supersam teacher cache"):
        build_distiller(cached, tiny_staged, student, packs)
    distiller = build_distiller(Distillation(**options), tiny_staged, student, packs)
    with open_writer(tmp_path / "cache", distiller.teacher) as writer:
        fill(writer, distiller.teacher, sources_of(packs))
    from_disk = build_distiller(cached, tiny_staged, student, packs)

    decoder = {name: t for name, t in student.state_dict().items() if not name.startswith("image_encoder.")}
    assert all(torch.equal(tensor, original.state_dict()[name]) for name, tensor in decoder.items())
    assert not any(p.requires_grad for p in student.mask_decoder.parameters())
    assert all(p.requires_grad for p in student.image_encoder.parameters())
    assert from_disk.record["fingerprint"] == distiller.record["fingerprint"]
    assert list(from_disk.teacher.encoder.parameters()) == []
    view = View(image_key("shapes", packs[0].records[0]))
    images = to_input(packs[0].records[0].read(), 128)[None]
    torch.testing.assert_close(
        from_disk.target(Batch(images, views=(view,))).outputs.embedding,
        distiller.target(Batch(images)).outputs.embedding,
        atol=5e-3,
        rtol=5e-3,
    )


def test_an_augmentation_that_a_cache_does_not_know_is_refused(tells):
    cached, flips = AllowedViews(crops=False, flips=False, colours=False), AllowedViews(False, True, False)
    plain = Augmentation.none()

    check_views(AllowedViews(crops=True, flips=True, colours=True), Augmentation(scale_jitter=(0.5, 2.0)))
    check_views(cached, plain)
    check_views(flips, plain.model_copy(update={"flip_probability": 0.5}))
    for name, value in {
        "crop_probability": 0.1,
        "scale_jitter": (0.5, 1.0),
        "offset": 3,
        "flip_probability": 1,
    }.items():
        with tells(ConfigError, name, "distillation.cache"):
            check_views(cached, plain.model_copy(update={name: value}))


def test_an_encoder_alone_teaches_no_masks_and_no_stages(tiny_staged, tells):
    alone = Teacher("alone", nn.Conv2d(3, 256, 16, stride=16), 64)

    with tells(ConfigError, "alone", "decoder"):
        Distiller(Distillation(teacher="x", prompts={}), tiny_staged, alone)
    with tells(UsageError, "alone", "stages"):
        Distiller(Distillation(teacher="x", stages={}), tiny_staged, alone)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"embedding": None}, "nothing is learned"),
        ({"stages": {}, "cache": "c"}, "not cached"),
        ({"embedding": {"start": 0.5, "stop": 0.5}}, "not before"),
        ({"embedding": {"weight": 0}}, "greater than 0"),
        ({"prompts": {"round": 1}}, "Extra inputs"),
        ({"supervised": -1}, "greater than or equal"),
    ],
)
def test_a_contradictory_section_is_refused(changed, message):
    with pytest.raises(ValidationError, match=message):
        Distillation.model_validate({"teacher": "x", **changed})
