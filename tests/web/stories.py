"""The hub's pages from end to end: ``make test-web``. ``EDGE_HUB_IMAGES`` names a folder for pictures."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from edge_agent.cli import main as agent
from edge_hub import enrolment
from edge_hub.database import alerts
from edge_hub.domain.alert_rules import Rule
from edge_hub.jobs.changes import Changes
from tests.broker.lab import Lab
from tests.hub.service import Service
from tests.hub.test_alerts import evaluator, hear, use
from tests.hub.test_enrolment import settings
from tests.hub.test_faults import MAKE_CA
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


def test_a_board_is_enrolled_by_the_line_that_the_page_shows(
    service: Service, open_page: Open, picture: Keep, tmp_path: Path
) -> None:
    subprocess.run([MAKE_CA, tmp_path / "ca", "127.0.0.1"], check=True, stdout=subprocess.DEVNULL)
    service.hub.enrolment = enrolment.load(settings(tmp_path, tmp_path / "ca"))
    service.add_user("olga", "operator")
    page = open_page(viewport={"width": 1200, "height": 640})
    log_in(page, service.address, "olga")
    page.get_by_role("link", name="Enrol").click()
    page.get_by_label("Fleet").fill("lab")
    page.get_by_role("button", name="Make a code").click()
    line = page.get_by_role("status").locator("code.digest")
    expect(line).to_contain_text("edge-agent enrol")
    codes = page.get_by_role("region", name="Codes")
    expect(codes).to_contain_text("waiting")
    words = str(line.text_content()).split()[1:]
    assert agent([*words, "--name", "pi-7", "--config", str(tmp_path / "device.toml")]) == 0
    page.reload()
    expect(codes).to_contain_text("pi-7")
    expect(codes).to_contain_text("done")
    assert page.get_by_text(words[2]).count() == 0
    picture(page, "hub-enrol")


def raise_alert(service: Service) -> str:
    """Let devices have an alert; return its id."""
    database, now = service.hub.database, service.hub.now()
    with database.write() as connection:
        alerts.put_rule(connection, Rule("memory", "rss", 1.0, for_s=0.0, recover_s=0.0), now)
    evaluator(database).look(now)
    (alert,) = [row for row in alerts.page(database, "open", 50, 1e12) if row["group_name"] == "lab"]
    return str(alert["id"])


def test_a_hundred_silent_devices_are_one_alert_that_comes_and_goes(
    service: Service, open_page: Open, picture: Keep
) -> None:
    database, now = service.hub.database, service.hub.now()
    use(database)
    hear(database, 100, now - 1000)
    looks = evaluator(database)
    service.add_user("olga", "operator")
    page = open_page(viewport={"width": 1200, "height": 760})
    log_in(page, service.address, "olga")
    page.get_by_role("link", name="Alerts").click()
    expect(page.get_by_text("Nothing is wrong")).to_be_visible()
    page.get_by_label("Rule's name").fill("quiet")
    page.get_by_label("Field").fill("silence")
    page.get_by_label("Limit").fill("600")
    for label in ("For (s)", "Recover (s)"):
        page.get_by_label(label).fill("0")
    page.get_by_label("Severity").select_option("critical")
    page.get_by_role("button", name="Make the rule").click()
    rules = page.get_by_role("region", name="Rules")
    expect(rules).to_contain_text("silence > 600 for 0 s")

    tell = Changes(database)
    tell.poll()
    looks.look(now)
    for kind, value in tell_all(tell):
        service.call(service.hub.broadcast.say, kind, value)
    listed = page.get_by_role("region", name="Alerts")
    expect(listed.locator("tbody tr")).to_have_count(1)
    expect(listed).to_contain_text("critical")
    expect(listed.locator("[data-name='Devices']")).to_have_text("100")
    picture(page, "hub-alerts")
    listed.get_by_role("link", name="quiet").click()
    expect(page.get_by_role("region", name="Devices").locator("tbody tr")).to_have_count(100)
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator(".facts").first).to_contain_text("olga")
    assert page.get_by_role("button", name="Acknowledge").count() == 0

    hear(database, 100, now)
    looks.look(now + 1)
    for kind, value in tell_all(tell):
        service.call(service.hub.broadcast.say, kind, value)
    expect(page.locator(".facts").first).to_contain_text("cleared")


def tell_all(changes: Changes) -> list[tuple[str, Any]]:
    """Return the events of alerts, as the service's own loop does while somebody watches."""
    return [event for event in changes.poll() if event[0] == "alert"]


