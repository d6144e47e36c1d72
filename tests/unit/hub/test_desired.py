"""The hub signs only changes of its own documents, never documents of other clients."""

from __future__ import annotations

import pytest

from edge_agent.errors import PeerError
from edge_agent.wire import messages, signatures
from edge_agent.wire.messages import Message
from edge_agent.wire.signatures import SecretKey
from edge_hub import rotations
from edge_hub.desired import Desired
from tests.unit.hub.link import HUB, NOW, STRANGER, TOPICS, Link, retained

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


def test_a_document_that_ends_before_its_device_has_seen_it_is_signed_anew() -> None:
    link = Link()
    ours = desired(link)
    ours.note("pi", retained([HUB], version=7, expires=NOW + 60.0, **OTHERS))
    before = link.published.copy()
    assert ours.renew({"pi": {"version": 6}}, NOW + 29.0, 9) == {}
    assert link.published == before
    renewed = ours.renew({"pi": {"version": 6}}, NOW + 31.0, 9)
    made = link.document()
    assert renewed == {"pi": made["version"]}
    assert (made["version"] > 7, made["expires"]) == (True, NOW + 91.0)
    assert (made["populations"], made["bundles"]) == (OTHERS["populations"], OTHERS["bundles"])
    assert ours.renew({"pi": {"version": 6}}, NOW + 32.0, 9) == {}


@pytest.mark.parametrize(
    ("report", "anew"),
    [
        ({}, True),
        ({"version": 6, "refused": {"version": 7, "reason": "expired"}}, True),
        ({"version": 5, "refused": {"version": 6, "reason": "no such bundle"}}, True),
        ({"version": 7}, False),
        ({"version": 8}, False),
        ({"version": 6, "refused": {"version": 7, "reason": "no such bundle"}}, False),
    ],
)
def test_only_what_a_device_may_still_take_over_is_signed_anew(report: dict[str, object], anew: bool) -> None:
    link = Link()
    ours = desired(link)
    ours.note("pi", retained([HUB], version=7, expires=NOW - 1.0, **OTHERS))
    with pytest.raises(PeerError):
        ours.note("pj", retained([STRANGER], device="pj", expires=NOW - 1.0))
    assert list(ours.renew({"pi": report}, NOW, 9)) == ["pi"] * anew
    assert list(link.published) == [TOPICS.desired] * anew


def test_no_more_documents_are_signed_anew_at_once_than_were_asked_for() -> None:
    link = Link()
    ours = desired(link)
    for number in range(5):
        ours.note(f"p{number}", retained([HUB], device=f"p{number}", expires=NOW - 1.0))
    assert [len(ours.renew({}, NOW, 2)) for _ in range(4)] == [2, 2, 1, 0]
