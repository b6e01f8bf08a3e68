"""The moving average of the weights, by hand."""

import pytest
import torch
from torch import nn

from supersam.checkpoints.supernets import AVERAGE
from supersam.train.ema import WeightAverage


@pytest.fixture
def model():
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 1.0)
    nn.init.constant_(model.bias, -1.0)
    return model


def test_the_average_follows_by_hand(model):
    average = WeightAverage(model, decay=0.5)
    expected = 1.0
    for step, weight in enumerate((2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)):
        nn.init.constant_(model.weight, weight)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))  # a tenth of itself stays after the first step, half later
        expected = decay * expected + (1 - decay) * weight
        assert average.by_name()["weight"].item() == pytest.approx(expected, rel=1e-6)
    assert decay == 0.5
    assert average.by_name()["bias"].item() == -1.0


def test_it_is_not_the_model_and_takes_no_gradient(model):
    average = WeightAverage(model, decay=0.9)

    nn.init.constant_(model.weight, 5.0)

    assert average.by_name()["weight"].item() == 1.0
    assert not any(tensor.requires_grad for tensor in average.by_name().values())


def test_its_state_comes_back(model):
    average = WeightAverage(model, decay=0.9)
    nn.init.constant_(model.weight, 5.0)
    average.update(3)
    saved = {name: tensor.clone() for name, tensor in average.tensors().items()}

    other = WeightAverage(model, decay=0.9)
    other.restore(saved)

    assert saved.keys() == {f"{AVERAGE}weight", f"{AVERAGE}bias"}
    assert torch.equal(other.by_name()["weight"], average.by_name()["weight"])
