"""From the choices in a URL to what is shown: unknown values are said in a notice and fall back to the default."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from supersam.errors import DamagedError, suggest
from supersam.latency import INTERVAL
from supersam.results import Candidate
from supersam.results.timed import Timed

from .apart import best_of, fronts
from .cloud import cloud
from .data import Data
from .devices import RECORDED, Device, usable_as
from .filters import NONE, Filters, read_filters
from .published import Published, published_on
from .query import MOST_COMPARED, NO_BUDGET, OVERLAYS, RISKS, ROWS, read_budget, search, write_budget
from .sources import TRIALS, Contents, Source
from .view import Nothing, View

Devices = dict[str, tuple[Device, str]]


def look(data: Data, chosen: Mapping[str, str]) -> View | Nothing:
    """Return what to show for these choices."""
    notices: list[str] = []
    listed = data.sources()
    source, usual_source = _source(data, listed, chosen.get("source"), notices)
    if source is None:
        return _no_source(data, listed, notices)
    devices = data.devices(source)
    device, usual_device = _device(source, devices, chosen.get("device"), notices)
    notices += _changed(source, devices)
    contents = data.contents(source)
    if contents.left_out:
        notices.append(f"{contents.left_out} candidates whose accuracy is not a number are left out.")
    if device is None or not contents.found:
        return _no_candidates(source, listed, devices, bool(contents.found), notices)
    # A budget was asked for one device; what it means for another is for the reader to say.
    usual_ms = source.asked.budget_ms if device is usual_device else None
    budget_ms, problem = read_budget(chosen.get("budget"), usual_ms)
    limit = math.inf if budget_ms is None else budget_ms
    risk = _one_of("risk", chosen.get("risk"), RISKS, notices, usual=source.asked.risk)
    overlay = _one_of("choice of published models", chosen.get("zoo"), OVERLAYS, notices)
    rows = _one_of("choice of rows", chosen.get("rows"), ROWS, notices)
    if device.is_throughput:
        notices.append(_throughput(device))
    if device.interval != INTERVAL:
        notices.append(_unchecked(device))
    filters = read_filters(chosen, contents.blocks, contents.resolutions, notices)
    candidates, found = data.candidates(source, device), data.fronts(source, device)
    compared = _compared(candidates, chosen.get("compare", ""), notices)
    if filters.restricts:
        kept = filters.passing([one.architecture for one in contents.found], contents.sums)
        candidates = [one for one, passes in zip(candidates, kept, strict=True) if passes]
        found = fronts(candidates)
    before = _before(devices, device, chosen.get("against"))
    digests = tuple(one.digest for one in compared)
    shown = _Keys(source, device, budget_ms, risk, before, digests, overlay, rows, filters)
    usual = _Keys(usual_source, usual_device, usual_ms, source.asked.risk)
    query = search(shown.as_query(), usual.as_query())
    if not candidates:
        return _nothing_passes(source, listed, devices, contents, filters, notices, query)
    return View(
        sources=listed,
        devices=devices,
        source=source,
        device=device,
        budget_ms=budget_ms,
        budget_problem=problem,
        risk=risk,
        found=contents.found,
        candidates=candidates,
        fronts=found,
        cloud=cloud(candidates, found) if filters.restricts else data.cloud(source, device),
        best=best_of(candidates, limit, risk) if filters.restricts else data.best(source, device, limit, risk),
        query=query,
        notices=notices,
        filters=filters,
        whole=contents,
        overlay=overlay,
        rows=rows,
        published=_published(data, device, overlay),
        switch=data.switch(source, before, device) if before else None,
        compared=compared,
        timed=_timed(data, source, notices),
    )


def _changed(source: Source, devices: Devices) -> list[str]:
    """Return that the table of a run's device is another by now, if it is."""
    own = usable_as(devices, source.asked.device)
    if RECORDED not in devices or not own:
        return []
    return [
        f"The table {own[0].key} is not the one {source.label} was searched with: its latencies differ. Those that the "
        "run recorded are shown unless another device is chosen."
    ]


def _throughput(device: Device) -> str:
    return (
        f"{device.name} gives throughput, not latency: the time of a batch of up to {device.batch} images, divided by "
        "their number. One image alone takes longer, by how much is not known; a budget for one image cannot be held "
        "against it."
    )


def _unchecked(device: Device) -> str:
    return (
        f"No whole network was timed with {device.name}, so nobody knows how far its sums of parts are off: their "
        f"bounds are no {INTERVAL} but the {device.interval}."
    )


def _timed(data: Data, source: Source, notices: list[str]) -> list[Timed]:
    try:
        return data.timed(source)
    except DamagedError as problem:
        notices.append(f"What was timed of this run is not shown: {problem}.")
        return []


@dataclass(frozen=True)
class _Keys:
    source: Source | None
    device: Device | None
    budget_ms: float | None
    risk: str
    against: Device | None = None
    compare: tuple[str, ...] = ()
    overlay: str = next(iter(OVERLAYS))
    rows: str = next(iter(ROWS))
    filters: Filters = NONE

    def as_query(self) -> dict[str, str]:
        return {
            "source": self.source.key if self.source else "",
            "device": self.device.key if self.device else "",
            "budget": write_budget(self.budget_ms) or NO_BUDGET,
            "risk": self.risk,
            "against": self.against.key if self.against else "",
            "compare": ",".join(self.compare),
            "zoo": self.overlay,
            "rows": self.rows,
            **self.filters.as_query(),
        }


