"""The hub's pages from end to end: ``make test-web``. ``EDGE_HUB_IMAGES`` names a folder for pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.broker.lab import Lab
from tests.hub.service import Service
from tests.hub.test_rest import fill, make_bundle
from tests.hub.test_service import Process
from tests.support import fan
from tests.web.browser import cell, log_in, make_admin, row
from tests.web.given import fill_many
from tests.web.test_pages import assert_accessible

pytestmark = pytest.mark.broker
Open = Callable[..., Page]
Keep = Callable[[Page, str], None]
BOARDS = 10
GATES = {
    "Shadow run (s)": "1",
    "Trial (s)": "1",
    "Agent-steps at least": "15",
    "Missed deadlines at most (per tick)": "1",
}
PHONE = {"viewport": {"width": 390, "height": 800}, "is_mobile": True, "has_touch": True}


def test_twenty_thousand_devices_are_filtered_sorted_scrolled_and_opened(
    service: Service, open_page: Open
) -> None:
    fill_many(service.hub.database)
    service.add_user("ann", "admin")
    page = open_page()
    log_in(page, service.address, "ann")
    expect(row(page, "d00000")).to_be_visible()
    expect(page.locator(".status")).to_have_text("20,000 devices fit, 16,000 online")
    assert page.locator(".grid [data-index]").count() < 100  # the others are not in the document

    page.locator(".grid").evaluate("grid => { grid.scrollTop = grid.scrollHeight; }")
    expect(row(page, "d19999")).to_be_visible()
    page.get_by_role("button", name="Device").click()
    page.locator(".grid").evaluate("grid => { grid.scrollTop = 0; }")
    expect(row(page, "d19999")).to_be_visible()
    assert page.get_by_role("columnheader", name="Device").get_attribute("aria-sort") == "descending"

    page.keyboard.press("/")
    page.keyboard.type("fleet=west name=d1234*")
    expect(page.locator(".status")).to_have_text("5 devices fit, 4 online")
    expect(page.locator(".grid [data-index]")).to_have_count(5)
    page.keyboard.press("Escape")
    page.get_by_role("link", name="d12345").focus()
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.textContent") == "d12347"  # the order is still descending
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("d12347")
    page.go_back()
    expect(page.get_by_role("searchbox")).to_have_value("fleet=west name=d1234*")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("search")


def test_a_bad_bundle_stops_at_the_canary_and_says_why(
    hub: Process, lab: Lab, open_page: Open, picture: Keep
) -> None:
    page = open_page(viewport={"width": 1200, "height": 640})
    make_admin(page, hub)
    for n in range(BOARDS):
        lab.boot(f"pi{n}")
    for n in range(BOARDS):
        expect(cell(page, f"pi{n}", "State")).to_have_text("online")
        expect(cell(page, f"pi{n}", "Memory")).to_contain_text("MB")
    picture(page, "hub-fleet")

    bad = lab.bundle("bad", fan.model(fan.NEVER_BAD))
    page.get_by_role("link", name="Models").click()
    page.get_by_label("Bundle (.eab)").set_input_files(bad)
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("link", name="Roll out").click()
    page.get_by_label("Fleet").select_option("lab")
    page.get_by_label("Population").fill("rooms")
    page.get_by_label("Waves").fill("10%,50%,100%")
    for label, value in GATES.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Plan the rollout").click()
    facts = page.locator(".facts").first
    expect(facts).to_contain_text("proposed")
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("button", name="Yes, approve").click()
    expect(facts).to_contain_text("running")
    expect(facts).to_contain_text("stopped")
    expect(facts).to_contain_text("contradiction_rate")
    members = page.get_by_role("region", name="Devices")
    expect(members.locator("tbody tr").first).to_contain_text("failed")
    expect(members.locator(".state", has_text="waiting")).to_have_count(BOARDS - 1)
    picture(page, "hub-rollout")
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("region", name="Audit")).to_contain_text("rollout.approve")
    page.get_by_role("button", name="Check the chain").click()
    expect(page.locator(".facts")).to_contain_text("whole")


def test_a_device_and_the_decisions_of_an_agent(
    hub: Process, lab: Lab, open_page: Open, picture: Keep
) -> None:
    page = open_page(viewport={"width": 1200, "height": 900}, color_scheme="dark")
    make_admin(page, hub)
    lab.boot("pi1")
    page.get_by_role("link", name="pi1").click()
    expect(page.locator(".facts").first).to_contain_text("online")
    expect(page.locator(".plot canvas")).to_be_visible()
    page.get_by_label("Series").select_option("rooms/decisions")
    expect(page.locator(".plot figcaption")).to_contain_text("decisions per second")
    expect(page.locator(".plot figcaption")).to_contain_text("last")
    page.get_by_role("button", name="Status").click()
    expect(page.locator(".answer")).to_contain_text("done")
    expect(page.locator(".answer")).to_contain_text("full")  # the governor's rung
    page.get_by_label("Labels, as").fill("site=east floor=2")
    page.get_by_role("button", name="Set the labels").click()
    expect(page.locator(".facts").first).to_contain_text("site=east")
    assert_accessible(page)
    page.evaluate("scrollTo(0, 0)")
    picture(page, "hub-device")

    page.get_by_role("link", name="Decisions of an agent").click()
    page.get_by_role("button", name="Ask the device").click()
    steps = page.get_by_role("region", name="Steps")
    expect(steps.locator("th").filter(has_text="Observed: co2")).to_be_visible()
    expect(steps.locator("th").filter(has_text="Did: fan")).to_be_visible()
    expect(steps.locator("tbody tr").first).to_contain_text("on")  # 1,500 ppm: the fan runs
    assert_accessible(page)
    picture(page, "hub-agent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [{}, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing_on_any_page(
    service: Service, open_page: Open, picture: Keep, tmp_path: Path, scheme: str, size: dict[str, Any]
) -> None:
    fill(service.hub.database, 30)
    service.add_user("ann", "admin")
    service.add_user("victor", "viewer")
    caller = service.as_role("operator")
    path, digest = make_bundle(tmp_path)
    caller.post("/bundles", content=path.read_bytes())
    id_ = caller.post("/rollouts", json={"fleet": "lab", "bundle": digest, "population": "rooms"}).json()[
        "id"
    ]
    page = open_page(color_scheme=scheme, **size)
    page.goto(f"{service.address}/setup#code")
    expect(page.get_by_role("button", name="Make the admin")).to_be_visible()
    assert_accessible(page)
    log_in(page, service.address, "ann")
    for address, ready in (
        ("/", "d000"),
        ("/device/lab/d001", "Reload the configuration"),
        ("/agent/lab/d001", "Ask the device"),
        ("/rollouts?new=1", "Plan the rollout"),
        (f"/rollouts/{id_}", "Approve"),
        ("/models", "Upload"),
        (f"/models/{digest}", "Report of the conversion"),
        ("/audit", "session.begin"),
        ("/users", "Remove victor"),
        ("/tokens", "Make a token"),
    ):
        page.goto(service.address + address)
        expect(page.get_by_text(ready).first).to_be_visible()
        assert_accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            f"{address}: wider than the screen"
        )
        if address == "/" and size:
            picture(page, f"hub-phone-{scheme}")
