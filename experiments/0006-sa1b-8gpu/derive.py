# ruff: noqa: E501  # the rows of tables
"""What training on SA-1B would cost, derived from the configurations beside this file: the tables of docs/scale.md.

    python experiments/0006-sa1b-8gpu/derive.py            # print the tables
    python experiments/0006-sa1b-8gpu/derive.py --write    # put them into docs/scale.md
    python experiments/0006-sa1b-8gpu/derive.py --check    # exit code 1 if docs/scale.md shows other numbers

Nothing is measured and nothing is trained: operations come from the project's own counters, bytes from shapes on
torch's meta device, and rates from the constants below, each with its source or the word "assumption".
"""

import argparse
import math
import random
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from supersam.sam.model import Prompts, Sam
from supersam.space import AnyArchitecture, SearchSpace, load_space
from supersam.space.architecture import Layer, ViTArchitecture
from supersam.space.parts import count
from supersam.supernet.encoder import blocks_of, build_encoder
from supersam.supernet.supernet import Supernet
from supersam.train.config import Phase, TrainConfig, load_config
from supersam.train.dry_run import PASSES, decoder_gmacs
from supersam.train.loss_model import LossModel
from supersam.train.plan import StepPlan, plan_step, resolution_weights
from supersam.train.sampling import uniform

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "scale.md"
CONFIGS = {"sam-1024": HERE / "train.yaml", "supersam-vit-b": HERE / "train-vit-b.yaml"}
GPUS = 8
DRAWN = 128  # steps of a phase, or subnets of a space, whose cost is averaged
TEACHER_PX = 1024

# Datasheets of NVIDIA: A100 80GB SXM and H100 SXM (dense bfloat16; NVLink in one direction), DGX A100 and DGX H100
# (InfiniBand of each GPU: 200 and 400 Gb/s).
PEAK_TFLOPS = {"A100": 312.0, "H100": 989.0}
NVLINK_GB_S = {"A100": 300.0, "H100": 450.0}
INFINIBAND_GB_S = {"A100": 25.0, "H100": 50.0}

# Assumptions, as intervals.
UTILISATION = {"A100": (0.10, 0.40), "H100": (0.07, 0.30)}  # of the peak; docs/scale.md compares it with published runs
LINK_SHARE = (0.5, 0.8)  # of a link's rate that a ring of large buckets gets
BF16_SHARE = (0.5, 0.8)  # bytes of the activations under autocast, of those in float32: norms and sums stay float32
DECODE_S = (0.03, 0.12)  # CPU seconds for one image: JPEG at reduced scale, run lengths of 4 masks, resize
IMAGE_MB = (0.7, 1.2)  # of SA-1B, JPEG and JSON together
DISK_GB_S = (1.0, 3.0)  # of one writer of checkpoints
JITTER = (0.02, 0.05)  # standard deviation of a process's time for a step

EMBEDDING_MIB = 256 * 64 * 64 * 2 / 2**20
GIB = 2**30
Range = tuple[float, float]


@dataclass(frozen=True)
class Cost:
    """Arithmetic of a mean step of one process, in 1e12 floating point operations (two for each MAC)."""

    images: float
    encoder: float
    decoder: float
    teacher: float

    @property
    def total(self) -> float:
        return self.encoder + self.decoder + self.teacher


# --- arithmetic ------------------------------------------------------------------------------------------------------


