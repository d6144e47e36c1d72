"""Logs and support bundles of a real device, by REST and by command: bounded, no secrets, for operators."""

import base64
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.broker.lab import Lab
from tests.hub.test_service import Process, _answered, admin, lab, start, until

__all__ = ["lab", "start"]
pytestmark = pytest.mark.broker


def ask(client: Any, name: str, **arguments: Any) -> Any:
    wanted = {"fleet": "lab", "name": name, "arguments": arguments, "expires_s": 600}
    made = client.post("/commands", json=wanted)
    assert made.status_code == 202, made.text
    return made.json()["id"], until(lambda: _answered(client, made.json()["id"]), 240)


def test_a_device_is_asked_for_its_log_and_a_support_bundle(
    start: Any, lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process: Process = start("--sign", str(lab.key))
    client = admin(process)
    lab.boot("pi1")
    until(lambda: client.get("/devices", params={"filter": "online"}).json()["devices"])
    until(lambda: client.get(process.address + "/readyz").status_code == 200)

    _, reply = ask(client, "log", lines=2)
    assert reply["state"] == "done", reply
    lines = reply["result"]["lines"]
    assert len(lines) == 2
    assert "INFO hub: command log" in lines[-1]
    assert "expected 1 to 500" in ask(client, "log", lines=10_000)[1]["reason"]

    id_, reply = ask(client, "support-bundle", profile=1)
    assert reply["state"] == "done", reply
    data = base64.b64decode(reply["result"]["data"])
    assert len(data) == reply["result"]["bytes"] <= 160_000
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        texts = {Path(m.name).name: archive.extractfile(m).read().decode() for m in archive}  # type: ignore[union-attr]
    assert "hub: command support-bundle" in texts["log-of-the-daemon.txt"]
    assert json.loads(texts["memory.json"])["plan"]["total"] > 0
    assert json.loads(texts["status.json"])["device"] == "pi1"
    assert "<svg" in texts["profile.svg"] or texts["profile.svg"].startswith("no flame graph: ")
    assert lab.key.read_text().split()[1] not in "".join(texts.values())
    kept = (lab.folder / "pi1" / "state" / "follower.json").read_text()
    assert id_ in kept
    assert len(kept) < 20_000  # long replies are not kept on the device

    secret = client.post("/tokens", json={"name": "v", "role": "viewer"}).json()["token"]
    viewer = {"Authorization": f"Bearer {secret}"}
    assert client.get(f"/commands/{id_}").status_code == 200
    client.cookies.clear()
    assert client.get(f"/commands/{id_}", headers=viewer).status_code == 403
    wanted = {"fleet": "lab", "name": "log"}
    assert client.post("/commands", json=wanted, headers=viewer).status_code == 403

    words = ["command", "support-bundle", "--to", "pi1", "--sign", str(lab.key), "--answers", "240"]
    capsys.readouterr()
    assert lab.hub(*words, "--expires", "600", "--output", str(tmp_path / "out"), "--wait", "0.5") == 0
    assert (tmp_path / "out" / "pi1-edge-agent-support.tar.gz").stat().st_size > 1000
    client.close()
