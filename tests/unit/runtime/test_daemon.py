"""From a sensor's message to an actuator's, with a manual clock."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_agent import __version__
from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.config.profile import ThermalProfile
from edge_agent.config.records import ActConfig, ObserveConfig
from edge_agent.errors import ConfigError
from edge_agent.runtime.governor.governor import BoardReadings, Governor
from edge_agent.runtime.population.actuators import SAFE
from edge_agent.runtime.population.suspension import SuspendReason
from edge_agent.wire import bodies
from edge_agent.wire.messages import Message, decode, encode

MakeHouse = Callable[..., Any]


def governed(readings: Callable[[], BoardReadings]) -> Callable[[DaemonBuilder], None]:
    governor = Governor(ThermalProfile(warm_c=70.0, hot_c=78.0, limit_c=85.0), [5])
    return lambda builder: builder.govern(governor, readings)


def test_an_observation_becomes_an_action_of_its_agent_alone(make_house: MakeHouse) -> None:
    house = make_house()
    house.start()
    house.say("z/room-1", b'{"co2": 1200, "door": 1}')
    assert house.sent("z/room-1/set") == [b'{"fan": "high"}']
    assert house.sent("z/room-0/set") == []
    assert house.model.stepped == [1]
    status = house.status.status()["populations"]["rooms"]
    assert (status["steps"], status["actions"], status["observations"]) == (1, 1, 2)


def test_only_changes_are_published(make_house: MakeHouse) -> None:
    house = make_house()
    house.start()
    for reading in (700, 800, 1200, 1300):
        house.say("z/room-0", b'{"co2": %d}' % reading)
        house.after(0.2)
    assert house.sent("z/room-0/set") == [b'{"fan": "low"}', b'{"fan": "high"}']


def test_after_a_lost_connection_every_action_is_said_again(make_house: MakeHouse) -> None:
    house = make_house()
    house.start()
    house.say("z/room-0", b'{"co2": 1200}')
    house.broker.cut("dev")
    house.after(120.0)
    assert house.link.online
    house.say("z/room-0", b'{"co2": 1200}')
    assert house.sent("z/room-0/set")[-1] == b'{"fan": "high"}'
    assert house.sent("z/room-0/set").count(b'{"fan": "high"}') >= 2


def test_faults_are_counted_and_change_nothing(make_house: MakeHouse) -> None:
    house = make_house()
    house.start()
    for payload in (b'{"co2": "much"}', b'{"co2": NaN}', b"\xff", b"[" * 9999, b"x" * 100_000):
        house.say("z/room-0", payload)
        house.after(0.2)
    status = house.status.status()["populations"]["rooms"]
    assert status["faults"]["not_a_number"] >= 2
    assert status["faults"]["not_json"] == 1
    assert status["faults"]["too_long"] == 1
    assert status["steps"] == 0


def test_a_flooding_topic_costs_one_step_an_interval_and_starves_nobody(make_house: MakeHouse) -> None:
    house = make_house()
    house.start()
    for second in range(10):
        for number in range(1000):
            house.broker.publish("z/room-0", b'{"co2": %d}' % (number % 2000), qos=0)
        house.broker.publish("z/room-1", b'{"co2": %d}' % (1200 if second % 2 else 700), qos=0)
        house.after(1.0)
    assert len(house.sent("z/room-1/set")) == 10
    assert sum(house.model.stepped) <= 10 * 2 * 10
    assert house.link.coalesced >= 9000


def test_silence_leads_to_the_safe_action_once_and_back(make_house: MakeHouse) -> None:
    house = make_house()
    house.start()
    house.say("z/room-0", b'{"co2": 1200}')
    house.after(90.0)
    assert house.sent("z/room-0/set") == [b'{"fan": "high"}', b'{"fan": "low"}']
    house.say("z/room-0", b'{"co2": 1200}')
    assert house.sent("z/room-0/set")[-1] == b'{"fan": "high"}'


def test_at_a_rate_all_agents_step_with_the_values_that_hold(make_house: MakeHouse) -> None:
    house = make_house(step="rate", rate_hz=2.0)
    house.start()
    house.say("z/room-2", b'{"co2": 1200}')
    house.after(3.0)
    assert house.model.stepped == [3] * 6
    assert house.sent("z/room-2/set") == [b'{"fan": "high"}']
    assert house.status.status()["populations"]["rooms"]["missed"] == 0


def test_a_stepped_population_is_remembered(make_house: MakeHouse) -> None:
    house = make_house(step="rate", rate_hz=1.0)
    house.start()
    house.say("z/room-2", b'{"co2": 1200}')
    house.after(5.0)
    records = house.group.history.select(agent=2)
    assert records["tick"].tolist() == [1, 2, 3, 4, 5]
    assert records["observation"][:, 0].tolist() == [2] * 5
    assert records["action"][:, 0].tolist() == [2] * 5


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"ask": "weather"}, "ask: found 'weather', expected status, agents, history or log"),
        ({"ask": "history", "agent": "attic"}, "agent: found 'attic', expected one like 'room-0'"),
        (
            {"ask": "history", "agent": "room-1", "last": 0},
            "last: found 0, expected a number of records from 1",
        ),
        ({"ask": "history", "agent": "room-1", "last": True}, "last: found True"),
        ({"ask": "agents", "population": "halls"}, "population: found 'halls'"),
        ({"ask": "agents", "population": ["rooms"]}, "population: found ['rooms']"),
    ],
)
def test_a_question_that_makes_no_sense_is_answered_with_what_was_expected(
    make_house: MakeHouse, request_: dict[str, Any], message: str
) -> None:
    house = make_house(step="rate", rate_hz=1.0)
    house.start()
    with pytest.raises(ConfigError) as refused:
        house.status.answer(request_)
    assert message in str(refused.value)


def test_bulk_observations_become_bulk_actions(make_house: MakeHouse) -> None:
    house = make_house(step="rate", rate_hz=1.0, bulk=True, observe=(), act=())
    house.start()
    codes = np.array([[0, 0], [1, 0], [2, 1]], np.int16)
    body = {"obs": codes.tobytes(), "shape": [3, 2], "dtype": "int16"}
    house.say(house.topics.bulk_in("rooms"), encode(Message(body)))
    house.after(1.0)
    answer = decode(house.sent(house.topics.bulk_out("rooms"))[-1]).body
    assert np.frombuffer(answer["act"], "<i2").tolist() == [0, 1, 2]
    assert answer["shape"] == [3, 1]
    house.say(house.topics.bulk_in("rooms"), b"nonsense")
    assert house.status.status()["populations"]["rooms"]["faults"] == {"bad_array": 1}


def test_a_sensor_topic_called_like_a_bulk_population_carries_readings(make_house: MakeHouse) -> None:
    co2 = ObserveConfig(modality="co2", topic="rooms", pointer="/co2")
    house = make_house(step="rate", rate_hz=1.0, bulk=True, observe=(co2,), act=())
    house.start()
    house.say("rooms", b'{"co2": 1200}')
    house.after(1.0)
    population = house.status.status()["populations"]["rooms"]
    assert population["faults"] == {}
    assert population["observations"] == 3


def test_birth_and_will(make_house: MakeHouse) -> None:
    house = make_house()
    house.start()
    birth = decode(house.broker.retained[house.topics.birth].payload).body
    bodies.check(bodies.BIRTH, birth, "birth")
    assert birth["online"] is True
    assert (birth["device"], birth["profile"], birth["version"]) == ("dev", "generic", __version__)
    assert birth["populations"] == {"rooms": {"bundle": "digest", "size": 3}}
    assert birth["rss"] == 123
    house.broker.cut("dev")
    house.broker.run()
    assert decode(house.broker.retained[house.topics.birth].payload).body["online"] is False


def test_without_a_broker_the_daemon_steps_on_and_says_so(make_house: MakeHouse) -> None:
    house = make_house(step="rate", rate_hz=1.0)
    house.broker.stop()
    house.start()
    house.after(30.0)
    status = house.status.status()
    assert status["broker"]["state"] in ("waiting", "connecting")
    assert status["broker"]["reason"] != ""
    assert status["populations"]["rooms"]["ticks"] == 30


def test_the_end_holds_everybody_safe(make_house: MakeHouse) -> None:
    house = make_house()
    house.start()
    house.say("z/room-0", b'{"co2": 1200}')
    house.daemon.stop()
    house.broker.run()
    assert house.sent("z/room-0/set")[-1] == b'{"fan": "low"}'
    assert decode(house.broker.retained[house.topics.birth].payload).body["online"] is False


def test_the_wall_clock_may_be_set_without_a_step_lost_or_made_twice(make_house: MakeHouse) -> None:
    house = make_house(step="rate", rate_hz=1.0)
    house.start()
    house.after(5.0)
    for jump in (-86400.0 * 365, 86400.0 * 3650):
        house.clock.jump(jump)
        house.after(5.0)
    status = house.status.status()["populations"]["rooms"]
    assert (status["ticks"], status["missed"]) == (15, 0)
    assert house.group.history.select(agent=0)["tick"].tolist() == list(range(1, 16))


def test_of_late_ticks_the_transitions_alone_are_made_up(make_house: MakeHouse) -> None:
    house = make_house(step="rate", rate_hz=10.0)
    house.start()
    house.clock.advance(1.05)
    house.settle()
    status = house.status.status()["populations"]["rooms"]
    assert (status["steps"], status["ticks"], status["passed"], status["missed"]) == (3, 10, 9, 9)


class Drip:
    """A source that has one reading for everybody at every look."""

    def __init__(self, value: float, bins: bool) -> None:
        self.value, self.bins, self.closed = value, bins, False

    def read(self) -> list[tuple[int, float]]:
        return [(agent, self.value) for agent in range(4)]  # one more than there are agents

    def close(self) -> None:
        self.closed = True


def test_readings_that_are_no_messages_are_scaled_binned_and_checked(make_house: MakeHouse) -> None:
    files = ObserveConfig(modality="co2", source="file", path="x", scale=0.001)
    house = make_house(step="rate", rate_hz=1.0, observe=(files,))
    source = Drip(1_200_000.0, bins=False)
    house.group.inputs.feed(files, 0, source)
    house.start()
    house.after(2.5)
    assert house.sent("z/room-2/set") == [b'{"fan": "high"}']
    assert house.status.status()["populations"]["rooms"]["faults"] == {"out_of_range": 2}
    house.populations.change([], ["rooms"])
    assert source.closed


def test_who_steps_on_arrival_is_woken_by_what_a_source_has(make_house: MakeHouse) -> None:
    files = ObserveConfig(modality="co2", source="file", path="x")
    source = Drip(1200.0, bins=False)

    def connect(group: Any) -> None:
        group.inputs.feed(files, 0, source)

    house = make_house(step="arrival", rate_hz=2.0, observe=(files,), connect=connect)
    house.start()
    house.after(0.9)
    assert house.sent("z/room-2/set") == [b'{"fan": "high"}']
    source.value = 700.0
    house.after(1.0)
    assert house.sent("z/room-2/set")[-1] == b'{"fan": "low"}'
    house.populations.change([], ["rooms"])
    source.value = 1200.0
    house.after(2.0)
    assert house.sent("z/room-2/set")[-1] == b'{"fan": "low"}'


def test_the_model_learns_what_a_safe_action_did_instead(make_house: MakeHouse) -> None:
    house = make_house(step="rate", rate_hz=1.0)
    house.start()
    house.say("z/room-0", b'{"co2": 1200}')
    house.after(59.0)
    house.model.executed.clear()
    house.after(10.0)
    assert house.sent("z/room-0/set")[-1] == b'{"fan": "low"}'
    assert house.model.executed[0] == [1]  # "low", and not 2 as it chose
    house.model.executed.clear()
    house.say("z/room-0", b'{"co2": 1200}')
    house.after(5.0)
    assert 0 not in house.model.executed
    assert 1 in house.model.executed


@pytest.mark.parametrize(("safe", "done"), [("low", 1), ("", 2), ("half open", -1)])
def test_what_is_done_in_silence_is_the_safe_value_or_what_was_told_last(
    safe: str, done: int, make_house: MakeHouse
) -> None:
    house = make_house(act=(ActConfig(control="fan", topic="z/{agent}/set", safe=safe),))
    house.start()
    house.say("z/room-0", b'{"co2": 1200}')
    house.after(70.0)
    assert house.model.executed[0] == [done]


def test_a_suspended_population_s_bulk_actions_are_held_safe_once(make_house: MakeHouse) -> None:
    house = make_house(step="rate", rate_hz=1.0, bulk=True, observe=(), act=())
    house.start()
    seen = {"obs": np.zeros((3, 2), "<i2").tobytes(), "shape": [3, 2], "dtype": "int16"}
    house.say(house.topics.bulk_in("rooms"), encode(Message(seen)))
    house.model.executed.clear()
    house.populations.suspend("rooms", SuspendReason.STOP)
    sent = len(house.sent(house.topics.bulk_out("rooms")))
    house.after(5.0)
    (held,) = house.sent(house.topics.bulk_out("rooms"))[sent:]
    assert np.frombuffer(decode(held).body["act"], "<i2").tolist() == [SAFE] * 3
    assert house.model.executed == {0: [-1], 1: [-1], 2: [-1]}


def test_the_governor_s_moves_reach_the_populations(make_house: MakeHouse) -> None:
    heat = [40.0]
    governor = Governor(ThermalProfile(warm_c=70.0, hot_c=78.0, limit_c=85.0), [5])
    house = make_house(
        extend=lambda builder: builder.govern(governor, lambda: BoardReadings(temperature_c=heat[0])),
        step="rate",
        rate_hz=1.0,
    )
    house.start()
    house.say("z/room-0", b'{"co2": 1200}')
    house.after(3.0)
    heat[0] = 75.0
    house.after(20.0)
    assert house.model.horizon == 1
    assert house.schedule.period("rooms") == 2.0
    heat[0] = 90.0
    house.after(20.0)
    assert house.status.status()["governor"]["name"] == "hold"
    assert house.sent("z/room-0/set")[-1] == b'{"fan": "low"}'
    stepped = len(house.model.stepped)
    house.after(20.0)
    assert len(house.model.stepped) == stepped
    heat[0] = 40.0
    house.after(300.0)
    status = house.status.status()
    assert status["governor"] == {"rung": 0, "name": "full", "cause": "", "moves": 6}
    assert house.model.horizon is None
    assert house.schedule.period("rooms") == 1.0


def test_a_population_that_comes_to_a_hot_board_gives_way_too(
    make_house: MakeHouse, prepare_rooms: Callable[..., Any]
) -> None:
    governor = Governor(ThermalProfile(warm_c=70.0, hot_c=78.0, limit_c=85.0), [5])
    house = make_house(
        extend=lambda builder: builder.govern(governor, lambda: BoardReadings(temperature_c=90.0)),
        step="rate",
        rate_hz=1.0,
    )
    house.start()
    house.after(20.0)
    halls = replace(house.populations.groups["rooms"].config, name="halls")
    house.populations.change([prepare_rooms(halls)], [])
    assert house.populations.groups["halls"].suspended


def test_late_ticks_move_the_governor_where_the_process_has_a_part_in_it(make_house: MakeHouse) -> None:
    own = [0.05]
    governor = Governor(ThermalProfile(warm_c=70.0, hot_c=78.0, limit_c=85.0), [5])
    house = make_house(
        extend=lambda builder: builder.govern(governor, lambda: BoardReadings(own=own[0])),
        step="rate",
        rate_hz=10.0,
    )
    house.start()
    for share, rung in ((0.05, "full"), (0.5, "slow")):
        own[0] = share
        for _ in range(100):  # each turn comes one and a half periods late
            house.clock.advance(0.25)
            house.daemon.run_once()
        assert house.status.status()["governor"]["name"] == rung


class Herald:
    """Brings a population in its first turn, as a hub would."""

    deadline = math.inf

    def __init__(self, item: Any) -> None:
        self._items = [item]
        self.populations: Any = None

    def start(self) -> None:
        """Nothing to begin."""

    def stop(self) -> None:
        """Nothing to end."""

    def run_once(self) -> None:
        if self._items:
            self.populations.change([self._items.pop()], [])

    def changed(self) -> None: ...


def test_who_comes_at_the_end_of_a_turn_is_not_slept_over(make_house: MakeHouse, prepare_rooms: Any) -> None:
    halls = replace(make_house(step="rate").config.population[0], name="halls", rate_hz=5.0)
    herald = Herald(prepare_rooms(halls))
    house = make_house(speakers=[herald])
    herald.populations = house.populations
    assert house.daemon.run_once() == pytest.approx(house.clock.monotonic() + 0.2)


def test_who_comes_while_the_board_is_hot_gives_way_too(make_house: MakeHouse, prepare_rooms: Any) -> None:
    governor = Governor(ThermalProfile(warm_c=70.0, hot_c=78.0, limit_c=85.0), [5])
    house = make_house(
        extend=lambda builder: builder.govern(governor, lambda: BoardReadings(temperature_c=75.0))
    )
    house.start()
    house.after(30.0)
    halls = replace(house.config.population[0], name="halls", agents="hall-{index}")
    house.populations.change([prepare_rooms(halls)], [])
    assert house.schedule.period("halls") == 0.2
    assert house.populations.groups["halls"].horizon == 1


def test_at_a_rate_what_is_stale_counts_as_not_observed_and_stays_safe(make_house: MakeHouse) -> None:
    house = make_house(step="rate", rate_hz=1.0)
    house.start()
    house.say("z/room-0", b'{"co2": 1200}')
    house.after(100.0)
    seen = house.group.history.select(agent=0)["observation"][:, 0].tolist()
    assert set(seen[:59]) == {2}
    assert set(seen[61:]) == {-1}
    assert house.sent("z/room-0/set") == [b'{"fan": "high"}', b'{"fan": "low"}']


def test_at_a_rate_every_action_is_said_again_after_a_lost_connection(make_house: MakeHouse) -> None:
    lasting = ObserveConfig(modality="co2", topic="z/{agent}", pointer="/co2", stale_s=1e6)
    house = make_house(step="rate", rate_hz=1.0, observe=(lasting,))
    house.start()
    house.say("z/room-0", b'{"co2": 1200}')
    house.after(5.0)
    assert house.sent("z/room-0/set") == [b'{"fan": "high"}']
    house.broker.cut("dev")
    house.after(120.0)
    assert house.sent("z/room-0/set") == [b'{"fan": "high"}'] * 2
