import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ConfigError, PeerError
from edge_agent.wire import blocks, bodies, documents, signatures
from edge_agent.wire.documents import Trust, signed

A, B, C = (signatures.generate(n) for n in "abc")


def trust(*keys: signatures.SecretKey, threshold: int = 1) -> Trust:
    return Trust("f", tuple(k.public.raw for k in keys), threshold)


def command(**other: object) -> dict[str, object]:
    base = {"fleet": "f", "device": "d", "id": "1", "name": "status", "expires": 10.0}
    return base | other


def opened(by: Trust, body: dict[str, object], purpose: str = documents.COMMAND) -> dict[str, object]:
    return by.opened(body, purpose, bodies.COMMAND)


def test_what_a_believed_key_signed_is_opened() -> None:
    assert opened(trust(A, B), signed(command(), documents.COMMAND, [B])) == command()


@pytest.mark.parametrize(
    ("by", "body", "purpose"),
    [
        (trust(A), signed(command(), documents.COMMAND, [B]), documents.COMMAND),
        (trust(A), signed(command(), documents.COMMAND, []), documents.COMMAND),
        (trust(A), signed(command(), documents.DESIRED, [A]), documents.COMMAND),
        (trust(A, B, threshold=2), signed(command(), documents.COMMAND, [A, A]), documents.COMMAND),
        (trust(A), signed(command(fleet="other"), documents.COMMAND, [A]), documents.COMMAND),
        (trust(A), signed(command(expires="soon"), documents.COMMAND, [A]), documents.COMMAND),
    ],
    ids=["another key", "no key", "another purpose", "one key twice", "another fleet", "wrong type"],
)
def test_anything_else_is_refused(by: Trust, body: dict[str, object], purpose: str) -> None:
    with pytest.raises(PeerError):
        opened(by, body, purpose)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_bit_of_the_document_or_its_signature_can_change(position: int, flip: int) -> None:
    body = signed(command(), documents.COMMAND, [A])
    doc, signature = bytearray(body["doc"]), bytearray(body["signatures"][0]["signature"])
    target = doc if position % 2 else signature
    target[position % len(target)] ^= flip
    changed = {"doc": bytes(doc), "signatures": [{"key": A.public.raw, "signature": bytes(signature)}]}
    with pytest.raises(PeerError):
        opened(trust(A), changed)


def rotation(
    version: int, keys: list[signatures.SecretKey], by: list[signatures.SecretKey], threshold: int = 1
):
    document = {
        "fleet": "f",
        "version": version,
        "keys": [k.public.raw.hex() for k in keys],
        "threshold": threshold,
    }
    return signed(document, documents.KEYS, by)


def test_rotations_are_followed_one_by_one_and_never_back() -> None:
    chain = [rotation(1, [B], [A]), rotation(2, [C, B], [B], threshold=2)]
    body = signed(command(), documents.COMMAND, [B, C], chain)
    after = trust(A).rotated(body)
    assert (after.version, after.threshold) == (2, 2)
    assert opened(after, body) == command()
    assert after.rotated(signed(command(), documents.COMMAND, [A], [rotation(1, [A], [A])])) == after
    with pytest.raises(PeerError):
        opened(after, signed(command(), documents.COMMAND, [A]))


def test_a_rotation_by_strangers_is_refused() -> None:
    with pytest.raises(PeerError):
        trust(A).rotated(signed(command(), documents.COMMAND, [B], [rotation(1, [B], [B])]))
    with pytest.raises(PeerError):
        trust(A).rotated(signed(command(), documents.COMMAND, [A], [rotation(1, [B], [A], threshold=2)]))


def test_trust_survives_being_kept() -> None:
    by = trust(A, B, threshold=2)
    assert Trust.of_state("f", by.state()) == by
    with pytest.raises(ConfigError):
        trust(A, threshold=2)


@given(st.binary(min_size=1, max_size=1000), st.integers(1, 200))
def test_a_cut_file_is_put_together_from_its_blocks(data: bytes, size: int) -> None:
    cut = blocks.cut("0" * 64, "m", data, block=size)
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    assert len(parts) == len(cut.blocks)
    assert all(cut.fits(i, part) and len(part) == cut.length(i) for i, part in enumerate(parts))
    assert not cut.fits(0, data + b"x")
    assert not cut.fits(len(parts), b"")
    assert blocks.of_entry("0" * 64, cut.entry()) == cut


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"name": "m", "size": 10, "block": 4, "blocks": ["a"]},
        {"name": "m", "size": 2**40, "block": 2**17, "blocks": []},
        {"name": "m", "size": 10, "block": 0, "blocks": []},
    ],
)
def test_an_entry_that_cannot_be_is_refused(entry: dict[str, object]) -> None:
    with pytest.raises(PeerError):
        blocks.of_entry("0" * 64, entry)


def raw(text: bytes, purpose: str) -> dict[str, object]:
    """Sign what is no document."""
    body = signed({}, purpose, [])
    signature = A.sign(purpose.encode() + b"\0" + text)
    return body | {"doc": text, "signatures": [{"key": A.public.raw, "signature": signature}]}


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"{", "not JSON"), (b"[" * 100_000, "not JSON"), (b"[]", "is list"), (b"{}", "fleet is missing")],
)
def test_what_a_believed_key_signed_must_still_be_a_document(text: bytes, said: str) -> None:
    with pytest.raises(PeerError, match=said):
        opened(trust(A), raw(text, documents.COMMAND))


def test_a_signature_of_another_form_is_refused() -> None:
    body = signed(command(), documents.COMMAND, [A]) | {"signatures": [{"key": "text"}]}
    with pytest.raises(PeerError, match=r"signatures.0.key is str, expected bytes"):
        opened(trust(A), body)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"keys": ["no hex"]}, "not hex"),
        ({"keys": [7]}, "keys.0 is int, expected str"),
        ({"keys": ["00"]}, "1 bytes, expected 32"),
        ({"keys": [B.public.raw.hex()], "threshold": 2}, "threshold 2 of 1"),
        ({"keys": [B.public.raw.hex()], "threshold": 0}, "threshold 0 of 1"),
        ({"version": "2"}, "version is str"),
    ],
)
def test_a_rotation_to_keys_that_cannot_be_is_refused(keys: dict[str, object], said: str) -> None:
    new = {"fleet": "f", "version": 1, "keys": [B.public.raw.hex()], "threshold": 1} | keys
    body = signed(command(), documents.COMMAND, [A], [signed(new, documents.KEYS, [A])])
    with pytest.raises(PeerError, match=said):
        trust(A).rotated(body)


@pytest.mark.parametrize(
    "rotation", [3, {"doc": b"{", "signatures": []}, {"doc": b"[]", "signatures": []}, {}]
)
def test_a_rotation_of_another_form_is_refused(rotation: object) -> None:
    with pytest.raises(PeerError, match=r"rotations(: |\.0)"):
        trust(A).rotated(signed(command(), documents.COMMAND, [A]) | {"rotations": [rotation]})
