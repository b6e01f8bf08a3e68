"""The pages as a browser asks for them, without a browser: states, odd queries, exports, downloads, uploads."""

import base64
import csv
import io
import json
import random
import re
import string
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from safetensors.numpy import save_file

from dashboard import create_app, devices_view, masks, query, zoo_view
from dashboard.masks import read_upload
from supersam._paths import starter_dir
from supersam.data.synthetic import draw
from supersam.errors import DataError, EnvironmentProblem
from supersam.results import Run
from supersam.space import AnyArchitecture, load_space

PATHS = ["/", "/run", "/zoo", "/devices", "/playground"]
READ = {
    "/": (*query.CHOSEN, "subnet"),
    "/run": ("source", "where"),
    "/zoo": zoo_view.KEYS,
    "/devices": devices_view.KEYS,
    "/playground": ("at",),
}
KEYS = sorted({key for keys in READ.values() for key in keys})
ODD = [
    "",
    " ",
    "0",
    "-1",
    "nan",
    "inf",
    "1e999",
    "%",
    "..",
    "../../etc/passwd",
    "<script>",
    "a,b",
    "a:1..2",
    "\0",
    "é" * 300,
]
ODD += ["2.0.1", "9" * 500, "none", "{}", "[]", "'\"", "starter", "accuracy:0..1", "first"]


def call(client: FlaskClient, output: str, **values: Any) -> Any:
    """Run the callback of an output as a browser would; values are by ``id`` or ``id.property``."""
    listed = client.get("/_dash-dependencies").get_json()
    callback = next(one for one in listed if output in one["output"] and not one.get("clientside_function"))
    names = [part.rpartition(".") for part in callback["output"].strip(".").split("...")]
    outputs = [{"id": name, "property": prop} for name, _, prop in names]

    def filled(wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**one, "value": values.get(f"{one['id']}.{one['property']}", values.get(one["id"]))} for one in wanted]

    body = {
        "output": callback["output"],
        "outputs": outputs if len(outputs) > 1 else outputs[0],
        "inputs": filled(callback["inputs"]),
        "state": filled(callback.get("state", [])),
        "changedPropIds": [],
    }
    response = client.post("/_dash-update-component", json=body)
    assert response.status_code in (200, 204), response.text
    return response.get_json()["response"] if response.status_code == 200 else {}


def page(client: FlaskClient, path: str, **chosen: str) -> str:
    """Return the layout of a page as text."""
    values = {"_pages_location.pathname": path, "_pages_location.search": f"?{urlencode(chosen)}" if chosen else ""}
    return json.dumps(call(client, "_pages_content", **values))


@pytest.fixture
def full(runs: Path, tables: Path) -> FlaskClient:
    """A client with the shipped archive, for the playground."""
    return create_app(runs, tables, starter_dir() / "archive.json").server.test_client()


@pytest.mark.parametrize(("path", "key"), [(path, key) for path, keys in READ.items() for key in keys])
def test_every_parameter_with_every_odd_value_gives_a_page(full: FlaskClient, path: str, key: str):
    for text in ODD:
        assert "children" in page(full, path, **{key: text})
        if path == "/":
            call(full, "explore-summary", **{"explore-state": {key: text}})
            call(full, "explore-heading", **{"explore-state": {key: text}, "explore-subnet": text})
        if path == "/run":
            call(full, "run-state", **{"run-source": text})
            call(full, "run-table", **{"run-source": "first", "run-filter": text})


@pytest.mark.parametrize("path", PATHS)
def test_a_fuzz_of_every_parameter_gives_a_page(full: FlaskClient, path: str):
    rng = random.Random(path)
    for _ in range(6):
        text = "".join(rng.choices(string.printable, k=rng.randint(1, 40)))
        chosen = {key: rng.choice([*ODD, text]) for key in rng.sample(KEYS, 8)}
        assert full.get(f"{path}?{urlencode(chosen)}").status_code == 200
        assert "children" in page(full, path, **chosen)
        state = {key: rng.choice([*ODD, None, 3, [], {"a": 1}]) for key in KEYS}
        call(full, "explore-summary", **{"explore-state": state})
        call(full, "run-table", **{"run-source": "first", "run-filter": state["where"]})


