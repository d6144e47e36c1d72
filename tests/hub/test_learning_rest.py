"""What a fleet learned by REST; ``edge-hub learn --hub`` writes what the database gives, and reports."""

import hashlib
import json
from pathlib import Path

import pytest

from edge_agent.wire import learned, messages
from edge_agent.wire.messages import Message
from edge_hub.api import learning
from edge_hub.cli import main
from edge_hub.database import contributions
from edge_hub.database.engine import Database
from edge_hub.ingest import decode
from tests.hub.service import Service
from tests.hub.test_learn_command import Fleet
from tests.hub.test_learned import EPOCH, NOW
from tests.unit.hub.test_learning import drawn


@pytest.fixture
def fleet(tmp_path: Path, database: Database, data: str) -> Fleet:
    made = Fleet(tmp_path, database, data)
    made.upload()
    made.contribute("a", "b", "c")
    return made


def learn(fleet: Fleet, service: Service, output: Path, role: str = "operator", *options: str) -> int:
    """Merge what the service has into ``output``."""
    words = ["learn", *service.remote(role, output.parent), "--fleet", "lab"]
    source = ["--population", "rooms", "--source", str(fleet.source), "-o", str(output)]
    return main([*words, *source, *options])


def test_a_service_gives_the_contributions_and_keeps_the_report(
    fleet: Fleet, service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    viewer, output = service.as_role("viewer"), tmp_path / "there.npz"
    (row,) = viewer.get("/learning").json()
    assert (row["fleet"], row["population"], row["bundle"]) == ("lab", "rooms", fleet.digest)
    assert (row["name"], row["devices"], row["epochs"], row["complete"], row["updates"]) == (
        "office",
        3,
        3,
        3,
        60,
    )
    assert learn(fleet, service, output) == 0
    capsys.readouterr()
    assert fleet.learn("--json") == 0
    assert output.read_bytes() == fleet.output.read_bytes()
    local = json.loads(capsys.readouterr().out)
    found = viewer.get(f"/learning/lab/rooms/{fleet.digest}").json()
    assert [one["device"] for one in found["devices"]] == ["a", "b", "c"]
    (kept,) = found["rounds"]
    assert (kept["devices"], kept["refused"], kept["counts"], kept["sum"]) == (
        3,
        0,
        local["counts"],
        "robust",
    )
    assert [one["kl_most"] for one in kept["tensors"]] == [one["kl_most"] for one in local["tensors"]]
    assert kept["output_sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert kept["who"].startswith("operator")
    (entry,) = service.as_role("operator").get("/audit").json()
    assert (entry["action"], entry["object"]) == ("learning.round", f"lab/rooms/{fleet.digest}")


def test_contributions_come_page_by_page_in_order(
    fleet: Fleet, service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for epoch in (EPOCH + 1, EPOCH + 2):
        (body,) = learned.to_bodies(drawn(epoch), "rooms", fleet.digest, epoch)
        payload = messages.encode(Message(body, seq=epoch, t=NOW))
        contributions.store(fleet.database, decode.learned("lab", "b", payload, NOW))
    monkeypatch.setattr(learning, "EPOCHS", 2)
    viewer, path = service.as_role("viewer"), f"/learning/lab/rooms/{fleet.digest}/epochs"
    found, last = [], {}
    while page := viewer.get(path, params=last).json():
        assert len(page) <= 2
        found += [(one["device"], one["epoch"]) for one in page]
        last = {"after_device": found[-1][0], "after_epoch": found[-1][1]}
    assert found == [("a", EPOCH), *(("b", EPOCH + n) for n in range(3)), ("c", EPOCH)]
    output = tmp_path / "there.npz"
    assert learn(fleet, service, output) == 0
    assert fleet.learn() == 0
    assert output.read_bytes() == fleet.output.read_bytes()


def test_who_may_and_what_is_not_there(
    fleet: Fleet, service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    viewer, other = service.as_role("viewer"), "0" * 64
    assert viewer.post(f"/learning/lab/rooms/{fleet.digest}/rounds", json={}).status_code == 403
    assert service.as_role("viewer", ["devices"]).get("/learning").status_code == 403
    assert viewer.get(f"/learning/lab/rooms/{other}").status_code == 404
    assert viewer.get(f"/learning/lab/rooms/{other}/epochs").json() == []
    operator = service.as_role("operator")
    assert operator.post(f"/learning/lab/rooms/{fleet.digest}/rounds", json={"sum": "x"}).status_code == 400
    fleet.source.write_bytes(b"another file")
    assert learn(fleet, service, tmp_path / "there.npz") == 2
    assert capsys.readouterr().err.count("\n") == 1
