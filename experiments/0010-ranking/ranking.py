"""Does the starter rank its subnets as training each alone would? The proof is `supersam validate`; here is its report.

python experiments/0010-ranking/ranking.py run averaged --dry-run
python experiments/0010-ranking/ranking.py run averaged --workers 2     # can be stopped and given again
python experiments/0010-ranking/ranking.py report averaged              # its rows, figure and part of the README
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import proofs

from supersam._paths import starter_dir
from supersam.checkpoints.starter import WEIGHTS
from supersam.checkpoints.supernets import load_supernet
from supersam.train.config import load_config
from supersam.train.ranking import Judged, alone_config, compare

HERE = Path(__file__).parent
IMAGES, MASKS = 30, 6


@dataclass(frozen=True)
class Attempt:
    """Which subnets are trained by ``NAME.yaml``."""

    config: str
    architectures: int
    repeated: int
    front: bool  # near it, by the archive that ships; else of the whole space


ATTEMPTS = {
    "alone": Attempt("alone.yaml", 18, 6, front=True),
    "averaged": Attempt("averaged.yaml", 18, 18, front=True),
    "averaged-space": Attempt("averaged.yaml", 18, 18, front=False),
}
BLOCKS = {"vit": "#0072B2", "repvit": "#D55E00", "efficientvit": "#009E73", "rwkv": "#CC79A7"}


def run(arguments: argparse.Namespace) -> None:
    """Give the command, and keep what it wrote."""
    attempt = ATTEMPTS[arguments.attempt]
    config, weights = HERE / attempt.config, starter_dir() / WEIGHTS
    if arguments.dry_run:
        estimate(attempt, weights)
        return
    command = [sys.executable, "-m", "supersam", "validate", config, "--weights", weights]
    command += ["--architectures", attempt.architectures, "--repeated", attempt.repeated]
    command += ["--images", IMAGES, "--masks", MASKS, "--workers", arguments.workers]
    validate = subprocess.Popen([str(word) for word in command + ["--front"] * attempt.front])
    signal.signal(signal.SIGTERM, lambda *_: validate.terminate())  # it saves its state
    code = validate.wait()
    if code:
        sys.exit(code)
    shutil.copy(load_config(config).out / "ranking.json", kept(arguments.attempt))


def kept(attempt: str) -> Path:
    """Return where the result of an attempt is kept."""
    return HERE / f"ranking-{attempt}.json"


def estimate(attempt: Attempt, weights: Path) -> None:
    """Print what it would take."""
    model, _ = load_supernet(weights)
    config = load_config(HERE / attempt.config)
    subnet = replace(model.image_encoder.space.largest(), resolution=model.image_encoder.space.resolutions[0])
    trainings = attempt.architectures + attempt.repeated
    print(f"{trainings} trainings, each at most as long as that of the largest subnet:")
    update = {"steps": config.steps * trainings, "out": config.out / "all"}
    whole = alone_config(config, subnet).model_copy(update=update)
    judge = proofs.Judge(str(config.data), IMAGES, MASKS)
    proofs.estimate({"all of them": whole}, attempt.architectures + trainings, judge, (model, subnet))


def report(attempt: str) -> None:
    """Write the rows, the figure and the table."""
    subnets = [Judged(**one) for one in json.loads(kept(attempt).read_text())["subnets"]]
    found = compare(subnets).to_dict()
    proofs.write_csv(HERE / f"results-{attempt}.csv", found["subnets"])
    named = {
        "supernet against training alone": found["inherited"],
        "the same, of the subnets trained twice": found["inherited_of_repeated"],
        "training alone against training alone (the ceiling)": found["ceiling"],
        "supernet against the mean of both trainings": found["inherited_with_mean"],
    }
    if all(one.again is not None for one in subnets):
        del named["the same, of the subnets trained twice"]
    lines = [[name, agreed["n"], *correlations(agreed)] for name, agreed in named.items() if agreed is not None]
    text = proofs.table(["orders compared", "subnets", "Kendall tau [95 %]", "Spearman rho [95 %]"], lines)
    picture = f"![The supernet's estimate and the trained result](figure-{attempt}.png)"
    proofs.fill(HERE / "README.md", attempt, f"{text}\n\n{verdict(found)}\n\n{picture}")
    draw(found, HERE / f"figure-{attempt}.png")


def correlations(agreed: dict) -> list[str]:
    """Return the cells of a line."""
    return [
        f"{agreed[which]:.2f} [{agreed[which + '_interval'][0]:.2f} to {agreed[which + '_interval'][1]:.2f}]"
        for which in ("kendall", "spearman")
    ]


def verdict(found: dict) -> str:
    """Return whether the goal is met, and what the trainings did."""
    share, goal, noise = found["share_of_ceiling"], found["goal"], found["noise"]
    text = (
        f"Goal, tau of at least {goal['kendall']} or {goal['share_of_ceiling']:.0%} of the ceiling: "
        f"**{'met' if goal['met'] else 'not met'}**"
    )
    if share is not None:
        text += f"; on the subnets trained twice tau is {share:.0%} of the ceiling"
        text += "" if found["ceiling_is_known"] else ", but that may be 0: so it is no measure"
    by_seed = "" if noise is None else f", of which the seed of a training makes {100 * noise:.2f}"
    return (
        f"{text}. Training alone adds {100 * found['gain']:+.2f} points; the subnets then differ by "
        f"{100 * found['spread']:.2f}{by_seed} (standard deviations, in points)."
    )


def draw(found: dict, file: Path) -> None:
    """Draw the trained accuracy over the supernet's estimate."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4.5))
    for one in found["subnets"]:
        types = [next(block for block in BLOCKS if word.startswith(block)) for word in one["description"].split()[1:]]
        most = max(types, key=types.count)
        axes[0].scatter(one["inherited"], one["alone"], s=20 + 300 * one["gmacs"], color=BLOCKS[most], alpha=0.7)
        if one["again"] is not None:
            axes[1].scatter(one["alone"], one["again"], s=20 + 300 * one["gmacs"], color=BLOCKS[most], alpha=0.7)
    for block, colour in BLOCKS.items():
        axes[0].scatter([], [], color=colour, label=f"most stages {block}")
    axes[0].set(xlabel="mIoU with the supernet's weights", ylabel="mIoU after training alone")
    axes[1].set(xlabel="mIoU after training alone", ylabel="... from another seed")
    axes[0].set_title(f"Kendall tau {found['inherited']['kendall']:.2f}")
    axes[1].set_title("the ceiling" + (f": {found['ceiling']['kendall']:.2f}" if found["ceiling"] else ""))
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("attempt", choices=list(ATTEMPTS))
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    run(given) if given.what == "run" else report(given.attempt)
