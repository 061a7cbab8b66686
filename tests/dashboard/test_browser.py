"""A real Chromium through the whole console: train from Studio, promote, read an explanation, switch language,
download and
verify the report. A screenshot of each page is kept in `screenshots/`."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright

from core.learn.config import load_config
from core.ops import jobs
from core.ops.builds import current_build, record_build
from core.ops.events import epochs_told, read_events
from core.ops.ledger import Ledger, utc_now
from dashboard.desk import submit_training
from dashboard.theme import SCHEMES
from dashboard.verify import verify
from data.ingest import ingest
from data.spec import load_spec

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHOTS = Path(__file__).parents[2] / "screenshots"
PAGES = ("pulse", "explore", "sql", "profile", "datasets", "bring", "studio", "models", "guide", "audit", "publish")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; Debian has it as `chromium`"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, write_files: Any) -> Path:
    """A store with data and no model yet."""
    base = tmp_path_factory.mktemp("browser")
    write_files(base / "files")
    made = ingest(load_spec(base / "files" / "spec.toml"), base=base / "files", home=base / "home", now=made_at())
    with Ledger.open(base / "home") as ledger:
        facts = made.facts.as_dict()
        record_build(ledger, build_id=made.build_id, dataset="tiny", path=made.path, facts=facts, now=made_at())
    return base / "home"


@pytest.fixture(scope="module")
def console(home: Path) -> Iterator[str]:
    """`lodestar app` on that store; its address. Afterwards it must stop cleanly when told to."""
    port = free_port()
    environment = {
        **os.environ,
        "LODESTAR_LANGUAGE": "en",
        "LODESTAR_OFFLINE": "1",
        "LODESTAR_CACHE": str(home / "cache"),
    }
    command = [sys.executable, "-m", "dashboard.cli", "app", "--port", str(port), "--home", str(home)]
    log = home.parent / "app.log"
    with log.open("wb") as out:
        app = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_until_up(app, f"http://127.0.0.1:{port}/_stcore/health", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        app.send_signal(signal.SIGTERM)
        assert app.wait(timeout=60) == 0, log.read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that remembers every address it asked for; none may be another machine's."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    asked: list[str] = []
    opened = context.new_page()
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    context.close()
    outside = [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:", "about:"))]
    assert outside == []


# How often the curves' finding stands on the page at once, at most.
COUNT_FINDINGS = """() => {
    window.mostFindings = 0;
    const count = () => {
        const found = [...document.querySelectorAll("h5")].filter(h => h.textContent.includes("Best validation"));
        window.mostFindings = Math.max(window.mostFindings, found.length);
    };
    new MutationObserver(count).observe(document.body, {childList: true, subtree: true, characterData: true});
    count();
}"""


def test_the_main_job_from_training_to_a_verified_report(
    console: str, page: Page, home: Path, tmp_path: Path, tiny_language_model: Path
) -> None:
    train(page, console, tiny_language_model)
    promote(page, console)
    read_an_explanation(page, console)
    find_somebody_without_a_mouse(page)
    switch_the_language(page)
    turn_the_scheme(page, console)
    download_and_verify(page, console, home, tmp_path)
    for name in PAGES:
        page.goto(f"{console}/{name}?user=u7&lang=en")
        settled(page)
        keep(page, name)
        assert page.locator('[data-testid="stException"]').count() == 0


def train(page: Page, console: str, model: Path) -> None:
    page.goto(f"{console}/studio")
    expect(page.locator("h1")).to_have_text("What shall we train on tiny?", timeout=30_000)
    page.get_by_role("radio", name="Fast").click()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("At most this many epochs", exact=True).fill("2")
    page.get_by_label("At most this many epochs", exact=True).press("Enter")
    page.get_by_label("Language model", exact=True).fill(str(model))
    page.get_by_label("Language model", exact=True).press("Enter")
    expect(page.get_by_text("--set epochs=2")).to_be_visible(timeout=15_000)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("h1")).to_have_text("What is the trainer doing on tiny?", timeout=30_000)
    page.reload()  # training survives the page
    page.evaluate(COUNT_FINDINGS)
    expect(page.get_by_text("· done")).to_be_visible(timeout=240_000)
    expect(page.get_by_text("Best validation NDCG@10 so far")).to_be_visible(timeout=15_000)
    page.wait_for_timeout(1_000)  # the page is drawn whole once more when the job has ended
    assert page.evaluate("window.mostFindings") == 1, "the curves' finding stood on the page twice"


def promote(page: Page, console: str) -> None:
    page.goto(f"{console}/models")
    page.get_by_label("Why should this run serve?", exact=True).fill("the first one")
    page.get_by_label("Why should this run serve?", exact=True).press("Enter")
    page.get_by_role("button", name="Make").click()
    expect(page.get_by_text("is the champion: it serves")).to_be_visible(timeout=30_000)


def read_an_explanation(page: Page, console: str) -> None:
    page.goto(f"{console}/profile?user=u7")
    expect(page.locator("h1")).to_contain_text("Why does user u7 get", timeout=60_000)
    expect(page.get_by_text("This explains the model, not the person.").first).to_be_visible(timeout=30_000)
    waterfall = page.locator(".js-plotly-plot").first
    expect(waterfall.get_by_text("change in log-probability")).to_be_visible(timeout=30_000)


def find_somebody_without_a_mouse(page: Page) -> None:
    """What is typed is looked for at once; Tab leads to the best match, and Enter chooses it."""
    page.get_by_role("searchbox").first.click()
    page.keyboard.type("u1", delay=40)
    first = page.get_by_role("button", name="u1 · ")
    expect(first).to_be_visible(timeout=15_000)
    settled(page)  # what is found of the first letter alone may be there before
    expect(page.locator("h1")).to_contain_text("Why does user u7 get")
    page.keyboard.press("Tab")
    expect(first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Why does user u1 get", timeout=60_000)
    expect(first).to_have_count(0)
    page.go_back()
    expect(page.locator("h1")).to_contain_text("Why does user u7 get", timeout=60_000)


def switch_the_language(page: Page) -> None:
    page.get_by_role("radio", name="中文").click()
    expect(page.locator("h1")).to_contain_text("为什么给用户 u7 推荐", timeout=30_000)
    settled(page)
    keep(page, "profile-zh")
    page.get_by_role("radio", name="English").click()
    expect(page.locator("h1")).to_contain_text("Why does user u7 get", timeout=30_000)


def turn_the_scheme(page: Page, console: str) -> None:
    """Figures follow the scheme at once, though nothing runs again when a reader turns it."""
    page.goto(f"{console}/models")
    label = page.locator(".js-plotly-plot .ytick text").first
    expect(label).to_be_visible(timeout=30_000)
    settled(page)
    for scheme, tokens in SCHEMES.items():
        page.emulate_media(color_scheme=scheme)
        red, green, blue = (int(tokens.text[i : i + 2], 16) for i in (1, 3, 5))
        expect(label).to_have_css("fill", f"rgb({red}, {green}, {blue})", timeout=10_000)
    page.emulate_media(color_scheme="light")


def download_and_verify(page: Page, console: str, home: Path, folder: Path) -> None:
    page.goto(f"{console}/publish")
    button = page.get_by_role("button", name="Download report")
    expect(button).to_be_visible(timeout=30_000)
    with page.expect_download() as download:
        button.click()
    file = folder / "report.html"
    download.value.save_as(file)
    result = verify(file, home)
    assert result.findings == []
    assert result.complete


def test_a_question_is_asked_drawn_handed_out_saved_and_opened_by_its_link(
    console: str, page: Page, tmp_path: Path
) -> None:
    page.goto(f"{console}/sql?lang=en")
    expect(page.locator("h1")).to_have_text("What do you want to know about tiny?", timeout=30_000)
    settled(page)
    ask(page, "SELECT title, count(*) AS n FROM events JOIN items USING (item_id) GROUP BY title ORDER BY n DESC")
    expect(page.get_by_text("30 rows in")).to_be_visible(timeout=60_000)
    expect(page.locator(".js-plotly-plot .bars path").first).to_be_visible(timeout=30_000)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).click()
    download.value.save_as(tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text(encoding="utf-8-sig").splitlines()[0] == "title,n"
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_label("Name", exact=True).fill("Titles by events")
    page.get_by_role("button", name="Save statement").click()
    expect(page.get_by_text("Saved as Titles by events.")).to_be_visible(timeout=30_000)
    page.wait_for_function("location.search.includes('saved=')", timeout=10_000)
    link = page.url
    ask(page, "SELECT nothing FROM events")
    expect(page.get_by_text("The database says")).to_be_visible(timeout=60_000)
    page.goto(link)
    settled(page)
    expect(page.locator("textarea").first).to_have_value(re.compile("SELECT title, count"), timeout=30_000)
    page.get_by_role("tab", name="History").click()
    expect(page.get_by_role("button", name="SELECT nothing FROM events")).to_be_visible()
    page.get_by_role("tab", name="Examples").click()
    page.get_by_role("button", name="The items with the most events").click()
    expect(page.locator("textarea").first).to_have_value(re.compile("LIMIT 20"), timeout=30_000)
    page.get_by_role("tab", name="Saved").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_text("Deleted Titles by events.")).to_be_visible(timeout=30_000)
    page.set_viewport_size({"width": 800, "height": 900})
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"


def test_a_click_on_a_habit_looks_at_those_alone_and_a_name_keeps_them(console: str, page: Page) -> None:
    page.goto(f"{console}/explore?lang=en")
    expect(page.locator("h1")).to_have_text("Who does what in tiny?", timeout=30_000)
    settled(page)
    bars = page.locator(".js-plotly-plot", has_text="champions").locator(".bars path")
    expect(bars.first).to_be_visible(timeout=30_000)
    box = bars.first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 4, box["y"] + box["height"] / 2)
    page.wait_for_function("location.search.includes('champions')", timeout=15_000)
    told = page.get_by_text("events: who are champions")
    expect(told).to_be_visible(timeout=15_000)
    page.goto(page.url)
    expect(told).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Save this cohort").click()
    page.get_by_label("Name", exact=True).fill("The best")
    page.get_by_label("Name", exact=True).press("Enter")
    expect(page.get_by_text("Saved as The best by")).to_be_visible(timeout=15_000)
    page.wait_for_function("location.search.includes('cohort=co-')", timeout=15_000)
    link = page.url.replace("champions", "lost")  # the name says who is meant, whatever stands beside it
    page.get_by_role("button", name="Look at everyone again").click()
    expect(page.get_by_text("users with an event.")).to_be_visible(timeout=15_000)
    page.goto(link)
    expect(told).to_be_visible(timeout=30_000)
    page.get_by_text("Saved cohorts · 1").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_text("Deleted The best.")).to_be_visible(timeout=15_000)
    page.get_by_role("button", name="Look at everyone again").click()
    expect(page.get_by_text("users with an event.")).to_be_visible(timeout=15_000)
    page.set_viewport_size({"width": 800, "height": 900})
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"


def ask(page: Page, statement: str) -> None:
    """Types a statement and runs it as analysts do, by Ctrl+Enter."""
    editor = page.locator("textarea").first
    editor.fill(statement)
    editor.press("Control+Enter")


# What is written in figures and stands out of its figure, with how far.
CUT = """() => [...document.querySelectorAll(".js-plotly-plot")].flatMap(figure => {
    const room = figure.getBoundingClientRect();
    return [...figure.querySelectorAll("text")].filter(text => text.textContent).map(text => {
        const box = text.getBoundingClientRect();
        const sides = [room.left - box.left, box.right - room.right, room.top - box.top, box.bottom - room.bottom];
        return [text.textContent, Math.round(Math.max(...sides))];
    });
}).filter(([, px]) => px > 1)"""


@pytest.mark.parametrize(("language", "width_px"), [("en", 1440), ("zh", 800)])
def test_nothing_that_is_written_in_a_figure_is_cut(console: str, page: Page, language: str, width_px: int) -> None:
    page.set_viewport_size({"width": width_px, "height": 900})
    page.goto(f"{console}/pulse?lang={language}")
    expect(page.locator(".js-plotly-plot")).to_have_count(5, timeout=30_000)
    settled(page)
    assert page.evaluate(CUT) == []
    page.evaluate("document.querySelector('.js-plotly-plot .ytick text').textContent = '1,000,000,000,000'")
    assert page.evaluate(CUT) != [], "it sees what is cut"


def test_a_messy_file_becomes_a_build_that_is_shown(console: str, page: Page, home: Path) -> None:
    """Semicolons, a German date, a beacon for a title, and four rows of no use."""
    page.goto(f"{console}/datasets?lang=en")
    page.get_by_role("link", name="Bring data").click()
    expect(page.locator("h1")).to_have_text("What do you want to bring?", timeout=30_000)
    page.locator("input[type=file]").set_input_files(messy())
    page.get_by_role("button", name="Look at these files").click()
    expect(page.locator("h1")).to_contain_text("be read?", timeout=60_000)
    settled(page)
    keep(page, "bring-mapping")
    page.get_by_role("button", name="Try it").click()
    expect(page.get_by_text("All 300 rows were tried")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("too few or many columns: 1")).to_be_visible()
    settled(page)
    address = page.url
    page.get_by_role("button", name="Commit as a build").click()
    expect(page.locator("h1")).to_contain_text("What is in build", timeout=120_000)
    expect(page.get_by_text("of 300 read")).to_be_visible(timeout=30_000)
    settled(page)
    keep(page, "bring-done")
    assert page.locator('img[src*="203.0.113.9"], a[href*="203.0.113.9"]').count() == 0
    page.goto(address)  # a link to it, or the back button, tells the same
    expect(page.locator("h1")).to_contain_text("What is in build", timeout=60_000)
    with Ledger.open(home) as ledger:
        made = current_build(ledger, "klicks")
    assert (made.facts["read"], made.facts["accepted"]) == (300, 296)
    page.goto(f"{console}/datasets?dataset=klicks&lang=zh")
    expect(page.locator("h1")).to_contain_text("klicks 适合用来训练吗", timeout=60_000)
    page.goto(f"{console}/datasets?dataset=tiny&lang=en")  # for those who come after


def messy() -> list[FilePayload]:
    """The files as a browser hands them over."""
    rows = [
        f"c{n % 30};g{(n * 7 + n // 30) % 25};{n % 28 + 1:02}.{n % 12 + 1:02}.2025 {n % 24:02}:{n % 60:02};{n % 5 + 1}"
        for n in range(300)
    ]
    rows[5], rows[9], rows[20], rows[44] = "c0;g1;gestern;3", "c0;g2", "c1;;03.02.2025 10:00;4", 'c3;"g4;05.04.2025;3'
    goods = [f"g{n};Ware {n} ![x](http://203.0.113.9/b.png);{'a|b' if n % 2 else 'b'}" for n in range(25)]
    texts = {
        "klicks.csv": "Kunden-Nr;Artikel;Zeitpunkt;Sterne\n" + "\n".join(rows) + "\n",
        "waren.csv": "Artikel;Name;Kategorien\n" + "\n".join(goods) + "\n",
    }
    return [{"name": name, "mimeType": "text/csv", "buffer": text.encode()} for name, text in texts.items()]


# Points of the first figure's loss that are the job's own: the dotted line is another run's.
LOSS_POINTS = """() => [...(document.querySelector(".js-plotly-plot") || {data: []}).data]
    .filter(trace => trace.xaxis !== "x2" && (trace.line || {}).dash !== "dot")
    .reduce((sum, trace) => sum + trace.x.length, 0)"""


def test_a_web_that_was_killed_in_the_middle_of_a_training_shows_it_whole(
    console: str, page: Page, home: Path, record_property: Any
) -> None:
    settings = {"epochs": 5000, "patience": 5000, "text.tune": "none", "network.dim": 16, "device": "cpu"}
    with Ledger.open(home) as ledger:
        job_id = submit_training(
            ledger, home, current_build(ledger, "tiny"), load_config(overrides=[*settings.items()])
        )
        try:
            until(lambda: len(told(ledger, home, job_id)) >= 10)
            page.goto(f"{console}/studio?lang=en&dataset=tiny")
            run = jobs.status(ledger, job_id).run_id
            expect(page.get_by_text(str(run)).first).to_be_visible(timeout=30_000)
            page.wait_for_function(f"({LOSS_POINTS})() >= 10", timeout=60_000)
            until(lambda: spare_waits(home))
            web = json.loads((home / "app.json").read_text())["web"][0]
            os.kill(web, signal.SIGKILL)
            killed_s, before = time.monotonic(), len(told(ledger, home, job_id))
            page.wait_for_function(f"({LOSS_POINTS})() > {before}", timeout=90_000)
            open_s = time.monotonic() - killed_s
            begun_s = time.monotonic()
            page.goto(f"{console}/studio?lang=en&dataset=tiny")
            expect(page.locator("h1")).to_have_text("What is the trainer doing on tiny?", timeout=60_000)
            page.wait_for_function(f"({LOSS_POINTS})() > {before}", timeout=60_000)
            anew_s = time.monotonic() - begun_s
            seconds = f"open page after {open_s:.2f} s, opened anew in {anew_s:.2f} s"
            record_property("after the kill", seconds)
            print(f"{seconds}, {before} epochs before the kill")
            expect(page.get_by_text(str(run)).first).to_be_visible()
            assert max(open_s, anew_s) < 60, "2 s are meant, on a machine with nothing else to do"
            assert jobs.status(ledger, job_id).attempt == 1, "the training noticed"
            assert page.evaluate(LOSS_POINTS) <= len(told(ledger, home, job_id))
        finally:
            jobs.request_cancel(ledger, job_id, now=utc_now())
            until(lambda: jobs.status(ledger, job_id).done)


def told(ledger: Ledger, home: Path, job_id: str) -> list[dict[str, Any]]:
    """The epochs that a job has told of."""
    return epochs_told(read_events(jobs.events_path(home, job_id, jobs.status(ledger, job_id).run_id)))


def spare_waits(home: Path) -> bool:
    """Whether a web waits behind this console's, with everything imported."""
    launcher = psutil.Process(json.loads((home / "app.json").read_text())["launcher"][0])
    spares = [child for child in launcher.children() if "--spare" in child.cmdline()]
    return any(time.time() - spare.create_time() > 10 for spare in spares)


def until(true: Callable[[], object], *, within_s: float = 90.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=2).is_success
    except httpx.HTTPError:
        return False


def test_the_report_opens_offline_without_a_console(browser: Browser, home: Path, report_file: Path) -> None:
    context = browser.new_context(offline=True)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report_file.as_uri())
    expect(page.locator("h1")).to_contain_text("How good and how fair")
    assert page.locator("svg").count() >= 3
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    context.close()


def settled(page: Page) -> None:
    """Waits until the page's script has ended and its figures stand."""
    page.wait_for_selector("h1", timeout=60_000)
    page.wait_for_function(
        "document.querySelector('[data-testid=stApp]').getAttribute('data-test-script-state') === 'notRunning'",
        timeout=60_000,
    )
    page.wait_for_timeout(600)


def keep(page: Page, name: str) -> None:
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def wait_until_up(app: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if app.poll() is not None:
            break
        if answers(address):
            return
        time.sleep(0.2)
    pytest.fail(f"the console did not come up: {log.read_text()[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def made_at() -> Any:
    from datetime import UTC, datetime

    return datetime(2026, 3, 1, tzinfo=UTC)
