"""The page of learning in a real Chromium: who contributed, and what rounds gained."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.hub.service import Service
from tests.hub.test_learn_command import Fleet
from tests.web.browser import log_in
from tests.web.test_pages import assert_accessible

ROUND = {
    "sum": "robust",
    "devices": 3,
    "refused": 0,
    "counts": 120.0,
    "tensors": [{"name": "A_0", "counts": 60.0, "kl_mean": 0.01, "kl_most": 0.25}],
    "source_sha256": "1" * 64,
    "output_sha256": "2" * 64,
    "held_out": {"readings": 900, "before": -6.08, "after": -5.18},
}


@pytest.mark.broker
def test_from_populations_to_who_contributed_and_what_a_round_gained(
    service: Service, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    fleet = Fleet(tmp_path, service.hub.database, "")
    service.add_user("ann", "viewer")
    page = open_page(viewport={"width": 1200, "height": 640})
    log_in(page, service.address, "ann")
    page.get_by_role("link", name="Learning").click()
    expect(page.locator(".empty")).to_contain_text("edge-hub command send-learned")
    fleet.upload()
    fleet.contribute("pi1", "pi2", "pi3")
    service.hub.answers.forget()
    page.reload()
    populations = page.get_by_role("region", name="Populations that learn")
    expect(populations).to_contain_text("office 1")
    expect(populations.locator("[data-name='Devices']")).to_have_text("3")
    assert_accessible(page)
    populations.get_by_role("link", name="rooms").click()
    expect(page.locator("h1")).to_have_text("rooms, lab")
    expect(page.locator(".empty")).to_contain_text("edge-hub learn --hub URL --fleet lab --population rooms")
    operator = service.as_role("operator")
    assert operator.post(f"/learning/lab/rooms/{fleet.digest}/rounds", json=ROUND).status_code == 201
    page.reload()
    rounds = page.get_by_role("region", name="Rounds")
    expect(rounds).to_contain_text("A_0: 0.25 nat")
    expect(rounds.locator("[data-name='Per reading before']")).to_have_text("-6.08 nat")
    expect(rounds.locator("[data-name='After']")).to_have_text("-5.18 nat")
    pi2 = page.get_by_role("region", name="Contributions").get_by_role("row", name="pi2")
    expect(pi2.locator("[data-name='Updates']")).to_have_text("20")
    assert_accessible(page)
