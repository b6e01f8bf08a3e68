"""What accuracy means to this user: a weighted mean over packs and prompts."""

from dataclasses import dataclass, field, replace

from supersam.errors import UsageError, suggest
from supersam.results import Accuracy


@dataclass(frozen=True)
class Objective:
    """Weights of packs and prompts by name; what is not named weighs one."""

    weights: dict[str, float] = field(default_factory=dict)

    def check(self, known: list[str]) -> None:
        """Check that every name is one of these packs and prompts.

        Raises:
            UsageError: if one is not.
        """
        for name in self.weights:
            if name not in known:
                raise UsageError(
                    f"no pack or prompt {name!r} to weigh (there: {', '.join(known)}).{suggest(name, known)}"
                )

    def apply(self, accuracy: Accuracy) -> Accuracy:
        """Return the accuracy as this objective sees it.

        The interval is widened to one that is safe: each cell's error enters with its weight, and no weight is
        larger than the largest.

        Raises:
            UsageError: if a name is neither a pack nor a prompt of this accuracy, or all weights are zero.
        """
        if not self.weights:
            return accuracy
        cells = {(p, q): value for p, prompts in accuracy.packs.items() for q, value in prompts.items()}
        self.check(sorted({name for cell in cells for name in cell}))
        weights = {cell: self.weights.get(cell[0], 1.0) * self.weights.get(cell[1], 1.0) for cell in cells}
        total = sum(weights.values())
        if total <= 0:
            raise UsageError("all packs and prompts weigh nothing; give at least one a weight above 0")
        value = sum(weights[cell] * cells[cell] for cell in cells) / total
        reach = (accuracy.interval[1] - accuracy.interval[0]) / 2 * len(cells) * max(weights.values()) / total
        return replace(accuracy, value=value, interval=(max(0.0, value - reach), min(1.0, value + reach)))


def parse_objective(texts: list[str]) -> Objective:
    """Read weights as typed: ``nuclei=2`` or ``nuclei=2,box=0.5``.

    Raises:
        UsageError: if one is not a name with a number that is zero or more.
    """
    weights: dict[str, float] = {}
    for part in ",".join(texts).split(",") if texts else ():
        name, sign, number = part.partition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = -1.0
        if not sign or not name.strip() or not 0 <= weight < float("inf"):
            raise UsageError(f"{part!r} is no weight. Write it like nuclei=2 or box=0.5.")
        weights[name.strip()] = weight
    return Objective(weights)