@pytest.mark.parametrize(
    "sent", [None, 3, [], "x", {"resolution": 99}, {"stage1.depth": -4}, {"stage1.block": "vit"}, {"a": {}}]
)
def test_odd_places_of_sliders_give_an_answer(full: FlaskClient, sent: Any):
    assert "accuracy" in json.dumps(call(full, "play-answer", **{"play-state": sent}))


@pytest.mark.parametrize("path", PATHS)
def test_without_anything_every_page_says_what_to_do(tmp_path: Path, path: str):
    client = create_app(tmp_path / "runs", tmp_path / "tables", tmp_path / "none.json").server.test_client()

    text = page(client, path)

    said = {
        "/run": "No run yet",
        "/devices": "No latency table",
        "/playground": "there is no archive",
        "/zoo": "None lies in ",
    }
    assert said.get(path, "explore-empty") in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", "{"),
        ("run.json", '{"schema": 99}'),
        ("candidates.jsonl", "{}\n{}\n"),
        ("candidates.jsonl", "\udcff"),
    ],
)
def test_a_broken_run_is_said_on_its_page(client: FlaskClient, runs: Path, name: str, content: str):
    (runs / "first" / name).write_bytes(content.encode("utf-8", "surrogateescape"))

    shown = json.dumps(call(client, "run-state", **{"run-source": "first"}))

    assert "notice" in shown
    assert "first" in shown
    assert call(client, "run-table", **{"run-source": "first"})["run-table"]["children"] is None


def test_a_run_without_candidates_draws_no_lines_and_says_so(make: Any, client: FlaskClient, runs: Path):
    make.run(runs / "new", [])
    shown = call(client, "run-table", **{"run-source": "new"})

    assert shown["run-lines"]["data"] is None
    assert "No candidate yet" in shown["run-parallel-note"]["children"]


def test_a_run_that_is_gone_is_said(client: FlaskClient):
    assert "this run is gone" in json.dumps(call(client, "run-state", **{"run-source": "nowhere"}))
    assert "There is no run 'nowhere'" in page(client, "/run", source="nowhere")


def test_the_zoo_keeps_kinds_apart(client: FlaskClient):
    text = page(client, "/zoo", name="mobile-sam")

    assert text.index("kind published") < text.index("kind secondary") < text.index("kind counted")
    assert "kind measured" not in text
    assert "arXiv 2306.14289" in text
    assert "The zoo has no name 'mobile_sam'. Did you mean" in page(client, "/zoo", name="mobile_sam")
    assert "EdgeSAM" not in page(client, "/zoo", licence="permissive")


def test_the_zoo_says_of_each_figure_whose_it_is(client: FlaskClient):
    text = page(client, "/zoo", name="fastsam-x")

    published, rest = text.split("kind published")  # the class of a section follows what is in it
    secondary, _ = rest.split("kind secondary")
    assert "by the authors of this or another system, as the source says" in published
    assert published.count("tinysam_repo") == 1, "the figure of another system's authors, with its source beside it"
    assert "aihub" not in published
    assert secondary.count("aihub") == 11


def test_the_zoo_lists_gmacs_with_their_input(client: FlaskClient):
    text = page(client, "/zoo", sort="gmacs")

    assert "34.8 at 512px" in text
    assert "46.6 to 154" in text
    assert "at 1024px" not in text


def test_a_device_shows_its_blocks_and_a_damaged_one_its_problem(client: FlaskClient):
    text = page(client, "/devices", name="jetson-test-alias", space="starter-vit", resolution="256")

    assert "Milliseconds of one block of starter-vit at 256px" in text
    assert "its table is damaged" in text
    assert "the estimator" in text
    assert "There is no resolution '77'" in page(client, "/devices", resolution="77")


def test_rows_are_exported_unrounded_in_the_order_of_the_table(client: FlaskClient):
    rows = list(csv.DictReader(io.StringIO(client.get("/export/front.csv?budget=none").text)))
    answer = client.get("/export/front.json?budget=none")
    found = answer.get_json()

    assert [row["digest"] for row in rows] == [one["digest"] for one in found["subnets"]]
    assert [row["accuracy_source"] for row in rows] == sorted(row["accuracy_source"] for row in rows), "as the tables"
    for source in ("measured", "predicted"):
        latencies = [float(row["latency_ms"]) for row in rows if row["accuracy_source"] == source]
        assert latencies == sorted(latencies)
    assert float(rows[0]["accuracy_miou"]) == found["subnets"][0]["accuracy_miou"]
    assert rows[0]["device"] == found["device"] == "jetson-test"
    assert found["subnets"][0]["architecture"]["encoder"] == "staged"
    assert "attachment" in answer.headers["Content-Disposition"]
    assert not client.get("/export/front.csv").data.startswith(b"\xef\xbb\xbf")
    assert len(client.get("/export/front.json?resolution=256").get_json()["subnets"]) < len(found["subnets"])


