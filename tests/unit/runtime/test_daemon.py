"""From a sensor's message to an actuator's, on a manual clock: what a user of the daemon relies on."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edge_agent import __version__
from edge_agent.wire import bodies
from edge_agent.wire.messages import Message, decode, encode

MakeHouse = Callable[..., Any]


def test_an_observation_becomes_an_action_of_its_agent_alone(make_house: MakeHouse) -> None:
    house = make_house()
    house.start()
    house.say("z/room-1", b'{"co2": 1200, "door": 1}')
    assert house.sent("z/room-1/set") == [b'{"fan": "high"}']
    assert house.sent("z/room-0/set") == []
    assert house.model.stepped == [1]
    status = house.daemon.status()["populations"]["rooms"]
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
    status = house.daemon.status()["populations"]["rooms"]
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
    assert house.daemon.status()["populations"]["rooms"]["missed"] == 0


def test_a_stepped_population_is_remembered(make_house: MakeHouse) -> None:
    house = make_house(step="rate", rate_hz=1.0)
    house.start()
    house.say("z/room-2", b'{"co2": 1200}')
    house.after(5.0)
    records = house.group.history.select(agent=2)
    assert records["tick"].tolist() == [1, 2, 3, 4, 5]
    assert records["observation"][:, 0].tolist() == [2] * 5
    assert records["action"][:, 0].tolist() == [2] * 5


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
    assert house.daemon.status()["populations"]["rooms"]["faults"] == {"bad_array": 1}


def test_birth_and_will(make_house: MakeHouse) -> None:
    house = make_house()
    house.start()
    birth = decode(house.broker.retained[house.topics.birth].payload).body
    bodies.check(bodies.BIRTH, birth, "birth")
    assert birth["online"] is True
    assert (birth["device"], birth["profile"], birth["version"]) == ("dev", "generic", __version__)
    assert birth["populations"] == {"rooms": {"bundle": "digest", "size": 3}}
    house.broker.cut("dev")
    house.broker.run()
    assert decode(house.broker.retained[house.topics.birth].payload).body["online"] is False


def test_without_a_broker_the_daemon_steps_on_and_says_so(make_house: MakeHouse) -> None:
    house = make_house(step="rate", rate_hz=1.0)
    house.broker.stop()
    house.start()
    house.after(30.0)
    status = house.daemon.status()
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
