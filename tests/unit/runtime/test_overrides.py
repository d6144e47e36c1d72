"""A user's value replaces an agent's decision for a time: what is sent, what the model is told, and when it
ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.config.records import ActConfig, HomeAssistantConfig
from edge_agent.errors import PlatformError
from edge_agent.runtime.population.overrides import NAME, SAVE_S
from edge_agent.runtime.population.suspension import SuspendReason
from edge_agent.runtime.recording.recorder import RecordingFile, frames
from edge_agent.testing.clock import ManualClock

TOPIC = "edge/v1/home/dev/in/rooms/override"
SET = "z/room-1/set"
FAN = ActConfig(control="fan", topic="z/{agent}/set", dwell_s=120.0)
SAFE = replace(FAN, safe="low")
OFF, LOW, HIGH = b'{"co2": 500}', b'{"co2": 700}', b'{"co2": 1500}'


class Store:
    """A state directory in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.writes = 0
        self.full = False

    def save(self, name: str, data: bytes) -> None:
        if self.full:
            raise PlatformError(f"{name}: No space left on device")
        self.files[name] = data
        self.writes += name == NAME

    def load(self, name: str) -> bytes | None:
        return self.files.get(name)


class Frames(RecordingFile):
    """A recording in memory."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def rotate(self) -> None:
        self.data = b""

    def close(self) -> None:
        pass

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [entry for entry in frames(self.data) if entry["kind"] == kind]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def house(make_house: Callable[..., Any], store: Store) -> Any:
    made = begin(make_house, store)
    made.after(2.0)
    return made


@pytest.fixture
def safe_house(make_house: Callable[..., Any], store: Store) -> Any:
    """A house whose agents have a safe value, and one of them has decided."""
    made = begin(make_house, store, act=(SAFE,))
    made.say("z/room-1", OFF)
    return made


def begin(make_house: Callable[..., Any], store: Store, **more: Any) -> Any:
    def extend(builder: DaemonBuilder) -> None:
        builder.show_home_assistant("ha", 10.0, store)

    shown = HomeAssistantConfig(agents=2, override_s=600.0)
    options = {"extend": extend, "act": (FAN,), "home_assistant": shown, "recording_file": Frames()} | more
    made = make_house(max_recording_bytes=10_000_000, **options)
    made.recording = options["recording_file"]
    made.start()
    return made


def ask(house: Any, value: str, agent: str = "room-1", **more: Any) -> None:
    body = {"agent": agent, "control": "fan", "value": value} | more
    house.broker.publish(TOPIC, json.dumps(body).encode(), qos=1)
    house.settle()


def test_a_value_is_sent_at_once_and_the_model_is_told_that_it_was_executed(house: Any) -> None:
    house.say("z/room-1", LOW)
    ask(house, "high")  # within the dwell
    assert house.sent(SET) == [b"low", b"high"]
    assert house.model.executed[1] == [2]
    assert house.recording.of("act")[-1]["executed"] == b"\x02\x00"
    override = house.recording.of("override")[-1]
    assert (override["agent"], override["control"], override["value"]) == ("room-1", "fan", "high")
    assert override["until"] == pytest.approx(house.clock.time() + 600.0)


def test_decisions_during_an_override_are_not_sent_and_the_model_is_told_each_time(house: Any) -> None:
    ask(house, "high")
    house.model.executed.clear()
    house.say("z/room-1", LOW)
    house.after(130.0)
    house.say("z/room-1", OFF)
    house.after(1.0)
    assert house.sent(SET) == [b"high"]
    assert house.model.executed == {1: [2]}
    assert house.model.stepped[-1] == 1
    step = house.recording.of("step")[-1]
    assert step["actions"] == b"\x00\x00"  # what it chose
    assert house.recording.of("act")[-1]["executed"] == b"\x02\x00"


def test_the_others_go_on(house: Any) -> None:
    house.model.executed.clear()
    ask(house, "high")
    for _ in range(2):
        for agent in (0, 2):
            house.say(f"z/room-{agent}", LOW)
        house.after(1.0)
    assert house.sent("z/room-0/set") == house.sent("z/room-2/set") == [b"low"]
    assert set(house.model.executed) == {1}


@pytest.mark.parametrize("by", ["time", "auto"])
def test_at_its_end_the_agents_own_latest_decision_is_sent(house: Any, by: str) -> None:
    house.say("z/room-1", LOW)
    house.after(1.0)
    ask(house, "high", seconds=200)
    house.say("z/room-1", OFF)
    house.after(198.0)
    assert house.sent(SET) == [b"low", b"high"]
    if by == "auto":
        ask(house, "auto")
    else:
        house.after(2.0)
    assert house.sent(SET) == [b"low", b"high", b"off"]
    assert house.model.executed[1] == [0]
    assert house.recording.of("override")[-1]["value"] == ""
    house.after(130.0)
    house.say("z/room-1", HIGH)
    house.after(1.0)
    assert house.sent(SET)[-1] == b"high"  # it decides again
    assert house.status.status()["overrides"] == {"refused": 0, "active": []}


def test_an_agent_that_never_decided_sends_nothing_at_the_end(house: Any) -> None:
    ask(house, "high")
    ask(house, "auto")
    house.after(5.0)
    assert house.sent(SET) == [b"high"]


def test_a_newer_value_replaces_the_older(house: Any) -> None:
    house.say("z/room-1", LOW)
    ask(house, "high")
    ask(house, "off", seconds=5.0)
    house.after(6.0)
    assert house.sent(SET) == [b"low", b"high", b"off", b"low"]


def test_it_prevails_over_stale_observations(safe_house: Any) -> None:
    ask(safe_house, "high")
    safe_house.after(70.0)  # stale after 60
    assert safe_house.sent(SET) == [b"off", b"high"]
    assert safe_house.model.executed[1] == [2]
    ask(safe_house, "auto")
    assert safe_house.sent(SET) == [b"off", b"high", b"low"]  # the safe value
    assert safe_house.model.executed[1] == [1]


def test_a_suspended_population_is_safe_and_the_override_goes_on_afterwards(safe_house: Any) -> None:
    ask(safe_house, "high")
    safe_house.populations.suspend("rooms", SuspendReason.GOVERNOR)
    safe_house.settle()
    assert safe_house.sent(SET) == [b"off", b"high", b"low"]
    assert safe_house.model.executed[1] == [1]
    safe_house.after(5.0)
    assert safe_house.sent(SET) == [b"off", b"high", b"low"]
    safe_house.populations.resume("rooms", SuspendReason.GOVERNOR)
    safe_house.after(2.0)
    assert safe_house.sent(SET) == [b"off", b"high", b"low", b"high"]
    assert safe_house.model.executed[1] == [2]


@pytest.mark.parametrize("suspended_s", [1.3, 1.6])
def test_what_an_agent_decides_as_its_population_goes_on_is_not_sent(
    make_house: Any, store: Store, suspended_s: float
) -> None:
    house = begin(make_house, store, act=(replace(SAFE, dwell_s=0.0),))
    house.say("z/room-1", OFF)
    ask(house, "high")
    house.populations.suspend("rooms", SuspendReason.GOVERNOR)
    house.after(suspended_s)
    house.populations.resume("rooms", SuspendReason.GOVERNOR)
    house.say("z/room-1", OFF)
    house.after(2.0)
    assert house.sent(SET) == [b"off", b"high", b"low", b"high"]


def test_a_suspended_population_accepts_that_it_ends(safe_house: Any) -> None:
    ask(safe_house, "high")
    safe_house.populations.suspend("rooms", SuspendReason.GOVERNOR)
    ask(safe_house, "auto")
    assert not safe_house.status.status()["overrides"]["active"]
    safe_house.populations.resume("rooms", SuspendReason.GOVERNOR)
    safe_house.after(2.0)
    assert safe_house.sent(SET) == [b"off", b"high", b"low"]


def test_a_lent_population_has_none_until_it_is_back(house: Any) -> None:
    def shown() -> str:
        state = house.sent(house.topics.agent_state("rooms", 1))[-1]
        return str(json.loads(state)["override"]["fan"])

    ask(house, "high")
    house.after(6.0)
    assert shown() == "high"
    house.populations.suspend("rooms", SuspendReason.LOAN)
    house.after(6.0)
    assert (house.sent(SET), shown()) == ([b"high"], "auto")
    house.group.forget_sent()  # as loans do: what the borrower sent is not known here
    house.populations.resume("rooms", SuspendReason.LOAN)
    house.say("z/room-1", LOW)
    house.after(6.0)
    assert (house.sent(SET), shown()) == ([b"high", b"high"], "high")


def test_all_entries_of_a_control_are_overridden(make_house: Any, store: Store) -> None:
    lamp = replace(FAN, topic="z/{agent}/lamp")
    house = begin(make_house, store, act=(FAN, lamp))
    house.say("z/room-1", LOW)
    ask(house, "high")
    house.say("z/room-1", OFF)
    house.after(1.0)
    ask(house, "auto")
    assert house.sent(SET) == house.sent("z/room-1/lamp") == [b"low", b"high", b"off"]


def test_the_same_message_twice_is_one_command(house: Any) -> None:
    ask(house, "high")
    ask(house, "high")
    house.after(2.0)
    assert house.sent(SET) == [b"high"]
    assert len(house.status.status()["overrides"]["active"]) == 1


def test_one_that_needs_no_broker_ends_without_it(make_house: Any, store: Store) -> None:
    written: list[str] = []

    def write(_act: ActConfig, agent: str, _index: int, payload: str) -> bool:
        written.append(f"{agent} {payload}")
        return True

    house = begin(make_house, store, act=(replace(FAN, sink="file", path="x"),), sinks={"file": write})
    house.say("z/room-1", OFF)
    ask(house, "high", seconds=20)
    house.broker.stop()
    house.after(25.0)
    assert written == ["room-1 off", "room-1 high", "room-1 off"]


def test_the_end_of_the_daemon_is_safe(safe_house: Any) -> None:
    ask(safe_house, "high")
    safe_house.daemon.stop()
    safe_house.broker.run()
    assert safe_house.sent(SET) == [b"off", b"high", b"low"]


def test_it_is_sent_again_after_the_broker_was_away(house: Any) -> None:
    ask(house, "high")
    house.broker.stop()
    house.after(60.0)
    house.broker.start()
    house.after(120.0)
    assert house.sent(SET) == [b"high", b"high"]


def test_one_that_ends_while_the_broker_is_away_ends_at_the_thing_too(house: Any) -> None:
    house.say("z/room-1", OFF)
    ask(house, "high", seconds=20)
    house.broker.stop()
    house.after(60.0)
    assert house.daemon.run_once() > house.clock.monotonic()
    house.broker.start()
    house.after(120.0)
    assert house.sent(SET)[:2] == [b"off", b"high"]
    assert house.sent(SET)[-1] == b"off"
    assert not house.status.status()["overrides"]["active"]


def test_it_survives_a_kill_for_the_time_that_is_left(make_house: Any, store: Store) -> None:
    first = begin(make_house, store)
    ask(first, "high")
    first.after(SAVE_S + 1.0)
    left = ManualClock(start=5.0, epoch=first.clock.time() + 400.0)
    second = begin(make_house, store, clock=left)
    second.after(2.0)
    assert second.sent(SET) == [b"high"]
    second.say("z/room-1", LOW)
    second.after(150.0)
    assert second.sent(SET) == [b"high"]
    second.after(50.0)
    assert second.sent(SET) == [b"high", b"low"]


def test_its_time_may_be_over_at_the_next_start(make_house: Any, store: Store) -> None:
    first = begin(make_house, store)
    ask(first, "high")
    first.daemon.stop()
    later = ManualClock(start=5.0, epoch=first.clock.time() + 601.0)
    second = begin(make_house, store, clock=later)
    second.after(2.0)
    assert second.sent(SET) == []


def test_a_clock_that_was_set_back_does_not_make_it_longer_than_allowed(
    make_house: Any, store: Store
) -> None:
    first = begin(make_house, store)
    ask(first, "high")
    first.daemon.stop()
    second = begin(make_house, store, clock=ManualClock(start=5.0, epoch=1.0))
    second.say("z/room-1", OFF)
    second.after(601.0)
    assert not second.status.status()["overrides"]["active"]


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"overrides": 7}',
        b'{"overrides": [7]}',
        b'{"overrides": [{}]}',
        b"\xff",
    ],
)
def test_a_damaged_file_is_logged_and_ignored(
    make_house: Any, store: Store, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store.files[NAME] = data
    house = begin(make_house, store)
    ask(house, "high")
    assert house.sent(SET) == [b"high"]
    assert "override: overrides.json" in caplog.text


def test_a_disk_that_refuses_is_logged_and_the_override_holds(
    house: Any, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.full = True
    ask(house, "high")
    house.after(SAVE_S + 1.0)
    assert house.sent(SET) == [b"high"]
    assert "overrides.json: No space left on device" in caplog.text


def test_many_changes_are_few_writes(house: Any, store: Store) -> None:
    for _ in range(100):
        ask(house, "high")
        ask(house, "off")
        house.after(0.1)
    house.after(SAVE_S)
    assert 1 <= store.writes <= 4
    assert json.loads(store.files[NAME])["overrides"][0]["value"] == "off"


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        (b"high", "found b'high', expected JSON with agent, control and value"),
        (b"[]", "found b'[]', expected JSON"),
        (b"[" * 4000, "expected JSON"),
        (b"{" + b" " * 5000 + b"}", "found 5002 bytes, expected at most 4096"),
        (b"{}", "agent is missing"),
        (b'{"agent": 1, "control": "fan", "value": "high"}', "agent is int, expected str"),
        (
            b'{"agent": "x", "control": "fan", "value": "high"}',
            "agent: found 'x', expected one that is shown",
        ),
        (
            b'{"agent": "room-2", "control": "fan", "value": "off"}',
            "agent: found 'room-2', expected one that",
        ),
        (b'{"agent": "room-1", "control": "x", "value": "high"}', "control: found 'x', expected one of fan"),
        (
            b'{"agent": "room-1", "control": "fan", "value": "x\\n"}',
            r"value: found 'x\n', expected one of auto, off, low, high",
        ),
        (
            b'{"agent": "room-1", "control": "fan", "value": "high", "seconds": 601}',
            "seconds: found 601, expected more than 0, at most 600",
        ),
        (
            b'{"agent": "room-1", "control": "fan", "value": "high", "seconds": 0}',
            "seconds: found 0, expected more than 0",
        ),
        (b'{"agent": "room-1", "control": "fan", "value": "high", "seconds": NaN}', "seconds"),
        (b'{"agent": "room-1", "control": "fan", "value": "high", "seconds": "9"}', "seconds is str"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(
    house: Any, payload: bytes, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    house.broker.publish(TOPIC, payload, qos=1)
    house.settle()
    (record,) = [r for r in caplog.records if r.name == "edge_agent" and r.levelname == "WARNING"]
    assert record.getMessage().startswith(f"{TOPIC}: ")
    assert line in record.getMessage()
    assert "\n" not in record.getMessage()
    assert house.status.status()["overrides"] == {"refused": 1, "active": []}
    assert house.sent(SET) == []
    ask(house, "high")
    assert house.sent(SET) == [b"high"]


def test_a_retained_message_is_refused(
    make_house: Any, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    first = begin(make_house, store)
    body = json.dumps({"agent": "room-1", "control": "fan", "value": "high"}).encode()
    first.broker.publish(TOPIC, body, qos=1, retain=True)
    first.settle()
    assert first.sent(SET) == [b"high"]
    ask(first, "auto")
    sent = len(first.sent(SET))
    first.broker.stop()
    first.after(5.0)
    first.broker.start()
    first.after(60.0)
    assert len(first.sent(SET)) == sent
    assert f"{TOPIC}: found a retained message" in caplog.text


def test_without_a_time_overrides_are_refused(
    make_house: Any, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    house = begin(make_house, store, home_assistant=HomeAssistantConfig())
    ask(house, "high")
    assert house.sent(SET) == []
    assert "expected one with home_assistant.override_s above 0" in caplog.text


def test_a_suspended_population_takes_none(house: Any, caplog: pytest.LogCaptureFixture) -> None:
    house.populations.suspend("rooms", SuspendReason.GOVERNOR)
    ask(house, "high")
    assert "suspended (governor)" in caplog.text
    house.populations.resume("rooms", SuspendReason.GOVERNOR)
    house.after(5.0)
    assert b"high" not in house.sent(SET)


def test_a_population_that_is_changed_keeps_its_overrides(house: Any, prepare_rooms: Any) -> None:
    ask(house, "high")
    house.populations.change([prepare_rooms(replace(house.group.config, history_kb=1))], ["rooms"])
    house.say("z/room-1", LOW)
    house.after(4.0)
    assert set(house.sent(SET)) == {b"high"}
    assert house.populations.groups["rooms"].model_port.executed[1] == [2]


@pytest.mark.parametrize("change", [{"agents": "other-{index}"}, {"home_assistant": None}, {"act": ()}])
def test_an_override_of_what_is_gone_ends(
    house: Any, prepare_rooms: Any, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ask(house, "high")
    house.populations.change([prepare_rooms(replace(house.group.config, **change))], ["rooms"])
    house.after(2.0)
    assert not house.status.status()["overrides"]["active"]
    assert "override: rooms: room-1: fan ended" in caplog.text
