"""Explore in a real browser: clicks, keys, the URL, themes, and that nothing leaves this machine."""

from pathlib import Path
from typing import Any

import pytest

from dashboard.data import Data
from dashboard.look import look
from dashboard.view import View
from supersam.latency import LatencyTable
from supersam.results import Run, best_within


@pytest.fixture
def view(runs: Path, tables: Path, no_archive: Path) -> View:
    found = look(Data(runs, tables, no_archive), {})
    assert isinstance(found, View)
    return found


def test_the_first_screen_answers_the_question(visit: Any, view: View):
    page = visit.open()
    assert view.best is not None

    visit.wait_for_subnet(view.best.digest)
    page.wait_for_selector(f"tr[aria-current=true]:has-text('{view.best.digest}')")
    assert page.inner_text("#explore-summary").startswith(f"Best within 6ms on jetson-test: {view.best.digest}, ")
    assert page.input_value("#explore-budget") == "6ms"
    page.wait_for_selector("button[aria-pressed=true]:text-is('jetson-test')")
    assert page.is_disabled("button:has-text('board-part')")
    assert visit.query() == {}
    assert not any("share" in (title or "").lower() for title in _modebar(page))


def test_plotly_is_asked_for_before_the_servers_first_answer_and_once(visit: Any):
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    page = visit.open()

    places = [place for place, url in enumerate(asked) if "plotly" in url and url.endswith(".js")]
    assert len(places) == 1
    assert places[0] < next(place for place, url in enumerate(asked) if "_dash-layout" in url)
    page.goto(visit.address + "zoo")
    page.wait_for_selector(".area-table table")
    assert sum("plotly" in url and url.endswith(".js") for url in asked) == 1, "a page without a figure needs none"
    page.click("nav a:text-is('Explore')")
    page.wait_for_selector(".scatterlayer .trace .point")
    loaded = [url for url in asked if "plotly" in url and url.endswith(".js")]
    assert len(loaded) == 2
    assert all(url.endswith("/plotly-basic.min.js") for url in loaded)


def test_a_click_on_a_point_selects_it(visit: Any, view: View):
    page = visit.open("?budget=none")
    visit.wait_for_subnet(view.front[-1].digest)
    x, y = page.evaluate(
        """([ms, accuracy]) => {
            const plot = document.querySelector('.js-plotly-plot'), axes = plot._fullLayout;
            const frame = plot.getBoundingClientRect();
            const x = axes.xaxis._offset + axes.xaxis.d2p(ms), y = axes.yaxis._offset + axes.yaxis.d2p(accuracy);
            return [frame.x + x, frame.y + y];
        }""",
        [view.front[0].latency.ms, view.front[0].accuracy.value],
    )

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


def test_a_row_selects_with_mouse_and_keyboard(visit: Any, view: View):
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


def test_arrow_keys_walk_along_the_front(visit: Any, view: View):
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


def test_a_new_budget_has_a_new_best(visit: Any, view: View):
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


def test_a_link_brings_everything_back(visit: Any, view: View):
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
    make: Any, visit: Any, view: View, runs: Path, table: LatencyTable
):
    page = visit.open()
    page.fill("#explore-budget", "4m")  # half typed

    Run(runs / "first").append(make.candidates(1, table, seed=77)[0])

    page.wait_for_selector("text=61 candidates")
    assert page.input_value("#explore-budget") == "4m"


def test_light_and_dark_follow_the_system_and_the_button(visitor: Any):
    visit = visitor(color_scheme="dark")
    page = visit.open()

    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = _ink(page)
    page.click("#frame-theme-toggle")
    page.wait_for_function("(dark) => document.querySelector('.js-plotly-plot').layout.font.color !== dark", arg=dark)
    page.reload()
    page.wait_for_selector(".scatterlayer .trace .point")

    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert _ink(page) != dark


def test_a_phone_scrolls_down_only(visitor: Any):
    visit = visitor(viewport={"width": 420, "height": 800})
    visit.open()

    assert visit.widest() <= 420, "not even while plotly draws before it has measured"


def test_the_command_is_copied(visitor: Any):
    visit = visitor(permissions=["clipboard-read", "clipboard-write"])
    page = visit.open()

    page.wait_for_selector("#explore-command:has-text('supersam extract')")
    page.focus("#explore-copy-button")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Copied")

    page.wait_for_function(  # chromium's clipboard may answer a moment later
        "async () => await navigator.clipboard.readText() === document.getElementById('explore-command').innerText"
    )


def _ink(page: Any) -> str:
    color: str = page.evaluate("document.querySelector('.js-plotly-plot').layout.font.color")
    return color


