"""One latency table on a page of text."""

from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any, NamedTuple

from supersam.cli._output import print_table
from supersam.errors import SuperSAMError
from supersam.latency import INTERVAL, ROUNDS, Entry, Latency, LatencyTable, Network
from supersam.space.parts import part_from_key


class Check(NamedTuple):
    """A whole network: what it took, and what its parts say."""

    name: str
    network: Network
    predicted: Latency | None
    why_not: str  # there is no prediction

    @property
    def error(self) -> float | None:
        return None if self.predicted is None else self.predicted.ms / self.network.ms - 1


def content(table: LatencyTable) -> dict[str, Any]:
    """Return everything a page shows, for programs."""
    checks = [_check(table, name, network) for name, network in table.networks.items()]
    return {
        **table.model_dump(mode="json", by_alias=True),
        "why": table.best_grade.why,
        "interval": table.interval,
        "parts": [dict(zip(_part_head(table), row, strict=True)) for row in _parts(table)],
        "checks": [
            {
                "name": check.name,
                "role": check.network.role,
                "measured_ms": check.network.ms,
                "predicted": check.predicted and check.predicted._asdict(),
                "error": check.error,
            }
            for check in checks
        ],
        "mape": dict(_mape(checks)),
    }


def show(table: LatencyTable) -> None:
    """Print the page."""
    print(f"{table.name}: {table.device}, {table.runtime}, {table.precision}")
    print(f"{table.method}, grade {table.grade}: {table.best_grade.why}")
    for title, facts in _sections(table):
        _print_facts(title, facts)
    if table.entries:
        print("\nparts")
        print_table(_part_head(table), list(_parts(table)))
    if table.networks:
        _print_checks(table, [_check(table, name, network) for name, network in table.networks.items()])
    print("\nsources")
    for source in table.sources:
        print(f"  {source}")
    _print_facts("", {"licence": table.licence, "note": table.note})


def _sections(table: LatencyTable) -> Iterator[tuple[str, dict[str, Any]]]:
    runtime, power, quality, composition = table.runtime, table.power, table.quality, table.composition
    locked = {None: "not known", True: "locked", False: "not locked"}[power.clocks_locked]
    yield (
        "conditions",
        {
            "date": table.date or "not stated",
            "device": f"{table.device.name}, {table.device.kind}",
            "SKU": table.device.sku or "not stated",
            "aliases": ", ".join(table.aliases),
            "runtime": ", ".join([str(runtime), *_said({"provider": runtime.provider}), *_said(runtime.options)]),
            "exporter": table.exporter,
            "input": table.input,
            "batch": table.batch,
            "threads": table.threads,
            "clock": table.clock,
            "power mode": power.mode,
            "clocks": ", ".join([locked, *_said(power.model_dump(exclude={"mode", "clocks_locked"}))]),
            "host": ", ".join(_said(table.host)),
            "agent": ", ".join(_said(table.agent)),
        },
    )  # fmt: skip
    yield (
        "quality",
        {
            "repeats": _percent(quality.repeat_cv_median_pct, quality.repeat_cv_p90_pct),
            "noise floor": "" if quality.noise_floor_pct is None else f"{quality.noise_floor_pct:.2g} %",
            "clocks": quality.clock_note,
            "forced": "; ".join(quality.forced),
        },
    )
    yield (
        "composition",
        {
            "factor": f"{composition.factor:.4g}" if composition.calibration_networks else "1, not fitted",
            "by kind": ", ".join(f"{kind} {factor:.4g}" for kind, factor in composition.factor_per_kind.items()),
            INTERVAL: _interval(table),
            "networks": composition.calibration_networks or "",
            "note": composition.note,
        },
    )
    if table.estimator is not None:
        yield "estimator", dict(table.estimator.model_dump())
    if table.transfer is not None:
        yield "transfer", dict(table.transfer.model_dump())


def _interval(table: LatencyTable) -> str:
    if table.interval != INTERVAL:
        return f"not known, as no whole network was timed; an encoder has the {table.interval} of its parts"
    spread = table.composition.spread
    return f"x{spread:.3g} of a whole network" if spread > 1 else ""


def _said(facts: dict[str, Any]) -> list[str]:
    return [f"{key} {value}" for key, value in facts.items() if value not in (None, "", {}, [])]


def _percent(middle: float | None, p90: float | None) -> str:
    if middle is None:
        return "not known"
    return f"vary by {middle:.2g} % (median)" + ("" if p90 is None else f", {p90:.2g} % (worst tenth)")


def _print_facts(title: str, facts: dict[str, Any]) -> None:
    lines = [f"  {key + ':':22} {value}" for key, value in facts.items() if value not in (None, "", {}, [])]
    if lines:
        print("\n" + "\n".join([title, *lines] if title else lines))


def _part_head(table: LatencyTable) -> list[str]:
    width = ROUNDS if table.method == "measured" else INTERVAL
    return ["kind", "parts", "method", "timed as", "samples", "from ms", "to ms", width]


def _parts(table: LatencyTable) -> Iterator[list[str]]:
    """Yield a row for each kind of part."""
    kinds: dict[str, list[Entry]] = {}
    for key, entry in table.entries.items():
        kinds.setdefault(part_from_key(key).kind, []).append(entry)
    for kind, entries in kinds.items():
        times = [entry.ms for entry in entries]
        width = median(max(entry.hi / entry.ms, entry.ms / entry.lo) for entry in entries)
        ways = [_distinct(entry.method for entry in entries), _distinct(entry.scope for entry in entries)]
        samples = str(sum(entry.samples for entry in entries))
        yield [kind, str(len(entries)), *ways, samples, f"{min(times):.4g}", f"{max(times):.4g}", f"x{width:.2f}"]


def _distinct(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def _check(table: LatencyTable, name: str, network: Network) -> Check:
    try:
        architecture = network.architecture()
        if architecture is None:
            return Check(name, network, None, "not of a search space")
        return Check(name, network, table.predict(architecture), "")
    except SuperSAMError as problem:
        return Check(name, network, None, str(problem))


def _print_checks(table: LatencyTable, checks: list[Check]) -> None:
    print("\nwhole networks")
    rows = []
    for check in checks:
        found = check.predicted
        row = [check.name, check.network.role, check.network.method, f"{check.network.ms:.4g}"]
        if found is None or check.error is None:
            rows.append([*row, "", "", check.why_not])
        else:
            rows.append([*row, f"{found.ms:.4g}", f"[{found.lo:.4g}-{found.hi:.4g}]", f"{100 * check.error:+.1f} %"])
    print_table(["network", "role", "timed", "ms", "predicted ms", table.interval, "error"], rows)
    for role, mape in _mape(checks):
        n = sum(check.network.role == role and check.error is not None for check in checks)
        print(f"mean error of {n} networks ({role}): {100 * mape:.1f} %")


def _mape(checks: list[Check]) -> Iterator[tuple[str, float]]:
    """Yield the mean absolute error of each role, as a share."""
    for role in dict.fromkeys(check.network.role for check in checks):
        errors = [abs(check.error) for check in checks if check.network.role == role and check.error is not None]
        if errors:
            yield role, sum(errors) / len(errors)
