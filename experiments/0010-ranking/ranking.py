"""Does the starter rank its subnets as training each alone would? The proof is `supersam validate`; here is its report.

python experiments/0010-ranking/ranking.py run --dry-run
python experiments/0010-ranking/ranking.py run --workers 2     # can be stopped and given again
python experiments/0010-ranking/ranking.py report              # results.csv, figure.png, the README's table
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import proofs

from supersam._paths import starter_dir
from supersam.checkpoints.starter import WEIGHTS
from supersam.checkpoints.supernets import load_supernet
from supersam.train.config import load_config
from supersam.train.ranking import replace_rule

HERE = Path(__file__).parent
CONFIG = HERE / "alone.yaml"
ARCHITECTURES, REPEATED, IMAGES, MASKS = 18, 6, 30, 6
BLOCKS = {"vit": "#0072B2", "repvit": "#D55E00", "efficientvit": "#009E73", "rwkv": "#CC79A7"}


def run(arguments: argparse.Namespace) -> None:
    """Give the command, and keep what it wrote."""
    config = load_config(arguments.config)
    weights = arguments.weights or starter_dir() / WEIGHTS
    if arguments.dry_run:
        estimate(arguments, weights)
        return
    command = [sys.executable, "-m", "supersam", "validate", arguments.config, "--weights", weights, "--front"]
    command += ["--architectures", arguments.architectures, "--repeated", arguments.repeated]
    command += ["--images", arguments.images, "--masks", arguments.masks, "--workers", arguments.workers]
    validate = subprocess.Popen([str(word) for word in command])
    signal.signal(signal.SIGTERM, lambda *_: validate.terminate())  # it saves its state
    code = validate.wait()
    if code:
        sys.exit(code)
    shutil.copy(config.out / "ranking.json", arguments.folder / "ranking.json")


def estimate(arguments: argparse.Namespace, weights: Path) -> None:
    """Print what it would take."""
    model, _ = load_supernet(weights)
    config = load_config(arguments.config)
    subnet = replace(model.image_encoder.space.largest(), resolution=model.image_encoder.space.resolutions[0])
    alone = config.model_copy(
        update={"architecture": subnet.to_dict(), "phases": tuple(replace_rule(phase) for phase in config.phases)}
    )
    trainings = arguments.architectures + arguments.repeated
    print(f"{trainings} trainings, each at most as long as that of the largest subnet:")
    whole = alone.model_copy(update={"steps": alone.steps * trainings, "out": config.out / "all"})
    judge = proofs.Judge(str(config.data), arguments.images, arguments.masks)
    proofs.estimate({"all of them": whole}, arguments.architectures + trainings, judge, (model, subnet))


def report(folder: Path) -> None:
    """Write the rows, the figure and the table."""
    found = json.loads((folder / "ranking.json").read_text())
    proofs.write_csv(folder / "results.csv", found["subnets"])
    lines = []
    named = {
        "supernet against training alone": found["inherited"],
        "the same, of the subnets trained twice": found["inherited_of_repeated"],
        "training alone against training alone (the ceiling)": found["ceiling"],
    }
    for name, agreed in named.items():
        if agreed is not None:
            cells = [
                f"{agreed[which]:.2f} [{agreed[which + '_interval'][0]:.2f} to {agreed[which + '_interval'][1]:.2f}]"
                for which in ("kendall", "spearman")
            ]
            lines.append([name, agreed["n"], *cells])
    share = found["share_of_ceiling"]
    goal = (
        f"Goal, tau of at least {found['goal']['kendall']} or {found['goal']['share_of_ceiling']:.0%} of the ceiling: "
        f"**{'met' if found['goal']['met'] else 'not met'}**"
        + ("." if share is None else f"; on the subnets trained twice tau is {share:.0%} of the ceiling")
        + ("" if share is None else "." if found["ceiling_is_known"] else ", but that may be 0: so it is no measure.")
    )
    noise = "" if found["noise"] is None else f", and one training by {100 * found['noise']:.2f} between seeds"
    goal += (
        f" Training alone adds {100 * found['gain']:+.2f} points; the subnets then differ by "
        f"{100 * found['spread']:.2f}{noise} (standard deviations, in points)."
    )
    text = proofs.table(["orders compared", "subnets", "Kendall tau [95 %]", "Spearman rho [95 %]"], lines)
    proofs.fill(
        folder / "README.md",
        "table",
        f"{text}\n\n{goal}\n\n![The supernet's estimate and the trained result](figure.png)",
    )
    draw(found, folder / "figure.png")


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
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--weights", type=Path, help="default: the starter that ships")
    parser.add_argument("--architectures", type=int, default=ARCHITECTURES)
    parser.add_argument("--repeated", type=int, default=REPEATED)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--masks", type=int, default=MASKS)
    parser.add_argument("--folder", type=Path, default=HERE, help="where ranking.json and the report are kept")
    given = parser.parse_args()
    run(given) if given.what == "run" else report(given.folder)