def sam_teacher(width: int, depth: int, heads: int, global_layers: tuple[int, ...]) -> ViTArchitecture:
    """Return the encoder of an official SAM (https://arxiv.org/abs/2304.02643)."""
    layers = tuple(Layer(i, heads, 4 * width, 0 if i in global_layers else 14) for i in range(depth))
    return ViTArchitecture(TEACHER_PX, width, width // heads, layers)


TEACHERS = {
    "sam_vit_b": sam_teacher(768, 12, 12, (2, 5, 8, 11)),
    "sam_vit_l": sam_teacher(1024, 24, 16, (5, 11, 17, 23)),
    "sam_vit_h": sam_teacher(1280, 32, 16, (7, 15, 23, 31)),
}


def teacher_of(config: TrainConfig) -> ViTArchitecture:
    assert config.distillation is not None
    return next(teacher for name, teacher in TEACHERS.items() if name in config.distillation.teacher)


def at(space: SearchSpace, architecture: AnyArchitecture, resolution: int) -> AnyArchitecture:
    return space.decode({**space.encode(architecture), "resolution": resolution})


@cache
def prompt_gmacs(resolution: int, prompts: int = 1) -> float:
    """Return the arithmetic of a prompt that shares its image with others."""
    return decoder_gmacs(resolution, prompts) / prompts


def original_prompt_gmacs(side: int = 64) -> float:
    """Return that of a prompt in segment-anything's own order of the arithmetic, which published trainings had."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        image, tokens = torch.empty(1, 256, side, side), torch.empty(1, 2, 256)
        Sam(torch.nn.Identity()).mask_decoder.predict_masks(image, image, tokens, image)
    return counter.get_total_flops() / 2e9


def cost_of(config: TrainConfig, plan: StepPlan, progress: float) -> Cost:
    """Return the arithmetic of a step, as ``supersam train --dry-run`` counts it, and that of the teacher."""
    assert config.distillation is not None
    subnets, prompts = len(plan.subnets), config.points_per_image + config.boxes_per_image
    again = 1 if config.engine.activation_checkpointing else 0  # blocks run once more in the backward pass
    encoder = (PASSES + again) * sum(count(architecture).gmacs for architecture in plan.subnets)
    one = prompts * prompt_gmacs(plan.resolution, prompts)
    decoder = PASSES * subnets * (1 + plan.settings.correction_rounds) * one
    lesson, teacher = config.distillation.prompts, count(teacher_of(config)).gmacs
    if lesson and lesson.weight_at(progress):
        decoder += PASSES * subnets * (1 + lesson.rounds) * one
        teacher += subnets * (1 + lesson.rounds) * prompts * prompt_gmacs(TEACHER_PX, prompts)
    scale = 2e-3 * plan.images * config.engine.accumulate
    return Cost(plan.images * config.engine.accumulate, scale * encoder, scale * decoder, scale * teacher)


def mean_cost(config: TrainConfig, space: SearchSpace, begins: int, ends: int) -> Cost:
    """Return the mean over drawn steps of a phase, each resolution with its exact share."""
    losses, drawn = LossModel(space), defaultdict(list)
    for number in range(DRAWN):
        step = begins + (ends - begins) * number // DRAWN
        plan = plan_step(config, space, space, losses, step)
        drawn[plan.resolution].append(cost_of(config, plan, step / config.steps))
    weights = resolution_weights(config.phase_at(begins), space)
    shares = {resolution: weight / sum(weights.values()) for resolution, weight in weights.items() if weight}
    assert set(drawn) == set(shares)
    return Cost(
        *(
            sum(share * mean(getattr(cost, name) for cost in drawn[side]) for side, share in shares.items())
            for name in Cost.__dataclass_fields__
        )
    )


@cache
def phases_of(name: str) -> list[tuple[Phase, int, Cost]]:
    """Return every phase of a configuration with its number of steps and the cost of one."""
    config, space, begins, found = load_config(CONFIGS[name]), load_space(name), 0, []
    for phase in config.phases:
        ends = round(phase.until * config.steps)
        found.append((phase, ends - begins, mean_cost(config, space, begins, ends)))
        begins = ends
    return found


def seconds(tflop: float, gpu: str) -> Range:
    low, high = UTILISATION[gpu]
    return tflop / PEAK_TFLOPS[gpu] / high, tflop / PEAK_TFLOPS[gpu] / low


# --- memory ----------------------------------------------------------------------------------------------------------


@cache
def parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Sam(Supernet(load_space(name))).parameters())


def kept_bytes(run: Callable[[], object], parameters: set[int]) -> int:
    """Return the bytes that the graph of a run keeps, as the dry run counts them."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        held.append(storage)  # so that no address is used twice
        return tensor

    held: list[torch.UntypedStorage] = []
    with saved_tensors_hooks(note, lambda tensor: tensor):
        outcome = run()
    del outcome
    return sum(size for pointer, size in kept.items() if pointer not in parameters)


@cache
def activation_bytes(architecture: AnyArchitecture) -> tuple[int, int]:
    """Return what an encoder keeps of one image in float32, without its weights: as it is, and with checkpointing.

    With checkpointing it is what lies outside of the blocks, all inputs of blocks and the inside of the largest one.
    """
    with torch.device("meta"):
        encoder = build_encoder(architecture)
        image = torch.empty(1, 3, architecture.resolution, architecture.resolution)
        own = {parameter.untyped_storage()._cdata for parameter in encoder.parameters()}
        whole = kept_bytes(lambda: encoder(image), own)
        inputs: list[Tensor] = []
        for block in blocks_of(encoder):
            block.register_forward_pre_hook(lambda module, given: inputs.append(given[0].detach().requires_grad_()))
        with torch.no_grad():
            encoder(image)
        inside = [kept_bytes(lambda b=block, x=x: type(b).forward(b, x), own)
                  for block, x in zip(list(blocks_of(encoder)), list(inputs), strict=True)]  # fmt: skip
    between = sum(x.untyped_storage().nbytes() for x in inputs[: len(inside)])
    return whole, max(0, whole - sum(inside)) + between + max(inside)


@cache
def decoder_bytes(resolution: int) -> int:
    """Return what the decoder keeps of one prompt in float32."""
    with torch.device("meta"):
        model = Sam(torch.nn.Identity())
        side = resolution // 16
        embedding = torch.empty(1, 256, side, side, requires_grad=True)
        own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        return kept_bytes(lambda: model.decode(embedding, Prompts(boxes=torch.empty(1, 1, 4))), own)


def largest_of_type(space: SearchSpace, block: str, resolution: int) -> AnyArchitecture:
    """Return the largest subnet that uses a block type wherever it is allowed."""
    choices = {name: allowed[-1] for name, allowed in space.variables().items()}
    for name, allowed in space.variables().items():
        if name.endswith(".block"):
            choices[name] = block if block in allowed else allowed[-1]
    return space.decode({**choices, "resolution": resolution})


# --- tables ----------------------------------------------------------------------------------------------------------


def arithmetic() -> str:
    rows = ["| encoder, forward pass of one image | 512 px | 768 px | 1024 px |", "|---|---|---|---|"]
    for name in CONFIGS:
        space = load_space(name)
        for label, architecture in (("smallest", space.smallest()), ("largest", space.largest())):
            rows.append(_row(space, f"{name}, {label}", lambda px, a=architecture, s=space: count(at(s, a, px)).gmacs))
        rows.append(_row(space, f"{name}, mean of {DRAWN} random", lambda px, s=space: _mean_gmacs(s, px)))
    rows.append(
        "| SAM's decoder, one prompt | " + " | ".join(f"{prompt_gmacs(px):.2f}" for px in (512, 768, 1024)) + " |"
    )
    rows += [f"| teacher {name} | | | {count(teacher).gmacs:,.0f} |" for name, teacher in TEACHERS.items()]
    return "\n".join(rows)


def _row(space: SearchSpace, label: str, gmacs: Callable[[int], float]) -> str:
    return (
        f"| {label} | "
        + " | ".join(f"{gmacs(px):.1f}" if px in space.resolutions else "" for px in (512, 768, 1024))
        + " |"
    )


def _mean_gmacs(space: SearchSpace, px: int) -> float:
    rng = random.Random(0)
    return sum(count(uniform(space, px, rng)).gmacs for _ in range(DRAWN)) / DRAWN


def time_table(name: str) -> str:
    config = load_config(CONFIGS[name])
    rows = [
        "| phase | steps | images a step, 8 GPUs | TFLOP a step and GPU: encoder + decoder + teacher | A100 s/step | "
        "8 A100, hours | 8 H100, hours |",
        "|---|---|---|---|---|---|---|",
    ]
    sums = {gpu: [0.0, 0.0] for gpu in PEAK_TFLOPS}
    images = 0.0
    for number, (phase, steps, cost) in enumerate(phases_of(name), 1):
        images += steps * cost.images * GPUS
        hours = {gpu: [steps * s / 3600 for s in seconds(cost.total, gpu)] for gpu in PEAK_TFLOPS}
        for gpu, found in hours.items():
            sums[gpu] = [a + b for a, b in zip(sums[gpu], found, strict=True)]
        rows.append(
            f"| {number}: {phase.subnets}{' + corrections' if phase.correction_rounds else ''} | {steps:,} | "
            f"{cost.images * GPUS:.0f} | {cost.encoder:.1f} + {cost.decoder:.1f} + {cost.teacher:.1f} | "
            f"{_range(seconds(cost.total, 'A100'))} | {_range(hours['A100'])} | {_range(hours['H100'])} |"
        )
    rows.append(
        f"| all | {config.steps:,} | {images / 1e6:.1f} M in all | | | {_range(sums['A100'])} | {_range(sums['H100'])} |"
    )
    return "\n".join(rows)


def teacher_table() -> str:
    """Compare running the teacher with reading its embeddings."""
    rows = [
        "| teacher | TFLOP an image | A100 ms an image | 110 k images into a cache, hours of one A100 | 1.1 M images, hours of one A100 |",
        "|---|---|---|---|---|",
    ]
    for name, teacher in TEACHERS.items():
        tflop = 2e-3 * count(teacher).gmacs
        one = seconds(tflop, "A100")
        hours = [[n * s / 3600 for s in one] for n in (110e3, 1.1e6)]  # one process fills a cache
        rows.append(
            f"| {name} | {tflop:.2f} | {_range((one[0] * 1e3, one[1] * 1e3))} | {_range(hours[0])} | {_range(hours[1])} |"
        )
    rows.append(
        f"| read from the cache | 0 | | {EMBEDDING_MIB:.0f} MiB an image: {110e3 * EMBEDDING_MIB / 1024:.0f} GiB | "
        f"{1.1e6 * EMBEDDING_MIB / 2**20:.2f} TiB |"
    )
    return "\n".join(rows)


def memory() -> str:
    rows = ["| part, of one GPU, GiB | sam-1024, DDP | supersam-vit-b, FSDP2 of 8 |", "|---|---|---|"]
    state = {name: 4 * parameters(name) / GIB for name in CONFIGS}
    shard = {"sam-1024": 1, "supersam-vit-b": GPUS}
    parts = [
        ("weights, float32 (sharded: and whole while they are used)", lambda s, n: s if n == 1 else s + s / n),
        ("gradients, whole until the last subnet (DDP: and its buckets)", lambda s, n: 2 * s if n == 1 else s + s / n),
        ("Adam's two moments", lambda s, n: 2 * s / n),
        ("EMA", lambda s, n: s / n),
    ]
    totals = dict.fromkeys(CONFIGS, 0.0)
    for label, size in parts:
        found = {name: size(state[name], shard[name]) for name in CONFIGS}
        totals = {name: totals[name] + found[name] for name in CONFIGS}
        rows.append(f"| {label} | " + " | ".join(f"{found[name]:.2f}" for name in CONFIGS) + " |")
    teacher = 4 * (count(TEACHERS["sam_vit_h"]).params + 4_058_340) / GIB
    rows.append(f"| teacher sam_vit_h, float32 | {teacher:.2f} | {teacher:.2f} |")
    rows.append("| state | " + " | ".join(f"**{totals[name] + teacher:.1f}**" for name in CONFIGS) + " |")
    return "\n".join(rows)


def activations() -> str:
    staged, plain = load_space("sam-1024"), load_space("supersam-vit-b")
    rows = [
        "| largest subnet at 1024 px | float32, MiB an image | bf16 autocast, GiB of a batch | with checkpointing, GiB |",
        "|---|---|---|---|",
    ]
    for label, architecture, images in [
        *((f"sam-1024, {block} wherever allowed, 8 images", largest_of_type(staged, block, 1024), 8)
          for block in ("vit", "repvit", "efficientvit", "rwkv")),
        ("supersam-vit-b, 4 images", plain.largest(), 4),
    ]:  # fmt: skip
        whole, less = activation_bytes(architecture)
        spans = [tuple(images * size * share / GIB for share in BF16_SHARE) for size in (whole, less)]
        rows.append(f"| {label} | {whole / 2**20:,.0f} | {_range(spans[0])} | {_range(spans[1])} |")
    prompt = decoder_bytes(1024)
    span = tuple(8 * 4 * prompt * share / GIB for share in BF16_SHARE)
    rows.append(f"| decoder, 8 images of 4 prompts, each round | {prompt / 2**20:,.0f} a prompt | {_range(span)} | |")
    return "\n".join(rows)


def communication() -> str:
    rows = [
        "| space | gradients, MB | A100: ring of 8 on NVLink, ms | A100: ring of 64 on InfiniBand, ms | "
        "DDP sends a step, MB | FSDP2 at the root sends a step of 4 subnets, MB |",
        "|---|---|---|---|---|---|",
    ]
    for name in CONFIGS:
        megabytes = 4 * parameters(name) / 1e6
        ring = 2 * 7 / 8 * megabytes
        rows.append(
            f"| {name} | {megabytes:,.0f} | {_range(_ring_ms(name, 8, 'A100'))} | {_range(_ring_ms(name, 64, 'A100'))} | "
            f"{ring:,.0f} | {7 / 8 * megabytes * (4 + 1):,.0f} |"
        )
    return "\n".join(rows)


def _ring_ms(name: str, gpus: int, gpu: str) -> Range:
    """Return the time of a ring all-reduce: every GPU sends 2 (n - 1) / n of the bytes."""
    rate = NVLINK_GB_S[gpu] if gpus <= GPUS else INFINIBAND_GB_S[gpu]
    sent = 2 * (gpus - 1) / gpus * 4 * parameters(name) / 1e6  # MB, and MB / (GB/s) is ms
    return sent / rate / LINK_SHARE[1], sent / rate / LINK_SHARE[0]


def input_table() -> str:
    rows = [
        "| phase of train.yaml | images/s of one A100 | MB/s read | CPU cores that decode | with a cache, MB/s more |",
        "|---|---|---|---|---|",
    ]
    for number, (phase, _, cost) in enumerate(phases_of("sam-1024"), 1):
        slow, fast = (cost.images / s for s in reversed(seconds(cost.total, "A100")))
        rows.append(
            f"| {number}: {phase.subnets} | {_range((slow, fast))} | {_range((slow * IMAGE_MB[0], fast * IMAGE_MB[1]))} | "
            f"{_range((slow * DECODE_S[0], fast * DECODE_S[1]))} | {_range((slow * 2.1, fast * 2.1))} |"
        )
    return "\n".join(rows)


def saturation() -> str:
    """Scale the sandwich phase of train.yaml with the same batch on every GPU."""
    _, _, cost = phases_of("sam-1024")[2]
    compute = seconds(cost.total, "A100")
    rows = [
        "| GPUs | images a step | 1.1 M images, steps | all-reduce ms, not hidden | share of the step | "
        "waiting for the slowest | storage GB/s | decoding cores | efficiency |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for gpus in (8, 64, 256, 1000):
        ring = _ring_ms("sam-1024", gpus, "A100")
        share = ring[0] / 1e3 / (compute[1] + ring[0] / 1e3), ring[1] / 1e3 / (compute[0] + ring[1] / 1e3)
        wait = [sigma * math.sqrt(2 * math.log(gpus)) for sigma in JITTER]
        efficiency = (1 - share[1]) / (1 + wait[1]), (1 - share[0]) / (1 + wait[0])
        rate = [gpus * cost.images / s for s in reversed(compute)]
        rows.append(
            f"| {gpus:,} | {gpus * cost.images:,.0f} | {1.1e6 / gpus / cost.images:,.0f} | {_range(ring)} | "
            f"{_percent(share)} | {_percent((wait[0], wait[1]))} | "
            f"{_range((rate[0] * IMAGE_MB[0] / 1e3, rate[1] * IMAGE_MB[1] / 1e3))} | "
            f"{_range((rate[0] * DECODE_S[0], rate[1] * DECODE_S[1]))} | {_percent(efficiency)} |"
        )
    return "\n".join(rows)


def checkpoints() -> str:
    rows = ["| space | training.safetensors, GB | seconds to write | weights.safetensors, GB |", "|---|---|---|---|"]
    for name in CONFIGS:
        state = 16 * parameters(name) / 1e9  # weights, two moments and the average, 4 bytes each
        rows.append(
            f"| {name} | {state:.2f} | {_range((state / DISK_GB_S[1], state / DISK_GB_S[0]))} | "
            f"{2 * parameters(name) / 1e9:.2f} |"
        )
    return "\n".join(rows)


def published() -> str:
    """Compare the method with published trainings: what share of the peak they reached by our counts."""
    vit_h = count(TEACHERS["sam_vit_h"]).gmacs
    images, gpus, hours = 90_000 * 256, 256, 68
    spent = gpus * hours * 3600 * PEAK_TFLOPS["A100"]
    encoder = PASSES * 2e-3 * vit_h * images
    decoder = PASSES * 2e-3 * original_prompt_gmacs() * 64 * 11 * images
    resnet = [rate / n * PASSES * 2e-3 * 4.09 / PEAK_TFLOPS["A100"] for rate, n in ((2470, 1), (16621, 8))]
    forward = 2e-3 * vit_h / 0.15 / PEAK_TFLOPS["A100"]
    return "\n".join(
        [
            "| published run | counted here | share of the peak |",
            "|---|---|---|",
            f"| SAM ViT-H: 90,000 steps of 256 images, 256 A100, 68 h | encoder {encoder / 1e6:.0f} EFLOP, decoder (64 masks, "
            f"11 rounds) {decoder / 1e6:.0f} EFLOP | {encoder / spent:.1%} encoder, {(encoder + decoder) / spent:.1%} with decoder |",
            f"| ResNet-50, mixed precision: 2,470 images/s on 1 A100, 16,621 on 8 | 4.09 GMAC an image | {resnet[0]:.0%} "
            f"on 1, {resnet[1]:.0%} on 8 |",
            f"| ViT-H's encoder, forward pass: about 0.15 s on an A100 | {2e-3 * vit_h:.2f} TFLOP | {forward:.0%} |",
        ]
    )  # fmt: skip


def _range(span: tuple[float, ...] | list[float]) -> str:
    return " to ".join(_digits(value) for value in span)


def _digits(value: float) -> str:
    """Return two significant digits."""
    if value >= 100:
        return f"{round(value, 1 - int(math.log10(value))):,.0f}"
    return f"{value:.2g}"


def _percent(span: Range) -> str:
    return " to ".join(f"{100 * value:.2g} %" if value < 0.995 else "100 %" for value in span)


TABLES: dict[str, Callable[[], str]] = {
    "arithmetic": arithmetic,
    "teacher": teacher_table,
    "time-sam-1024": lambda: time_table("sam-1024"),
    "time-supersam-vit-b": lambda: time_table("supersam-vit-b"),
    "published": published,
    "memory": memory,
    "activations": activations,
    "communication": communication,
    "input": input_table,
    "checkpoints": checkpoints,
    "saturation": saturation,
}


def filled(page: str) -> str:
    """Return the page with every table recomputed."""
    for name, table in TABLES.items():
        block = re.compile(rf"(<!-- derived: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, found = block.subn(lambda match, text=table(): f"{match[1]}{text}\n{match[2]}", page)
        if found != 1:
            raise SystemExit(f"{PAGE.name} has {found} places for the table {name}, it should have one")
    return page


def main() -> int:
    parser = argparse.ArgumentParser(description="Derive the tables of docs/scale.md.")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="compare the page with recomputed numbers")
    action.add_argument("--write", action="store_true", help="put the tables into the page")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not (arguments.check or arguments.write):
        print("\n\n".join(f"{name}\n{table()}" for name, table in TABLES.items()))
        return 0
    page = PAGE.read_text()
    expected = filled(page)
    if arguments.write:
        PAGE.write_text(expected)
        return 0
    wrong = [line for line, other in zip(page.splitlines(), expected.splitlines(), strict=False) if line != other]
    if page != expected:
        print(f"docs/scale.md differs from what is derived, first in: {wrong[:1]}; run with --write", file=sys.stderr)
    return int(page != expected)


if __name__ == "__main__":
    sys.exit(main())
