"""Things are called by their own words, fall silent when they are offline, and are not switched too often."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edge_agent.config.records import ActConfig, AvailabilityConfig, ObserveConfig, PopulationConfig
from edge_agent.engine import Model, Population
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Arena
from edge_agent.runtime import assembly
from edge_agent.runtime.assembly import prepare
from tests.unit.runtime.town import BOARD

LOW, HIGH = b'{"co2": 700}', b'{"co2": 1500}'


def co2(**more: Any) -> ObserveConfig:
    return ObserveConfig(modality="co2", topic="z/{agent}", pointer="/co2", stale_s=60.0, **more)


def fan(**more: Any) -> ActConfig:
    return ActConfig(**{"control": "fan", "topic": "z/{agent}-fan/set"} | more)


def test_an_action_is_told_in_the_words_of_the_thing(make_house: Any) -> None:
    template = '{{"state": {value}, "agent": "{agent}"}}'
    entry = fan(values={"off": False, "low": 33}, template=template, safe="off")
    house = make_house(size=1, observe=(co2(),), act=(entry,))
    house.start()
    house.say("z/room-0", LOW)
    house.after(70.0)
    assert [json.loads(p)["state"] for p in house.sent("z/room-0-fan/set")] == [33, False]
    house = make_house(size=1, observe=(co2(),), act=(fan(values={"low": "ON"}),))
    house.start()
    for payload in (LOW, HIGH):
        house.say("z/room-0", payload)
        house.after(1.0)
    assert house.sent("z/room-0-fan/set") == [b"ON", b"high"]  # what is not listed stays as it is


def test_a_reading_is_told_in_the_words_of_the_thing(make_house: Any) -> None:
    entry = co2(values={"fresh": 400, "stale": 1500, "true": 700, "2": 1500}, scale=2.0)
    house = make_house(size=1, observe=(entry,), act=(fan(),))
    house.start()
    for reading in ('"stale"', "true", "2", "450", '"fresh"'):
        house.say("z/room-0", b'{"co2": %s}' % reading.encode())
        house.after(1.0)
    assert house.sent("z/room-0-fan/set") == [b"high", b"low", b"high", b"low", b"off"]
    assert not any(house.group.inputs.faults.values())


def test_what_is_offline_is_not_observed_until_the_next_reading(make_house: Any) -> None:
    sources = (
        AvailabilityConfig(topic="z/{agent}/availability", pointer="/state"),
        AvailabilityConfig(topic="z/bridge", pointer="/state"),
    )
    house = make_house(size=2, observe=(co2(availability=sources),), act=(fan(safe="low"),))
    house.start()

    def told() -> list[bytes]:
        house.after(2.0)
        return [house.sent(f"z/room-{n}-fan/set")[-1] for n in range(2)]

    def all_high() -> None:
        for n in range(2):
            house.say(f"z/room-{n}", HIGH)

    all_high()
    assert told() == [b"high", b"high"]
    house.say("z/room-1/availability", b'{"state": "offline"}')
    assert told() == [b"high", b"low"]
    status = house.status.status()["populations"]["rooms"]
    assert (status["went_offline"], status["unavailable"]) == (1, ["z/room-1/availability"])
    house.say("z/room-1/availability", b'{"state": "online"}')
    assert told() == [b"high", b"low"]  # nobody has read anything since
    all_high()
    assert told() == [b"high", b"high"]
    house.say("z/bridge", b'{"state": "offline"}')
    assert told() == [b"low", b"low"]
    house.say("z/bridge", b"offline")
    assert house.group.inputs.faults  # counted as odd, nothing more
    all_high()
    assert told() == [b"high", b"high"]
    assert house.status.status()["populations"]["rooms"]["went_offline"] == 2


def test_what_a_thing_repeats_after_a_command_is_no_arrival(make_house: Any) -> None:
    template = '{{"door": "{value}"}}'
    door = ObserveConfig(modality="door", topic="z/{agent}-fan", pointer="/door")
    house = make_house(size=1, observe=(co2(), door), act=(fan(template=template),))
    house.start()
    house.say("z/room-0", LOW)
    before = list(house.model.stepped)
    for n in range(50):
        house.say("z/room-0-fan", b'{"door": %d}' % (n % 2))
        house.after(1.0)
    assert house.model.stepped == before
    house.say("z/room-0", LOW)
    assert len(house.model.stepped) == len(before) + 1
    assert house.group.counters.observations == 52  # they were all taken in


def test_a_thing_that_senses_and_acts_wakes_by_another_bin_alone(make_house: Any) -> None:
    house = make_house(size=1, observe=(co2(),), act=(fan(topic="z/{agent}/set", template="{value}"),))
    house.start()
    for payload in (LOW, LOW, b'{"co2": 720}', HIGH):
        house.say("z/room-0", payload)
        house.after(1.0)
    assert house.sent("z/room-0/set") == [b"low", b"high"]
    assert len(house.model.stepped) == 2


def test_a_fan_is_switched_at_most_once_each_dwell(make_house: Any) -> None:
    house = make_house(size=2, observe=(co2(),), act=(fan(dwell_s=30.0, safe="off"),))
    house.start()
    house.say("z/room-0", LOW)
    house.say("z/room-0", HIGH)
    house.after(20.0)
    assert house.sent("z/room-0-fan/set") == [b"low"]
    assert house.model.executed[0] == [1]  # what the fan still does
    house.after(12.0)
    assert house.sent("z/room-0-fan/set") == [b"low", b"high"]  # it still stood
    assert house.model.executed[0] == [2]
    house.say("z/room-0", LOW)
    house.say("z/room-0", HIGH)
    house.after(40.0)
    assert house.sent("z/room-0-fan/set") == [b"low", b"high"]  # it did not stand any more
    assert house.status.status()["populations"]["rooms"]["delayed"] == 2
    house.say("z/room-0", LOW)
    house.after(61.0)
    assert house.sent("z/room-0-fan/set")[2:] == [b"low", b"off"]  # the safe value does not wait


TICK = {"tick_seconds": 1}


def bundle(**meta: Any) -> tuple[Model, str]:
    names = {
        "modalities": [{"name": "co2", "edges": [800], "labels": ["fresh", "stale"]}],
        "controls": [{"name": "fan", "values": ["off", "on"]}],
    }
    likelihood = [[0.9, 0.1], [0.1, 0.9]]
    transition = [[[0.9, 0.1], [0.9, 0.1]], [[0.1, 0.9], [0.1, 0.9]]]
    return Model.from_arrays([likelihood], [transition], [[1.0, 0.0]], meta=names | meta), "0" * 64


@pytest.mark.parametrize(
    ("entry", "meta", "words"),
    [
        ({"act": (fan(values={"hihg": "ON"}),)}, TICK, "act[0].values.hihg: found a value"),
        ({"observe": (co2(values={"ON": "opne"}),)}, TICK, "observe[0].values.ON: found 'opne'"),
        (
            {"rate_hz": 2.0},
            {"tick_seconds": 960},
            "rate_hz: found 2, one step per 0.5 s, expected 0.00104167",
        ),
        ({}, {}, "p.rate_hz: missing, expected ticks per second: b.eab states no tick (io.tick_seconds)"),
        ({"step": "arrival", "tick": "arrival"}, {"tick_seconds": 9}, "rate_hz: missing, expected the most"),
        ({"tick": "arrival", "rate_hz": 1.0}, {}, "tick: found 'arrival' with step 'rate'"),
        ({"rate_hz": 0.12}, {"tick_seconds": 10}, "rate_hz: found 0.12"),
        ({}, {"tick_seconds": 0.001}, "rate_hz: found 1000, expected at most 100"),
        ({}, {"tick_seconds": "soon"}, "io.tick_seconds: found 'soon', expected seconds above 0"),
        (
            {"step": "arrival", "observe": (co2(wakes=False),)},
            TICK,
            "step: found 'arrival', but no reading is an arrival",
        ),
    ],
)
def test_a_population_that_cannot_be_meant_is_refused(
    entry: dict[str, Any], meta: dict[str, Any], words: str
) -> None:
    config = PopulationConfig(name="rooms", bundle="b.eab", size=1, **entry)
    with pytest.raises(ConfigError) as error:
        prepare(config, BOARD, "p", lambda _path: bundle(**meta))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "entry", [{}, {"rate_hz": 1.09 / 960}, {"rate_hz": 2.0, "tick": "ignore"}, {"rate_hz": 1 / 960}]
)
def test_a_rate_near_the_tick_or_said_to_be_meant_is_taken(entry: dict[str, Any]) -> None:
    config = PopulationConfig(name="rooms", bundle="b.eab", size=1, **entry)
    assert prepare(config, BOARD, "p", lambda _path: bundle(tick_seconds=960)).binding.tick_s == 960.0


class Posterior:
    """Rooms of one model with a margin, and the probabilities of their actions from the reference."""

    def __init__(self, margin: float | None, tick_s: float | None = 600.0) -> None:
        likelihood = np.array([[0.9, 0.1], [0.1, 0.9]])
        transition = np.empty((2, 2, 2))
        transition[:, :, 0], transition[:, :, 1] = [[0.6, 0.4], [0.4, 0.6]], [[0.62, 0.55], [0.38, 0.45]]
        meta = {
            "modalities": [{"name": "co2", "edges": [800]}],
            "controls": [{"name": "fan", "values": ["off", "on"]}],
        }
        meta |= {} if tick_s is None else {"tick_seconds": tick_s}
        wanted = [np.array([0.05, 0.0])]
        self.model = Model.from_arrays([likelihood], [transition], wanted, gamma=1.0, meta=meta)
        config = PopulationConfig(
            name="rooms",
            bundle="b",
            size=3,
            rate_hz=1 / 600,
            bulk=True,
            act=(fan(margin=margin, dwell_s=0.0),),
        )
        item = prepare(config, BOARD, "p", lambda _path: (self.model, "0" * 64))
        self.group = assembly.build(item, Arena(1 << 20), "rooms")
        self.sent: list[tuple[int, str]] = []

    def step(self, *codes: int) -> tuple[Any, Any]:
        """Step the rooms on ``codes``; return what was chosen and what was done."""
        self.group.observations.set_all(np.array(codes, np.int16)[:, np.newaxis], 0.0)
        step = self.group.step(0.0, 0)
        assert step is not None

        def sink(_act: ActConfig, _name: str, agent: int, payload: str) -> bool:
            self.sent.append((agent, payload))
            return True

        self.group.publish(step.agents, step.actions, sink, lambda: 0.0)
        executed = self.group.delay(step)
        kept = (step.actions != step.chosen).any(axis=1)
        assert (executed is not None) == kept.any()
        if executed is not None:
            assert (executed.actions == step.actions[executed.agents]).all()
        return step.chosen[:, 0], step.actions[:, 0]


def test_an_action_that_is_hardly_more_probable_is_not_taken() -> None:
    """How much more probable it is, is the model's policy posterior; a margin just above it keeps the fan."""
    free = Posterior(0.0)
    free.step(0, 0, 0)
    chosen, done = free.step(1, 0, 1)
    assert (chosen == done).all()
    assert chosen[0] != chosen[1]
    changed = free.group.model_port
    assert isinstance(changed, Population)
    q = changed.policy_posterior[0]
    gain = float(abs(q[1] - q[0]))
    for margin, takes in ((gain * 0.98, True), (gain * 1.02, False), (None, gain > 0.05)):
        rooms = Posterior(margin)
        before, _ = rooms.step(0, 0, 0)
        chosen, done = rooms.step(1, 0, 1)
        assert (done == (chosen if takes else before)).all()
        assert len(rooms.sent) == (5 if takes else 3)
    assert gain < 0.05  # so the default keeps it, and without a tick does not
    untimed = Posterior(None, tick_s=None)
    untimed.step(0, 0, 0)
    chosen, done = untimed.step(1, 0, 1)
    assert (chosen == done).all()
