import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.protocol.twin import Adopted, Refused, Twin, Unchanged
from edge_agent.wire import documents, messages, signatures
from edge_agent.wire.documents import Trust
from edge_agent.wire.messages import Message

HUB, NEW, STRANGER = (signatures.generate(n) for n in ("hub", "new", "stranger"))
NOW = 1_700_000_000.0


def make(state=None) -> Twin:
    return Twin("f", "d", Trust("f", (HUB.public.raw,)), state)


def document(version: int, **other: object) -> dict[str, object]:
    base = {"fleet": "f", "device": "d", "version": version, "issued": NOW, "expires": NOW + 3600.0}
    return base | other


def payload(doc: dict[str, object], key: signatures.SecretKey = HUB, rotations=()) -> bytes:
    return messages.encode(Message(documents.signed(doc, documents.DESIRED, [key], rotations)))


def test_a_newer_signed_document_is_taken_over_once() -> None:
    twin = make()
    assert isinstance(twin.offer(payload(document(3)), NOW), Adopted)
    assert isinstance(twin.offer(payload(document(3)), NOW), Unchanged)
    assert isinstance(twin.offer(payload(document(3)), NOW + 1e6), Unchanged)
    assert twin.version == 3


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (payload(document(9), STRANGER), "signatures"),
        (payload(document(2)), "version 2, expected more than 3"),
        (payload(document(3, parameters={"x": 1})), "version 3, expected more than 3"),
        (payload(document(9, device="other")), "for device 'other'"),
        (payload(document(9, expires=NOW - 1)), "expired"),
        (payload(document(9, populations={"p": {"bundle": "0" * 64}})), "is not in bundles"),
        (payload(document(9, populations={"p": "x"})), "expected {bundle: digest}"),
        (payload(document(9, bundles={"zz": {}})), "expected {name, size, block, blocks}"),
        (b"\xc1", "not msgpack"),
        (messages.encode(Message({"doc": b"{}"})), "signatures is missing"),
    ],
)
def test_others_are_refused_with_a_reason_and_the_one_in_force_stays(bad: bytes, reason: str) -> None:
    twin = make()
    twin.offer(payload(document(3)), NOW)
    outcome = twin.offer(bad, NOW)
    assert isinstance(outcome, Refused)
    assert reason in outcome.reason
    assert twin.version == 3
    assert twin.refused == outcome


def test_a_restart_forgets_neither_version_nor_keys() -> None:
    twin = make()
    keys = {"fleet": "f", "version": 1, "keys": [NEW.public.raw.hex()], "threshold": 1}
    rotation = documents.signed(keys, documents.KEYS, [HUB])
    assert isinstance(twin.offer(payload(document(5), NEW, [rotation]), NOW), Adopted)
    again = make(twin.state())
    assert again.version == 5
    assert isinstance(again.offer(payload(document(6), HUB), NOW), Refused)
    assert isinstance(again.offer(payload(document(4), NEW), NOW), Refused)
    assert isinstance(again.offer(payload(document(6), NEW), NOW), Adopted)


def test_a_clock_that_fell_back_does_not_revive_expired_documents() -> None:
    twin = make()
    twin.offer(payload(document(3)), NOW)
    outcome = twin.offer(payload(document(4, issued=NOW - 9e3, expires=NOW - 5e3)), 0.0)
    assert outcome == Refused(4, "expired")


@given(st.binary(max_size=300))
def test_noise_is_refused_quietly(noise: bytes) -> None:
    assert isinstance(make().offer(noise, NOW), Refused)
