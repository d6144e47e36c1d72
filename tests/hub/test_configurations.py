"""Devices configured by the service, by REST and by command: kept, refused and rolled back, in the audit."""

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.wire import signatures
from edge_hub.cli import main
from tests.broker.lab import Lab
from tests.hub.service import Service
from tests.hub.test_rest import fill
from tests.hub.test_service import Process, _ended, admin, as_operator, lab, start, until

__all__ = ["lab", "start"]
GATES = {"shadow_seconds": 1, "trial_seconds": 3, "steps": 15, "missed_rate": 1}
SLOWER = {"population": {"rooms": {"rate_hz": 5}}}
BLIND = {"population": {"rooms": {"observe": {"co2": {"stale_s": 0.001}}}}}


def configure(client: Any, values: dict[str, Any]) -> Any:
    wanted = {"fleet": "lab", "values": values, "gates": GATES, "canary": "100%", "patience_s": 90}
    made = client.post("/configurations", json=wanted | {"approve": True})
    assert made.status_code == 201, made.text
    id_ = made.json()["id"]
    return until(lambda: _ended(client, id_))


def in_force(client: Any) -> Any:
    return client.get("/devices/lab/pi1").json()["reported"].get("configuration", {}).get("values")


@pytest.mark.broker
def test_a_device_is_configured_and_what_harms_or_does_not_fit_is_undone(
    start: Any, lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release, public = lab.folder / "release.key", lab.folder / "release.key.pub"
    signatures.save(signatures.generate("release"), release)
    lab.hub_lines = f"release_keys = {[str(public)]}"  # values need no release: the director's key signs them
    process: Process = start("--sign", str(lab.key), "--release-key", str(public))
    client = admin(process)
    lab.boot("pi1")
    until(lambda: client.get("/devices", params={"filter": "online"}).json()["devices"])

    assert configure(client, SLOWER)["status"] == "done"
    until(lambda: in_force(client) == SLOWER)
    for values, reason in (
        ({"broker": {"host": "evil"}}, "configuration.broker: can't be set by a hub"),
        (BLIND, "trial: held_rise "),
    ):
        found = configure(client, values)
        assert found["status"] == "stopped"
        assert reason in found["state"]["members"]["pi1"]["reason"]
        assert in_force(client) == SLOWER

    file = tmp_path / "values.toml"
    file.write_text("[device]\ntelemetry_s = 2.5\n")
    there = [*as_operator(process, client, tmp_path), "--fleet", "lab", "--json"]
    gates = [word for key, value in GATES.items() for word in ("--gate", f"{key}={value}")]
    capsys.readouterr()
    assert main(["configure", str(file), "--to", "pi1", *gates, *there]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["committed"] == 1
    until(lambda: in_force(client) == {"device": {"telemetry_s": 2.5}})

    entries = [e for e in client.get("/audit").json() if e["action"].startswith("rollout.")]
    told = [(e["action"], e["who"], e["after"].get("config"), e["after"]["status"]) for e in entries]
    assert ("rollout.add", "ann", BLIND, "running") in told
    ends = [e["after"] for e in entries if e["action"] == "rollout.end"]
    assert [end["status"] for end in ends] == ["done", "stopped", "stopped", "done"]
    assert "held_rise" in ends[1]["failed"]["pi1"]
    client.close()


def test_a_viewer_configures_nothing_and_bad_requests_are_one_line(service: Service) -> None:
    fill(service.hub.database, 2)
    viewer, operator = service.as_role("viewer"), service.as_role("operator")
    wanted = {"fleet": "lab", "values": SLOWER}
    assert viewer.post("/configurations", json=wanted).status_code == 403
    made = operator.post("/configurations", json=wanted)
    assert (made.status_code, made.json()["status"]) == (201, "proposed")
    assert viewer.post(f"/rollouts/{made.json()['id']}/approve").status_code == 403
    answer = operator.post("/configurations", json=wanted | {"gates": {"agrement": 1}})
    assert (answer.status_code, answer.json()["detail"][:31]) == (422, "gates: found 'agrement', expect")
    answer = operator.post("/configurations", json=wanted | {"values": {"x": 2**70}})
    assert answer.status_code in (400, 422)
