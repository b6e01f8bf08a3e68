"""Reduced precision is used where the processor has it."""

import pytest
import torch

from supersam.train import engine as engine_module
from supersam.train.config import Engine
from supersam.train.engine import Workers, reduced_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("asked", "device", "native", "used"),
    [
        ("decoder", CPU, True, "decoder"),
        ("decoder", CPU, False, "none"),
        ("all", CPU, False, "none"),
        ("none", CPU, False, "none"),
        ("all", GPU, True, "all"),
        ("all", GPU, False, "none"),
    ],
)
def test_bfloat16_is_left_out_where_it_is_emulated_and_that_is_said(asked, device, native, used, monkeypatch, capsys):
    monkeypatch.setattr(engine_module, "_multiplies_bfloat16", lambda device: native)

    assert reduced_precision(Engine(autocast=asked), Workers(0, 1, device)) == used

    assert ("has no bfloat16" in capsys.readouterr().err) == (used != asked)


def test_one_process_says_it_for_all(monkeypatch, capsys):
    monkeypatch.setattr(engine_module, "_multiplies_bfloat16", lambda device: False)

    assert reduced_precision(Engine(autocast="all"), Workers(1, 2, CPU)) == "none"

    assert capsys.readouterr().err == ""


def test_torch_is_asked_what_the_processor_can():
    assert engine_module._multiplies_bfloat16(torch.device("cpu")) in (True, False)
