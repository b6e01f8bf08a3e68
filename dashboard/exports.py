"""The rows of a page as files: unrounded values, units in the headers, the same rows in the same order."""

import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, request

from supersam.results import Candidate
from supersam.space import count

from .data import Data
from .look import look
from .query import CHOSEN, texts, write_budget
from .view import Nothing, View

ROUTE = "/export/front."
TYPES = {"csv": "text/csv", "json": "application/json"}


def record(view: View, candidate: Candidate) -> dict[str, Any]:
    """Return one row of the table, unrounded."""
    ops = count(candidate.architecture)
    return {
        "digest": candidate.digest,
        "on_front": candidate.digest in view.front_digests,  # that of its own kind of accuracy
        "within_budget": view.fits(candidate),
        "accuracy_miou": candidate.accuracy.value,
        "accuracy_low_95": candidate.accuracy.interval[0],
        "accuracy_high_95": candidate.accuracy.interval[1],
        "accuracy_source": candidate.accuracy.source,
        "latency_ms": candidate.latency.ms,
        "latency_low_90_ms": candidate.latency.lo,
        "latency_high_90_ms": candidate.latency.hi,
        "latency_method": candidate.latency.method,
        "gmacs": ops.gmacs,
        "params_m": ops.params / 1e6,
        "resolution_px": candidate.architecture.resolution,
        "architecture": candidate.architecture.to_json(),
    }


def context(view: View) -> dict[str, Any]:
    """Return what every row has in common."""
    return {
        "source": view.source.key,
        "device": view.device.name,
        "batch": view.device.batch,  # of more than one, latency_ms is the time per image of a batch
        "budget": write_budget(view.budget_ms),
        "risk": view.risk,
        "filters": view.filters.as_query(),
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def to_csv(view: View, rows: Sequence[Candidate]) -> str:
    """Return rows as CSV without a byte-order mark."""
    shared = {key: value for key, value in context(view).items() if key in ("source", "device", "batch", "exported_at")}
    records = [record(view, candidate) | shared for candidate in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(records[0]) if records else ["digest"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def to_json(view: View, rows: Sequence[Candidate]) -> str:
    """Return rows as JSON, with what they have in common beside them."""
    records = [record(view, one) | {"architecture": one.architecture.to_dict()} for one in rows]
    return json.dumps(context(view) | {"subnets": records}, indent=1) + "\n"


def offer(server: Flask, data: Data) -> None:
    """Add the routes of the exports: the query is that of the page."""

    def export(kind: str) -> Response:
        view = look(data, texts(request.args.to_dict(), CHOSEN))
        if isinstance(view, Nothing):
            return Response(f"{view.title}. {view.text}\n", 404, mimetype="text/plain")
        rows = [*view.listed, *view.listed_apart, *(view.dominated if view.rows == "all" else [])]
        text = to_csv(view, rows) if kind == "csv" else to_json(view, rows)
        name = f"supersam-front-{re.sub(r'[^a-zA-Z0-9.-]', '-', view.device.key)}.{kind}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(text, mimetype=TYPES[kind], headers=headers)

    for kind in TYPES:
        server.add_url_rule(ROUTE + kind, f"export-{kind}", lambda kind=kind: export(kind))
