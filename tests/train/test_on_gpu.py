"""Every part of the recipe on a GPU that is pretended: nothing is left behind on the CPU."""

from dataclasses import replace

import pytest
import torch

from supersam.train.config import BalancedLoss, Engine, Optimization, Phase
from supersam.train.distillation_config import Distillation, PromptLesson
from supersam.train.engine import Workers
from supersam.train.setup import build
from supersam.train.step import train_step

HERE = Workers(0, 1, torch.device("cpu"))
CORRECTED = Phase(resolution_weights={64: 1.0}, correction_rounds=2, inplace_distillation=1.0)
RECIPES = {
    "plain": {},
    "corrections, distilled in place": {"phases": (CORRECTED,), "balanced_loss": BalancedLoss()},
    "accumulated, averaged": {"engine": Engine(accumulate=2), "optimization": Optimization(ema=0.9, layer_decay=0.8)},
    "recomputed": {"engine": Engine(activation_checkpointing=True)},
    "a teacher's embeddings and prompts": {"distillation": Distillation(teacher="patches", prompts=PromptLesson())},
    "a teacher's decoder, frozen": {
        "distillation": Distillation(teacher="patches", start_from_teacher_decoder=True, freeze_decoder=True)
    },
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_step_runs_on_a_gpu(recipe, changed, build_run, pretend_gpu, request):
    config = changed(**recipe)
    feed = build_run(config.model_copy(update={"distillation": None})).feed
    batches = [next(feed.samples(64, 2)) for _ in range(config.engine.accumulate)]

    with pretend_gpu():
        with torch.device("cuda"):
            if config.distillation is not None:
                request.getfixturevalue("patch_teacher")
            run, objective = build(config, HERE)
        run = replace(run, group=Workers(0, 1, torch.device("cuda")))
        images = train_step(run, objective, batches)

    assert all(parameter.is_cuda for parameter in objective.parameters())
    assert images == 2 * config.engine.accumulate
    assert run.losses["loss"] == 1.0  # what the pretended GPU says


def test_a_batch_left_on_the_cpu_is_found(tiny_config, build_run, pretend_gpu):
    batch = next(build_run(tiny_config).feed.samples(64, 2))

    with pretend_gpu():
        with torch.device("cuda"):
            run, objective = build(tiny_config, HERE)
        with pytest.raises(RuntimeError, match="on the same device"):
            train_step(run, objective, [batch])  # its group says that the CPU is meant
