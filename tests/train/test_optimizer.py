"""Learning rates: the schedule, the layers' share, and who is decayed; the state survives."""

import pytest
import torch

from supersam.sam.model import Sam
from supersam.supernet.supernet import Supernet
from supersam.train.config import Optimization
from supersam.train.objective import Objective
from supersam.train.optimizer import (
    learning_rate_at,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    set_learning_rate,
)


@pytest.fixture
def objective(tiny_space):
    torch.manual_seed(0)
    return Objective(Sam(Supernet(tiny_space)))


def test_the_rate_rises_linearly_then_falls_by_half_a_cosine():
    config = Optimization(learning_rate=2.0, final_learning_rate=0.1, warmup_steps=4)

    rates = [learning_rate_at(step, 24, config) for step in range(25)]

    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[14] == pytest.approx((2.0 + 0.2) / 2)  # half of the way down
    assert rates[24] == pytest.approx(0.2)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_a_short_training_warms_up_for_half_of_its_steps_and_reaches_its_peak():
    config = Optimization(learning_rate=1.0, warmup_steps=50)

    assert [learning_rate_at(step, 8, config) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_without_warm_up_the_first_rate_is_the_peak():
    assert learning_rate_at(0, 10, Optimization(learning_rate=0.3, warmup_steps=0)) == 0.3


def factors_of(objective, config):
    """The share of the rate of every parameter."""
    names = {id(parameter): name for name, parameter in objective.named_parameters()}
    groups = make_optimizer(objective, config).param_groups
    found = {names[id(one)]: group["rate_factor"] for group in groups for one in group["params"]}
    assert found.keys() == set(names.values())
    return found


def test_rates_fall_from_the_neck_towards_the_image(objective, tiny_staged, tiny_vit):
    found = factors_of(objective, Optimization(layer_decay=0.5))

    store = "model.image_encoder.store."
    for name, factor in found.items():
        kind, _, rest = name.removeprefix(store).partition(".")
        match kind:
            case "stages":
                assert factor == 0.5 ** (4 - int(rest[0])), name
            case "blocks":
                assert factor == 0.5 ** (tiny_vit.depth - int(rest[0])), name
            case "patch_embed" | "pos_embed":
                assert factor == 0.5 ** (tiny_vit.depth + 1), name
            case _:
                assert factor == 1.0, name
    assert any(name.startswith(f"{store}neck") for name in found)


def test_without_layer_decay_all_rates_are_alike(objective):
    assert set(factors_of(objective, Optimization()).values()) == {1.0}


def test_setting_the_rate_keeps_the_groups_factors(objective):
    config = Optimization(learning_rate=1.0, warmup_steps=10, layer_decay=0.5)
    optimizer = make_optimizer(objective, config)

    assert set_learning_rate(optimizer, 1, 100, config) == 0.2

    assert all(group["lr"] == 0.2 * group["rate_factor"] for group in optimizer.param_groups)


def test_vectors_positions_and_tokens_are_not_decayed(tiny_vit):
    objective = Objective(Sam(Supernet(tiny_vit)))
    names = {id(parameter): name for name, parameter in objective.named_parameters()}

    groups = make_optimizer(objective, Optimization(weight_decay=0.3)).param_groups

    decays = {names[id(one)]: (group["weight_decay"], one.ndim) for group in groups for one in group["params"]}
    told = (
        "pos_embed",
        "rel_pos",
        "point_embeddings",
        "not_a_point_embed",
        "no_mask_embed",
        "iou_token",
        "mask_tokens",
    )
    assert {word for word in told for name in decays if word in name} == set(told)
    assert {decays[name] for name in decays if "mask_downscaling" in name and decays[name][1] == 4} == {(0.3, 4)}
    for name, (decay, ndim) in decays.items():
        assert decay == (0.0 if ndim < 2 or any(word in name for word in told) else 0.3), name


def test_the_state_comes_back_for_the_parameters_that_have_one(objective):
    def step(optimizer, seed):
        generator = torch.Generator().manual_seed(seed)
        for number, parameter in enumerate(objective.parameters()):
            used = number % 3  # a third was in no subnet yet
            parameter.grad = torch.randn(parameter.shape, generator=generator) if used else None
        optimizer.step()

    first = make_optimizer(objective, Optimization())
    step(first, 1)
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(first, objective).items()}
    before = [parameter.detach().clone() for parameter in objective.parameters()]
    step(first, 2)
    expected = [parameter.detach().clone() for parameter in objective.parameters()]

    with torch.no_grad():
        for parameter, value in zip(objective.parameters(), before, strict=True):
            parameter.copy_(value)
    second = make_optimizer(objective, Optimization())
    restore_optimizer(second, objective, saved)
    step(second, 2)

    assert all(map(torch.equal, objective.parameters(), expected))
    assert len(second.state) == sum(number % 3 > 0 for number in range(len(before)))
