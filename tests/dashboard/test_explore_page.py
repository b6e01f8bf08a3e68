"""The page as a browser asks for it, without a browser."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient

import dashboard
from dashboard import create_app
from supersam.latency import LatencyTable

REPOSITORY = Path(__file__).resolve().parents[2]
ODD_QUERIES = [
    {"source": "nowhere"},
    {"device": "../../etc/passwd"},
    {"device": "<script>alert(1)</script>"},
    {"budget": "30"},
    {"budget": "nan"},
    {"budget": "9" * 400 + "ms"},
    {"risk": "none"},
    {"subnet": "zzz"},
    {"subnet": ""},
    {"unknown": "1", "layout": "2", "query": "3", "self": "4"},
    [("device", "a"), ("device", "b")],
]


def ask(client: FlaskClient, output: str, **values: Any) -> dict[str, Any]:
    """Run the callback of an output as a browser would."""
    listed = client.get("/_dash-dependencies").get_json()
    callback = next(one for one in listed if output in one["output"])
    names = [part.rpartition(".") for part in callback["output"].strip(".").split("...")]
    outputs = [{"id": name, "property": prop} for name, _, prop in names]
    inputs = [{**one, "value": values.get(one["id"])} for one in callback["inputs"]]
    state = [{**one, "value": values.get(one["id"])} for one in callback["state"]]
    body = {
        "output": callback["output"],
        "outputs": outputs if len(outputs) > 1 else outputs[0],
        "inputs": inputs,
        "state": state,
        "changedPropIds": [],
    }
    response = client.post("/_dash-update-component", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.get_json()["response"]
    return answer


def test_the_page_is_there(client: FlaskClient):
    response = client.get("/")

    assert response.status_code == 200
    assert '<html lang="en">' in response.text


def test_every_asset_is_local_and_there(client: FlaskClient):
    html = client.get("/").text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', html)

    assert len(addresses) > 5
    for address in addresses:
        assert re.match(r"/[^/]", address), address
        with client.get(address) as response:
            assert response.status_code == 200, address
    assert not re.findall(r"https?://", html)


def test_the_layout_names_no_other_host(client: FlaskClient):
    for path in ("/_dash-layout", "/_dash-dependencies"):
        assert "http" not in client.get(path).text.replace("httpEquiv", "")
    assert "http" not in json.dumps(ask(client, "_pages_content", _pages_location="/"))


def test_headers_allow_no_remote_scripts(client: FlaskClient):
    policy = client.get("/").headers["Content-Security-Policy"]
    directives = dict(part.split(" ", 1) for part in policy.split("; "))

    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "*" not in policy
    assert "unsafe" not in directives["script-src"]
    assert directives["frame-ancestors"] == "'none'"


@pytest.mark.parametrize("host", ["127.0.0.1:8050", "localhost", "LOCALHOST:1", "[::1]:8050"])
def test_names_of_this_machine_are_answered(client: FlaskClient, host: str):
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8050", "[::2]"])
@pytest.mark.parametrize("path", ["/", "/_dash-layout", "/_dash-update-component"])
def test_foreign_names_are_refused(client: FlaskClient, host: str, path: str):
    assert client.get(path, headers={"Host": host}).status_code == 403


def test_the_name_it_is_served_under_is_answered(runs: Path, tables: Path, no_archive: Path):
    client = create_app(runs, tables, no_archive, host="lab-pc").server.test_client()

    assert client.get("/", headers={"Host": "lab-pc:8050"}).status_code == 200
    assert client.get("/", headers={"Host": "other-pc:8050"}).status_code == 403


@pytest.mark.parametrize("path", ["/nowhere", "/zoo/nowhere", "/etc/passwd", "/..%2f..%2fetc/passwd"])
def test_a_path_that_is_not_ours_is_refused(client: FlaskClient, path: str):
    with client.get(path) as answer:
        assert answer.status_code == 404
        assert b"import " not in answer.data


@pytest.mark.parametrize("path", ["/", "/run", "/zoo", "/zoo/", "/devices", "/playground", "/_dash-layout"])
def test_a_path_that_is_ours_is_answered(client: FlaskClient, path: str):
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://127.0.0.1:8050", 200), ("http://[::1]:8050", 200), ("https://evil.example", 403), ("null", 403)],
)
def test_the_forms_of_other_sites_are_refused(client: FlaskClient, origin: str, status: int):
    assert client.get("/_dash-layout", headers={"Origin": origin}).status_code == status
    assert (client.post("/_dash-update-component", headers={"Origin": origin}).status_code == 403) is (status == 403)


def test_nothing_of_a_debug_mode_is_served(client: FlaskClient):
    html = client.get("/").text

    assert client.application.debug is False
    assert "hot_reload" not in html
    assert '"ui":true' not in html.replace(" ", "")


def test_no_module_of_the_dashboard_evaluates_text_or_unpickles():
    for file in Path(dashboard.__file__).parent.rglob("*.py"):
        tree = ast.parse(file.read_text())
        named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert not named & {"eval", "exec", "compile", "__import__"}, file
        assert not imported & {"pickle", "marshal", "shelve", "dill"}, file


@pytest.mark.parametrize("query", ODD_QUERIES, ids=str)
def test_odd_queries_give_a_page(client: FlaskClient, query: Any):
    search = f"?{urlencode(query)}"
    pairs = dict(query)

    assert client.get(f"/{search}").status_code == 200
    page = _page(client, search)
    assert "explore-state" in page
    shown = ask(client, "explore-summary", **{"explore-state": pairs})
    assert "Best within 6ms on jetson-test" in json.dumps(shown["explore-summary"])
    assert "explore-details" in ask(
        client, "explore-details", **{"explore-state": pairs, "explore-subnet": pairs.get("subnet")}
    )


@pytest.mark.parametrize("sent", [None, [], "x", 3, {"device": {"a": 1}}, {"budget": ["1", 2]}])
def test_odd_states_give_a_page(client: FlaskClient, sent: Any):
    assert ask(client, "explore-summary", **{"explore-state": sent, "frame-theme": sent})
    assert ask(client, "explore-details", **{"explore-state": sent, "explore-subnet": sent})


def test_an_unknown_path_is_said(client: FlaskClient):
    assert "404" in json.dumps(ask(client, "_pages_content", _pages_location="/nowhere"))


def test_a_deep_link_reaches_the_page(client: FlaskClient):
    page = _page(client, "?device=phone-test&budget=20ms&subnet=abc&unknown=1")

    assert '"device": "phone-test"' in page
    assert '"data": "abc"' in page


def test_an_unknown_subnet_is_said(client: FlaskClient):
    heading = json.dumps(ask(client, "explore-details", **{"explore-subnet": "zzz"})["explore-heading"])

    assert "has no subnet 'zzz'" in heading


def test_the_details_have_every_device_and_the_command(client: FlaskClient, runs: Path):
    answer = ask(client, "explore-details")
    digest = answer["explore-selected"]["data"]["digest"]
    text = json.dumps(answer["explore-details"])

    assert answer["explore-copy"]["content"] == f"supersam extract {runs}/first {digest} -o {digest}.safetensors"
    assert all(name in text for name in ("jetson-test", "phone-test", "board-part", "torn", "stage 4", "neck"))
    assert answer["explore-selected"]["data"]["is_chosen"] is False


def test_per_prompt_accuracy_is_shown_for_what_was_measured(client: FlaskClient, runs: Path):
    lines = [json.loads(line) for line in (runs / "first" / "candidates.jsonl").read_text().splitlines()]
    digest = next(line["digest"] for line in lines if line["accuracy_source"] == "measured")

    text = json.dumps(ask(client, "explore-details", **{"explore-subnet": digest})["explore-details"])

    assert "pack-a" in text
    assert "pack-b" in text
    assert "point" in text


def test_without_runs_the_page_shows_what_to_run(tmp_path: Path, tables: Path, no_archive: Path):
    client = create_app(tmp_path / "runs", tables, no_archive).server.test_client()

    answer = ask(client, "explore-summary")

    words = re.findall(r'"children": "([^"]*)"', json.dumps(answer["explore-empty"]))
    assert {"supersam", "search", "--device", "jetson-test"} <= set(words)
    assert answer["explore-results"]["hidden"] is True
    assert answer["explore-controls"]["hidden"] is True
    assert ask(client, "explore-details")["explore-selected"]["data"] is None


def test_the_page_hears_of_new_candidates_and_of_nothing_else(
    make: Any, client: FlaskClient, runs: Path, table: LatencyTable
):
    known = re.search(
        r'"explore-revision", "data": "(\w+)"|"data": "(\w{16})", "id": "explore-revision"', _page(client)
    )
    assert known is not None
    revision = known[1] or known[2]
    assert _tick(client, revision) is None

    make.run(runs / "second", make.candidates(2, table, seed=5))

    assert _tick(client, revision) not in (None, revision)


def test_two_apps_in_one_process_each_have_their_callbacks_and_data(
    runs: Path, tmp_path: Path, tables: Path, no_archive: Path
):
    first = create_app(runs, tables, no_archive)
    second = create_app(tmp_path / "nothing", tables, no_archive)

    assert ask(first.server.test_client(), "explore-summary")["explore-results"]["hidden"] is False
    assert ask(second.server.test_client(), "explore-summary")["explore-results"]["hidden"] is True


def test_the_dashboard_loads_nothing_heavy():
    code = (
        "import sys, dashboard\n"
        "from pathlib import Path\n"
        "dashboard.create_app(Path('nowhere'))\n"
        "heavy = {'torch', 'timm', 'optuna', 'torchvision', 'onnxruntime', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)

    assert done.stdout.strip() == "[]", done.stderr


def _page(client: FlaskClient, search: str = "") -> str:
    listed = client.get("/_dash-dependencies").get_json()
    callback = next(one for one in listed if "_pages_content" in one["output"])
    names = [part.rpartition(".") for part in callback["output"].strip(".").split("...")]
    values = {"pathname": "/", "search": search}
    body = {
        "output": callback["output"],
        "outputs": [{"id": name, "property": prop} for name, _, prop in names],
        "inputs": [{**one, "value": values[one["property"]]} for one in callback["inputs"]],
        "changedPropIds": ["_pages_location.pathname"],
    }
    response = client.post("/_dash-update-component", json=body)
    assert response.status_code == 200, response.text
    return json.dumps(response.get_json())


def _tick(client: FlaskClient, known: str) -> str | None:
    body = {
        "output": "explore-revision.data",
        "outputs": {"id": "explore-revision", "property": "data"},
        "inputs": [{"id": "explore-tick", "property": "n_intervals", "value": 1}],
        "state": [{"id": "explore-revision", "property": "data", "value": known}],
        "changedPropIds": ["explore-tick.n_intervals"],
    }
    response = client.post("/_dash-update-component", json=body)
    assert response.status_code in (200, 204)
    answer = response.get_json() if response.status_code == 200 else {}
    revision: str | None = answer.get("response", {}).get("explore-revision", {}).get("data")
    return revision


def test_plotly_is_named_in_the_head_where_it_is_served(client: FlaskClient):
    head = client.get("/").text.partition("</head>")[0]
    address = re.search(r'data-plotly="([^"]+)"', head)

    assert address is not None
    with client.get(address[1]) as answer:
        assert answer.status_code == 200
        assert b"plotly.js (basic - minified) v" in answer.data[:200]
    assert 'data-figures="/ /run"' in head


def test_a_subnet_that_the_filters_leave_out_stays_and_is_said(client: FlaskClient):
    everything = ask(client, "explore-details")["explore-selected"]["data"]["digest"]
    for resolution in ("256", "384", "512"):
        sent = {"explore-subnet": everything, "explore-state": {"resolution": resolution}}
        answer = ask(client, "explore-details", **sent)
        heading = json.dumps(answer["explore-heading"])
        assert answer["explore-selected"]["data"]["digest"] == everything
        assert answer["explore-selected"]["data"]["is_chosen"] is True
        is_left_out = f"input {resolution}px" not in heading
        assert ("does not pass the filters" in heading) is is_left_out
        assert ("left out by the filters" in answer["explore-spoken"]["children"]) is is_left_out


def test_the_selected_point_carries_both_intervals(client: FlaskClient):
    found = ask(client, "explore-details")["explore-selected"]["data"]

    assert found["ms_90"][0] < found["ms"] < found["ms_90"][1]
    assert found["accuracy_95"][0] < found["accuracy"] < found["accuracy_95"][1]
    bars = ask(client, "explore-base")["explore-base"]["data"]["data"][-1]
    assert {"error_x", "error_y"} <= bars.keys(), "the browser fills these"