def test_an_export_of_nothing_is_said(tmp_path: Path):
    client = create_app(tmp_path, tmp_path, tmp_path / "none").server.test_client()
    assert client.get("/export/front.csv").status_code == 404


def extract(path: Path, architecture: AnyArchitecture) -> None:
    """Write what looks like the checkpoint of a subnet."""
    record = {"kind": "subnet", "architecture": architecture.to_dict()}
    save_file({"a": np.zeros(4, np.float32)}, path, {"supersam": json.dumps(record)})


def test_what_was_extracted_already_is_offered_with_its_subnet(client: FlaskClient, runs: Path):
    chosen, other = (one.architecture for one in Run(runs / "first").candidates()[:2])
    extract(runs / "first" / "mine.safetensors", chosen)

    offered = json.dumps(call(client, "explore-extracted", **{"explore-subnet": chosen.digest})["explore-extracted"])
    address = offered.split('"href": "')[1].split('"')[0]

    assert "first/mine.safetensors" in offered
    with client.get(address) as got:
        assert got.data == (runs / "first" / "mine.safetensors").read_bytes()
    of_other = call(client, "explore-extracted", **{"explore-subnet": other.digest})
    assert of_other["explore-extracted"]["children"] == []


def test_checkpoints_are_downloaded_by_key_only(client: FlaskClient, runs: Path):
    extract(runs / "first" / "best.safetensors", load_space("starter").smallest())
    (runs / "secret.safetensors").write_bytes(b"no checkpoint")

    text = page(client, "/zoo")
    address = text.split('"href": "/checkpoint/')[1].split('"')[0]
    whole = (runs / "first" / "best.safetensors").read_bytes()

    with client.get(f"/checkpoint/{address}") as got:
        assert got.data == whole
        assert "best.safetensors" in got.headers["Content-Disposition"]
    assert "secret" not in text
    for odd in (
        "..",
        "first/best.safetensors",
        quote("../first/best.safetensors", safe=""),
        "0" * 16,
        "best.safetensors",
    ):
        with client.get(f"/checkpoint/{odd}") as answer:
            assert answer.status_code == 404


