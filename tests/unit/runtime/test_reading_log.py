"""What ``edge-agent record`` takes from messages is what the daemon takes, with the number before the bin."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import ActConfig, AvailabilityConfig, ObserveConfig, PopulationConfig
from edge_agent.engine.binding import Binding
from edge_agent.runtime.recording.command_values import command_value
from edge_agent.runtime.recording.reading_log import ReadingLog, names_only
from edge_agent.wire.messages import Message, encode
from edge_agent.wire.readings import Readings

META = {
    "modalities": [
        {"name": "co2", "unit": "ppm", "edges": [600, 1000]},
        {"name": "fan", "labels": ["off", "low"]},
    ],
    "controls": [{"name": "fan", "values": ["off", "low"]}],
}
CONFIG = PopulationConfig(
    name="rooms",
    bundle="rooms.eab",
    agents=("hall", "lab"),
    observe=(
        ObserveConfig(modality="co2", topic="z/{agent}", pointer="/co2", scale=1000.0),
        ObserveConfig(modality="fan", topic="z/{agent}", pointer="/fan"),
    ),
    act=(ActConfig(control="fan", topic="z/{agent}/set", template='{{"fan": "{value}"}}'),),
)


def log(**options: object) -> ReadingLog:
    binding = Binding(META, [3, 2], [2], "rooms.eab")
    return ReadingLog(CONFIG, binding, AgentNames.of(CONFIG), binned=True, **options)  # type: ignore[arg-type]


def entries(found: Readings) -> list[tuple[float, str, str, float, int]]:
    return [
        (t, found.agents[a], found.modalities[m].name, v, int(b))
        for t, a, m, v, b in zip(found.time, found.agent, found.modality, found.value, found.bin, strict=True)
    ]


def test_numbers_and_bins_of_a_message() -> None:
    one = log()
    assert one.filters() == ["z/hall", "z/lab", "z/hall/set", "z/lab/set"]
    one.message("z/hall", b'{"co2": 0.75, "fan": "low"}', 10.0)
    one.message("z/lab", b'{"co2": 2, "fan": "loud"}', 11.0)
    one.message("z/lab", b'{"co2": null}', 12.0)
    one.message("z/lab", b"\xff", 13.0)
    one.message("elsewhere", b'{"co2": 1}', 14.0)
    assert entries(one.readings()) == [
        (10.0, "hall", "co2", 750.0, 1),
        (10.0, "hall", "fan", 1.0, 1),
        (11.0, "lab", "co2", 2000.0, 2),
    ]
    assert one.counters.faults == {"not_a_number": 1, "no_such_key": 1, "not_json": 1}
    assert one.readings().modalities[1].labels == ("off", "low")


def test_commands_of_anybody_are_actions() -> None:
    one = log()
    one.message("z/lab/set", b'{"fan": "low"}', 1.0)
    one.message("z/hall/set", b'{ "transition": 2, "fan":"off" }', 2.0)
    one.message("z/hall/set", b'{"fan": "storm"}', 3.0)
    one.message("z/hall/set", b'{"lamp": "off"}', 4.0)
    found = one.readings()
    assert found.action_time.tolist() == [1.0, 2.0]
    assert [found.agents[a] for a in found.action_agent] == ["lab", "hall"]
    assert [found.controls[0].values[a] for a in found.action] == ["low", "off"]
    assert one.counters.faults == {"no_such_action": 2}


def test_without_a_model_texts_and_values_are_numbered_as_they_come() -> None:
    one = ReadingLog(CONFIG, names_only(CONFIG, "none"), AgentNames.of(CONFIG), binned=False)
    for text in ("low", "off", "low"):
        one.message("z/hall", b'{"co2": 0.5, "fan": "%s"}' % text.encode(), 1.0)
        one.message("z/hall/set", b'{"fan": "%s"}' % text.encode(), 2.0)
    found = one.readings()
    assert [value for _, _, name, value, _ in entries(found) if name == "fan"] == [0.0, 1.0, 0.0]
    assert found.modalities[1].labels == ("low", "off")
    assert (found.bin == -1).all()
    assert (found.controls[0].values, found.action.tolist()) == (("low", "off"), [0, 1, 0])


@pytest.mark.parametrize(
    ("stated", "time"),
    [
        ('"2026-01-01T01:00:00+01:00"', 1767225600.0),
        ("1767225600", 1767225600.0),
        ("1767225600500", 1767225600.5),
    ],
)
def test_the_time_in_a_payload_counts_where_it_is_asked_for(stated: str, time: float) -> None:
    one = log(time_pointer="/at")
    one.message("z/hall", b'{"co2": 1, "fan": "off", "at": %s}' % stated.encode(), 5.0)
    one.message("z/hall", b'{"co2": 1, "fan": "off", "at": "noon"}', 6.0)
    assert sorted({entry[0] for entry in entries(one.readings())}) == [6.0, time]
    assert one.counters.faults == {"no_time": 1}


def test_arrays_of_all_agents() -> None:
    one = log(bulk_in="in")
    values = np.array([[700.0, 1.0], [np.nan, 0.0]], "<f4")
    body = {"obs": values.tobytes(), "shape": [2, 2], "dtype": "float32"}
    one.message("in", encode(Message(body)), 3.0)
    bins = np.array([[2, -1], [0, 1]], "<i2")
    body = {"obs": bins.tobytes(), "shape": [2, 2], "dtype": "int16"}
    one.message("in", encode(Message(body)), 4.0)
    one.message("in", b"no message", 5.0)
    found = entries(one.readings())
    assert found[:3] == [
        (3.0, "hall", "co2", 700.0, 1),
        (3.0, "hall", "fan", 1.0, 1),
        (3.0, "lab", "fan", 0.0, 0),
    ]
    assert [(t, a, m, b) for t, a, m, _, b in found[3:]] == [
        (4.0, "hall", "co2", 2),
        (4.0, "lab", "co2", 0),
        (4.0, "lab", "fan", 1),
    ]
    assert all(math.isnan(value) for _, _, _, value, _ in found[3:])
    assert one.counters.faults == {"bad_array": 1}


def test_a_full_log_takes_no_more() -> None:
    one = log(limit=3)
    for time in range(3):
        one.message("z/hall", b'{"co2": 1, "fan": "off"}', float(time))
    assert one.full
    assert len(one.readings().time) == 3


@pytest.mark.parametrize(
    ("template", "payload", "value"),
    [
        ("{value}", "low", "low"),
        ("{value}", " 21.5 ", "21.5"),
        ("{action}", "2", "2"),
        ('{{"speed": {value}}}', '{"speed": 3}', "3"),
        ('{{"state": {value}}}', '{"state": true}', "true"),
        ('{{"a": {{"fan": ["{value}"]}}}}', '{"a": {"fan": ["low"]}}', "low"),
        ('{{"fan": "level {value}"}}', '{"fan": "level 2"}', "2"),
        ('{{"to": "{agent}", "fan": "{value}"}}', '{"to": "hall", "fan": "low"}', "low"),
        ('{{"to": "{agent}", "fan": "{value}"}}', '{"to": "lab", "fan": "low"}', None),
        ("fan={value};", "fan=low", None),
        ("{value:.1f}", "1.0", None),
        ('{{"fan": "{value}"}}', "low", None),
    ],
)
def test_the_value_in_a_command(template: str, payload: str, value: str | None) -> None:
    assert command_value(template, payload.encode(), "hall", 0) == value


THINGS = PopulationConfig(
    name="rooms",
    bundle="rooms.eab",
    agents=("hall",),
    observe=(
        ObserveConfig(
            modality="fan",
            topic="z/{agent}",
            pointer="/state",
            values={"OFF": "off", "ON": "low"},
            availability=(AvailabilityConfig(topic="z/{agent}/availability", pointer="/state"),),
        ),
    ),
    act=(
        ActConfig(
            control="fan",
            topic="z/{agent}/set",
            template='{{"state": "{value}"}}',
            values={"off": "OFF", "low": "ON"},
        ),
    ),
)


@pytest.mark.parametrize("binned", [True, False])
def test_words_of_things_are_the_models_and_offline_is_lost(binned: bool) -> None:
    binding = Binding(META, [3, 2], [2], "rooms.eab") if binned else names_only(THINGS, "none")
    one = ReadingLog(THINGS, binding, AgentNames.of(THINGS), binned=binned)
    one.message("z/hall", b'{"state": "ON"}', 1.0)
    one.message("z/hall/set", b'{"state": "ON"}', 2.0)
    one.message("z/hall/availability", b'{"state": "online"}', 3.0)
    one.message("z/hall/availability", b'{"state": "offline"}', 4.0)
    found = one.readings()
    first, lost = entries(found)
    assert first == (1.0, "hall", "fan", 1.0, 1 if binned else -1)
    assert found.modalities[found.modality[0]].labels == ("off", "low")
    assert (lost[0], lost[2], lost[4]) == (4.0, "fan", -1)
    assert math.isnan(lost[3])
    assert [found.controls[0].values[a] for a in found.action] == ["low"]
    assert one.counters.faults == {}
