import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import PeerError
from edge_agent.protocol.twin import Adopted, Refused, Twin, Unchanged
from edge_agent.wire import blocks, documents, messages, signatures
from edge_agent.wire.documents import Trust
from edge_agent.wire.messages import Message

HUB, NEW, STRANGER = (signatures.generate(n) for n in ("hub", "new", "stranger"))
NOW = 1_700_000_000.0


CUT = blocks.cut("0" * 64, "m", b"bundle")
BUNDLES = {CUT.digest: CUT.entry()}
WRONG = {"p": {"bundle": CUT.digest, "config": ["no object"]}}


def make(state=None) -> Twin:
    return Twin("d", Trust("f", (HUB.public.raw,)), state)


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
    last = document(4, bundles=BUNDLES, populations={"p": {"bundle": CUT.digest}})
    assert twin.offer(payload(last), NOW + 3600.0) == Adopted(last)  # in the last moment
    assert twin.document == last
    assert twin.counters == {"adopted": 2, "refused": 0}


@pytest.mark.parametrize(
    ("bad", "version", "reason"),
    [
        (payload(document(9), STRANGER), 0, "signatures"),
        (payload(document(2)), 2, "version 2, expected more than 3"),
        (payload(document(3, parameters={"x": 1})), 3, "version 3, expected more than 3"),
        (payload(document(9, device="other")), 9, "for device 'other'"),
        (payload(document(9, expires=NOW - 1)), 9, "expired"),
        (payload(document(9, populations={"p": {"bundle": "0" * 64}})), 0, "is not in bundles"),
        (payload(document(9, populations={"p": "x"})), 0, "populations.p is str, expected dict"),
        (payload(document(9, bundles={"zz": {}})), 0, "expected {name, size, block, blocks}"),
        (
            payload(document(9, bundles=BUNDLES, populations=WRONG)),
            0,
            "populations.p.config is list, expected dict",
        ),
        (b"\xc1", 0, "not msgpack"),
        (messages.encode(Message({"doc": b"{}"})), 0, "signatures is missing"),
    ],
)
def test_others_are_refused_with_a_reason_and_the_one_in_force_stays(
    bad: bytes, version: int, reason: str
) -> None:
    twin = make()
    twin.offer(payload(document(3)), NOW)
    twin.offer(b"noise", NOW)
    outcome = twin.offer(bad, NOW)
    assert isinstance(outcome, Refused)
    assert reason in outcome.reason
    assert outcome.version == version
    assert twin.version == 3
    assert twin.refused == outcome
    assert twin.counters == {"adopted": 1, "refused": 2}
    assert isinstance(twin.offer(payload(document(4)), NOW), Adopted)
    assert twin.refused is None


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


def test_the_newer_of_the_configured_and_the_learnt_keys_are_believed() -> None:
    for configured, believed in ((0, HUB), (1, NEW), (2, NEW)):
        learnt = {"trust": Trust("f", (HUB.public.raw,), version=1).state(), "document": None}
        twin = Twin("d", Trust("f", (NEW.public.raw,), version=configured), learnt)
        assert twin.trust.keys == (believed.public.raw,)
        assert twin.version == 0


def test_keys_that_come_with_a_forged_document_are_not_learnt() -> None:
    twin = make()
    keys = {"fleet": "f", "version": 1, "keys": [NEW.public.raw.hex()], "threshold": 1}
    rotation = documents.signed(keys, documents.KEYS, [HUB])
    assert isinstance(twin.offer(payload(document(5), STRANGER, [rotation]), NOW), Refused)
    assert isinstance(twin.offer(payload(document(5), HUB), NOW), Adopted)


@pytest.mark.parametrize("damage", [{"issued": "today"}, {"populations": {"p": {"bundle": "0" * 64}}}])
def test_state_that_is_not_a_document_is_refused(damage: dict[str, object]) -> None:
    twin = make()
    state = {"trust": twin.trust.state(), "document": document(3, **damage)}
    with pytest.raises(PeerError, match=r"^(the document in force|desired): .*(issued|not in bundles)"):
        make(state)


def test_a_clock_that_fell_back_does_not_revive_expired_documents() -> None:
    twin = make()
    twin.offer(payload(document(3)), NOW)
    outcome = twin.offer(payload(document(4, issued=NOW - 9e3, expires=NOW - 5e3)), 0.0)
    assert outcome == Refused(4, "expired")


@given(st.binary(max_size=300))
def test_noise_is_refused_quietly(noise: bytes) -> None:
    assert isinstance(make().offer(noise, NOW), Refused)
