"""What a backward pass runs: rounds of prompts, distillation in place, reduced precision, a compiled decoder."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from supersam.sam.model import Prompts, Sam
from supersam.supernet.supernet import Supernet
from supersam.train import objective as objective_module
from supersam.train.batches import Batch
from supersam.train.config import FocalLoss, Inplace
from supersam.train.losses import prompt_loss
from supersam.train.objective import Objective, Settings
from supersam.train.prompting import with_click


@pytest.fixture
def space(tiny_staged):
    return tiny_staged


@pytest.fixture
def model(space):
    torch.manual_seed(0)
    return Sam(Supernet(space)).train()


@pytest.fixture
def objective(model):
    return Objective(model)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    targets = torch.zeros(2, 3, 16, 16)
    targets[:, :, 3:9, 4:11] = 1
    return Batch(
        torch.randn(2, 3, 64, 64, generator=generator),
        Prompts(
            1024 * torch.rand(2, 2, 1, 2, generator=generator),
            torch.ones(2, 2, 1),
            torch.tensor([[[256.0, 192, 704, 576]]] * 2),
        ),
        targets,
    )


@pytest.fixture
def small(space):
    return space.decode(space.encode(space.smallest()) | {"resolution": 64})


@pytest.fixture
def large(space):
    return space.decode(space.encode(space.largest()) | {"resolution": 64})


def learning(module):
    return {name for name, one in module.named_parameters() if one.grad is not None and one.grad.abs().sum() > 0}


def test_the_loss_is_that_of_the_first_answers(objective, model, batch, small):
    focal = FocalLoss(weight=10, alpha=0.5)
    outcome = objective(batch, small, Settings(balance=0.3, focal=focal))

    answers = model.decode(model.image_encoder(batch.images, small), batch.prompts)
    expected = prompt_loss(answers, batch.targets, n_points=2, balance=0.3, focal=focal)
    torch.testing.assert_close(outcome.loss, expected)
    torch.testing.assert_close(outcome.masks.logits, answers.logits)
    assert not outcome.masks.logits.requires_grad
    assert not outcome.embedding.requires_grad


@pytest.mark.parametrize("give_masks", [False, True])
@pytest.mark.parametrize("parts", ["both", "points", "boxes"])
def test_every_round_adds_a_click_to_every_prompt(objective, model, batch, small, monkeypatch, give_masks, parts):
    if parts == "points":
        batch = replace(batch, prompts=replace(batch.prompts, boxes=None), targets=batch.targets[:, :2])
    if parts == "boxes":
        batch = replace(batch, prompts=Prompts(boxes=batch.prompts.boxes), targets=batch.targets[:, :1])
    seen, decode = [], model.decode
    monkeypatch.setattr(objective, "_decode", lambda e, prompts: seen.append(prompts) or decode(e, prompts))

    outcome = objective(batch, small, Settings(correction_rounds=2, give_masks=give_masks, seed=3))
    outcome.loss.backward()

    first, second, third = seen
    assert first == batch.prompts
    begin = 1 if parts == "points" else 2  # corners, or a click and the empty point
    for number, prompts in enumerate((second, third), start=1):
        assert prompts.points.shape == (2, batch.targets.shape[1], begin + number, 2)
        assert (prompts.masks is not None) == give_masks
        assert prompts.boxes is None
    mask_weights = {name for name in learning(model) if "mask_downscaling" in name}
    assert bool(mask_weights) == give_masks


def test_every_round_has_the_focal_loss_of_the_settings(objective, batch, small, monkeypatch):
    given, focal = [], FocalLoss(weight=10, alpha=0.5)
    monkeypatch.setattr(
        objective_module, "prompt_loss", lambda *given_: given.append(given_[4]) or prompt_loss(*given_)
    )

    objective(batch, small, Settings(focal=focal, correction_rounds=2))

    assert given == [focal] * 3


def test_corrections_are_drawn_by_the_seed(objective, batch, small):
    losses = [objective(batch, small, Settings(correction_rounds=1, seed=seed)).loss.item() for seed in (1, 1, 2)]

    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_the_click_follows_the_answer_of_the_round_before(objective, model, batch, small, monkeypatch):
    given = []
    monkeypatch.setattr(
        objective_module, "with_click", lambda *arguments: given.append(arguments[2:]) or with_click(*arguments)
    )

    objective(batch, small, Settings(correction_rounds=3, seed=1))

    assert len(given) == 3
    for click, label in given:
        pixel = ((click + 0.5) / 64 - 0.5).long()
        inside = batch.targets[0, 0][pixel[..., 1], pixel[..., 0]]
        assert torch.equal(inside, label)


def test_the_largest_teaches_and_is_not_taught(objective, model, batch, small, large):
    settings = Settings(inplace=Inplace(), supervised=0.0)
    teacher = objective(batch, large, settings)
    assert teacher.loss.item() == 0  # the largest has no teacher of its own

    objective(batch, small, settings, largest=teacher).loss.backward()

    taught = learning(model)
    reached = {name for name, _ in objective.model.named_parameters() if name in taught}
    apart = [f"image_encoder.store.stages.0.{large.stages[0].block}.1."]  # blocks deeper than the smallest has
    assert any("store.neck" in name for name in reached)
    assert not any(name.startswith(tuple(apart)) for name in reached)


def test_distillation_in_place_is_zero_between_equals_and_grows_with_its_weight(objective, batch, small, large):
    alone = Settings()
    own, other = objective(batch, small, alone), objective(batch, large, alone)

    def apart(embedding, masks, largest):
        settings = Settings(inplace=Inplace(embedding=embedding, masks=masks))
        return objective(batch, small, settings, largest=largest).loss.item() - own.loss.item()

    taught = objective(batch, small, Settings(inplace=Inplace()), largest=other)
    assert taught.alone.item() == own.loss.item() < taught.loss.item()  # by which subnets are compared
    assert apart(1.0, 1.0, own) == pytest.approx(0, abs=1e-5)
    of_embedding, of_masks = apart(1.0, 0.0, other), apart(0.0, 1.0, other)
    assert apart(1.0, 1.0, other) > 0.01
    assert min(of_embedding, of_masks) > 0.0001
    assert apart(1.0, 3.0, other) == pytest.approx(of_embedding + 3 * of_masks, rel=1e-3)


def test_an_embedding_alone_is_taught_without_the_decoder(objective, batch, small, large, monkeypatch):
    settings = Settings(inplace=Inplace(masks=0), supervised=0.0)
    monkeypatch.setattr(objective, "_decode", lambda *inputs: pytest.fail("the decoder ran"))

    teacher = objective(batch, large, settings)

    assert objective(batch, small, settings, largest=teacher).loss.item() > 0


@pytest.mark.parametrize("where", ["decoder", "all"])
def test_reduced_precision_is_near_to_single(model, batch, small, where):
    plain, reduced = Objective(model), Objective(model, autocast=where)

    expected, found = (one(batch, small, Settings()) for one in (plain, reduced))

    assert found.loss.item() == pytest.approx(expected.loss.item(), rel=0.02)
    assert found.masks.logits.dtype == found.loss.dtype == torch.float32
    assert not torch.equal(found.masks.logits, expected.masks.logits)  # it was reduced
    assert torch.equal(found.embedding, expected.embedding) == (where == "decoder")
    found.loss.backward()
    assert all(one.grad.dtype == torch.float32 for one in model.parameters() if one.grad is not None)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch looks at it while it traces
def test_a_compiled_decoder_answers_alike(model, batch, small, monkeypatch):
    compiled = []

    def eager(graph, inputs):
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=eager))
    plain, fast = Objective(model), Objective(model, compile_decoder=True)

    expected, found = plain(batch, small, Settings()), fast(batch, small, Settings())

    torch.testing.assert_close(found.loss, expected.loss)
    assert compiled
    found.loss.backward()
    assert any("mask_decoder" in name for name in learning(model))
