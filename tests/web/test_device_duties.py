"""The duties of a device from its page, with real daemons: configured, labelled and asked for its log."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.broker.lab import Lab
from tests.hub.test_service import Process
from tests.web.browser import cell, make_admin

pytestmark = pytest.mark.broker
Open = Callable[..., Page]


def open_device(page: Page, hub: Process, lab: Lab) -> None:
    make_admin(page, hub)
    lab.boot("pi1")
    expect(cell(page, "pi1", "State")).to_have_text("online")
    page.get_by_role("link", name="pi1").click()
    expect(page.locator("h1")).to_have_text("pi1")


def test_a_device_is_configured_and_a_bad_value_is_refused_with_its_reason(
    hub: Process, lab: Lab, open_page: Open
) -> None:
    page = open_page()
    open_device(page, hub, lab)
    values, send = (
        page.get_by_label("Values set by the hub"),
        page.get_by_role("button", name="Configure the device"),
    )
    section = page.locator("section", has=page.get_by_role("heading", name="Configuration"))
    values.fill("broker.host = evil")
    send.click()
    expect(section.get_by_role("alert")).to_contain_text("expected a number or a text in double quotes")
    values.fill('broker.host = "evil"')
    send.click()
    expect(section.locator(".facts")).to_contain_text("configuration.broker: can't be set by a hub")
    # Slow enough that no deadline is missed on a busy machine: a trial allows one of a hundred.
    values.fill("device.telemetry_s = 0.5\npopulation.rooms.rate_hz = 4")
    page.get_by_label("Watched before (s)").fill("1")
    page.get_by_label("Trial (s)").fill("2")
    send.click()
    expect(section.locator(".facts")).to_contain_text("population.rooms.rate_hz")
    expect(section.locator(".facts")).to_contain_text("committed")
    page.get_by_role("link", name="Rollouts").click()
    expect(page.get_by_role("region", name="Rollouts")).to_contain_text("configuration")


def test_a_device_shows_its_log_and_gives_a_support_bundle(hub: Process, lab: Lab, open_page: Open) -> None:
    page = open_page()
    open_device(page, hub, lab)
    page.get_by_role("button", name="Log", exact=True).click()
    expect(page.locator("pre.log")).to_contain_text("INFO hub: command log")
    page.get_by_role("button", name="Support bundle", exact=True).click()
    link = page.get_by_role("link", name="edge-agent-support.tar.gz")
    with page.expect_download() as download:
        link.click()
    with tarfile.open(download.value.path()) as archive:
        names = {Path(name).name for name in archive.getnames()}
    assert {"device.toml", "versions.json", "doctor.json", "memory.json", "log-of-the-daemon.txt"} <= names
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("region", name="Audit")).to_contain_text("command.send")


def test_a_device_is_labelled_and_found_by_its_label(hub: Process, lab: Lab, open_page: Open) -> None:
    page = open_page()
    open_device(page, hub, lab)
    page.get_by_label("Labels, as site=east floor=2").fill("site=east")
    page.get_by_role("button", name="Set the labels").click()
    expect(page.locator(".facts").first).to_contain_text("site=east")
    page.goto(f"{hub.address}/?filter=label.site%3Deast")
    expect(cell(page, "pi1", "State")).to_have_text("online")
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("region", name="Audit")).to_contain_text("device.labels")


def test_an_agents_counters_are_shown(hub: Process, lab: Lab, open_page: Open) -> None:
    """The daemon of the lab steps ten times per second, and its agents hear a reading on request alone."""
    page = open_page()
    open_device(page, hub, lab)
    page.get_by_role("link", name="Decisions of an agent").click()
    page.get_by_label("Ask for").select_option("its counters (10 s)")
    page.get_by_role("button", name="Ask the device").click()
    facts = page.locator(".answer .facts")
    expect(facts).to_contain_text("Watched for", timeout=60_000)
    shown = dict(
        zip(facts.locator("dt").all_inner_texts(), facts.locator("dd").all_inner_texts(), strict=True)
    )
    assert shown["Watched for"] == "10 s"
    assert 20 <= int(shown["Steps"]) <= 101
    assert shown["Contradictions"] == "0"
    assert shown["Free energy, mean"].endswith(" nat")
