"""Reduced precision is used where the processor has it; processes leave each other where all do."""

import pytest
import torch
import torch.distributed as dist

from supersam.errors import DataError, EnvironmentProblem
from supersam.train import engine as engine_module
from supersam.train.config import Engine
from supersam.train.engine import Workers, reduced_precision, workers
from supersam.train.stop import Stopped

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


@pytest.mark.parametrize(
    ("ending", "raised", "leaves"),
    [
        (None, None, True),
        (Stopped(), Stopped, True),
        (DataError("of one process"), DataError, False),
        (KeyboardInterrupt(), KeyboardInterrupt, False),
        (torch.OutOfMemoryError("of one process"), EnvironmentProblem, False),
    ],
)
def test_a_process_that_fails_by_itself_does_not_wait_for_the_others(ending, raised, leaves, monkeypatch):
    left = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "init_process_group", lambda backend, timeout: None)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: left.append(True))

    def run():
        with workers(Engine(device="cpu")) as group:
            assert group == Workers(1, 2, CPU)
            if ending is not None:
                raise ending

    if raised is None:
        run()
    else:
        with pytest.raises(raised):
            run()

    assert bool(left) == leaves
