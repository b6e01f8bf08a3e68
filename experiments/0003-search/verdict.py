"""What came of the comparison: medians with quartiles, which goals are met, and the figure, from the rows there are."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from competitors import COMPETITORS, NSGA2
from records import HERE, table, write_between

from supersam._paths import write_atomically
from supersam.search.samplers import DEFAULT

AT = (10, 25, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1200, 1600)
LEVELS = (0.95, 0.98, 0.99)
WITHIN = 100  # evaluations within a budget
SEEDS = 20  # below, figures are an indication
GENETIC, PUBLISHED, PARZEN = (*NSGA2, "pymoo-nsga2"), "linas-published", ("tpe", "tpe-accuracy")
QUARTER, TWO_THIRDS, HALF = 1 / 4, 2 / 3, 1 / 2
FIGURE, RESULTS = HERE / "figure.png", HERE / "results.csv"

Values = dict[tuple[str, str, str, str], list[float]]  # truth, name, measure, where -> one value for each run
Verdict = tuple[str, str, str, str, str]  # goal, ours, the other's, what ours may be at most, what came of it


class Quartiles(NamedTuple):
    """The values that occurred in the middle and at both quarters."""

    low: float
    middle: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> "Quartiles":
        """Return the quartiles; what was never reached is infinite, and nothing at all is not a number."""
        ordered = sorted(values) or [float("nan")]
        return Quartiles(*(ordered[round(share * (len(ordered) - 1))] for share in (0.25, 0.5, 0.75)))

    def text(self, digits: int) -> str:
        low, middle, high = ("never" if np.isinf(x) else f"{x:.{digits}f}" for x in self)
        return "-" if np.isnan(self.middle) else f"{middle} ({low}, {high})"


def gather(rows: list[dict[str, str]]) -> Values:
    """Return the values of all runs by what they are of.

    Measures are ``share`` and ``regret`` after so many evaluations, ``regret within`` a budget after 100,
    ``evaluations`` to a level, and ``made`` at all.
    """
    found: Values = defaultdict(list)
    for row in rows:
        who, budget = (row["truth"], row["name"]), row["budget_ms"]
        for k in AT:
            if row[f"at_{k}"]:
                found[(*who, "regret" if budget else "share", str(k))].append(float(row[f"at_{k}"]))
        if budget:
            found[(*who, "regret within", budget)].append(float(row[f"at_{WITHIN}"]))
            continue
        found[(*who, "made", "")].append(float(row["evaluations"]))
        for level in LEVELS:
            found[(*who, "evaluations", str(level))].append(float(row[f"to_{level}"] or "inf"))
    return dict(found)


def report(rows: list[dict[str, str]]) -> None:
    """Write medians with quartiles, draw the figure, fill in the README."""
    if not rows:
        raise SystemExit("nothing has been run yet; begin with: compare.py run")
    found = gather(rows)
    lines = ["truth,name,measure,at,median,q25,q75,mean,runs"]
    for (truth, name, measure, at), values in sorted(found.items()):
        low, middle, high = Quartiles.of(values)
        numbers = ",".join(f"{value:g}" for value in (middle, low, high, np.mean(values)))
        lines.append(f"{truth},{name},{measure},{at},{numbers},{len(values)}")
    write_atomically(RESULTS, "\n".join(lines) + "\n")
    draw(found)
    write_between("results", readme(found))


def readme(found: Values) -> list[str]:
    """Return the part of the README: which goals are met, then the tables of each truth."""
    truths = sorted({key[0] for key in found})
    goals = [(truth, *verdict) for truth in truths for verdict in verdicts(found, truth)]
    lines = table(("truth", "goal", f"`{DEFAULT}`", "the other", "at most", ""), goals)
    lines += ["", "![share of the hypervolume, and regret, over evaluations](figure.png)"]
    for truth in truths:
        lines += ["", *_tables(found, truth)]
    return lines


def _tables(found: Values, truth: str) -> list[str]:
    names = sorted({key[1] for key in found if key[0] == truth}, key=list(COMPETITORS).index)
    fronts = [name for name in names if (truth, name, "made", "") in found]
    budgets = sorted({key[3] for key in found if (key[0], key[2]) == (truth, "regret within")}, key=float)
    within = [name for name in names if (truth, name, "regret", str(WITHIN)) in found]
    lines = _front_table(found, truth, fronts) if fronts else []
    return [*lines, *(_regret_table(found, truth, within, budgets) if within else [])]


def _front_table(found: Values, truth: str, names: list[str]) -> list[str]:
    seeds = {name: len(found[truth, name, "made", ""]) for name in names}
    head = ["", "seeds", *(f"share at {k}" for k in (50, 100, 200)), *(f"evaluations to {x:.0%}" for x in LEVELS)]
    lines = table(head, [[f"`{name}`", seeds[name], *_front_cells(found, truth, name)] for name in names])
    title = f"**{truth}**, the whole front; median (quartiles){_warning(min(seeds.values()))}"
    return [title, "", *lines, "", _winners(found, truth, names), ""]


def _regret_table(found: Values, truth: str, names: list[str], budgets: list[str]) -> list[str]:
    runs = [len(found.get((truth, name, "regret within", budget), [])) for name in names for budget in budgets]
    head = ["", *(f"{float(budget):.4g} ms" for budget in budgets), "mean of all"]
    lines = table(head, [_regret_line(found, truth, name, budgets) for name in names])
    title = f"**{truth}**, points of accuracy missing after {WITHIN} evaluations within a budget; median (quartiles)"
    return [title + _warning(min(runs)), "", *lines]


def _warning(seeds: int) -> str:
    return "" if seeds >= SEEDS else f"; {seeds} seeds are an indication, no more"


def _front_cells(found: Values, truth: str, name: str) -> list[str]:
    shares = [Quartiles.of(found.get((truth, name, "share", str(k)), [])).text(3) for k in (50, 100, 200)]
    return shares + [Quartiles.of(found[truth, name, "evaluations", str(level)]).text(0) for level in LEVELS]


def _regret_line(found: Values, truth: str, name: str, budgets: list[str]) -> list[str]:
    points = [[100 * x for x in found.get((truth, name, "regret within", budget), [])] for budget in budgets]
    everything = [x for values in points for x in values]
    return [f"`{name}`", *(Quartiles.of(values).text(2) for values in points), f"{np.mean(everything):.2f}"]


def _winners(found: Values, truth: str, names: list[str]) -> str:
    best = []
    for k in ("50", "100", "200"):
        there = {n: Quartiles.of(found[truth, n, "share", k]).middle for n in names if (truth, n, "share", k) in found}
        if there:
            name = max(there, key=lambda one: there[one])
            best.append(f"at {k} `{name}` {there[name]:.3f}")
    return "Best: " + ", ".join(best)


def verdicts(found: Values, truth: str) -> list[Verdict]:
    """Return what became of each goal on one truth, by medians over the seeds."""
    genetic = min(GENETIC, key=lambda name: _soonest(found, truth, name))
    names = (("98 % with a quarter of the evaluations of NSGA-II, best population", genetic, QUARTER),
             ("98 % with two thirds of the evaluations of LINAS as published", PUBLISHED, TWO_THIRDS))  # fmt: skip
    counts = [_evaluations(found, truth, *one) for one in names]
    return counts + [_regrets(found, truth, name) for name in PARZEN]


def _soonest(found: Values, truth: str, name: str) -> tuple[float, float]:
    """Return what is less for who reached 98 % sooner, or else tried longer in vain."""
    reached, made = _reached(found, truth, name)
    return (reached, -made) if made else (np.inf, np.inf)


def _reached(found: Values, truth: str, name: str) -> tuple[float, float]:
    """Return after how many evaluations 98 % was reached (infinite: never), and how many were made (0: not run)."""
    if (truth, name, "made", "") not in found:
        return np.inf, 0
    reached, made = found[truth, name, "evaluations", "0.98"], found[truth, name, "made", ""]
    return Quartiles.of(reached).middle, Quartiles.of(made).middle


def _evaluations(found: Values, truth: str, goal: str, name: str, share: float) -> Verdict:
    (mine, i_made), (other, made) = (_reached(found, truth, who) for who in (DEFAULT, name))
    ours = f"{mine:.0f}" if np.isfinite(mine) else f"more than {i_made:.0f}" if i_made else "not run"
    if not i_made or not made:
        return goal, ours, f"`{name}`" if made else "not run", "", "not known"
    most = share * min(other, made)  # who never got there would have needed more than were made
    shown = f"`{name}` {other:.0f}" if np.isfinite(other) else f"`{name}` more than {made:.0f}"
    missed = "**missed**" if np.isfinite(other) or np.isinf(mine) else "not decided"
    return goal, ours, shown, f"{most:.0f}", "met" if mine <= most else missed


def _regrets(found: Values, truth: str, name: str) -> Verdict:
    goal = f"half of the regret of `{name}` after {WITHIN} within five budgets, in points"
    mine, other = (found.get((truth, who, "regret", str(WITHIN)), []) for who in (DEFAULT, name))
    if not mine or not other:
        return goal, *("not run" if not values else _points(values) for values in (mine, other)), "", "not known"
    ours, most = Quartiles.of(mine).middle, HALF * Quartiles.of(other).middle
    met = "met" if ours <= most else "**missed**"
    if ours == most == 0:
        met += ", both find the best" if np.mean(mine) <= HALF * np.mean(other) else " by the median, not by the mean"
    return goal, _points(mine), f"`{name}` {_points(other)}", f"{100 * most:.3f}", met


def _points(values: Sequence[float]) -> str:
    return f"{100 * Quartiles.of(values).middle:.3f} (mean {100 * np.mean(values):.3f})"


def draw(found: Values) -> None:
    """Draw medians with bands of the quartiles: share of the true hypervolume, and regret within budgets."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    truths = sorted({key[0] for key in found})
    names = [name for name in COMPETITORS if any(key[1] == name for key in found)]
    colour = dict(zip(names, plt.get_cmap("tab20").colors * 2, strict=False)) | {DEFAULT: "black"}
    size = {"figsize": (14, 4.5 * len(truths)), "layout": "constrained"}
    figure, axes = plt.subplots(len(truths), 2, squeeze=False, **size)
    for (left, right), truth in zip(axes, truths, strict=True):
        for name in names:
            _curve(left, found, (truth, name, "share"), colour[name], 1)
            _curve(right, found, (truth, name, "regret"), colour[name], 100)
        left.set(xscale="log", xlabel="evaluations", ylabel="share of the true hypervolume", title=truth)
        right.set(xlabel="evaluations within a budget", ylabel="accuracy missing, points", title=truth)
        right.set_visible(bool(right.get_lines()))  # empty where budgets were not run
        left.axhline(0.98, color="grey", linewidth=0.5)
    lines = {line.get_label(): line for axis in axes.flat for line in axis.get_lines() if line.get_label() in names}
    figure.legend(list(lines.values()), list(lines), loc="outside right upper", fontsize=8)
    figure.savefig(FIGURE, dpi=100)
    plt.close(figure)


def _curve(axis: Any, found: Values, key: tuple[str, str, str], colour: Any, scale: float) -> None:
    ks = [k for k in AT if (*key, str(k)) in found]
    if not ks:
        return
    low, middle, high = zip(*(Quartiles.of(found[(*key, str(k))]) for k in ks), strict=True)
    axis.plot(ks, scale * np.array(middle), label=key[1], color=colour, linewidth=2.5 if key[1] == DEFAULT else 1)
    axis.fill_between(ks, scale * np.array(low), scale * np.array(high), alpha=0.12, color=colour, linewidth=0)
