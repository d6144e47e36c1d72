"""Bodies of any msgpack or JSON content: plain data with valid known keys, or refused."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import PeerError
from edge_agent.wire import bodies, documents, messages, signatures
from edge_agent.wire.body_checks import MAX_DEPTH, Schema, check, check_plain
from edge_agent.wire.documents import Trust

SCHEMAS = {
    name: schema for name, schema in vars(bodies).items() if name.isupper() and isinstance(schema, dict)
}
HUB = signatures.SecretKey(bytes(range(32)), "hub")

numbers = st.integers(-(2**63), 2**64 - 1) | st.floats()
odd = st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4)) | st.builds(
    msgpack.Timestamp, st.integers(0, 2**40), st.integers(0, 10**9 - 1)
)
leaves = st.none() | st.booleans() | numbers | st.text(max_size=8) | st.binary(max_size=8) | odd
known = st.sampled_from(sorted({key for schema in SCHEMAS.values() for key in schema}))
keys = known | st.text(max_size=8) | st.binary(max_size=8) | st.integers(0, 9) | st.none()
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=30,
)


def plain(value: Any, depth: int = 1) -> bool:
    """Whether a value is what the rules say, written down a second time without a stack and paths."""
    if isinstance(value, dict):
        texts = all(isinstance(key, str) for key in value)
        return depth <= MAX_DEPTH and texts and all(plain(item, depth + 1) for item in value.values())
    if isinstance(value, list):
        return depth <= MAX_DEPTH and all(plain(item, depth + 1) for item in value)
    if isinstance(value, float):
        return abs(value) < float("inf")
    return value is None or isinstance(value, (bool, int, str, bytes))


@given(st.dictionaries(keys, anything, max_size=5))
def test_what_is_let_in_is_plain_and_nothing_else_is_kept_out(body: dict[Any, Any]) -> None:
    payload = msgpack.packb({"v": 1, "body": body})
    if plain(body):
        assert messages.decode(payload).body == body
        json.dumps(body, default=bytes.hex, allow_nan=False).encode("utf-8")
    else:
        with pytest.raises(PeerError):
            messages.decode(payload)


def of(field: bodies.BodyField) -> st.SearchStrategy[Any]:
    """Return values of a field's kind, in and out of its bounds, and sometimes of another."""
    kinds: dict[type, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(-(2**63), 2**64 - 1),
        float: numbers,
        str: st.text(max_size=8),
        bytes: st.binary(max_size=8),
        list: st.lists(of(field.each) if field.each else anything, max_size=3),
        dict: st.dictionaries(st.text(max_size=4), of(field.each) if field.each else anything, max_size=3),
    }
    right = like(field.inside) if field.inside is not None else kinds[field.kind]
    return st.one_of(right, right, right, anything)


def like(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    """Return maps with the keys of a schema."""
    return st.fixed_dictionaries({}, optional={key: of(field) for key, field in schema.items()})


@pytest.mark.parametrize("name", SCHEMAS)
@given(data=st.data())
def test_a_body_that_passes_has_known_keys_of_their_type_and_range_at_every_level(
    name: str, data: st.DataObject
) -> None:
    body = data.draw(like(SCHEMAS[name]))
    with contextlib.suppress(PeerError):
        check(SCHEMAS[name], body, "body")
        holds(SCHEMAS[name], body)


def holds(schema: Schema, body: Any) -> None:
    for key, field in schema.items():
        if field.required:
            assert key in body
        if key in body:
            value = body[key]
            assert isinstance(value, (int, float) if field.kind is float else field.kind)
            size = value if isinstance(value, (int, float)) else len(value)
            assert field.least <= size <= field.most or field.least == -float("inf")
            if field.inside is not None:
                holds(field.inside, value)
            for item in (value.values() if isinstance(value, dict) else value) if field.each else ():
                assert isinstance(item, (int, float) if field.each.kind is float else field.each.kind)


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, 1010])
def test_levels_are_bounded(depth: int) -> None:
    payload = b"\x82\xa1v\x01\xa4body" + b"\x81\xa1a" * (depth - 1) + b"\x80"
    if depth <= MAX_DEPTH:
        assert messages.decode(payload).body
    else:
        with pytest.raises(PeerError, match=f"more than {MAX_DEPTH} levels"):
            messages.decode(payload)


@pytest.mark.parametrize(
    ("schema", "body", "said"),
    [
        ("TELEMETRY", {"populations": {"rooms": 3}}, "populations.rooms is int, expected dict"),
        (
            "TELEMETRY",
            {"populations": {"rooms": {"tick": "x"}}},
            "populations.rooms.tick is str, expected float",
        ),
        ("TELEMETRY", {"skipped": [[1]]}, "skipped.0: found 1 long, expected 2 to 2"),
        ("TELEMETRY", {"skipped": [[1, -1]]}, "skipped.0.1: found -1, expected 0 to"),
        ("REPORTED", {"version": 1, "populations": {"air": 7}}, "populations.air is int, expected dict"),
        (
            "REPORTED",
            {"version": 1, "populations": {}, "rollouts": {"air": 5}},
            "rollouts.air is int, expected",
        ),
        (
            "REPORTED",
            {"version": 2**63, "populations": {}},
            "version: found 9223372036854775808, expected 0 to",
        ),
        ("FETCH", {"bundle": "b", "blocks": [2**63]}, "blocks.0: found 9223372036854775808, expected 0 to"),
        (
            "BIRTH",
            {"online": True, "populations": {"p": {"size": -1}}},
            "populations.p.size: found -1, expected",
        ),
    ],
)
def test_a_refusal_names_the_key_what_was_found_and_what_was_expected(
    schema: str, body: dict[str, Any], said: str
) -> None:
    with pytest.raises(PeerError) as refused:
        check(SCHEMAS[schema], body, "t")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "text", ['"\\ud800"', "1e400", "-Infinity", "NaN", str(2**64), "[" * 20 + "]" * 20, '{"\\udfff": 1}']
)
def test_a_signed_document_that_no_message_could_carry_is_refused(text: str) -> None:
    """What was saved could not be reported: the device would end at each start."""
    start = '{"fleet":"f","device":"d","version":1,"issued":1,"expires":2,"parameters":{"x":'
    doc = f"{start}{text}}}}}".encode("ascii")
    signature = HUB.sign(documents.DESIRED.encode() + b"\0" + doc)
    body = {"doc": doc, "signatures": [{"key": HUB.public.raw, "signature": signature}]}
    with pytest.raises(PeerError):
        Trust("f", (HUB.public.raw,)).opened(body, documents.DESIRED, bodies.DESIRED)


def test_the_place_is_named_and_the_line_stays_short() -> None:
    with pytest.raises(PeerError, match=r"^m: a\.b\.1\.c: found inf, which a message cannot carry$"):
        check_plain({"a": {"b": [1, {"c": float("inf")}]}}, "m")
    with pytest.raises(PeerError) as refused:
        check_plain({"x" * 10_000: 1}, "m")
    assert len(str(refused.value)) < 200


def test_a_message_of_long_keys_and_many_lists_costs_no_more_than_itself() -> None:
    body: Any = [[] for _ in range(100_000)]
    for _ in range(MAX_DEPTH - 3):
        body = {"x" * 256: body}
    tracemalloc.start()
    try:
        check_plain({"a": body}, "m")
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()
