"""How fast the console stands, in a real Chromium over a store that holds a demo's run.

    python -m tests.bench.console --home .lodestar
    python -m tests.bench.console --events 25000000 --pages Pulse Data

Figures are medians of several rounds after a first, reported apart: Pulse as the first page that anyone opens since the
start, when nothing is computed yet, to its last figure; from a click in the sidebar to the page's last figure, from
choosing a user to the last figure of their Profile (users that nobody has opened since the start, then the same once
more), from a reload to the title, and from a fresh browser to the title. The calibration matmul stands beside them, as
it was before and after: a Profile takes half as long again where that doubles.
"""

import argparse
import math
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console

from core.ops.builds import current_build, record_build
from core.ops.ledger import Ledger
from dashboard.launch import port_is_free
from dashboard.terminal import table
from data import reads
from data.warehouse import Warehouse
from tests.bench.__main__ import matmul_seconds
from tests.bench.reading import made_of

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PAGES = ("Pulse", "Explore", "SQL", "Data", "Profile", "Studio", "Models", "Guide", "Audit", "Publish")
STANDS = """() => {
  const app = document.querySelector('[data-testid="stApp"]');
  const figures = [...document.querySelectorAll('[data-testid="stPlotlyChart"]')];
  return app && app.getAttribute('data-test-script-state') === 'notRunning'
    && document.querySelector('h1') && !document.querySelector('[data-testid="stSkeleton"]')
    && figures.every(f => f.querySelector('.main-svg'));
}"""


def main() -> None:
    """Start the console, measure, print, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".lodestar"))
    parser.add_argument("--events", type=int, help="over a store made for it, with so many events in a build, instead")
    parser.add_argument("--browser", default="/usr/bin/chromium")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pages", nargs="+", help="these alone, as of a store without a champion; two at least")
    asked = parser.parse_args()
    with a_store(asked) as home:
        measure(home, asked)


@contextmanager
def a_store(asked: argparse.Namespace) -> Iterator[Path]:
    """The home that was named, or one with a build of a generated log."""
    if asked.events is None:
        yield asked.home
        return
    with TemporaryDirectory() as folder:
        made = made_of(Path(folder), asked.events)
        home, facts = Path(folder) / "home", made.facts.as_dict()
        with Ledger.open(home) as ledger:
            named = {"build_id": made.build_id, "dataset": made.dataset, "path": made.path}
            record_build(ledger, facts=facts, now=datetime.now(UTC), **named)
        yield home


def measure(home: Path, asked: argparse.Namespace) -> None:
    """All that is asked of one store, as a table."""
    rows: list[tuple[str, float, float]] = []
    before_s = matmul_seconds()
    with running(home) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=asked.browser, args=FLAGS)
        first_s = timed(lambda: stood(browser, address))
        fresh_s = [fresh(browser, address) for _ in range(asked.rounds + 1)]
        page = browser.new_page(viewport={"width": 1440, "height": 950})
        page.goto(address)
        page.wait_for_function(STANDS)
        pages = asked.pages or PAGES
        clicks_s: dict[str, list[float]] = {name: [] for name in pages}
        for _ in range(asked.rounds + 1):
            for name in (*pages[1:], pages[0]):
                clicks_s[name].append(click(page, name))
        others: dict[str, list[float]] = {}
        if not asked.pages:
            users = some_users(home, asked.rounds + 1)
            click(page, "Profile")
            others["Profile of a user not yet opened"] = [choose(page, user) for user in users]
            others["Profile of a user opened before"] = [choose(page, user) for user in users]
        reload_s = [timed(lambda: titled(page, page.reload)) for _ in range(asked.rounds + 1)]
        browser.close()
    others |= {"reload to title": reload_s, "fresh browser to title": fresh_s}
    rows.append(("Pulse, the first page since the start", first_s, math.nan))
    for name, seen_s in (clicks_s | others).items():
        rows.append((name, seen_s[0], statistics.median(seen_s[1:])))
    calibration = f"matmul {before_s:.3f} and {matmul_seconds():.3f} s"
    title = f"seconds, median of {asked.rounds} after the first; {calibration}"
    Console().print(table(("click to last figure", "first", "median"), rows, title=title))


@contextmanager
def running(home: Path) -> Iterator[str]:
    """`lodestar app` on a free port, its scorer warm."""
    port = next(port for port in range(8620, 8700) if port_is_free(port))
    command = [sys.executable, "-P", "-m", "dashboard.cli", "app", "--home", str(home), "--port", str(port)]
    app = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert app.stdout is not None
        assert "Lodestar is at" in app.stdout.readline()
        time.sleep(20)  # meanwhile the scorer loads the champion and the spare imports, as they have when anyone comes
        yield f"http://localhost:{port}/"
    finally:
        app.terminate()
        app.wait(30)


def click(page: Page, name: str) -> float:
    """From a click in the sidebar to the page's last figure."""
    before = page.locator("h1").inner_text()

    def act() -> None:
        page.locator('[data-testid="stSidebarNavLink"]', has_text=name).click()
        page.wait_for_function("before => document.querySelector('h1')?.innerText !== before", arg=before)
        page.wait_for_function(STANDS)

    return timed(act)


def some_users(home: Path, n: int) -> list[str]:
    """Keys of n users evenly through the newest data set's list, which no page opens by itself."""
    with Ledger.open(home) as ledger, Warehouse.open(current_build(ledger).path) as warehouse:
        keys = reads.user_choices(warehouse)["key"].to_pylist()
    return [str(keys[(2 * place + 1) * len(keys) // (2 * n)]) for place in range(n)]


def choose(page: Page, user: str) -> float:
    """From choosing a user among what Profile's field found to the last figure."""
    page.get_by_role("searchbox").first.fill(user)
    found = page.get_by_role("button", name=re.compile(rf"^{re.escape(user)} · ")).first
    found.wait_for()

    def act() -> None:
        found.click()
        page.wait_for_function("title => document.querySelector('h1')?.innerText.includes(title)", arg=f"user {user} ")
        page.wait_for_function(STANDS)

    return timed(act)


def titled(page: Page, act: Callable[[], object]) -> None:
    """Act, then wait for the page's title."""
    act()
    page.locator("h1").wait_for()


def stood(browser: Browser, address: str) -> None:
    """A new context, nothing cached, to the first page's last figure."""
    context = browser.new_context(viewport={"width": 1440, "height": 950})
    page = context.new_page()
    page.goto(address)
    page.wait_for_function(STANDS)
    context.close()


def fresh(browser: Browser, address: str) -> float:
    """A new context, nothing cached, to the title."""
    context = browser.new_context(viewport={"width": 1440, "height": 950})
    page = context.new_page()
    taken_s = timed(lambda: titled(page, lambda: page.goto(address)))
    context.close()
    return taken_s


def timed(act: Callable[[], object]) -> float:
    """Seconds of one act."""
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
