"""Agents in Home Assistant: what is announced of them, what their states say, and how often."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.config.records import HomeAssistantConfig
from edge_agent.wire import discovery
from edge_agent.wire.agent_discovery import REFRESH_S
from edge_agent.wire.topics import DeviceTopics
from tests.unit.runtime.test_home_assistant import Home

TOPICS = DeviceTopics("home", "dev")
CONFIG = discovery.topic("ha", TOPICS)
SHOWN = HomeAssistantConfig(agents=2, interval_s=5.0, override_s=600.0)
LOW, HIGH = b'{"co2": 700}', b'{"co2": 1500}'


def extend(builder: DaemonBuilder) -> None:
    builder.show_home_assistant("ha", 10.0, None)


@pytest.fixture
def house(make_house: Callable[..., Any]) -> Any:
    made = make_house(extend=extend, home_assistant=SHOWN)
    made.start()
    made.after(40.0)  # the repetitions after the announcement are over
    return made


def states(house: Any, index: int) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in house.sent(TOPICS.agent_state("rooms", index))]


def components(house: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(house.sent(CONFIG)[-1])["components"]
    return {id_: entry for id_, entry in found.items() if len(id_.split(":")) > 4}


def test_the_first_agents_are_announced_and_no_others(house: Any) -> None:
    names = [entry["name"] for entry in components(house).values()]
    assert names == ["room-0 fan", "room-0 fan override", "room-1 fan", "room-1 fan override"]
    assert states(house, 1)
    assert not states(house, 2)


def test_a_population_without_the_section_is_shown_as_before(make_house: Callable[..., Any]) -> None:
    house = make_house(extend=extend)
    house.start()
    house.say("z/room-0", LOW)
    house.after(30.0)
    assert not components(house)
    assert not states(house, 0)
    assert house.status.status()["overrides"] is None


def test_a_decision_is_shown_with_what_was_sent(house: Any) -> None:
    assert states(house, 0)[-1] == {
        "decision": {"fan": None},
        "sent": {"fan": "low (safe)"},
        "override": {"fan": "auto"},
        "until": {"fan": None},
    }
    house.say("z/room-0", HIGH)
    house.after(2.0)
    last = states(house, 0)[-1]
    assert (last["decision"], last["sent"]) == ({"fan": "high"}, {"fan": "high"})
    house.after(70.0)  # stale: it is held safe, its decision stands
    last = states(house, 0)[-1]
    assert (last["decision"], last["sent"]) == ({"fan": "high"}, {"fan": "low (safe)"})


def test_an_override_is_shown_at_once_and_its_end(house: Any) -> None:
    house.say("z/room-0", LOW)
    house.after(1.5)
    before = len(states(house, 0))
    body = b'{"agent": "room-0", "control": "fan", "value": "high", "seconds": 30}'
    house.broker.publish(TOPICS.override("rooms"), body, qos=1)
    house.after(1.5)
    last = states(house, 0)[-1]
    assert len(states(house, 0)) == before + 1
    assert (last["decision"], last["sent"]) == ({"fan": "low"}, {"fan": "high"})
    assert (last["override"], last["until"]["fan"][:2]) == ({"fan": "high"}, "20")
    house.after(30.0)
    assert states(house, 0)[-1]["override"] == {"fan": "auto"}
    assert states(house, 0)[-1]["until"] == {"fan": None}


def test_changes_are_published_at_most_once_per_interval_and_the_last_one_always(house: Any) -> None:
    before = len(states(house, 0))
    for _ in range(20):
        house.say("z/room-0", LOW)
        house.after(0.7)
        house.say("z/room-0", HIGH)
        house.after(0.6)
    house.after(5.0)
    assert 3 <= len(states(house, 0)) - before <= 7  # in 31 s
    assert states(house, 0)[-1]["decision"] == {"fan": "high"}


def test_overrides_by_the_dozen_do_not_make_states_by_the_dozen(house: Any) -> None:
    before = len(states(house, 0))
    for number in range(100):
        value = ("high", "off")[number % 2]
        body = json.dumps({"agent": "room-0", "control": "fan", "value": value}).encode()
        house.broker.publish(TOPICS.override("rooms"), body, qos=1)
        house.after(0.1)
    assert len(states(house, 0)) - before <= 12  # in 10 s


def test_without_changes_a_state_is_repeated_once_in_a_while(house: Any) -> None:
    before = len(states(house, 0))
    house.after(10 * REFRESH_S)
    assert 9 <= len(states(house, 0)) - before <= 10


def test_nothing_is_lost_while_home_assistant_subscribes(home: Home) -> None:
    home.start()
    home.after(15.0)
    group = home.house.group
    home.house.populations.change([home._prepare(replace(group.config, home_assistant=SHOWN))], ["rooms"])
    home.after(12.0)
    assert not home.home_assistant.unavailable()
    ids = agent_ids("rooms", "room-0") | agent_ids("rooms", "room-1")
    assert home.home_assistant.registry == home.ids("rooms") | ids


def test_agents_that_are_no_longer_shown_are_removed_also_after_a_restart(home: Home) -> None:
    home.start()
    home.after(15.0)
    config = home.house.group.config
    shown = replace(config, home_assistant=SHOWN)
    home.house.populations.change([home._prepare(shown)], ["rooms"])
    home.after(15.0)
    fewer = replace(shown, home_assistant=replace(SHOWN, agents=1, override_s=0.0))
    home.house.populations.change([home._prepare(fewer)], ["rooms"])
    home.after(15.0)
    left = {id_ for id_ in agent_ids("rooms", "room-0") if "override" not in id_}
    assert home.home_assistant.registry == home.ids("rooms") | left
    home.stop()
    home.home_assistant.restart()
    home.start()
    home.after(30.0)
    assert home.home_assistant.registry == home.ids("rooms")
    assert not home.home_assistant.problems


def test_a_record_of_an_older_version_is_understood(home: Home) -> None:
    home.folder.files["home-assistant.json"] = json.dumps(
        {"topic": CONFIG, "populations": ["rooms", "halls"], "stale": []}
    ).encode()
    home.home_assistant.registry = home.ids("rooms", "halls")
    home.start()
    home.after(20.0)
    assert home.home_assistant.registry == home.ids("rooms")


def test_more_agents_than_an_announcement_holds_are_not_all_shown(
    make_house: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    house = make_house(size=400, extend=extend, home_assistant=replace(SHOWN, agents=400))
    house.start()
    house.after(5.0)
    assert 150_000 < len(house.sent(CONFIG)[-1]) < 200_000
    assert "population rooms: shows the first" in caplog.text
    shown = sum(bool(states(house, index)) for index in range(400))
    assert 2 * shown == len(components(house))


def test_another_interval_takes_effect_though_the_announcement_is_the_same(
    house: Any, prepare_rooms: Any
) -> None:
    slow = replace(house.group.config, home_assistant=replace(SHOWN, interval_s=20.0))
    house.populations.change([prepare_rooms(slow)], ["rooms"])
    house.after(40.0)
    before = len(states(house, 0))
    for _ in range(50):
        house.say("z/room-0", LOW)
        house.after(0.7)
        house.say("z/room-0", HIGH)
        house.after(0.6)
    assert 2 <= len(states(house, 0)) - before <= 4  # in 65 s


def test_what_the_one_before_decided_is_not_shown_of_a_population(house: Any, prepare_rooms: Any) -> None:
    house.say("z/room-0", HIGH)
    house.after(6.0)
    assert states(house, 0)[-1]["decision"] == {"fan": "high"}
    house.populations.change([prepare_rooms(replace(house.group.config, history_kb=1))], ["rooms"])
    house.after(6.0)
    assert states(house, 0)[-1]["decision"] == {"fan": None}


def agent_ids(population: str, agent: str) -> set[str]:
    base = f"home:dev:{population}"
    return {f"{base}:{kind}:{agent}" for kind in ("decision0", "override0")}


@pytest.fixture
def home(make_house: Callable[..., Any], prepare_rooms: Callable[..., Any]) -> Home:
    return Home(make_house, prepare_rooms)
