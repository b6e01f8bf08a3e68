"""Every page in a real browser: accessible, local, within a phone's width, linked, live; each screenshot is kept."""

import base64
import io
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from PIL import Image

from supersam.data.synthetic import draw
from supersam.latency import LatencyTable
from supersam.results import Run

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "build" / "screenshots"  # not in git
PAGES = {
    "explore": ("", ".scatterlayer .trace .point"),
    "run": ("run", ".parallel canvas"),
    "zoo": ("zoo?name=mobile-sam", ".area-card"),
    "devices": ("devices", ".heat table"),
    "playground": ("playground", "#play-answer h2"),
}
STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# A notice, filters, a switch and all rows.
EVERYTHING = "?device=phone-test&against=jetson-test&rows=all&resolution=256&risk=none"
FOCUSABLE = """() => [...document.querySelectorAll('a[href], button, input, summary, [tabindex="0"]')].filter((one) =>
    !one.disabled && one.tabIndex >= 0 && one.type !== 'file' && one.checkVisibility({ visibilityProperty: true }))"""


@pytest.fixture
def no_archive(tmp_path: Path) -> Path:
    """The shipped archive instead of none: the playground predicts from it."""
    return ROOT / "supersam" / "starter" / "archive.json"


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core, as the package axe-playwright-python carries it."""
    package = pytest.importorskip("axe_playwright_python")
    return (Path(package.__file__).parent / "axe.min.js").read_text()


def keep(page: Any, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def violations(page: Any, axe: str) -> list[Any]:
    """Return what axe-core finds against WCAG 2.2 AA."""
    page.evaluate(axe)
    found = page.evaluate("(tags) => axe.run(document, { runOnly: tags })", STANDARD)
    assert len(found["passes"]) > 5
    return [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found["violations"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_violation_of_wcag(visitor: Any, axe: str, name: str, theme: str):
    path, ready = PAGES[name]
    page = visitor(color_scheme=theme, bypass_csp=True).open(path, ready)
    page.wait_for_load_state("networkidle")
    keep(page, f"{name}-{theme}")

    assert violations(page, axe) == []
    assert page.query_selector(".modebar-btn[data-title*='hare']") is None


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_phone(visitor: Any, name: str):
    path, ready = PAGES[name]
    visit = visitor(viewport={"width": 420, "height": 800})
    page = visit.open(path, ready)
    page.wait_for_load_state("networkidle")
    keep(page, f"{name}-narrow")

    assert visit.widest() <= 420


@pytest.mark.parametrize(
    ("path", "says"), [("", "No run yet"), ("run", "No run yet"), ("playground", "there is no archive")]
)
def test_a_page_with_nothing_to_show_says_so(
    browser: Any, serving: Any, visit_of: Any, axe: str, tmp_path: Path, path: str, says: str
):
    with serving(tmp_path / "runs", tmp_path / "tables", tmp_path / "none.json") as address:
        visit = visit_of(browser, address, bypass_csp=True)
        page = visit.open(path, f"text={says}")
        assert violations(page, axe) == []
        assert visit.troubles == []
        visit.context.close()


def test_pages_are_linked_and_back_works(visit: Any):
    page = visit.open("zoo", ".area-table table")
    page.click("a:text-is('TinySAM')")
    page.wait_for_selector("h2:text-is('TinySAM')")
    page.click("nav a:text-is('Devices')")
    page.wait_for_selector("nav a[aria-current=page]:text-is('Devices')")
    page.go_back()
    page.wait_for_selector("h2:text-is('TinySAM')")
    assert visit.query() == {"name": "tinysam"}
    page.click("thead a:has-text('GMACs')")
    page.wait_for_selector("th[aria-sort=ascending]:has-text('GMACs')")
    assert visit.query() == {"name": "tinysam", "sort": "gmacs"}


def test_a_brush_and_the_keyboard_write_the_same_filter(visit: Any):
    page = visit.open("run", ".parallel canvas")
    page.wait_for_selector("text=60 of 60 candidates pass")
    page.wait_for_selector("#run-side h3:has-text('What decides the latency')")  # it pushes the axes down
    axis = page.locator(".parallel-hit").first  # input size
    axis.scroll_into_view_if_needed()
    box = axis.bounding_box()
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + box["height"] * 0.8)
    page.mouse.down()
    page.mouse.move(x, box["y"] + box["height"] - 2, steps=3)
    page.mouse.up()
    page.wait_for_function("() => location.search.includes('where=')")
    brushed = visit.query()["where"]
    assert brushed.startswith("resolution:256..")
    page.wait_for_function("() => !document.querySelector('#run-table caption').innerText.startsWith('60 of')")
    caption = page.inner_text("#run-table caption")

    page.fill("#run-where", "")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=60 of 60 candidates pass")
    page.fill("#run-where", "resolution:256")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#run-table caption:text-is('{caption}')")
    page.fill("#run-where", "colour:red")
    page.keyboard.press("Tab")
    page.wait_for_selector("text=there is no 'colour' here")


def test_a_running_search_is_followed(make: Any, visit: Any, runs: Path, table: LatencyTable):
    study = optuna.create_study(storage=f"sqlite:///{runs / 'first' / 'study.db'}", directions=["maximize", "minimize"])
    page = visit.open("run", ".parallel canvas")
    page.wait_for_selector("text=Running: 60 evaluated subnets")

    Run(runs / "first").append(make.candidates(1, table, seed=77)[0])
    study.ask().set_user_attr("worker", "desk-1")

    page.wait_for_selector("text=Running: 61 evaluated subnets")
    page.wait_for_selector("th:text-is('desk-1')")
    with sqlite3.connect(runs / "first" / "study.db") as writer:
        writer.execute("UPDATE version_info SET schema_version = 99")
    writer.close()
    page.wait_for_selector("text=has schema 99 of Optuna")


def test_sliders_answer_as_they_move_and_the_link_brings_them_back(visit: Any):
    page = visit.open("playground", "#play-answer h2")
    before = page.inner_text("#play-answer")

    page.focus("input[type=range] >> nth=0")
    page.keyboard.press("Home")
    page.wait_for_function("(before) => document.getElementById('play-answer').innerText !== before", arg=before)
    page.wait_for_selector("#play-answer:has-text('256px')")
    page.click("fieldset:has-text('Stage 4') button:text-is('repvit')")
    page.wait_for_selector("#play-answer:has-text('repvit')")
    page.wait_for_selector("text=It differs in:")
    page.wait_for_function("() => location.search.startsWith('?at=0.')")
    answer = page.inner_text("#play-answer")
    page.reload()
    page.wait_for_selector("#play-answer h2")

    assert page.inner_text("#play-answer") == answer
    assert "measured" in page.inner_text("#play-nearest")


def test_an_upload_is_checked_and_a_click_places_the_point(visit: Any, tmp_path: Path):
    page = visit.open("playground", "#play-answer h2")
    (tmp_path / "odd.png").write_bytes(b"no image")
    page.set_input_files("#play-upload input[type=file]", tmp_path / "odd.png")
    page.wait_for_selector("text=not a PNG, JPEG, WEBP image")
    Image.new("RGB", (200, 100), (10, 120, 60)).save(tmp_path / "good.png")
    page.set_input_files("#play-upload input[type=file]", tmp_path / "good.png")
    page.wait_for_selector("#play-image:not([hidden])")
    page.click("#play-image", position={"x": 50, "y": 75})

    page.wait_for_function("() => document.getElementById('play-x').value === '25'")
    assert abs(int(page.input_value("#play-y")) - 75) <= 1  # pixels are not percents
    assert page.is_enabled("#play-segment")


DROP = """async ([selector, name, content]) => {
    const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], name, { type: "image/png" }));
    const target = document.querySelector(selector);
    for (const kind of ["dragenter", "dragover", "drop"]) {
        target.dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
    }
}"""


@pytest.mark.timeout(900)  # the real networks, wherever else the machine is busy
def test_a_dropped_image_and_a_click_become_two_masks_of_the_starter(visit: Any):
    """Nothing is replaced: the upload, the process of its own and the shipped weights."""
    drawn, _ = draw(np.random.default_rng(5), 128)
    buffer = io.BytesIO()
    Image.fromarray(drawn).save(buffer, "PNG")
    page = visit.open("playground", "#play-answer h2")
    page.wait_for_selector("#play-upload input[type=file]", state="attached")

    page.evaluate(DROP, ["#play-upload > *", "drawn.png", base64.b64encode(buffer.getvalue()).decode()])
    page.wait_for_selector("#play-image:not([hidden])")
    size = page.evaluate("(() => { const one = document.getElementById('play-image'); "
                         "return [one.clientWidth, one.clientHeight]; })()")  # fmt: skip
    page.click("#play-image", position={"x": size[0] * 0.5, "y": size[1] * 0.25})
    page.wait_for_function("() => document.getElementById('play-y').value === '25'")
    page.click("#play-segment")
    page.wait_for_selector("#play-masks figure >> nth=1", timeout=600_000)
    keep(page, "playground-masks")

    assert page.locator("#play-masks figure").count() == 2
    for label in ("sliders", "nearest evaluated"):
        figure = page.locator(f"#play-masks figure:has(strong:text-is('{label}'))")
        assert "encoder" in figure.inner_text()
        assert "ms" in figure.inner_text()
        assert figure.locator("img").evaluate("(one) => one.complete && one.naturalWidth") == 128
    shown = [page.locator("#play-masks code").nth(place).inner_text() for place in range(2)]
    assert shown[0] == page.inner_text("#play-answer h2 code")
    assert shown[0] != shown[1]


def test_the_built_page_opens_from_disk_and_asks_for_nothing(visitor: Any, runs: Path, tables: Path, tmp_path: Path):
    from dashboard import build

    path = build(runs, tmp_path / "site", tables, tmp_path / "none.json")
    visit = visitor()
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    visit.address = path.as_uri()
    page = visit.open()
    keep(page, "static")

    page.click("button:text-is('first on phone-test')")
    page.wait_for_selector("section.view:not([hidden]) .summary:has-text('on phone-test')")
    row = page.locator("section.view:not([hidden]) tr[data-digest]").first
    row.locator("td").first.click()
    digest = row.get_attribute("data-digest")
    page.wait_for_selector(f"section.view:not([hidden]) [data-subnet='{digest}']:not([hidden])")
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_built_page_has_no_violation_and_fits_a_phone(
    visitor: Any, axe: str, runs: Path, tables: Path, tmp_path: Path, theme: str
):
    from dashboard import build

    visit = visitor(color_scheme=theme, bypass_csp=True)
    visit.address = build(runs, tmp_path / "site", tables, tmp_path / "none.json").as_uri()
    page = visit.open()

    assert violations(page, axe) == []
    visit.narrow()
    keep(page, f"static-{theme}-narrow")
    assert visit.widest() <= 420


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_explore_with_everything_open_has_no_violation_and_fits_a_phone(visitor: Any, axe: str, theme: str):
    visit = visitor(color_scheme=theme, bypass_csp=True)
    page = visit.open(EVERYTHING)
    page.click("#explore-heading button:text-is('Compare')")
    page.wait_for_selector("#explore-compare table")
    page.wait_for_selector("#explore-table caption:has-text('dominated subnets')")
    page.wait_for_selector("text=Against jetson-test:")
    page.wait_for_load_state("networkidle")
    keep(page, f"everything-{theme}")

    assert violations(page, axe) == []
    visit.narrow()
    keep(page, f"everything-{theme}-narrow")
    assert visit.widest() <= 420


@pytest.mark.parametrize("name", PAGES)
def test_tab_reaches_everything_and_shows_where_it_is(visit: Any, name: str):
    path, ready = PAGES[name]
    page = visit.open(path, ready)
    page.wait_for_load_state("networkidle")
    wanted = page.evaluate(f"(window.wanted = ({FOCUSABLE})()).length")
    reached: dict[int, bool] = {}
    for _ in range(2 * wanted + 20):
        page.keyboard.press("Tab")
        place, is_marked = page.evaluate(
            """() => {
                const here = document.activeElement, frame = here.closest('.dash-input-container') || here;
                const style = getComputedStyle(frame); // dash marks the frame of a field
                return [window.wanted.indexOf(here), style.outlineStyle !== 'none' || style.boxShadow !== 'none'];
            }"""
        )
        reached[place] = is_marked
        if len(reached.keys() - {-1}) == wanted:
            break

    missed = [place for place in range(wanted) if not reached.get(place)]
    html = "(missed) => missed.map((place) => window.wanted[place].outerHTML.slice(0, 120))"
    assert page.evaluate(html, missed) == []
    assert wanted > 8


def test_an_image_is_chosen_by_keyboard(visit: Any, tmp_path: Path):
    Image.new("RGB", (60, 40), (10, 120, 60)).save(tmp_path / "good.png")
    page = visit.open("playground", "#play-answer h2")
    page.focus("#play-upload button")
    chosen: list[Any] = []
    page.on("filechooser", lambda chooser: chosen.append(chooser))  # no built-in is taken
    for _ in range(30):  # the button is there a moment before it listens
        page.keyboard.press("Enter")
        page.wait_for_timeout(500)
        if chosen:
            break
    chosen[0].set_files(tmp_path / "good.png")

    page.wait_for_selector("#play-image:not([hidden])")
    page.focus("#play-x")
    page.keyboard.press("ArrowUp")
    page.wait_for_selector("#play-segment:not([disabled])")
    assert page.input_value("#play-x") == "51"


def test_a_locked_study_is_said_and_read_when_it_is_free(visit: Any, runs: Path):
    file = runs / "first" / "study.db"
    study = optuna.create_study(storage=f"sqlite:///{file}", directions=["maximize", "minimize"])
    writer = sqlite3.connect(file, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    writer.execute("UPDATE version_info SET library_version = 'another'")  # so that there is something to undo

    page = visit.open("run", "text=is locked by another program")
    page.wait_for_selector("text=60 of 60 candidates pass")
    writer.execute("ROLLBACK")
    writer.close()
    study.ask()
    page.wait_for_selector("h3:text-is('1 trial')")
    assert page.query_selector("text=is locked by another program") is None


@pytest.mark.parametrize(("content", "says"), [("", "No candidate yet"), ("{}\n{}\n", "damaged")])
def test_a_run_without_candidates_and_a_broken_one_are_said(visit: Any, runs: Path, content: str, says: str):
    (runs / "first" / "candidates.jsonl").write_text(content)

    page = visit.open("run", f"text={says}")
    page.wait_for_load_state("networkidle")

    assert page.query_selector(".parallel canvas") is None
    assert "first" in page.inner_text("main")
