"""Payloads become bins by pointer, unit and edges; whatever else a sensor sends is a counted fault."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import ObserveConfig
from edge_agent.engine.binding import Binding, Fault, Modality
from edge_agent.errors import ConfigError
from edge_agent.runtime.population.channels import (
    MAX_PAYLOAD,
    channels,
    parse,
    parse_array,
    parse_pointer,
    resolve,
)

META = {
    "modalities": [
        {"name": "co2", "unit": "ppm", "edges": [600, 1000]},
        {"name": "door", "labels": ["closed", "open"]},
    ],
    "controls": [{"name": "fan", "values": ["off", "on"]}],
}
BINDING = Binding(META, (3, 2), (2,), "office.eab")
NAMES = AgentNames("room-{index}", 3, "office")


def observe(modality: str, topic: str, pointer: str = "", **more: float) -> tuple[str, ObserveConfig]:
    return "observe[0]", ObserveConfig(modality=modality, topic=topic, pointer=pointer, **more)


@pytest.mark.parametrize(
    ("pointer", "found"),
    # RFC 6901 section 5
    [("", "all"), ("/foo", ["bar", "baz"]), ("/foo/0", "bar"), ("/", 0), ("/a~1b", 1), ("/m~0n", 8)],
)
def test_pointers_are_those_of_the_rfc(pointer: str, found: object) -> None:
    document = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "m~n": 8}
    assert resolve(document, parse_pointer(pointer)) == (document if found == "all" else found)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_bin_is_the_number_of_edges_at_or_below(reading: float) -> None:
    assert BINDING.modalities[0].encode(reading) == sum(edge <= reading for edge in (600, 1000))


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"NaN", Fault.NOT_A_NUMBER),
        (b"Infinity", Fault.NOT_A_NUMBER),
        (b'"much"', Fault.NOT_A_NUMBER),
        (b"true and false", Fault.NOT_A_NUMBER),
        (b"[1]", Fault.NOT_A_NUMBER),
        (b"{}", Fault.NOT_A_NUMBER),
        (b"\xff\xfe", Fault.NOT_JSON),
        (b"[" * 60_000, Fault.NOT_A_NUMBER),
        (b"9" * 5000, Fault.NOT_A_NUMBER),
        (b"1" * (MAX_PAYLOAD + 1), Fault.TOO_LONG),
    ],
)
def test_what_is_no_number_is_a_fault(payload: bytes, fault: Fault) -> None:
    (channel,) = channels([observe("co2", "t")], BINDING, NAMES, "office")
    document = parse(payload)
    assert (document if isinstance(document, Fault) else channel.fields[0].read(document)) is fault


@given(st.binary(max_size=200))
def test_no_payload_raises(payload: bytes) -> None:
    for field in channels([observe("co2", "t", "/a/b")], BINDING, NAMES, "office")[0].fields:
        code = field.read(parse(payload))
        assert code is None or isinstance(code, Fault) or 0 <= code < 3


@pytest.mark.parametrize("payload", [b"null", b'{"a": null}', b'{"a": {"b": null}}'])
def test_null_is_not_observed(payload: bytes) -> None:
    (channel,) = channels([observe("co2", "t", "/a/b")], BINDING, NAMES, "office")
    assert channel.fields[0].read(parse(payload)) is None


def test_several_modalities_come_from_one_message() -> None:
    (channel,) = channels(
        [observe("co2", "z/{agent}", "/co2"), observe("door", "z/{agent}", "/contact")],
        BINDING,
        NAMES,
        "office",
    )
    document = parse(json.dumps({"co2": 700, "contact": "open"}).encode())
    assert [(field.column, field.read(document)) for field in channel.fields] == [(0, 1), (1, 1)]
    assert channel.agents == {"z/room-0": 0, "z/room-1": 1, "z/room-2": 2}


def test_scale_and_offset_bring_a_reading_into_the_modality_s_unit() -> None:
    (channel,) = channels([observe("co2", "t", scale=1000.0, offset=100.0)], BINDING, NAMES, "office")
    assert channel.fields[0].read(0.5) == 1
    assert channel.fields[0].read(10**400) is Fault.OUT_OF_RANGE


def test_many_topics_are_asked_for_with_one_wildcard_and_few_by_name() -> None:
    many = channels([observe("co2", "z/{agent}/s")], BINDING, AgentNames("r{index}", 100, "o"), "o")[0]
    few = channels([observe("co2", "z/{agent}/s")], BINDING, NAMES, "office")[0]
    parts = channels([observe("co2", "z/x{agent}")], BINDING, AgentNames("r{index}", 100, "o"), "o")[0]
    assert many.filters() == ["z/+/s"]
    assert few.filters() == ["z/room-0/s", "z/room-1/s", "z/room-2/s"]
    assert len(parts.filters()) == 100


def test_a_modality_the_bundle_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(
        ConfigError, match=r"observe\[0\]: office.eab has no modality 'heat', expected one of"
    ):
        channels([observe("heat", "t")], BINDING, NAMES, "office")


def bulk(values: np.ndarray, dtype: str, shape: list[int] | None = None) -> dict[str, object]:
    return {"obs": values.tobytes(), "shape": shape or list(values.shape), "dtype": dtype}


@given(st.lists(st.tuples(st.floats(0, 2000, width=32), st.integers(-1, 1)), min_size=3, max_size=3))
def test_bulk_readings_fall_into_the_same_bins_as_single_ones(rows: list[tuple[float, int]]) -> None:
    values = np.array([[a, math.nan if b < 0 else b] for a, b in rows], np.float32)
    codes = parse_array(bulk(values, "float32"), BINDING.modalities, 3)
    assert isinstance(codes, np.ndarray)
    assert codes[:, 0].tolist() == [BINDING.modalities[0].encode(float(a)) for a in values[:, 0]]
    assert codes[:, 1].tolist() == [b for _, b in rows]


def test_bulk_bins_are_checked() -> None:
    modalities = BINDING.modalities
    good = np.array([[2, 1], [-1, 0], [0, -1]], np.int16)
    assert np.array_equal(parse_array(bulk(good, "int16"), modalities, 3), good)
    unsigned = np.array([[2, 1], [255, 0], [0, 255]], np.uint8)
    assert np.array_equal(parse_array(bulk(unsigned, "uint8"), modalities, 3), good)
    assert parse_array(bulk(good + 1, "int16"), modalities, 3) is Fault.OUT_OF_RANGE
    assert parse_array(bulk(good, "int16"), modalities, 4) is Fault.BAD_ARRAY
    assert parse_array(bulk(good, "int32"), modalities, 3) is Fault.BAD_ARRAY
    assert parse_array(bulk(good[:2], "int16", [3, 2]), modalities, 3) is Fault.BAD_ARRAY
    assert parse_array({}, modalities, 3) is Fault.BAD_ARRAY


def test_a_modality_without_edges_takes_the_bin_itself() -> None:
    plain = Modality("0", 4, "", (), ())
    assert [plain.encode(value) for value in (0, 3, 2.0, True, "1")] == [0, 3, 2, 1, 1]
    assert [plain.encode(value) for value in (4, -1, 1.5)] == [Fault.OUT_OF_RANGE] * 3


def plainly(payload: bytes) -> object:
    """What a payload says by the standard library's reader: JSON, else text."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        pass
    try:
        return payload.decode("utf-8").strip()
    except UnicodeDecodeError:
        return Fault.NOT_JSON


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
spaces = st.text(" \t\r\n", max_size=3)
pieces = st.sampled_from(
    ["ON", "21.5 °C", "-", "0", "007", "1e5", "NaN", "-Infinity", "nul", '"a', "{", "[1]x", "\v1"]
)
texts = st.one_of(
    documents.map(json.dumps), documents.map(lambda d: json.dumps(d, ensure_ascii=False)), pieces, st.text()
)


@given(spaces, texts, spaces, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"]))
def test_payloads_are_read_as_the_standard_library_reads_them(
    before: str, text: str, after: str, encoding: str
) -> None:
    payload = (before + text + after).encode(encoding, "surrogatepass")
    assert repr(parse(payload)) == repr(plainly(payload))


@given(st.binary(max_size=20))
def test_bytes_are_read_as_the_standard_library_reads_them(payload: bytes) -> None:
    assert repr(parse(payload)) == repr(plainly(payload))


@pytest.mark.parametrize("payload", [b"[" * 30_000, b'{"a":' * 10_000, b"9" * 5000, b"-" + b"1" * 5000, b""])
def test_what_is_deep_or_long_is_read_alike_too(payload: bytes) -> None:
    assert repr(parse(payload)) == repr(plainly(payload))
