"""SAM's decoder in the order of `supersam/sam/decoder.py` against segment-anything's own, in turn on the same tensors.

    OMP_NUM_THREADS=1 python experiments/0005-training-speed/decoder.py [--repeats 9]

Writes decoder.csv and the README's table. One thread, CPU time of the process, medians; the machine should be quiet.
"""

import argparse
import datetime
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from supersam.sam.model import FRAME, Masks, Prompts, Sam

sys.path.insert(0, str(Path(__file__).parents[1]))
import proofs

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """What is decoded."""

    name: str
    images: int
    prompts: int  # of each image
    resolution: int
    learns: bool  # backward too
    masks: bool = False


CASES = (
    Case("training, 128 px, 8 prompts an image", 10, 8, 128, True),
    Case("training, 256 px, 8 prompts an image", 5, 8, 256, True),
    Case("training, the same with mask prompts", 5, 8, 256, True, masks=True),
    Case("evaluation, 512 px, 6 prompts of an image", 1, 6, 512, False),
    Case("use, 1024 px, one prompt", 1, 1, 1024, False),
)


def as_segment_anything(sam: Sam, embeddings: Tensor, prompts: Prompts) -> Masks:
    """Repeat every image for its prompts and run the modules' own forward."""
    tokens, size = sam._prompt_tokens(prompts), embeddings.shape[-2:]
    repeated = embeddings.repeat_interleave(tokens.shape[1], dim=0)
    logits, iou = sam.mask_decoder.predict_masks(
        image_embeddings=torch.zeros_like(embeddings[:1]),
        image_pe=sam.prompt_encoder.pe_layer(size).unsqueeze(0),
        sparse_prompt_embeddings=tokens.flatten(0, 1),
        dense_prompt_embeddings=repeated + sam._dense_prompt(prompts.masks),
    )
    return Masks(logits.unflatten(0, tokens.shape[:2]), iou.unflatten(0, tokens.shape[:2]))


def seconds(
    sam: Sam, case: Case, decode: Callable[[Sam, Tensor, Prompts], Masks], given: tuple[Tensor, Prompts]
) -> float:
    """Return the CPU time of decoding once."""
    sam.zero_grad(set_to_none=True)
    started = time.process_time()
    with torch.set_grad_enabled(case.learns):
        masks = decode(sam, *given)
        if case.learns:
            (masks.logits.square().mean() + masks.iou.sum()).backward()
    return time.process_time() - started


def drawn(case: Case) -> tuple[Tensor, Prompts]:
    """Return random embeddings and prompts."""
    side = case.resolution // 16
    embeddings = torch.randn(case.images, 256, side, side, requires_grad=case.learns)
    clicks = FRAME * torch.rand(case.images, case.prompts, 1, 2)
    masks = torch.randn(case.images, case.prompts, 4 * side, 4 * side) if case.masks else None
    return embeddings, Prompts(clicks, torch.ones(clicks.shape[:3]), masks=masks)


def main() -> None:
    """Measure all cases and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    torch.manual_seed(0)
    torch.set_num_threads(1)
    sam, rows = Sam(torch.nn.Identity()).train(), []
    for case in CASES:
        given, times = drawn(case), ([], [])
        for repeat in range(repeats + 1):
            for decode, taken in zip((as_segment_anything, Sam.decode), times):
                once = seconds(sam, case, decode, given)
                if repeat:  # the first round warms up
                    taken.append(once)
        ratios = sorted(before / after for before, after in zip(*times))
        rows.append(
            {
                "case": case.name,
                "segment_anything_ms": round(1000 * statistics.median(times[0]), 1),
                "here_ms": round(1000 * statistics.median(times[1]), 1),
                "times_as_fast": round(statistics.median(ratios), 2),
                "quarter": round(ratios[len(ratios) // 4], 2),
                "three_quarters": round(ratios[3 * len(ratios) // 4], 2),
                "torch": torch.__version__,
                "processor": platform.processor() or platform.machine(),
                "avx512": torch.cpu._is_avx512_supported(),
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            }
        )
        print(rows[-1], flush=True)
    proofs.write_csv(HERE / "decoder.csv", rows)
    lines = [
        [
            row["case"],
            row["segment_anything_ms"],
            row["here_ms"],
            f"{row['times_as_fast']} [{row['quarter']} to {row['three_quarters']}]",
        ]
        for row in rows
    ]
    header = ["what is decoded", "segment-anything, ms", "here, ms", "times as fast [quartiles]"]
    proofs.fill(HERE / "README.md", "decoder", proofs.table(header, lines))


if __name__ == "__main__":
    main()
