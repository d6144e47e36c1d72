"""Debian's Chromium driven by Playwright, and who shows the pages: a service, or ``edge-hub serve``."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from edge_agent.testing.mosquitto import Mosquitto
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from tests.broker.ending import end_all
from tests.broker.lab import Lab
from tests.hub.service import Service
from tests.hub.test_service import Process
from tests.support.chromium import ARGUMENTS
from tests.web.browser import Watched


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("chromium: is missing, install it with: sudo apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """A function that opens a page in a browser without any memory; what went wrong in it fails the test."""
    made: list[Watched] = []

    def new(**options: object) -> Page:
        made.append(Watched(chromium, **options))
        return made[-1].page

    yield new
    for watched in made:
        watched.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    database = Database(str(tmp_path / "hub.db"))
    migrate(database)
    made = Service(database)
    yield made
    made.close()
    database.close()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path, ("allow_anonymous true", "max_queued_messages 0", "max_queued_bytes 0"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def lab(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path, mosquitto.port)
    yield made
    end_all(made.processes.values())


@pytest.fixture
def hub(mosquitto: Mosquitto, lab: Lab, tmp_path: Path) -> Iterator[Process]:
    """``edge-hub serve`` with the lab's key, started."""
    made = Process(tmp_path, str(tmp_path / "hub.db"), mosquitto.port, "--sign", str(lab.key))
    made.start()
    yield made
    end_all([made.process] if made.process is not None else [])


@pytest.fixture
def picture() -> Callable[[Page, str], None]:
    """A function that keeps what a page shows, where ``EDGE_HUB_IMAGES`` names a folder."""
    folder = os.environ.get("EDGE_HUB_IMAGES", "")

    def keep(page: Page, name: str) -> None:
        if folder:
            page.screenshot(path=Path(folder) / f"{name}.png", scale="css")

    return keep
