import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import PeerError
from edge_agent.protocol.twin import Adopted, Floor, Refused, Twin, Unchanged, floor_of
from edge_agent.wire import blocks, documents, messages, signatures
from edge_agent.wire.bundle import canonical_json
from edge_agent.wire.documents import Trust
from edge_agent.wire.messages import Message

HUB, NEW, STRANGER = (signatures.generate(n) for n in ("hub", "new", "stranger"))
NOW = 1_700_000_000.0


CUT = blocks.cut("0" * 64, "m", b"bundle")
BUNDLES = {CUT.digest: CUT.entry()}
WRONG = {"p": {"bundle": CUT.digest, "config": ["no object"]}}


ZERO = Floor()
MANY = {f"p{n}": {"bundle": CUT.digest} for n in range(400)}


def make(state=None, floor=ZERO) -> Twin:
    return Twin("d", Trust("f", (HUB.public.raw,)), state, floor)


def nested(levels: int) -> list:
    return [nested(levels - 1)] if levels else []


def raw(doc: dict[str, object], old: bytes, new: bytes) -> bytes:
    """Sign what Python's own JSON would not write."""
    text = canonical_json(doc).replace(old, new)
    assert new in text
    signature = HUB.sign(documents.DESIRED.encode() + b"\0" + text)
    body = {"doc": text, "signatures": [{"key": HUB.public.raw, "signature": signature}]}
    return messages.encode(Message(body))


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
        (payload(document(9, populations={"p": {"bundle": "0" * 64}})), 9, "is not in bundles"),
        (payload(document(9, populations={"p": "x"})), 9, "populations.p is str, expected dict"),
        (payload(document(9, populations={"p/#": {"bundle": CUT.digest}}, bundles=BUNDLES)), 9, "'p/#'"),
        (payload(document(9, bundles={"zz": {}})), 9, "expected {name, size, block, blocks}"),
        (payload(document(9, bundles=BUNDLES, populations=WRONG)), 9, "populations.p.config is list"),
        (payload(document(2**64)), 0, "version: found an integer of 65 bits"),
        (payload(document(2**63)), 0, "version: found 9223372036854775808"),
        (payload(document(9, issued=10**400)), 9, "issued: found an integer of"),
        (raw(document(9) | {"parameters": {"x": 1.0}}, b"1.0", b"1e999"), 9, "parameters.x: found inf"),
        (raw(document(9) | {"parameters": {"x": 1.0}}, b"1.0", b"NaN"), 9, "parameters.x: found nan"),
        (payload(document(9, parameters={"x": 2**64 + 1})), 9, "parameters.x: found an integer of 65"),
        (payload(document(9, parameters={"x": -(2**63) - 1})), 9, "parameters.x: found an integer of 64"),
        (
            payload(document(9, parameters={"x": [{"y": "\udfff"}]})),
            9,
            "parameters.x.0.y: found a text that is not Unicode",
        ),
        (payload(document(9, parameters={"\ud800": 1})), 9, "a key is '\\ud800', expected text"),
        (payload(document(9, parameters={"x": nested(16)})), 9, "more than 16 levels"),
        (payload(document(9, parameters={"x": nested(300)})), 9, "more than 16 levels"),
        (
            payload(document(9, parameters={"telemetry_seconds": 10**400})),
            9,
            "telemetry_seconds: found an int",
        ),
        (
            payload(document(9, parameters={"telemetry_seconds": 1e300})),
            9,
            "found 1e+300, expected 0.1 to 86400",
        ),
        (
            payload(document(9, parameters={"telemetry_seconds": "soon"})),
            9,
            "telemetry_seconds: found 'soon'",
        ),
        (payload(document(9, parameters={"telemetry_seconds": True})), 9, "telemetry_seconds: found True"),
        (payload(document(9, populations=MANY, bundles=BUNDLES)), 9, "a report of it takes"),
        (payload(document(9, gates={"steps": 2**65})), 9, "gates.steps: found an integer of 66 bits"),
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


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(codec=None, categories=None), max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(VALUES, st.integers(-(2**65), 2**65))
def test_what_is_taken_over_can_be_reported_and_read_back(value: object, version: int) -> None:
    twin = make()
    text = json.dumps(document(version, parameters={"x": value})).encode()
    signature = HUB.sign(documents.DESIRED.encode() + b"\0" + text)
    body = {"doc": text, "signatures": [{"key": HUB.public.raw, "signature": signature}]}
    outcome = twin.offer(messages.encode(Message(body)), NOW)
    report = {"version": twin.version, "parameters": (twin.document or {}).get("parameters", {})}
    if isinstance(outcome, Refused):
        report["refused"] = {"version": outcome.version, "reason": outcome.reason}
    assert messages.decode(messages.encode(Message(report))).body == report
    assert make(json.loads(json.dumps(twin.state()))).version == twin.version


def test_a_key_named_twice_makes_no_threshold_of_two() -> None:
    twin, name = make(), NEW.public.raw.hex()
    keys = {"fleet": "f", "version": 1, "keys": [name, name.upper()], "threshold": 2}
    outcome = twin.offer(payload(document(5), NEW, [documents.signed(keys, documents.KEYS, [HUB])]), NOW)
    assert outcome == Refused(0, "rotations: threshold 2 of 1 keys")


def test_nothing_below_the_floor_is_taken_over_after_the_state_is_lost() -> None:
    twin = make()
    twin.offer(payload(document(8)), NOW)
    floor = floor_of({"twin": twin.state()})
    assert floor == Floor(8, 0)
    lost = make(None, floor)
    assert lost.version == 0
    outcome = lost.offer(payload(document(3)), NOW)
    assert outcome == Refused(3, "version 3, expected 8 or more, the highest that this device has seen")
    assert isinstance(lost.offer(payload(document(8)), NOW), Adopted)  # what is retained is found again
    assert isinstance(lost.offer(payload(document(9)), NOW), Adopted)


def test_keys_that_a_rotation_replaced_are_not_believed_again_after_the_state_is_lost() -> None:
    twin = make()
    keys = {"fleet": "f", "version": 1, "keys": [NEW.public.raw.hex()], "threshold": 1}
    rotation = documents.signed(keys, documents.KEYS, [HUB])
    twin.offer(payload(document(5), NEW, [rotation]), NOW)
    lost = make(None, floor_of({"twin": twin.state()}))
    assert lost.believed is None
    outcome = lost.offer(payload(document(9), HUB), NOW)
    assert isinstance(outcome, Refused)
    assert "signed by keys of rotation 0, expected rotation 1 or later" in outcome.reason
    assert isinstance(lost.offer(payload(document(5), NEW, [rotation]), NOW), Adopted)
    assert lost.believed == twin.trust


@pytest.mark.parametrize("other", [{"device": "e"}, {"fleet": "g"}])
def test_state_of_another_device_is_refused(other: dict[str, object]) -> None:
    state = {"trust": make().trust.state(), "document": document(3, **other)}
    with pytest.raises(PeerError, match=r"the document in force|for fleet"):
        make(state)


@pytest.mark.parametrize(
    "state", [{}, {"twin": 5}, {"twin": {"trust": {"version": "x"}}}, {"twin": {"trust": {}}}]
)
def test_a_state_that_says_nothing_makes_no_floor(state: dict[str, object]) -> None:
    assert floor_of(state) == Floor()
