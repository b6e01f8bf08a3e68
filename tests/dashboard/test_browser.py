"""Explore in a real browser: clicks, keys, the URL, themes, and that nothing leaves this machine."""

import importlib.util
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from werkzeug.serving import make_server

from dashboard import create_app
from dashboard.data import Data
from dashboard.look import look
from dashboard.view import View
from supersam.latency import LatencyTable
from supersam.results import Run, best_within

CHROMIUM = shutil.which("chromium")
REQUIRED = "SUPERSAM_REQUIRE_BROWSER" in os.environ  # continuous integration fails instead of skipping
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="needs Debian's chromium"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="needs playwright"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def address(runs: Path, tables: Path, no_archive: Path) -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, create_app(runs, tables, no_archive).server, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


class Visit:
    """A page with everything that must not happen written down."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **context})
        self.context.set_default_timeout(90_000)  # a loaded machine takes long to start a page
        self.page = self.context.new_page()
        self.address = address
        self.troubles: list[str] = []
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.troubles.append(f"error {error}"))
        self.page.on("request", self._note_request)
        self.page.on("response", self._note_response)

    def open(self, search: str = "") -> Any:
        self.page.goto(self.address + search)
        self.page.wait_for_selector(".scatterlayer .trace .point")
        return self.page

    def query(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(urlsplit(self.page.url).query).items()}

    def wait_for_query(self, **expected: str) -> None:
        for key, value in expected.items():
            self.page.wait_for_function(
                "([key, value]) => new URLSearchParams(location.search).get(key) === value", arg=[key, value]
            )

    def wait_for_subnet(self, digest: str) -> None:
        self.page.wait_for_function("(digest) => document.querySelector('h2 code').innerText === digest", arg=digest)

    def rings(self) -> list[float]:
        """Return where the ring of the selected point is."""
        found: list[float] = self.page.evaluate(
            "(() => { const d = document.querySelector('.js-plotly-plot').data; return d[d.length - 1].x; })()"
        )
        return found

    def _note_console(self, message: Any) -> None:
        if message.type in ("error", "warning") and "GPU stall" not in message.text:
            self.troubles.append(f"{message.type} {message.text}")

    def _note_request(self, request: Any) -> None:
        if urlsplit(request.url).scheme in ("http", "https", "ws") and urlsplit(request.url).hostname != "127.0.0.1":
            self.troubles.append(f"request {request.url}")

    def _note_response(self, response: Any) -> None:
        if response.status >= 400:
            self.troubles.append(f"status {response.status} {response.url}")


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    visit = Visit(browser, address)
    yield visit
    assert visit.troubles == []
    visit.context.close()


@pytest.fixture
def view(runs: Path, tables: Path, no_archive: Path) -> View:
    found = look(Data(runs, tables, no_archive), {})
    assert isinstance(found, View)
    return found


def test_the_first_screen_answers_the_question(visit: Visit, view: View):
    page = visit.open()
    assert view.best is not None

    visit.wait_for_subnet(view.best.digest)
    page.wait_for_selector(f"tr[aria-current=true]:has-text('{view.best.digest}')")
    assert page.inner_text("#explore-summary").startswith(f"best within 6ms on jetson-test: {view.best.digest}, ")
    assert page.input_value("#explore-budget") == "6ms"
    page.wait_for_selector("button[aria-pressed=true]:text-is('jetson-test')")
    assert page.is_disabled("button:has-text('board-part')")
    assert visit.query() == {}
    assert not any("share" in (title or "").lower() for title in _modebar(page))


def test_a_click_on_a_point_selects_it(visit: Visit, view: View):
    page = visit.open("?budget=none")
    slowest = view.front[-1]
    x, y = page.evaluate(
        """([ms, accuracy]) => {
            const plot = document.querySelector('.js-plotly-plot'), axes = plot._fullLayout;
            const frame = plot.getBoundingClientRect();
            const x = axes.xaxis._offset + axes.xaxis.d2p(ms), y = axes.yaxis._offset + axes.yaxis.d2p(accuracy);
            return [frame.x + x, frame.y + y];
        }""",
        [view.front[0].latency.ms, view.front[0].accuracy.value],
    )
    visit.wait_for_subnet(slowest.digest)

    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    page.wait_for_selector(".hoverlayer .hovertext")
    hover = page.text_content(".hoverlayer")
    page.mouse.click(x, y)

    visit.wait_for_subnet(view.front[0].digest)
    visit.wait_for_query(subnet=view.front[0].digest, budget="none")
    assert view.front[0].digest in hover
    assert "GMACs" in hover
    assert visit.rings() == [view.front[0].latency.ms]


def test_a_row_selects_with_mouse_and_keyboard(visit: Visit, view: View):
    page = visit.open()
    third, second = view.front[2], view.front[1]

    page.click(f"tr:has-text('{third.digest}') td:nth-child(3)")
    visit.wait_for_subnet(third.digest)
    visit.wait_for_query(subnet=third.digest)
    page.wait_for_selector(f"tr[aria-current=true]:has-text('{third.digest}')")

    page.focus(f"tr button:has-text('{second.digest}')")
    page.keyboard.press("Enter")
    visit.wait_for_subnet(second.digest)
    page.wait_for_selector(f"tr[aria-current=true]:has-text('{second.digest}')")
    assert page.evaluate("document.activeElement.innerText") == second.digest
    command = page.inner_text("#explore-command")
    assert command.endswith(f"runs/first {second.digest} -o {second.digest}.safetensors")


def test_arrow_keys_walk_along_the_front(visit: Visit, view: View):
    page = visit.open()

    page.focus("#explore-chart")
    page.keyboard.press("Home")
    visit.wait_for_subnet(view.front[0].digest)
    for _ in range(3):  # faster than the answers come
        page.keyboard.press("ArrowRight")
    visit.wait_for_subnet(view.front[3].digest)
    page.keyboard.press("End")
    visit.wait_for_subnet(view.front[-1].digest)
    page.keyboard.press("ArrowLeft")
    visit.wait_for_subnet(view.front[-2].digest)

    assert page.inner_text("#explore-spoken").startswith(f"Subnet {view.front[-2].digest}: accuracy ")


def test_a_new_budget_has_a_new_best(visit: Visit, view: View):
    page = visit.open()
    best = best_within(view.candidates, 4.0)
    assert best is not None
    assert best != view.best

    page.fill("#explore-budget", "0.004s")
    page.keyboard.press("Enter")
    visit.wait_for_subnet(best.digest)
    visit.wait_for_query(budget="4ms")
    assert page.input_value("#explore-budget") == "4ms"

    page.fill("#explore-budget", "30")
    page.keyboard.press("Tab")
    page.wait_for_selector("text='30' has no unit. Did you mean 30ms or 30s?")
    assert page.input_value("#explore-budget") == "30"

    page.fill("#explore-budget", "")
    page.keyboard.press("Enter")
    visit.wait_for_query(budget="none")
    page.wait_for_selector("text=no budget set")


def test_a_link_brings_everything_back(visit: Visit, view: View):
    digest = view.front[0].digest
    page = visit.open(f"?device=phone-test&budget=20ms&risk=median&subnet={digest}")

    visit.wait_for_subnet(digest)
    assert visit.query() == {"device": "phone-test", "budget": "20ms", "risk": "median", "subnet": digest}
    page.reload()
    page.wait_for_selector(".scatterlayer .trace .point")
    visit.wait_for_subnet(digest)
    page.wait_for_selector("button[aria-pressed=true]:text-is('phone-test')")
    assert page.input_value("#explore-budget") == "20ms"

    page.focus("button:text-is('jetson-test')")
    page.keyboard.press("Enter")
    page.wait_for_selector("button[aria-pressed=true]:text-is('jetson-test')")
    assert page.evaluate("document.activeElement.innerText") == "jetson-test"  # else Tab begins at the top again
    page.click("button:text-is('upper bound')")
    page.wait_for_function("() => !location.search.includes('device') && !location.search.includes('risk')")
    visit.wait_for_subnet(digest)


def test_a_running_search_grows_on_the_page_and_leaves_the_reader_alone(
    make: Any, visit: Visit, view: View, runs: Path, table: LatencyTable
):
    page = visit.open()
    page.fill("#explore-budget", "4m")  # half typed

    Run(runs / "first").append(make.candidates(1, table, seed=77)[0])

    page.wait_for_selector("text=61 candidates")
    assert page.input_value("#explore-budget") == "4m"


def test_light_and_dark_follow_the_system_and_the_button(browser: Any, address: str):
    visit = Visit(browser, address, color_scheme="dark")
    page = visit.open()

    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = _ink(page)
    page.click("#frame-theme-toggle")
    page.wait_for_function("(dark) => document.querySelector('.js-plotly-plot').layout.font.color !== dark", arg=dark)
    page.reload()
    page.wait_for_selector(".scatterlayer .trace .point")

    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert _ink(page) != dark
    assert visit.troubles == []
    visit.context.close()


def test_a_phone_scrolls_down_only(browser: Any, address: str):
    visit = Visit(browser, address, viewport={"width": 420, "height": 800})
    page = visit.open()

    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    assert visit.troubles == []
    visit.context.close()


def test_the_command_is_copied(browser: Any, address: str):
    visit = Visit(browser, address, permissions=["clipboard-read", "clipboard-write"])
    page = visit.open()

    page.wait_for_selector("#explore-command:has-text('supersam extract')")
    page.focus("#explore-copy-button")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Copied")

    page.wait_for_function(  # chromium's clipboard may answer a moment later
        "async () => await navigator.clipboard.readText() === document.getElementById('explore-command').innerText"
    )
    assert visit.troubles == []
    visit.context.close()


def _ink(page: Any) -> str:
    color: str = page.evaluate("document.querySelector('.js-plotly-plot').layout.font.color")
    return color


def _modebar(page: Any) -> list[str | None]:
    return [button.get_attribute("data-title") for button in page.query_selector_all(".modebar-btn")]
