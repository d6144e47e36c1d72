"""What a device lets a director ask for when the release keys are others: the rules of docs/protocol.md."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.protocol.twin import Adopted, Floor, Refused, Twin, floor_of
from edge_agent.wire import blocks, bodies, documents, messages, releases, signatures
from edge_agent.wire.documents import Trust
from edge_agent.wire.messages import Message

DIRECTOR, RELEASE, SECOND, OTHER = (
    signatures.generate(n) for n in ("director", "release", "second", "other")
)
NOW = 1_700_000_000.0
OLD, NEW, NEWEST = (blocks.cut(digit * 64, "m", b"bundle" + digit.encode()) for digit in "123")
CONFIG = {"size": 3, "act": []}
FLOOR = Floor()


def make(state: Any = None, floor: Floor = FLOOR, threshold: int = 1, **other: Any) -> Twin:
    keys = (RELEASE.public.raw, SECOND.public.raw)
    trust = Trust("f", (DIRECTOR.public.raw,), 1, 0, keys, threshold)
    return Twin("d", other.get("trust", trust), state, floor)


def release(
    bundle: blocks.Cut = NEW, number: int = 5, signers: Any = (RELEASE,), **other: Any
) -> dict[str, Any]:
    document = {"fleet": "f", "population": "p", "bundle": bundle.digest, "number": number, "issued": NOW}
    return documents.signed(document | other, documents.RELEASE, signers)


def document(version: int, bundle: blocks.Cut = NEW, name: str = "p", **entry: Any) -> dict[str, Any]:
    return {
        "fleet": "f",
        "device": "d",
        "version": version,
        "issued": NOW,
        "expires": NOW + 3600.0,
        "bundles": {bundle.digest: bundle.entry()},
        "populations": {name: {"bundle": bundle.digest, **entry}},
    }


def payload(
    doc: dict[str, Any], *statements: Any, key: signatures.SecretKey = DIRECTOR, rotations: Any = ()
) -> bytes:
    body = documents.signed(doc, documents.DESIRED, [key], rotations) | {"releases": list(statements)}
    return messages.encode(Message(body))


def refusal(outcome: Any) -> str:
    assert isinstance(outcome, Refused), outcome
    return outcome.reason


def test_a_document_with_its_release_is_taken_over() -> None:
    twin = make()
    assert isinstance(twin.offer(payload(document(1), release()), NOW), Adopted)
    assert twin.signers("p", NEW.digest) is None  # the release names the digest
    assert twin.signers("p", OLD.digest) == (RELEASE.public.raw, SECOND.public.raw)


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        ([], "no release by the release keys"),
        ([release(signers=(DIRECTOR,))], "0 of the 1 signatures needed are by release keys"),
        ([release(signers=(OTHER,))], "0 of the 1 signatures needed"),
        ([release(OLD)], "is not of release 5"),
        ([release(population="q")], "no release"),
        ([release(fleet="g")], "for fleet 'g', expected 'f'"),
        ([release(devices=["e"])], "release 5: not for device 'd'"),
        ([release(expires=NOW - 1)], "release 5: expired"),
        ([release(number=0)], "number: found 0"),
        ([release(bundle=blocks.cut("x" * 70, "m", b"x"))], "70 characters"),
        ([release(), release(NEWEST, 6)], "is not of release 6"),
    ],
)
def test_without_a_release_that_is_believed_nothing_changes(statements: list[Any], reason: str) -> None:
    twin = make()
    assert reason in refusal(twin.offer(payload(document(1), *statements), NOW))
    assert (twin.document, twin.releases) == (None, {})


def test_a_statement_is_not_taken_for_another_purpose() -> None:
    forged = release(signers=(RELEASE,))
    forged["signatures"] = documents.signed({}, documents.KEYS, [RELEASE])["signatures"]
    assert "0 of the 1" in refusal(make().offer(payload(document(1), forged), NOW))
    as_desired = documents.signed(document(1), documents.DESIRED, [RELEASE]) | {"releases": [release()]}
    assert "director keys" in refusal(make().offer(messages.encode(Message(as_desired)), NOW))


def test_enough_release_keys_must_have_signed() -> None:
    twin = make(threshold=2)
    assert "1 of the 2" in refusal(twin.offer(payload(document(1), release()), NOW))
    both = release(signers=(RELEASE, SECOND))
    assert isinstance(twin.offer(payload(document(1), both), NOW), Adopted)


def test_an_older_release_is_never_believed_again() -> None:
    twin = make()
    twin.offer(payload(document(1, NEW), release(NEW, 5)), NOW)
    twin.offer(payload(document(2, NEWEST), release(NEWEST, 7)), NOW)
    outcome = twin.offer(payload(document(3, NEW), release(NEW, 5)), NOW)
    assert "release 5, older than release 7" in refusal(outcome)
    empty = document(4) | {"bundles": {}, "populations": {}}
    assert isinstance(twin.offer(payload(empty), NOW), Adopted)  # the population goes
    outcome = twin.offer(payload(document(5, NEW), release(NEW, 5)), NOW)
    assert "release 5, older than release 7" in refusal(outcome)
    restarted = make(twin.state(), floor_of({"twin": twin.state()}))
    assert "older than release 7" in refusal(restarted.offer(payload(document(5, NEW), release(NEW, 5)), NOW))
    lost = make(None, floor_of({"twin": twin.state()}))  # the state is gone, the floor is there
    assert "older than release 7" in refusal(lost.offer(payload(document(5, NEW), release(NEW, 5)), NOW))


def test_a_release_that_expired_does_not_make_room_for_an_older_one() -> None:
    twin = make()
    twin.offer(payload(document(1, NEWEST), release(NEWEST, 7, expires=NOW + 10)), NOW)
    late = payload(document(2, NEW), release(NEW, 5), release(NEWEST, 7, expires=NOW + 10))
    assert "older than release 7" in refusal(twin.offer(late, NOW + 20))
    assert isinstance(twin.offer(payload(document(3, NEWEST)), NOW + 20), Adopted)  # it was believed in time


def test_a_clock_set_back_does_not_revive_an_expired_release() -> None:
    twin = make()
    twin.offer(payload(document(1, NEW), release()), NOW)
    again = release(NEWEST, 6, expires=NOW - 1000)
    assert "expired" in refusal(twin.offer(payload(document(2, NEWEST), again), NOW - 5000))


def test_the_release_says_what_may_be_gone_back_to() -> None:
    twin = make()
    twin.offer(payload(document(1, OLD), release(OLD, 4)), NOW)
    twin.offer(payload(document(2, NEW), release(NEW, 5, allows=[OLD.digest])), NOW)
    assert isinstance(twin.offer(payload(document(3, OLD)), NOW), Adopted)
    assert isinstance(twin.offer(payload(document(4, NEW)), NOW), Adopted)
    assert twin.releases["p"].number == 5
    twin.offer(payload(document(5, NEWEST), release(NEWEST, 6)), NOW)
    assert "is not of release 6" in refusal(twin.offer(payload(document(6, OLD)), NOW))


def test_what_runs_may_stay_and_its_release_is_remembered() -> None:
    twin = make()
    assert isinstance(twin.offer(payload(document(1, OLD)), NOW, lambda _: OLD.digest), Adopted)
    told = payload(document(2, OLD), release(OLD, 9))
    assert isinstance(twin.offer(told, NOW, lambda _: OLD.digest), Adopted)
    outcome = twin.offer(payload(document(3, NEW), release(NEW, 5)), NOW, lambda _: OLD.digest)
    assert "older than release 9" in refusal(outcome)


def test_a_configuration_is_the_releases_or_none() -> None:
    twin = make()
    signed = release(config=CONFIG)
    changed = CONFIG | {"act": [{"sink": "command", "command": ["/bin/sh"]}]}
    assert "config: not the one of release 5" in refusal(
        twin.offer(payload(document(1, config=changed), signed), NOW)
    )
    assert "config: not the one of release 5" in refusal(
        twin.offer(payload(document(1, config=CONFIG), release()), NOW)
    )
    assert isinstance(twin.offer(payload(document(1, config=CONFIG), signed), NOW), Adopted)
    # A running population keeps its bundle, and may not be given another configuration for its next start.
    outcome = twin.offer(payload(document(2, config=changed)), NOW, lambda _: NEW.digest)
    assert "config: not the one of release 5" in refusal(outcome)
    assert isinstance(twin.offer(payload(document(2, config=CONFIG)), NOW, lambda _: NEW.digest), Adopted)


def test_release_keys_in_the_configuration_hold_after_rotations_that_knew_none() -> None:
    learnt = Trust("f", (OTHER.public.raw,), version=3).state()
    twin = make({"trust": learnt, "document": None})
    assert twin.trust.version == 3
    assert "no release" in refusal(twin.offer(payload(document(1), key=OTHER), NOW))
    assert isinstance(twin.offer(payload(document(1), release(), key=OTHER), NOW), Adopted)


def rotation(version: int, signer: signatures.SecretKey, **keys: Any) -> dict[str, Any]:
    found = {"fleet": "f", "version": version, "threshold": 1}
    named = {role: [key.public.raw.hex() for key in value] for role, value in keys.items()}
    return documents.signed(found | named, documents.KEYS, [signer])


def test_one_key_becomes_two_and_each_role_is_rotated_by_the_release_key() -> None:
    one = Trust("f", (OTHER.public.raw,))
    split = rotation(1, OTHER, keys=[DIRECTOR], release_keys=[RELEASE])
    twin = make(trust=one)
    assert "no release" in refusal(twin.offer(payload(document(1), rotations=[split]), NOW))
    assert twin.trust.has_release_keys  # the rotation holds, whatever came with it
    assert isinstance(twin.offer(payload(document(2), release(), rotations=[split]), NOW), Adopted)

    alone = rotation(2, DIRECTOR, keys=[OTHER])
    outcome = twin.offer(payload(document(3), key=OTHER, rotations=[split, alone]), NOW)
    assert "edge-agent keys 1: 0 of the 1 signatures needed are by release keys" in refusal(outcome)

    next_director = rotation(2, RELEASE, keys=[OTHER])
    message = payload(document(3), key=OTHER, rotations=[split, next_director])
    assert isinstance(twin.offer(message, NOW, lambda _: NEW.digest), Adopted)
    assert twin.trust.release_keys == (RELEASE.public.raw,)  # not named: they stay

    next_release = rotation(3, RELEASE, keys=[OTHER], release_keys=[SECOND])
    known = [split, next_director, next_release]
    old = payload(document(4, NEWEST), release(NEWEST, 6), key=OTHER, rotations=known)
    assert "is not of release 5" in refusal(twin.offer(old, NOW))
    new = payload(document(5, NEWEST), release(NEWEST, 6, (SECOND,)), key=OTHER, rotations=known)
    assert isinstance(twin.offer(new, NOW), Adopted)

    again = make(twin.state(), floor_of({"twin": twin.state()}), trust=one)
    assert again.trust == twin.trust
    assert again.releases == twin.releases


def test_a_key_has_one_role() -> None:
    both = rotation(1, OTHER, keys=[DIRECTOR], release_keys=[DIRECTOR])
    outcome = make(trust=Trust("f", (OTHER.public.raw,))).offer(payload(document(1), rotations=[both]), NOW)
    assert "expected one role for each" in refusal(outcome)
    none = rotation(1, OTHER, keys=[DIRECTOR], release_keys=[])
    outcome = make(trust=Trust("f", (OTHER.public.raw,))).offer(payload(document(1), rotations=[none]), NOW)
    assert "threshold 1 of 0 keys" in refusal(outcome)


@given(
    st.lists(st.tuples(st.sampled_from([OLD, NEW, NEWEST]), st.integers(1, 6), st.booleans()), max_size=12)
)
def test_whatever_a_director_sends_the_number_never_goes_down(
    story: list[tuple[blocks.Cut, int, bool]],
) -> None:
    """A release of number n names the bundle n % 3: only what the highest number seen names ever runs."""
    cuts, twin, highest = [OLD, NEW, NEWEST], make(), 0
    for version, (bundle, number, restart) in enumerate(story, 1):
        if restart:
            twin = make(twin.state(), floor_of({"twin": twin.state()}))
        outcome = twin.offer(payload(document(version, bundle), release(cuts[number % 3], number)), NOW)
        allowed = number >= highest and cuts[number % 3] is bundle
        stays = highest > 0 and number < highest and cuts[highest % 3] is bundle
        assert isinstance(outcome, Adopted) == (allowed or stays)
        if isinstance(outcome, Adopted):
            highest = max(highest, number)
    assert twin.releases.get("p", releases.Released(0, ())).number == highest


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(bodies.RELEASE)), PLAIN, max_size=3))
def test_whatever_the_release_key_signs_is_refused_or_can_be_kept(damage: dict[str, Any]) -> None:
    twin = make()
    whole = json.loads(release(config={}, allows=[], devices=["d"], expires=NOW + 1)["doc"])
    statement = documents.signed(whole | damage, documents.RELEASE, [RELEASE])
    twin.offer(payload(document(1), statement), NOW)
    again = make(json.loads(json.dumps(twin.state())), floor_of({"twin": twin.state()}))
    assert again.releases == twin.releases
    messages.encode(Message({"releases": {name: found.number for name, found in twin.releases.items()}}))
