"""A service whose fleet has release keys: a rollout waits until its bundle was released elsewhere."""

from pathlib import Path
from typing import Any

from edge_agent.wire import documents, signatures
from edge_agent.wire.documents import Trust
from edge_hub import signed_json
from tests.hub.service import Service
from tests.hub.test_rest import fill, make_bundle

RELEASE, DIRECTOR = signatures.generate("release"), signatures.generate("director")
TRUST = Trust("lab", (DIRECTOR.public.raw,), release_keys=(RELEASE.public.raw,))


def release(digest: str, key: signatures.SecretKey = RELEASE, **other: Any) -> dict[str, Any]:
    document = {"fleet": "lab", "population": "rooms", "bundle": digest, "number": 5, "issued": 1.0}
    return signed_json.to_plain(documents.signed(document | other, documents.RELEASE, [key]))


def test_a_rollout_waits_for_its_release(service: Service, tmp_path: Path) -> None:
    service.hub.release_trust = lambda fleet: TRUST if fleet == "lab" else None
    fill(service.hub.database, 4)
    caller = service.as_role("operator")
    path, digest = make_bundle(tmp_path)
    caller.post("/bundles", content=path.read_bytes())
    plan = {"fleet": "lab", "bundle": digest, "population": "rooms"}
    assert "edge-hub sign" in caller.post("/rollouts", json=plan | {"approve": True}).json()["detail"]
    id_ = caller.post("/rollouts", json=plan).json()["id"]
    (wanted,) = caller.get("/releases/wanted").json()
    assert (wanted["rollout"], wanted["bundle"], wanted["devices"]) == (id_, digest, 2)
    assert caller.post(f"/rollouts/{id_}/approve").status_code == 409

    for wrong, reason in (
        (release(digest, DIRECTOR), "0 of the 1 signatures needed are by release keys"),
        (release(digest) | {"doc": release("b" * 64)["doc"]}, "0 of the 1 signatures needed"),
        (release(digest, fleet="other"), "no release keys are known here"),
        ({"doc": "[]", "signatures": release(digest)["signatures"]}, "not a release"),
        ({"doc": "[" * 100_000, "signatures": release(digest)["signatures"]}, "not a release"),
    ):
        answer = caller.post("/releases", json=wrong)
        assert answer.status_code in (409, 422), answer.text
        assert reason in answer.json()["detail"]
    assert caller.post("/releases", json=release(digest, population="halls")).status_code == 201
    assert caller.post(f"/rollouts/{id_}/approve").status_code == 409  # that one is for another population

    made = caller.post("/releases", json=release(digest, number=6))
    assert (made.status_code, made.json()["number"]) == (201, 6)
    assert caller.get("/releases/wanted").json() == []
    assert [row["number"] for row in caller.get("/releases").json()] == [6, 5]
    assert caller.post(f"/rollouts/{id_}/approve").json()["status"] == "running"
    assert [e["action"] for e in caller.get("/audit").json()].count("release.upload") == 2

    configured = caller.post("/rollouts", json=plan | {"config": {"size": 2}}).json()["id"]
    assert caller.post(f"/rollouts/{configured}/approve").status_code == 409  # not of that configuration


def test_without_release_keys_nothing_waits_and_no_release_is_kept(service: Service, tmp_path: Path) -> None:
    fill(service.hub.database, 4)
    caller = service.as_role("operator")
    path, digest = make_bundle(tmp_path)
    caller.post("/bundles", content=path.read_bytes())
    plan = {"fleet": "lab", "bundle": digest, "population": "rooms", "approve": True}
    assert caller.post("/rollouts", json=plan).json()["status"] == "running"
    refused = caller.post("/releases", json=release(digest))
    assert (refused.status_code, "--release-key" in refused.json()["detail"]) == (409, True)
