"""The hub signs what follows from its own documents, never what somebody else left at the broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import PeerError
from edge_agent.wire import bodies, bundle, documents, messages, signatures
from edge_agent.wire.documents import Trust
from edge_agent.wire.messages import Message
from edge_agent.wire.signatures import SecretKey
from edge_agent.wire.topics import DeviceTopics
from edge_hub import rotations
from edge_hub.connection import Incoming
from edge_hub.deployment import Deployment
from edge_hub.desired import Desired
from edge_hub.rollout import FleetRollout, Member
from edge_hub.store import HubStore

NOW = 1.7e9
A, B, C, STRANGER = (signatures.generate(n) for n in "abcs")
TOPICS = DeviceTopics("f", "pi")
OTHERS = {"populations": {"pumps": {"bundle": "d" * 64}}, "bundles": {"d" * 64: {"name": "pumps"}}}


class Link:
    """A broker that has gone quiet after the retained messages."""

    settled = True

    def __init__(self, *waiting: Incoming) -> None:
        self.waiting = list(waiting)
        self.published: dict[str, bytes] = {}

    def messages(self, _seconds: float) -> list[Incoming]:
        waiting, self.waiting = self.waiting, []
        return waiting

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self.published[topic] = payload

    def document(self, key: SecretKey = A) -> dict[str, Any]:
        body = messages.decode(self.published[TOPICS.desired]).body
        return Trust("f", (key.public.raw,)).opened(body, documents.DESIRED, bodies.DESIRED)


def retained(keys: list[SecretKey], **changes: Any) -> bytes:
    document = {"fleet": "f", "device": "pi", "version": 7, "issued": NOW, "expires": NOW + 9, **changes}
    return messages.encode(Message(documents.signed(document, documents.DESIRED, keys)))


def desired(link: Link, key: SecretKey = A, *known: rotations.Rotation) -> Desired:
    return Desired(link, "f", [key], known, 60.0)  # type: ignore[arg-type]


def test_what_a_change_does_not_name_stays_and_the_version_goes_up() -> None:
    link = Link()
    ours = desired(link)
    ours.note("pi", retained([A, STRANGER], version=2**50, **OTHERS))
    assert ours.publish("pi", {"parameters": {"telemetry_seconds": 5}}, 0, NOW) == 2**50 + 1
    made = link.document()
    assert made["populations"] == OTHERS["populations"]
    assert (made["version"], made["parameters"]) == (2**50 + 1, {"telemetry_seconds": 5})


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (retained([STRANGER], **OTHERS), "0 of the 1 signatures needed are by keys that are believed"),
        (retained([], **OTHERS), "0 of the 1 signatures"),
        (retained([A], device="pj", **OTHERS), "for device 'pj', expected 'pi'"),
        (retained([A], fleet="g", **OTHERS), "for fleet 'g', expected 'f'"),
        (messages.encode(Message({"doc": b"{", "signatures": []})), "0 of the 1 signatures"),
        (b"noise", "message"),
    ],
    ids=["a stranger", "nobody", "another device's", "another fleet's", "not JSON", "noise"],
)
def test_what_the_hub_did_not_write_is_neither_signed_nor_written_over(payload: bytes, reason: str) -> None:
    link = Link()
    ours = desired(link)
    with pytest.raises(PeerError, match=reason):
        ours.note("pi", payload)
    with pytest.raises(PeerError, match=rf"^edge/v1/f/pi/down/desired: .*{reason}.*--sign's keys"):
        ours.publish("pi", {}, 0, NOW)
    assert link.published == {}
    ours.note("pi", b"")  # somebody cleared the topic
    ours.publish("pi", {}, 0, NOW)
    assert link.document()["populations"] == {}


def test_after_a_rotation_documents_of_the_keys_just_before_it_are_gone_on_from() -> None:
    first = rotations.rotate("f", [], [A], [B.public], 1)
    second = rotations.rotate("f", [first], [B], [C.public], 1)
    for key, known, before in ((B, [first], A), (C, [first, second], B)):
        link = Link()
        ours = desired(link, key, *known)
        ours.note("pi", retained([before], **OTHERS))
        ours.publish("pi", {}, 0, NOW)
        assert link.document(key)["populations"] == OTHERS["populations"]
    with pytest.raises(PeerError, match="0 of the 1 signatures"):
        desired(Link(), C, first, second).note("pi", retained([A], **OTHERS))


def test_a_device_with_a_forged_document_fails_and_stops_the_rollout(tmp_path: Path) -> None:
    path = tmp_path / "b.eab"
    manifest = {"name": "b", "version": "1", "kind": "pomdp", "created": 0, "source_sha256": ""}
    manifest |= {key: {} for key in ("io", "memory", "evaluation", "requires")}
    bundle.write(path, manifest, {"A.npy": b"1"}, A)
    digest, store = bundle.read(path).digest, HubStore(tmp_path / "hub")
    store.keep_bundle(path, digest)
    rollout = FleetRollout("id", digest, "b", "rooms", [["pi"]], {"pi": Member()})
    link = Link(Incoming(TOPICS.desired, retained([STRANGER], **OTHERS), retain=True))
    Deployment(rollout, store, link, desired(link), now=lambda: NOW).run(lambda _: None)  # type: ignore[arg-type]
    assert (rollout.status, link.published) == ("stopped", {})
    assert "expected a document of --sign's keys" in rollout.members["pi"].reason
    assert json.loads((tmp_path / "hub" / "rollouts" / "id.json").read_text())["status"] == "stopped"