SERIES = """
[[telemetry]]
population = "rooms"
agents = ["rooms-1"]
interval_s = 1.0
readings = ["co2"]
beliefs = ["air=bad"]
actions = ["fan"]
figures = ["free_energy"]
"""


def test_heat_raises_an_alert_that_clears_when_the_board_has_cooled(
    hub: Process, lab: Lab, open_page: Open, picture: Keep, tmp_path: Path
) -> None:
    thermometer = tmp_path / "board" / "sys/class/thermal/thermal_zone0/temp"
    thermometer.parent.mkdir(parents=True)
    thermometer.write_text("50000\n")
    lab.program = (str(Path(__file__).parent / "warm_daemon.py"), str(tmp_path / "board"))
    page = open_page(viewport={"width": 1200, "height": 640})
    make_admin(page, hub)
    lab.boot("pi1")
    expect(cell(page, "pi1", "State")).to_have_text("online")
    page.get_by_role("link", name="Alerts").click()
    page.get_by_label("Rule's name").fill("hot")
    page.get_by_label("Field").fill("health/temperature_c")
    page.get_by_label("Limit").fill("80")
    for label in ("For (s)", "Recover (s)"):
        page.get_by_label(label).fill("2")
    page.get_by_label("Severity").select_option("critical")
    page.get_by_role("button", name="Make the rule").click()
    expect(page.get_by_role("region", name="Rules")).to_contain_text("health/temperature_c > 80 for 2 s")
    alert = page.get_by_role("region", name="Alerts").get_by_role("link", name="hot", exact=True)
    assert alert.count() == 0
    thermometer.write_text("91000\n")
    alert.click()
    facts, members = page.locator(".facts").first, page.get_by_role("region", name="Devices")
    expect(facts).to_contain_text("open")
    expect(members).to_contain_text("pi1")
    expect(members.locator("[data-name='Measure']")).to_have_text("91")
    picture(page, "hub-alert")
    thermometer.write_text("55000\n")
    expect(facts).to_contain_text("cleared")
    page.get_by_role("link", name="Alerts").click()
    expect(alert).to_have_count(0)
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("region", name="Audit")).to_contain_text("alert-rule.put")


def test_series_of_an_agent_are_drawn(hub: Process, lab: Lab, open_page: Open, picture: Keep) -> None:
    page = open_page(viewport={"width": 1200, "height": 900})
    make_admin(page, hub)
    lab.sections = SERIES
    lab.boot("pi1")
    page.get_by_role("link", name="pi1").click()
    health = page.locator("section", has=page.get_by_role("heading", name="Health"))
    expect(health).to_contain_text("the run before was none")
    expect(health).to_contain_text("full")
    page.get_by_role("link", name="rooms-1", exact=True).click()
    expect(page.locator("h1")).to_have_text("Agent rooms-1")
    caption = page.locator(".plot figcaption")
    expect(caption.filter(has_text="Reading: co2")).to_contain_text("last 1,500")
    expect(caption.filter(has_text="Action: fan")).to_contain_text("most 1")
    # 1,500 ppm in every tick: Bayes' rule with the fan on settles at this probability of bad air.
    expect(caption.filter(has_text="Probability: air=bad")).to_contain_text(f"last {100 * settled():.1f} %")
    expect(caption.filter(has_text="Figure: free_energy")).to_contain_text("nat")
    assert_accessible(page)