def upload(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture(side: int = 8, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (1, 2, 3)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_is_taken(kind: str):
    assert read_upload(upload(picture(kind=kind))).size == (8, 8)
    assert max(read_upload(upload(picture(2000))).size) == masks.SIDE


@pytest.mark.parametrize(
    "contents",
    [None, 3, "", "data:image/png;base64,", "data:image/png;base64,!!!", upload(b"\0" * 50), upload(picture()[:30]),
     upload(picture(kind="GIF")), upload(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")],
)  # fmt: skip
def test_what_is_no_image_is_refused(client: FlaskClient, contents: Any):
    with pytest.raises(DataError):
        read_upload(contents)
    answer = call(client, "play-problem", **{"play-upload": contents})
    assert contents is None or answer["play-problem"]["children"]


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_fuzz_of_the_exports_gives_a_file_or_says_that_there_is_none(client: FlaskClient, kind: str):
    rng = random.Random(kind)
    for _ in range(15):
        chosen = {key: rng.choice(ODD) for key in rng.sample(KEYS, 8)}
        answer = client.get(f"/export/front.{kind}?{urlencode(chosen)}")
        assert answer.status_code == 200 or (answer.status_code == 404 and "filters leave nothing" in answer.text)


def test_the_dominated_are_exported_where_they_are_asked_for(client: FlaskClient):
    front, whole = (client.get(f"/export/front.json?rows={rows}").get_json()["subnets"] for rows in ("front", "all"))

    assert [one["digest"] for one in whole[: len(front)]] == [one["digest"] for one in front]
    assert len({one["digest"] for one in whole}) == 60
    assert not any(one["on_front"] for one in whole[len(front) :])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_fuzz_of_uploads_is_an_image_or_refused(client: FlaskClient, kind: str):
    rng = random.Random(kind)
    whole = picture(40, kind)
    for _ in range(25):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        cut = rng.choice([len(content), rng.randrange(len(content))])
        answer = call(client, "play-problem", **{"play-upload": upload(bytes(content[:cut]))})
        refused = answer["play-problem"]["children"]
        assert answer["play-segment"]["disabled"] is bool(refused)
        assert refused == "" or re.search("not a PNG, JPEG, WEBP image|million are the most", refused)


@pytest.mark.parametrize("x", [None, "", "left", -5, 1e9, float("nan"), [], {"a": 1}])
def test_odd_clicks_are_within_the_image(full: FlaskClient, monkeypatch: pytest.MonkeyPatch, x: Any):
    asked: list[tuple[float, float]] = []

    def segment(_image: Any, point: tuple[float, float], _architectures: Any) -> Any:
        asked.append(point)
        raise DataError("enough")

    monkeypatch.setattr(masks, "segment", segment)
    sent = {"play-segment": 1, "play-image": upload(picture()), "play-x": x, "play-y": x}

    assert "enough" in json.dumps(call(full, "play-masks", **sent))
    assert all(0 <= share <= 1 for share in asked[0])


def test_an_image_too_large_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(masks, "PIXELS", 100)
    with pytest.raises(DataError, match="12×12 pixels"):
        read_upload(upload(picture(12)))
    monkeypatch.setattr(masks, "LARGEST", 10)
    with pytest.raises(DataError, match="larger than"):
        read_upload("data:;base64," + "A" * 400)


def test_a_request_beyond_the_limit_is_refused(client: FlaskClient):
    assert (
        client.post("/_dash-update-component", data=b"x" * 16_000_001, content_type="application/json").status_code
        == 413
    )


def test_masks_are_laid_over_and_nothing_stays(full: FlaskClient, monkeypatch: pytest.MonkeyPatch):
    folders: list[Path] = []

    def answer(folder: Path) -> list[dict[str, Any]]:
        folders.append(folder)
        request = json.loads((folder / "request.json").read_text())
        for number, _ in enumerate(request["architectures"]):
            Image.new("L", (8, 8), 255).save(folder / f"mask-{number}.png")
        fields = {"encoder_ms": 2.0, "decoder_ms": 1.0, "predicted_iou": 0.5, "share": 1.0, "batch_norm": "none"}
        return [{"digest": str(n), **fields} for n, _ in enumerate(request["architectures"])]

    monkeypatch.setattr(masks, "_run", answer)
    sent = {"play-segment": 1, "play-image": upload(picture()), "play-x": 25, "play-y": float("nan")}
    text = json.dumps(call(full, "play-masks", **sent))

    assert text.count("data:image/jpeg") == 2
    assert "nearest evaluated" in text
    assert not folders[0].exists()


def test_a_click_becomes_masks_in_a_process_of_its_own(full: FlaskClient):
    """The real process with the starter weights: two subnets, one generated image, one click."""
    drawn, _ = draw(np.random.default_rng(3), 96)
    buffer = io.BytesIO()
    Image.fromarray(drawn).save(buffer, "PNG")
    choices = load_space("starter").variables()
    first = load_space("starter").decode({name: allowed[0] for name, allowed in choices.items()})
    sent = {"play-segment": 1, "play-image": upload(buffer.getvalue()), "play-x": 25, "play-y": 75}

    answer = call(full, "play-masks", **sent, **{"play-state": dict.fromkeys(choices, 0)})

    figures = answer["play-masks"]["children"]["props"]["children"]
    assert len(figures) == 2
    assert first.digest in json.dumps(figures[0])
    for figure in figures:
        image, caption = figure["props"]["children"]
        content = base64.b64decode(image["props"]["src"].split(",")[1])
        shown = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
        assert shown.shape == drawn.shape
        assert shown[round(0.75 * 95), round(0.25 * 95)].min() > 200, "the click is marked"
        share = int(re.search(r"covers (\d+)%", image["props"]["alt"])[1]) / 100  # type: ignore[index]
        changed = (np.abs(shown - drawn).sum(axis=2) > 60).mean()
        assert changed == pytest.approx(share, abs=0.25), "what is coloured is the mask"
        assert "predicted IoU" in json.dumps(caption)


def test_a_process_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(masks.sys, "executable", "/bin/false")
    with pytest.raises(EnvironmentProblem, match="could not run: no message"):
        masks.segment(Image.new("RGB", (4, 4)), (0.5, 0.5), [load_space("starter").smallest()])
