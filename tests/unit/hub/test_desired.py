"""The hub signs only changes of its own documents, never documents of other clients."""

from __future__ import annotations

import pytest

from edge_agent.errors import PeerError
from edge_agent.wire import messages, signatures
from edge_agent.wire.messages import Message
from edge_agent.wire.signatures import SecretKey
from edge_hub import rotations
from edge_hub.desired import Desired
from tests.unit.hub.link import HUB, NOW, STRANGER, Link, retained

B, C = (signatures.generate(n) for n in "bc")
OTHERS = {"populations": {"pumps": {"bundle": "d" * 64}}, "bundles": {"d" * 64: {"name": "pumps"}}}


def desired(link: Link, key: SecretKey = HUB, *known: rotations.Rotation) -> Desired:
    return Desired(link, "f", [key], known, 60.0)  # type: ignore[arg-type]


def test_what_a_change_does_not_name_stays_and_the_version_goes_up() -> None:
    link = Link()
    ours = desired(link)
    ours.note("pi", retained([HUB, STRANGER], version=2**50, **OTHERS))
    assert ours.publish("pi", {"parameters": {"telemetry_seconds": 5}}, 0, NOW) == 2**50 + 1
    made = link.document()
    assert made["populations"] == OTHERS["populations"]
    assert (made["version"], made["parameters"]) == (2**50 + 1, {"telemetry_seconds": 5})


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (retained([STRANGER], **OTHERS), "0 of the 1 signatures needed are by keys that are believed"),
        (retained([], **OTHERS), "0 of the 1 signatures"),
        (retained([HUB], device="pj", **OTHERS), "for device 'pj', expected 'pi'"),
        (retained([HUB], fleet="g", **OTHERS), "for fleet 'g', expected 'f'"),
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
    first = rotations.rotate("f", [], [HUB], [B.public], 1)
    second = rotations.rotate("f", [first], [B], [C.public], 1)
    for key, known, before in ((B, [first], HUB), (C, [first, second], B)):
        link = Link()
        ours = desired(link, key, *known)
        ours.note("pi", retained([before], **OTHERS))
        ours.publish("pi", {}, 0, NOW)
        assert link.document(key)["populations"] == OTHERS["populations"]
    with pytest.raises(PeerError, match="0 of the 1 signatures"):
        desired(Link(), C, first, second).note("pi", retained([HUB], **OTHERS))


@pytest.mark.parametrize("parameters", [{"x": 2**64}, {"x": "\ud800"}, {"x": [[float("inf")]]}])
def test_what_every_device_would_refuse_is_not_sent(parameters: dict[str, object]) -> None:
    link = Link()
    ours = desired(link)
    ours.publish("pi", {}, 0, NOW)
    before = link.document()
    with pytest.raises(PeerError, match=r"^edge/v1/f/pi/down/desired: parameters\.x"):
        ours.publish("pi", {"parameters": parameters}, 0, NOW + 1.0)
    assert link.document() == before
    assert ours.of("pi") == before
