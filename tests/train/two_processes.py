"""Run by torchrun: several trainings in the same processes, so that torch is imported once.

Arguments: configurations; one that begins with + is resumed. Each process notes the subnets it drew.
"""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from supersam.train import step
from supersam.train.config import load_config
from supersam.train.loop import train

torch.set_num_threads(1)
drawn: list[list[str]] = []
plan_step, leave = step.plan_step, dist.destroy_process_group


def noted(*arguments):
    plan = plan_step(*arguments)
    drawn.append([architecture.digest for architecture in plan.subnets])
    return plan


step.plan_step = noted
dist.destroy_process_group = lambda: None  # the processes can join once only
for argument in sys.argv[1:]:
    config = load_config(Path(argument.removeprefix("+")))
    drawn.clear()
    train(config, resume=argument.startswith("+"))
    (config.out / f"drawn-{os.environ['RANK']}.json").write_text(json.dumps(drawn))
    dist.init_process_group = lambda backend, timeout: None
leave()
