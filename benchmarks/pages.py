"""The hub's pages: ``python -m benchmarks.pages [--json]``. Needs Debian's ``chromium``.

``weight``: compressed bytes of all files; ``fleet_page``: of those that the fleet's page loads.
``usable``: from the request of the fleet's page with 20,000 devices, with an empty cache, until rows are
drawn and a key typed into the filter has been taken; the median of `TURNS`. ``filtered``: from a filter
that is entered to its row; 200 ms of it are waited for the next key. ``events``: changes of devices
that the page takes in and draws while they come as fast as the stream carries them, from the first to the
frame that shows the last one. Service and browser share the machine.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.cases import run
from benchmarks.figures import LESS, MORE, Figure, at_most
from edge_agent.errors import PlatformError
from edge_hub.api.pages import files
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate

DEVICES = 20_000
TURNS = 5
BURSTS, ROWS = 200, 500
FIRST_ROW = '.grid [data-index="0"] a'
TIMEOUT_MS = 120_000


def fleet() -> Iterator[Figure]:
    """Load the fleet's page with 20,000 devices, filter it, and let all devices change."""
    from playwright.sync_api import sync_playwright

    from tests.hub.service import Service
    from tests.support.chromium import ARGUMENTS
    from tests.web.given import fill_many

    program = shutil.which("chromium")
    if program is None:
        raise PlatformError("chromium: is missing, install it with: sudo apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, Database(str(Path(folder) / "hub.db")) as database:
        migrate(database)
        fill_many(database, DEVICES)
        service = Service(database)
        try:
            service.add_user("ann", "admin")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
                found = [_usable(browser, service) for _ in range(TURNS)]
                drawn = _drawn(browser, service)
                browser.close()
        finally:
            service.close()
    weight = sum(len(file.packed) for file in files().values())
    yield at_most("fleet", "weight", round(weight / 1000, 1), "kB", 200)
    yield Figure("fleet", "fleet_page", round(found[0]["bytes"] / 1000, 1), "kB", better=LESS)
    usable = statistics.median(turn["usable"] for turn in found)
    yield at_most("fleet", "usable", round(usable, 3), "s", 1.0)
    filtered = statistics.median(turn["filtered"] for turn in found)
    yield Figure("fleet", "filtered", round(filtered, 3), "s", better=LESS)
    yield Figure("fleet", "events", round(drawn), "events/s", better=MORE)


def _logged_in(browser: Any, service: Any) -> Any:
    from tests.hub.service import PASSWORD

    context = browser.new_context()
    context.set_default_timeout(TIMEOUT_MS)
    answer = context.request.post(
        f"{service.address}/api/v1/session", data={"user": "ann", "password": PASSWORD}
    )
    if answer.status != 201:
        raise PlatformError(f"login: found {answer.status}, expected 201")
    return context


def _usable(browser: Any, service: Any) -> dict[str, float]:
    context = _logged_in(browser, service)
    page = context.new_page()
    page.goto(f"{service.address}/", wait_until="commit")
    page.locator(FIRST_ROW).wait_for()
    page.get_by_role("searchbox").press_sequentially("d")
    usable = page.evaluate("performance.now()") / 1000
    weight = page.evaluate(
        "performance.getEntriesByType('resource').filter(e => new URL(e.name).pathname.startsWith('/web/'))"
        ".reduce((sum, entry) => sum + entry.encodedBodySize, 0)"
    )
    before = page.evaluate("performance.now()")
    page.get_by_role("searchbox").fill("name=d19999")
    page.locator(FIRST_ROW, has_text="d19999").wait_for()
    filtered = (page.evaluate("performance.now()") - before) / 1000
    context.close()
    return {"usable": usable, "filtered": filtered, "bytes": weight}


def _drawn(browser: Any, service: Any) -> float:
    """Return how many changes of devices per second the page draws."""
    context = _logged_in(browser, service)
    page = context.new_page()
    page.goto(f"{service.address}/")
    page.locator(FIRST_ROW).wait_for()
    page.locator("nav .stream", has_text="live").wait_for()
    numbers = [
        row["id"]
        for row in context.request.get(f"{service.address}/api/v1/devices?limit={ROWS}").json()["devices"]
    ]
    ring = service.hub.broadcast

    def burst(first: int) -> None:
        for n in range(first, min(first + 10, BURSTS)):
            ring.say("devices", [{"id": id_, "rss": (n + 1) * 1_000_000} for id_ in numbers])
        ring.flush()

    page.evaluate(
        """([total, last]) => {
            const grid = document.querySelector(".grid");
            const cell = '.grid [data-index="0"] [data-name="Memory"]';
            const shown = () => document.querySelector(cell).textContent;
            let begin = 0;
            window.took = new Promise((done) => {
                const look = () => {
                    const updates = Number(grid.dataset.updates);
                    if (updates > 0 && begin === 0) begin = performance.now();
                    if (updates >= total && shown() === last) done((performance.now() - begin) / 1000);
                    else requestAnimationFrame(look);
                };
                requestAnimationFrame(look);
            });
        }""",
        [BURSTS * ROWS, f"{BURSTS:.1f} MB"],
    )
    for first in range(0, BURSTS, 10):
        service.call(burst, first)
    took = page.evaluate("window.took")
    context.close()
    return BURSTS * ROWS / float(took)


CASES = {"fleet": fleet}

if __name__ == "__main__":
    sys.exit(run("benchmarks.pages", __doc__, CASES))
