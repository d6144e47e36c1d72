"""The hub's pages in a real Chromium, in short; tests/web/stories.py has more of them."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from edge_agent.wire import bundle, package, signatures
from edge_agent.wire.documents import Trust
from edge_hub.api.pages import FOLDER, TYPES, files
from edge_hub.database import devices
from edge_hub.database.devices import Birth
from edge_hub.database.telemetry import Numbers
from tests.broker.lab import Lab
from tests.hub.service import Service
from tests.hub.test_rest import fill, make_bundle
from tests.hub.test_service import Process
from tests.web.browser import cell, is_live, log_in, make_admin, row

Open = Callable[..., Page]
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>${alert(3)}"
OWN = [path for path in FOLDER.rglob("*.js") if "vendor" not in path.parts]


@pytest.mark.broker
def test_from_the_first_start_to_a_device_that_comes_and_goes(
    hub: Process, lab: Lab, open_page: Open, picture: Any
) -> None:
    page = open_page()
    make_admin(page, hub)
    expect(page.locator(".empty")).to_contain_text("edge-agent run")
    lab.boot("pi1")
    expect(cell(page, "pi1", "State")).to_have_text("online")
    expect(cell(page, "pi1", "Memory")).to_contain_text("MB")
    heard = cell(page, "pi1", "Heard").locator("time")
    before = heard.get_attribute("title")
    expect(heard).not_to_have_attribute("title", str(before))
    lab.processes["pi1"].kill()
    expect(cell(page, "pi1", "State")).to_have_text("offline")


@pytest.mark.broker
def test_a_cut_stream_says_so_and_mends_itself(hub: Process, lab: Lab, open_page: Open) -> None:
    page = open_page()
    make_admin(page, hub)
    lab.boot("pi1")
    expect(cell(page, "pi1", "State")).to_have_text("online")
    page.evaluate("window.same = true")
    hub.kill()
    expect(page.locator("nav .stream")).to_have_text("lost")
    expect(page.get_by_role("alert")).to_contain_text("connection to the hub is lost")
    lab.processes["pi1"].kill()
    lab.processes["pi1"].wait()
    hub.start()
    is_live(page)
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(cell(page, "pi1", "State")).to_have_text("offline")
    assert page.evaluate("window.same"), "the page was loaded again"


def test_what_devices_say_is_text(service: Service, open_page: Open) -> None:
    number = Numbers()
    name = ("lab", HOSTILE)
    birth = Birth(
        *name, True, HOSTILE, HOSTILE, "b", 1.0, json.dumps({"x": HOSTILE}), {HOSTILE: ("ab" * 32, 1)}
    )
    with service.hub.database.write() as connection:
        number.find_devices(connection, [name])
        devices.note_births(connection, number.devices, [birth])
        devices.set_labels(connection, number.devices[name], {"k": HOSTILE})
    service.add_user("ann", "admin")
    page = open_page()
    log_in(page, service.address, "ann")
    expect(row(page, HOSTILE)).to_have_count(1)
    for column in ("Version", "Board", "Runs"):
        assert cell(page, HOSTILE, column).text_content() == HOSTILE
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.locator("h1")).to_have_text(HOSTILE)
    expect(page.get_by_role("alert")).to_be_visible()  # no device's address has such a name
    assert page.locator("#app img, #app script").count() == 0


def test_a_viewer_is_refused_the_button_and_the_route(
    service: Service, open_page: Open, tmp_path: Path
) -> None:
    fill(service.hub.database, 4)
    path, digest = make_bundle(tmp_path)
    operator = service.as_role("operator")
    operator.post("/bundles", content=path.read_bytes())
    plan = {"fleet": "lab", "bundle": digest, "population": "rooms"}
    id_ = operator.post("/rollouts", json=plan).json()["id"]
    for role, buttons in (("viewer", 0), ("operator", 1)):
        service.add_user(role, role)
        page = open_page()
        log_in(page, service.address, role)
        page.goto(f"{service.address}/rollouts/{id_}")
        expect(page.locator(".facts").first).to_contain_text("proposed")
        assert page.get_by_role("button", name="Approve").count() == buttons
        assert page.get_by_role("link", name="Audit").count() == buttons
        status = page.evaluate(
            """async (path) => {
                const { csrf } = await (await fetch("/api/v1/session")).json();
                return (await fetch(path, { method: "POST", headers: { "X-CSRF-Token": csrf } })).status;
            }""",
            f"/api/v1/rollouts/{id_}/approve",
        )
        assert status == (202 if buttons else 403)


def test_a_release_is_signed_by_a_key_that_stays_in_the_browser(
    service: Service, open_page: Open, tmp_path: Path
) -> None:
    release, director = signatures.generate("release"), signatures.generate("director")
    trust = Trust("lab", (director.public.raw,), release_keys=(release.public.raw,))
    service.hub.release_trust = lambda fleet: trust if fleet == "lab" else None
    fill(service.hub.database, 4)
    bundle, digest = make_bundle(tmp_path)
    service.add_user("olga", "operator")
    caller = service.as_role("operator")
    caller.post("/bundles", content=bundle.read_bytes())
    id_ = caller.post("/rollouts", json={"fleet": "lab", "bundle": digest, "population": "rooms"}).json()[
        "id"
    ]
    signatures.save(release, tmp_path / "release.key")
    signatures.save(director, tmp_path / "director.key")

    page = open_page()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(f"{request.url} {request.headers} {request.post_data}"))
    log_in(page, service.address, "olga")
    page.goto(f"{service.address}/rollouts/{id_}")
    expect(page.get_by_text(digest)).to_be_visible()
    key = page.get_by_label("Secret release key files")
    button = page.get_by_role("button", name="Sign and approve")
    for file, reason in (
        (tmp_path / "director.key.pub", "not a secret key file"),
        (tmp_path / "director.key", "0 of the 1 signatures needed"),
    ):
        key.set_input_files(file)
        button.click()
        expect(page.get_by_role("alert")).to_contain_text(reason)
    key.set_input_files(tmp_path / "release.key")
    button.click()
    expect(page.locator(".facts").first).to_contain_text("running")

    (row_,) = caller.get("/releases").json()
    assert (row_["bundle"], row_["population"], row_["uploaded_by"]) == (digest, "rooms", "olga")
    assert caller.get(f"/rollouts/{id_}").json()["approved_by"] == "olga"
    line = (tmp_path / "release.key").read_text().split()[1]
    assert sum("signatures" in text for text in sent) == 2  # the director's was refused by the hub
    assert not [text for text in sent if line in text or release.raw.hex() in text]
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]


def test_axe_finds_nothing(service: Service, open_page: Open) -> None:
    fill(service.hub.database, 30)
    service.add_user("ann", "admin")
    page = open_page()
    page.goto(f"{service.address}/")
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert_accessible(page)
    log_in(page, service.address, "ann")
    expect(row(page, "d000")).to_be_visible()
    assert_accessible(page)


def test_a_device_says_how_its_daemon_was_updated(service: Service, open_page: Open, tmp_path: Path) -> None:
    fill(service.hub.database, 2)
    service.add_user("ann", "operator")
    digest = "5c" * 32
    reported = {
        "version": 3,
        "populations": {"edge-agent": {"bundle": "", "size": 0}},
        "rollouts": {
            "edge-agent": {
                "bundle": digest,
                "stage": "rolled-back",
                "reason": "restored: no agent has stepped",
            }
        },
    }
    with service.hub.database.write() as connection:
        devices.note_reported(connection, {2: json.dumps(reported)})
    page = open_page()
    log_in(page, service.address, "ann")
    page.goto(f"{service.address}/device/lab/d001")
    program = page.locator("section").filter(has=page.get_by_role("heading", name="Program"))
    expect(program).to_contain_text("not by this hub")
    expect(program).to_contain_text("rolled-back")
    expect(program).to_contain_text("restored: no agent has stepped")
    assert_accessible(page)

    manifest = package.manifest("9.0+deb12", "arm64", "0" * 64, 1)
    content = tmp_path / "update.eab"
    bundle.write(content, manifest, {"edge-agent.deb": b"x"})
    page.goto(f"{service.address}/models")
    page.get_by_label("Bundle (.eab)").set_input_files(content)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", name="edge-agent 9.0+deb12")).to_be_visible()
    page.goto(f"{service.address}/device/lab/d001")
    page.get_by_role("link", name="Update this device").click()
    expect(page.get_by_label("Population")).to_have_value("edge-agent")
    expect(page.get_by_label("Devices: filter")).to_have_value("name=d001")
    expect(page.get_by_label("Fleet")).to_have_value("lab")
    page.get_by_role("button", name="Plan the rollout").click()
    expect(page.locator(".facts").first).to_contain_text("proposed")
    expect(page.locator(".facts").first).to_contain_text("edge-agent")


def assert_accessible(page: Page) -> None:
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_the_files_are_small_and_hold_nothing_that_is_parsed() -> None:
    assert sum(len(file.packed) for file in files().values()) <= 200_000
    words = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|style=\""
    )
    assert len(OWN) > 10
    assert [path.name for path in OWN if words.search(path.read_text("utf-8"))] == []
    page = (FOLDER / "index.html").read_text("utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|https?:", page) == []
    named = {path.suffix for path in FOLDER.rglob("*") if path.is_file()}
    assert named <= set(TYPES)
    vendored = [path for path in (FOLDER / "vendor").iterdir() if path.suffix == ".js"]
    licences = " ".join(path.read_text("utf-8") for path in (FOLDER / "vendor").glob("*.LICENSE"))
    assert len(vendored) == 2
    assert all(word in licences for word in ("Jason Miller", "Leon Sorokin"))


def test_a_page_and_its_files_are_public_cached_and_packed(service: Service) -> None:
    with httpx.Client(base_url=service.address) as client:
        for path in ("/", "/setup", "/rollouts/x-1", "/device/lab/pi1"):
            assert "/web/main.js" in client.get(path).text
        found = client.get("/web/main.js")
        assert found.headers["content-type"] == "text/javascript; charset=utf-8"
        assert "require-trusted-types-for" in found.headers["content-security-policy"]
        assert len(gzip.compress(found.content)) < len(found.content)
        again = client.get("/web/main.js", headers={"If-None-Match": found.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for path in ("/web/none.js", "/web/../api/app.py", "/web/%2e%2e/api/app.py", "/rollout"):
            assert client.get(path).status_code in (404, 401), path
