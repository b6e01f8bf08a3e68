"""How far a latency table can be trusted: what its intervals stand on, and the noise below which nothing is told."""

from collections.abc import Mapping

from dash import html

from supersam.latency import LatencyTable

from . import components, wording
from .components import aria
from .coverage import Noise

Row = tuple[str, str, str]  # what, its value, and where that is from


def trust(table: LatencyTable, noise: Noise | None) -> html.Section:
    """Return how wide the intervals are and why, and the noise below which nothing can be told."""
    rows = [*_from_networks(table), *_from_timings(table, noise), *_from_others(table)]
    body = [
        html.Tr(
            [
                html.Th(what, scope="row", className="wrap"),
                html.Td(value, className="value"),
                html.Td(how, className="wrap muted"),
            ]
        )
        for what, value, how in rows
    ]
    shown = components.table("How far to trust it", ["", "value", "from"], body, hide_caption=True)
    return html.Section([html.H3("How far to trust it"), _whisker(table), shown])


def _from_networks(table: LatencyTable) -> list[Row]:
    """Return what whole networks that were timed say about sums of parts."""
    composition = table.composition
    whole = "measured whole / sum of parts"
    if not composition.calibration_networks:
        return [(whole, "unknown", composition.note or "no whole network was timed")]
    low, high = 1 / composition.spread, composition.spread
    networks = f"{composition.calibration_networks} whole networks"
    return [
        (whole, f"{composition.factor:.3f}", f"median of {networks}; predictions use it"),
        *_by_kind(composition.factor_per_kind),
        ("90 % of whole networks", f"{low:.3f} to {high:.3f}", f"times their prediction, conformal over {networks}"),
        ("error of a prediction", f"±{100 * (high - 1):.0f} %", "half-width of that interval"),
    ]


def _by_kind(factors: Mapping[str, float]) -> list[Row]:
    """Return the factors of the kinds of parts in one row, as they are many and say one thing."""
    if not factors:
        return []
    each = ", ".join(f"{kind} {factor:.3f}" for kind, factor in sorted(factors.items(), key=lambda pair: pair[1]))
    return [("the same by kind of part", f"{min(factors.values()):.3f} to {max(factors.values()):.3f}", each)]


def _from_timings(table: LatencyTable, noise: Noise | None) -> list[Row]:
    """Return how far timings of the same thing lie apart."""
    rows: list[Row] = []
    if table.quality.noise_floor_pct is not None:
        where = "the same network timed again and again during the measurement"
        rows.append(("noise floor", f"±{table.quality.noise_floor_pct:.1f} %", where))
    if noise is not None:
        where = f"half-width of the interval of {noise.n} timed parts"
        rows.append(("noise of a part", f"±{100 * noise.median:.1f} %", f"median {where}"))
        rows.append(("noise of the worst tenth", f"±{100 * noise.p90:.1f} %", where))
    return rows


def _from_others(table: LatencyTable) -> list[Row]:
    """Return how good what was fitted on others' rows, or carried over from another device, is."""
    rows: list[Row] = []
    if table.estimator is not None:
        fitted = f"fitted on {table.estimator.calibration_rows} published rows"
        rows.append(("90 % interval of an estimate", _around(table.estimator.spread), fitted))
        rows += [
            (f"the same for {kind}", _around(spread), "not among those rows")
            for kind, spread in table.estimator.spread_of_kind.items()
        ]
    if table.transfer is not None:
        law = f"{table.transfer.law}; fitted on {wording.plural(table.transfer.networks, 'network')}"
        rows.append((f"carried over from {table.transfer.source}", _around(table.transfer.spread), law))
    return rows


def _around(spread: float) -> str:
    return f"÷{spread:g} to ×{spread:g}"


def _whisker(table: LatencyTable) -> html.Div | None:
    """Return the interval of whole networks around their prediction as a bar; the table below says the same."""
    composition = table.composition
    if not composition.calibration_networks:
        return None
    reach = max(composition.spread - 1, 0.05) * 1.6
    place = [50 * (1 + end / reach) for end in (1 / composition.spread - 1, composition.spread - 1)]
    bar = html.Div(className="whisker-bar", style={"left": f"{place[0]:.1f}%", "width": f"{place[1] - place[0]:.1f}%"})
    ends = [
        html.Span(f"{text:+.0%}", style={"left": f"{x:.1f}%"})
        for text, x in zip((1 / composition.spread - 1, composition.spread - 1), place, strict=True)
    ]
    return html.Div(
        [
            bar,
            html.Div(className="whisker-middle"),
            *ends,
            html.Span("prediction", style={"left": "50%"}, className="below"),
        ],
        className="whisker",
        **aria(hidden="true"),
    )