def _compared(candidates: Sequence[Candidate], asked: str, notices: list[str]) -> list[Candidate]:
    """Return the subnets to compare, in the order in which they were chosen."""
    digests = list(dict.fromkeys(word.strip() for word in asked.split(",") if word.strip()))
    if not digests:
        return []
    wanted = set(digests)
    known = {one.digest: one for one in candidates if one.digest in wanted}
    unknown = [digest for digest in digests if digest not in known]
    if unknown:
        notices.append(f"There is no subnet {unknown[0]!r} to compare.")
    if len(digests) > MOST_COMPARED:
        notices.append(f"At most {MOST_COMPARED} subnets are compared; the first {MOST_COMPARED} are.")
    return [known[digest] for digest in digests if digest in known][:MOST_COMPARED]


def _before(devices: Devices, device: Device, asked: str | None) -> Device | None:
    """Return the device that was left for this one; nothing is said where it is unknown, as no one types it."""
    before, reason = devices.get(asked or "", (None, ""))
    return None if before is None or reason or before.key == device.key else before


def _published(data: Data, device: Device, overlay: str) -> list[Published]:
    if device.table is None or overlay == "off":
        return []
    found = published_on(data.zoo, device.table)
    return [one for one in found if overlay == "all" or one.card.licence.terms == overlay]


def _source(
    data: Data, listed: list[Source], asked: str | None, notices: list[str]
) -> tuple[Source | None, Source | None]:
    """Return the source to show and the one that is shown by default."""
    usual = next((source for source in listed if not _damage(data, source)), None)
    if asked is None:
        # The newest run is what the reader expects, so a reason is due when it is another.
        notices += [_damage(data, source) for source in listed[: listed.index(usual) if usual else None]]
        return usual, usual
    found = next((source for source in listed if source.key == asked), None)
    if found is None:
        notices.append(f"There is no source {asked!r}.{suggest(asked, [source.key for source in listed])}")
        return usual, usual
    damage = _damage(data, found)
    if damage:
        notices.append(damage)
        return usual, usual
    return found, usual


def _damage(data: Data, source: Source) -> str:
    """Return why a source cannot be read, or an empty string."""
    if source.problem:
        return source.problem
    try:
        data.contents(source)
    except DamagedError as problem:
        return str(problem)
    return ""


def _device(
    source: Source, devices: Devices, asked: str | None, notices: list[str]
) -> tuple[Device | None, Device | None]:
    """Return the device to show and the one that is shown by default: that of the run, else the one trusted most."""
    usable = [device for device, reason in devices.values() if not reason]
    usual, _ = devices.get(RECORDED, (None, ""))  # only there where no table says what the run recorded
    usual = usual or next(iter(usable_as(devices, source.asked.device)), None)
    usual = usual or min(usable, key=lambda device: device.distrust, default=None)
    if asked is None:
        return usual, usual
    for device, reason in sorted(devices.values(), key=lambda pair: pair[0].key != asked):
        if asked in (device.key, *device.aliases):
            if not reason:
                return device, usual
            notices.append(f"{device.name} cannot be shown: {reason}.")
            return usual, usual
    notices.append(f"There is no device {asked!r}.{suggest(asked, list(devices))}")
    return usual, usual


def _one_of(
    what: str, asked: str | None, known: Mapping[str, str], notices: list[str], usual: str | None = None
) -> str:
    usual = usual or next(iter(known))
    if asked is None or asked in known:
        return asked or usual
    notices.append(f"There is no {what} {asked!r}; known: {', '.join(known)}.")
    return usual


def _nothing_passes(
    source: Source,
    listed: list[Source],
    devices: Devices,
    contents: Contents,
    filters: Filters,
    notices: list[str],
    query: str,
) -> Nothing:
    text = f"None of the {len(contents.found)} candidates passes. Widen a filter, or clear them all."
    return Nothing("The filters leave nothing", text, "", listed, notices, source, devices, contents, filters, query)


def _no_source(data: Data, listed: list[Source], notices: list[str]) -> Nothing:
    title = "No run can be read" if listed else "No run yet"
    # A table that estimates has a latency for every subnet of every space.
    found = (device for device in data.tables() if device.table)
    usable = sorted(found, key=lambda device: (not device.estimates, device.distrust))
    device = usable[0].key if usable else "DEVICE"
    command = f"supersam search --device {device} --budget 30ms --out {data.first_run}"
    return Nothing(title, f"Looked in {data.runs}. A search makes a run there:", command, listed, notices)


def _no_candidates(
    source: Source, listed: list[Source], devices: Devices, has_found: bool, notices: list[str]
) -> Nothing:
    if has_found:
        title, text = "No device has a latency for these subnets", "Measure one with:"
        command = "supersam profile --device NAME --space SPACE"
    elif source.is_archive:
        title, text, command = "The archive is empty", "Choose another source, or make a run.", ""
    else:
        title, command = "This run has no candidates yet", source.resume
        text = f"They appear here as they are found. To continue a stopped run ({TRIALS}):"
    return Nothing(title, text, command, listed, notices, source, devices)
