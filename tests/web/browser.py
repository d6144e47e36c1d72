"""A page that is watched while a test uses it, and ways through the pages that several tests take."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, expect

from tests.hub.service import PASSWORD
from tests.hub.test_service import Process

PATIENCE_MS = 60_000
"""For what other processes do; the deadline is for the case that it never happens."""


expect.set_options(timeout=PATIENCE_MS)


class Watched:
    """A page in a context of its own. Script errors, what the security policy blocked, and requests to other
    hosts fail the test when it is closed.
    """

    def __init__(self, browser: Browser, **options: Any) -> None:
        self._context = browser.new_context(**options)
        self._context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self._context.new_page()
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("console", self._said)
        self.page.on("request", self._asked)
        self.page.on(
            "dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss())
        )

    def close(self) -> None:
        self._context.close()
        assert self.wrong == []

    def _said(self, message: ConsoleMessage) -> None:
        if re.search("Content Security Policy|Trusted|Refused to", message.text):
            self.wrong.append(message.text)

    def _opened(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:")):
            self.wrong.append(f"request: {request.url}")


def log_in(page: Page, address: str, name: str) -> None:
    """Log in by the form."""
    page.goto(f"{address}/")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    is_live(page)


def make_admin(page: Page, hub: Process) -> None:
    """Follow the link that the first start prints."""
    found = re.search(r"http\S+/setup#\S+", hub.text())
    assert found is not None, hub.text()
    page.goto(found[0])
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password", exact=False).first.fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Make the admin").click()
    is_live(page)


def is_live(page: Page) -> None:
    """Wait until the page has its stream of events."""
    expect(page.locator("nav .stream")).to_have_text("live")


def row(page: Page, device: str) -> Any:
    """Return a device's row in the fleet's list."""
    return page.locator(".grid [data-index]").filter(has=page.get_by_role("link", name=device, exact=True))


def cell(page: Page, device: str, name: str) -> Any:
    """Return a cell of a device's row."""
    return row(page, device).locator(f"[data-name='{name}']")