def test_an_agents_decision_is_explained(hub: Process, lab: Lab, open_page: Open, picture: Keep) -> None:
    page = open_page(viewport={"width": 1200, "height": 1100})
    make_admin(page, hub)
    lab.boot("pi1")
    page.get_by_role("link", name="pi1").click()
    page.get_by_role("link", name="Decisions of an agent").click()
    page.get_by_label("Ask for").select_option("why it decides")
    page.get_by_role("button", name="Ask the device").click()
    facts = page.locator(".answer .facts")
    expect(facts).to_contain_text("co2 800.. ppm")
    expect(facts).to_contain_text("fan: on")
    expect(facts).to_contain_text("fan: off: ")  # what the next best needed
    belief = page.get_by_role("region", name="Belief: air")
    after = belief.get_by_role("row", name="bad").locator("[data-name='After the readings']")
    expect(after).to_contain_text("%")
    # The daemon holds beliefs in 8 bits; its tick has long settled at the filter's fixed point.
    assert float(after.inner_text().split()[0]) == pytest.approx(100 * settled(), abs=0.3)
    before = belief.get_by_role("row", name="bad").locator("[data-name='Before the readings']")
    transition = np.asarray(fan.model().arrays().B[0])[:, :, 1]
    prior = transition @ np.array([1.0 - settled(), settled()])
    assert float(before.inner_text().split()[0]) == pytest.approx(100 * prior[1], abs=0.3)
    policies = page.get_by_role("region", name="Policies").locator("tbody tr")
    expect(policies).to_have_count(2)
    expect(policies.first).to_contain_text("fan: on")
    expect(policies.first).to_contain_text("nat")
    assert_accessible(page)
    picture(page, "hub-why")
    # The address shows the same to somebody else.
    again = page.url
    page.goto("about:blank")
    page.goto(again)
    expect(page.locator(".answer .facts")).to_contain_text("fan: on")


def test_drift_is_drawn_beside_what_the_model_was_made_of(service: Service, open_page: Open) -> None:
    fill(service.hub.database, 2)
    service.add_user("ann", "operator")
    page = open_page()
    co2 = {"modality": "co2", "bins": ["..800 ppm", "800.. ppm"], "expected": [300, 100], "found": [100, 400]}
    population = {"suspended": False, "drift": {"index": 0.6604, "modalities": [co2]}}
    reply = {
        "device": "d001",
        "state": "done",
        "reason": "",
        "result": {"populations": {"rooms": population}},
    }
    sent = {"id": "c1", "replies": [reply | {"command_id": "c1", "answered": 1.0}]}
    page.route("**/api/v1/commands*", lambda route: route.fulfill(status=202, json=sent))
    page.route("**/api/v1/commands/c1", lambda route: route.fulfill(json=sent))
    log_in(page, service.address, "ann")
    page.goto(f"{service.address}/device/lab/d001")
    page.get_by_role("button", name="Status").click()
    expect(page.locator(".answer")).to_contain_text("stability index 0.6604: a large change")
    table = page.get_by_role("region", name="Drift of rooms: co2")
    expect(table.get_by_role("row", name="..800 ppm")).to_contain_text("75.0 %")
    expect(table.get_by_role("row", name="800.. ppm", exact=False).last).to_contain_text("80.0 %")
    assert_accessible(page)


def settled() -> float:
    """The fixed point of the filter: p = normalised likelihood of a high reading times B p."""
    arrays = fan.model().arrays()
    likelihood, transition = np.asarray(arrays.A[0])[1], np.asarray(arrays.B[0])[:, :, 1]
    belief = np.array([0.5, 0.5])
    for _ in range(200):
        belief = likelihood * (transition @ belief)
        belief /= belief.sum()
    return float(belief[1])


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
    alert = raise_alert(service)
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
        ("/alerts", "Make the rule"),
        (f"/alerts/{alert}", "No notice went out"),
        ("/enrol", "Make a code"),
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