def _modebar(page: Any) -> list[str | None]:
    return [button.get_attribute("data-title") for button in page.query_selector_all(".modebar-btn")]


def test_the_other_device_says_who_enters_and_leaves(visit: Any, view: View):
    page = visit.open()

    page.click("button:text-is('phone-test')")
    page.wait_for_selector("text=Against jetson-test:")
    visit.wait_for_query(device="phone-test", against="jetson-test")

    assert "rank correlation of all latencies" in page.inner_text("#explore-switch")


def test_filters_make_another_front_and_can_be_cleared(visit: Any, view: View):
    page = visit.open("?budget=none")
    page.click("summary:has-text('Filters')")

    page.click("#explore-filters button:text-is('256px')")
    page.wait_for_selector("text=the front is that of these")
    visit.wait_for_query(resolution="256")
    assert "256px" in page.inner_text("#explore-table tbody")
    assert "512px" not in page.inner_text("#explore-table tbody")
    page.fill("#explore-params", "0.000001")
    page.keyboard.press("Enter")
    page.wait_for_selector("h2:text-is('The filters leave nothing')")
    page.click("button:text-is('Clear')")
    page.wait_for_selector(f"#explore-table:has-text('{view.front[0].digest}')")
    assert visit.query() == {"budget": "none"}
    assert page.input_value("#explore-params") == ""


def test_subnets_are_compared_on_every_device(visit: Any, view: View):
    page = visit.open()
    for candidate in view.front[:2]:
        page.click(f"tr:has-text('{candidate.digest}') td:nth-child(3)")
        visit.wait_for_subnet(candidate.digest)
        page.click("#explore-heading button:text-is('Compare')")
        page.wait_for_selector(f"#explore-compare th:text-is('{candidate.digest}')")

    visit.wait_for_query(compare=f"{view.front[0].digest},{view.front[1].digest}")
    text = page.inner_text("#explore-compare")
    assert "phone-test" in text
    assert "Compare (2 of 4)" in text
    page.click("#explore-compare button:text-is('Remove') >> nth=0")
    page.wait_for_selector("text=Compare (1 of 4)")
    visit.wait_for_query(compare=view.front[1].digest)


def test_dominated_subnets_are_rows_where_they_are_asked_for(visit: Any, view: View):
    page = visit.open()
    dominated = view.dominated[0].digest
    assert dominated not in page.inner_text("#explore-table")

    page.focus("button:text-is('dominated too')")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#explore-table tr:has-text('{dominated}')")
    visit.wait_for_query(rows="all")
    page.focus(f"tr button:has-text('{dominated}')")
    page.keyboard.press("Enter")
    visit.wait_for_subnet(dominated)
    assert "dominated" in page.inner_text("#explore-heading")
    assert "rows=all" in page.get_attribute("#explore-exports a", "href")


def test_the_selected_point_has_its_intervals_as_bars(visit: Any, view: View):
    page = visit.open(f"?subnet={view.front[1].digest}")
    visit.wait_for_subnet(view.front[1].digest)
    found = view.front[1]
    page.wait_for_function(
        "(ms) => document.querySelector('.js-plotly-plot').data.at(-1).x[0] === ms", arg=found.latency.ms
    )

    selected = "document.querySelector('.js-plotly-plot').data.at(-1)"
    bars = page.evaluate(f"[{selected}.error_x, {selected}.error_y]")
    low, high = found.accuracy.interval
    assert bars[0]["array"] == pytest.approx([found.latency.hi - found.latency.ms])
    assert bars[1]["array"] == pytest.approx([high - found.accuracy.value])
    assert bars[1]["arrayminus"] == pytest.approx([found.accuracy.value - low])


def test_back_to_explore_brings_its_state_back(visit: Any, view: View):
    page = visit.open("?device=phone-test&budget=20ms")
    digest = page.inner_text("#explore-table tbody tr:nth-child(2) button")
    page.click("#explore-table tbody tr:nth-child(2) button")
    visit.wait_for_query(subnet=digest)
    before = visit.query()

    page.click("nav a:text-is('Zoo')")
    page.wait_for_selector("h1:text-is('Zoo')")
    page.go_back()
    page.wait_for_selector(".scatterlayer .trace .point")
    visit.wait_for_subnet(digest)

    assert visit.query() == before == {"device": "phone-test", "budget": "20ms", "subnet": digest}
    assert page.input_value("#explore-budget") == "20ms"


def test_the_first_tab_skips_to_the_content(visit: Any):
    page = visit.open()

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
