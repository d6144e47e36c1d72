"""A population of an overloaded board runs at a peer and returns with its current beliefs."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.records import AvailabilityConfig
from edge_agent.errors import PeerError, PlatformError
from edge_agent.memory.arena import Column
from edge_agent.runtime.governor.governor import BoardReadings
from edge_agent.runtime.peers.loan_payload import pack, unpack
from edge_agent.runtime.peers.loans import bundle_id
from edge_agent.wire import messages, signatures
from edge_agent.wire.loan import LoanMessage, signed, to_body
from edge_agent.wire.messages import Message

from .town import Town

HOT, COOL = BoardReadings(temperature_c=95.0), BoardReadings(temperature_c=30.0)


def hot_town(trusted: tuple[str, ...] = ("east", "north"), room_kb: int = 600, ballast: bool = False) -> Town:
    """Two devices; one gets too hot and must suspend everything. With ``ballast`` the other has no room."""
    town = Town(("east", "north"), shares=False, trusted=trusted, heartbeat_s=5.0, room_kb=room_kb)
    town.smells = {"east": 2, "north": 0}
    town.after(5.0)
    if ballast:
        arena = town.sites["north"].populations.arena
        arena.allocate("ballast", (Column("all", (arena.nbytes - arena.used - 1000,), np.uint8),))
    town.sites["east"].readings = HOT
    town.after(30.0)
    return town


def test_a_suspended_population_runs_at_a_peer_and_comes_back_with_what_it_learned() -> None:
    town = hot_town()
    east, north = town.sites["east"], town.sites["north"]
    assert east.group.suspended
    ticks = east.group.counters.ticks
    guest = north.populations.groups["east.rooms"]
    assert not guest.suspended
    steps = guest.counters.ticks
    assert steps > ticks
    town.smells["east"] = 1  # while it is away, the world moves on
    town.after(10.0)
    assert guest.counters.ticks > steps
    assert east.group.counters.ticks == ticks
    learned = guest.model_port.checkpoint()
    town.smells.pop("east")
    east.readings = COOL
    town.after(70.0)
    assert "east.rooms" not in north.populations.groups
    assert not east.group.suspended
    assert east.group.counters.ticks > steps
    assert int(east.population.beliefs(0)[0].argmax()) == 1
    assert learned != b""
    figures = (east.coordinator.loans.counters, north.coordinator.loans.counters)
    assert (figures[0].lent, figures[0].returned) == (1, 1)
    assert (figures[1].adopted, figures[1].given_back) == (1, 1)
    assert north.coordinator.peer.members.presence("north").room == 600 * 1024


def test_a_borrower_in_trouble_itself_gives_back_what_it_had() -> None:
    town = hot_town()
    east, north = town.sites["east"], town.sites["north"]
    ticks = north.populations.groups["east.rooms"].counters.ticks
    north.readings = HOT
    town.after(30.0)
    assert "east.rooms" not in north.populations.groups
    assert (east.group.elsewhere, east.group.suspended) == (False, True)
    assert east.group.counters.ticks >= ticks


def test_a_peer_that_promised_room_and_has_none_refuses_and_changes_nothing() -> None:
    town = hot_town(ballast=True)
    east, north = town.sites["east"], town.sites["north"]
    assert list(north.populations.groups) == ["rooms"]
    assert north.coordinator.loans.counters.refused >= 1
    assert (east.group.elsewhere, east.group.suspended) == (False, True)
    east.readings = COOL
    town.after(70.0)
    assert not east.group.suspended


def test_a_disk_that_keeps_no_notes_keeps_nobody_from_lending() -> None:
    town = Town(("east", "north"), shares=False, trusted=("east", "north"), heartbeat_s=5.0, room_kb=600)

    def refuse(_name: str, _data: bytes) -> None:
        raise PlatformError("state: No space left on device")

    town.drawers["east"].save = refuse
    town.after(5.0)
    town.sites["east"].readings = HOT
    town.after(30.0)
    assert "east.rooms" in town.sites["north"].populations.groups


def test_what_is_lent_is_told_nothing_here_and_held_safe_nowhere_twice() -> None:
    town = hot_town()
    town.broker.cut("east")  # on a reconnect all actions are sent anew: not those of a population elsewhere
    said = len([p for p in town.broker.log if p.topic == "z/east/fan"])
    town.after(5.0)
    assert len([p for p in town.broker.log if p.topic == "z/east/fan"]) == said


def test_a_borrower_that_dies_leaves_the_owner_what_it_had() -> None:
    town = hot_town()
    east = town.sites["east"]
    town.kill("north")
    east.readings = COOL
    town.after(120.0)
    assert not east.group.suspended
    assert not east.group.elsewhere


def test_an_owner_that_starts_anew_gets_back_what_was_learned_meanwhile() -> None:
    town = hot_town()
    town.smells["east"] = 1
    town.after(10.0)
    guest = town.sites["north"].populations.groups["east.rooms"]
    town.kill("east")
    again = town.add("east")
    assert again.group.suspended  # before it has heard a thing: north may be running it
    town.smells.pop("east")
    town.after(5.0)
    assert "east.rooms" not in town.sites["north"].populations.groups
    assert not again.group.suspended
    assert again.group.counters.ticks >= guest.counters.ticks > 20
    assert int(again.population.beliefs(0)[0].argmax()) == 1
    town.after(2.0)
    town.kill("east")
    assert not town.add("east").group.suspended


def test_an_owner_that_lost_its_notes_has_its_population_to_itself_at_once() -> None:
    town = hot_town()
    town.kill("east")
    town.drawers["east"].files = {"loans": b"torn"}
    again = town.add("east")
    town.after(8.0)
    assert "east.rooms" not in town.sites["north"].populations.groups
    assert not again.group.suspended


def test_without_keys_or_room_nothing_moves() -> None:
    for town in (hot_town(trusted=()), hot_town(trusted=("north",)), hot_town(room_kb=0)):
        assert list(town.sites["north"].populations.groups) == ["rooms"]
        assert town.sites["east"].group.suspended


def test_a_forged_offer_is_refused_and_counted() -> None:
    town = hot_town()
    body = {"kind": "offer", "loan": 9, "owner": "east", "to": "north", "population": "x", "bundle": b"x" * 8}
    forged = messages.encode(Message(body | {"signature": b"s" * 64, "parts": 1}))
    town.broker.publish("edge/v1/house/peer/east/handover", forged, qos=0)
    town.after(0.1)
    north = town.sites["north"].coordinator
    assert north.status.status()["refusals"] == {"east": {"malformed": 1}}
    assert north.loans.counters.adopted == 1


@pytest.mark.parametrize("sender", ["east", "stranger"])
def test_an_offer_signed_by_an_unknown_key_changes_nothing(sender: str) -> None:
    """A whole offer, made as a device makes it, with a key that nobody here was told of."""
    town = hot_town()
    north = town.sites["north"]
    before = (list(north.populations.groups), north.coordinator.loans.status())
    packed = pack(Town(("east",), shares=False).sites["east"].group)
    head = LoanMessage("offer", 99, sender, "north", "rooms", bundle_id(north.group.digest), size=len(packed))
    head = replace(head, digest=hashlib.sha256(packed).digest(), parts=1, room=1)
    signature = signatures.generate("nobody").sign(signed(head))
    body = to_body(replace(head, data=packed, signature=signature))
    town.broker.publish(f"edge/v1/house/peer/{sender}/handover", messages.encode(Message(body)), qos=1)
    town.after(0.5)
    assert (list(north.populations.groups), north.coordinator.loans.status()) == before
    refusals = north.coordinator.status.status()["refusals"]
    assert refusals == ({"east": {"malformed": 1}} if sender == "east" else {})


def test_a_loan_payload_comes_out_as_it_went_in() -> None:
    group = Town(("east",), shares=False).sites["east"].group
    payload = unpack(pack(group))
    assert payload.config.observe == group.config.observe
    assert payload.config.act == group.config.act
    assert payload.beliefs == group.model_port.checkpoint()
    np.testing.assert_equal(payload.config.size, 1)


def test_a_borrower_reads_and_commands_things_as_the_owner_does() -> None:
    group = Town(("east",), shares=False).sites["east"].group
    bridge = AvailabilityConfig(topic="z/{population}/{agent}/state", pointer="/state", value=True)
    entry = replace(
        group.config.observe[0], values={"OPEN": "1", "true": 2.5}, wakes=False, availability=(bridge,)
    )
    act = replace(group.config.act[0], values={"off": False, "on": "ON"}, dwell_s=45.0)
    group.config = replace(group.config, observe=(entry,), act=(act,), tick="ignore")
    lent = unpack(pack(group)).config
    filled = replace(bridge, topic="z/rooms/{agent}/state")
    assert lent.observe == (replace(entry, availability=(filled,)),)
    assert lent.act == (act,)
    assert (lent.tick, lent.rate_hz) == ("ignore", group.rate_hz)


@given(st.binary(max_size=200))
def test_noise_is_no_loan_payload(data: bytes) -> None:
    with pytest.raises(PeerError):
        unpack(data)


ACT = {"control": "fan", "topic": "t", "template": "", "qos": 0, "safe": ""}
OBSERVE = {"modality": "co2", "topic": "t", "pointer": "", "scale": 1, "offset": 0, "stale_s": 1}


def test_a_signed_payload_may_have_other_topics() -> None:
    import zlib

    group = Town(("east",), shares=False).sites["east"].group
    content = msgpack.unpackb(zlib.decompress(pack(group))) | {"act": [ACT], "observe": [OBSERVE]}
    assert unpack(zlib.compress(msgpack.packb(content))).config.act[0].topic == "t"


@pytest.mark.parametrize(
    "change",
    [
        {"rate_hz": "fast"},
        {"size": 10**9},
        {"step": "never"},
        {"agents": "{other}"},
        {"act": [{"control": "fan", "topic": "t/{x}", "template": "", "qos": 0, "safe": ""}]},
        {"observe": [3]},
        {"counters": {"colour": 1}},
        {"name": "a/b"},
        {"agents": ["a+"]},
        {"agents": "#{index}"},
        {"act": [{**ACT, "topic": "z/#"}]},
        {"act": [{**ACT, "topic": "z/\0"}]},
        {"observe": [{**OBSERVE, "topic": "z/+/x"}]},
        {"observe": [{**OBSERVE, "values": {"ON": [1]}}]},
        {"observe": [{**OBSERVE, "values": "ON"}]},
        {"observe": [{**OBSERVE, "availability": [{"topic": "z/#", "pointer": "", "value": "online"}]}]},
        {"observe": [{**OBSERVE, "availability": [{"topic": "z", "pointer": ""}]}]},
        {"act": [{**ACT, "values": {"on": None}}]},
        {"act": [{**ACT, "dwell_s": -1}]},
    ],
)
def test_a_signed_payload_can_still_be_wrong(change: dict) -> None:
    import zlib

    group = Town(("east",), shares=False).sites["east"].group
    content = msgpack.unpackb(zlib.decompress(pack(group))) | change
    with pytest.raises(PeerError):
        unpack(zlib.compress(msgpack.packb(content)))
