"""Populations are added, changed and removed while the daemon runs, or refused without any change."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edge_agent.config.records import Config, DeviceConfig, PopulationConfig
from edge_agent.config.reload import Changes, changes
from edge_agent.errors import BudgetError, ConfigError

Make = Callable[..., Any]


def test_a_population_added_at_run_time_works_and_its_bytes_come_back(
    make_house: Make, prepare_rooms: Make
) -> None:
    house = make_house()
    house.start()
    used = house.populations.arena.used
    config = replace(house.config.population[0], name="halls", agents="hall-{index}")
    house.populations.change([prepare_rooms(config)], [])
    house.settle()
    house.say("z/hall-2", b'{"co2": 1200}')
    assert house.sent("z/hall-2/set") == [b'{"fan": "high"}']
    house.populations.change([], ["halls"])
    house.settle()
    assert house.sent("z/hall-2/set")[-1] == b'{"fan": "low"}'
    assert house.populations.arena.used == used
    assert list(house.status.status()["populations"]) == ["rooms"]


def test_what_does_not_fit_is_refused_and_nothing_changed(make_house: Make, prepare_rooms: Make) -> None:
    house = make_house()
    house.start()
    regions = house.populations.arena.regions
    config = replace(house.config.population[0], name="halls", size=30_000)
    with pytest.raises(BudgetError) as caught:
        house.populations.change([prepare_rooms(config)], [])
    assert caught.value.missing > 0
    assert house.populations.arena.regions == regions
    with pytest.raises(BudgetError):
        house.populations.change([prepare_rooms(replace(config, name="rooms"))], ["rooms"])
    assert house.populations.arena.regions == regions
    house.say("z/room-1", b'{"co2": 1200}')
    assert house.sent("z/room-1/set") == [b'{"fan": "high"}']


def test_a_shadow_sees_everything_does_nothing_and_can_take_over_and_give_back(
    make_house: Make, prepare_rooms: Make
) -> None:
    house = make_house()
    house.start()
    house.populations.stage(prepare_rooms(house.config.population[0], digest="newer"))
    house.say("z/room-1", b'{"co2": 1200}')
    assert house.sent("z/room-1/set") == [b'{"fan": "high"}']
    shadow = house.status.status()["populations"]["rooms"]["shadow"]
    assert shadow == {"bundle": "newer", "steps": 1, "agreed": 1}
    house.populations.exchange("rooms")
    assert house.status.status()["populations"]["rooms"]["bundle"] == "newer"
    house.populations.exchange("rooms")
    assert house.status.status()["populations"]["rooms"]["bundle"] == "digest"
    house.populations.exchange("rooms")
    house.populations.drop("rooms")
    house.after(1.0)
    house.say("z/room-1", b'{"co2": 1}')
    assert house.sent("z/room-1/set")[-1] == b'{"fan": "off"}'
    assert len(house.populations.arena.regions) == 3


def test_mistakes_are_named(make_house: Make, prepare_rooms: Make) -> None:
    house = make_house()
    rooms = house.config.population[0]
    with pytest.raises(ConfigError, match="of that name already"):
        house.populations.change([prepare_rooms(rooms)], [])
    with pytest.raises(ConfigError, match="found 'halls', expected one of rooms"):
        house.populations.stage(prepare_rooms(replace(rooms, name="halls")))
    with pytest.raises(ConfigError, match="size, modalities or controls differ"):
        house.populations.stage(prepare_rooms(replace(rooms, size=4)))
    with pytest.raises(ConfigError, match="no shadow"):
        house.populations.exchange("rooms")
    house.populations.stage(prepare_rooms(rooms))
    with pytest.raises(ConfigError, match="a shadow already"):
        house.populations.stage(prepare_rooms(rooms))


def test_topics_that_nobody_wants_any_more_are_given_up(make_house: Make, prepare_rooms: Make) -> None:
    house = make_house()
    house.start()
    rooms = house.config.population[0]
    halls = replace(rooms, name="halls", agents="room-{index}", bulk=True, act=())
    house.populations.change([prepare_rooms(halls)], [])
    house.settle()
    house.populations.change([], ["halls"])
    house.settle()
    house.say(house.topics.bulk_in("halls"), b"")
    assert house.status.status()["unknown_topics"] == 0
    house.say("z/room-1", b'{"co2": 1200}')  # both wanted it, one still does
    assert house.sent("z/room-1/set") == [b'{"fan": "high"}']
    house.populations.change([prepare_rooms(replace(rooms, agents="hall-{index}"))], ["rooms"])
    house.settle()
    house.say("z/room-1", b'{"co2": 1200}')
    assert house.status.status()["unknown_topics"] == 0
    house.say("z/hall-1", b'{"co2": 1200}')
    assert house.sent("z/hall-1/set") == [b'{"fan": "high"}']


def test_what_was_given_up_during_an_outage_does_not_come_back(make_house: Make) -> None:
    house = make_house()
    house.start()
    house.broker.stop()
    house.settle()
    house.populations.change([], ["rooms"])
    house.broker.start()
    house.after(30.0)
    assert house.link.online
    house.say("z/room-1", b'{"co2": 1200}')
    assert house.status.status()["unknown_topics"] == 0


def test_several_changes_are_all_made_or_none(make_house: Make, prepare_rooms: Make) -> None:
    house = make_house()
    house.start()
    house.say("z/room-1", b'{"co2": 1200}')
    rooms = house.config.population[0]
    regions = house.populations.arena.regions
    new = replace(rooms, name="halls", agents="hall-{index}")
    huge = replace(rooms, name="fields", size=30_000)
    with pytest.raises(BudgetError):
        house.populations.change([prepare_rooms(new), prepare_rooms(huge)], ["rooms"])
    assert house.populations.arena.regions == regions
    assert list(house.populations.groups) == ["rooms"]
    with pytest.raises(ConfigError, match="found 'yards'"):
        house.populations.change([prepare_rooms(new)], ["yards"])
    assert list(house.populations.groups) == ["rooms"]


def test_a_changed_topic_keeps_beliefs_and_counters(make_house: Make, prepare_rooms: Make) -> None:
    house = make_house()
    house.start()
    house.say("z/room-1", b'{"co2": 1200}')
    rooms = house.config.population[0]
    moved = tuple(replace(entry, topic="y/{agent}") for entry in rooms.observe)
    house.populations.change([prepare_rooms(replace(rooms, observe=moved))], ["rooms"])
    house.settle()
    group = house.populations.groups["rooms"]
    assert group.counters.steps == 1
    assert group.model_port.actions.tolist() == [[0], [2], [0]]
    house.say("y/room-0", b'{"co2": 700}')
    assert house.sent("z/room-0/set")[-1] == b'{"fan": "low"}'
    assert len(house.populations.arena.regions) == 3


def test_the_difference_of_two_configurations() -> None:
    rooms = PopulationConfig(name="rooms", bundle="a.eab", size=2)
    halls = PopulationConfig(name="halls", bundle="b.eab", size=2)
    old = Config(device=DeviceConfig(name="d"), population=(rooms, halls))
    new = Config(
        device=DeviceConfig(name="d", telemetry_s=1.0),
        population=(replace(rooms, rate_hz=3.0), PopulationConfig(name="yards", bundle="c.eab", size=1)),
    )
    assert changes(old, old) == Changes((), (), ())
    assert changes(old, new) == Changes((0, 1), ("rooms", "halls"), ("device",))
