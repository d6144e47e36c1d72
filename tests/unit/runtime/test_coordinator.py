"""Daemons with a manual clock and a broker in memory, with real populations: coalitions and their effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent import Model
from edge_agent.config.peer_records import ObjectiveConfig, RoleConfig, ShareConfig
from edge_agent.config.records import Config, DeviceConfig, PopulationConfig
from edge_agent.errors import ConfigError
from edge_agent.protocol.peers.codes import divergence
from edge_agent.runtime.assembly import prepare
from edge_agent.runtime.governor.governor import BoardReadings
from edge_agent.runtime.peers import shared_factors
from edge_agent.runtime.peers.model_checks import check_shares
from edge_agent.runtime.population.suspension import SuspendReason
from edge_agent.runtime.recording.recorder import frames
from edge_agent.runtime.recording.replay import replay
from edge_agent.wire import messages
from edge_agent.wire.messages import Message, decode
from edge_agent.wire.topics import DeviceTopics

from .town import BOARD, DIGEST, NAMES, A, B, Site, Town


def test_devices_form_a_coalition_and_form_anew_when_one_is_lost_and_when_it_is_back() -> None:
    town = Town()
    town.after(5.0)
    assert [site.coalition for site in town.sites.values()] == [set(NAMES)] * 3
    town.kill("west")
    town.after(2.5)
    assert [site.coalition for site in town.sites.values()] == [{"east", "north"}] * 2
    town.add("west")
    town.after(5.0)
    assert [site.coalition for site in town.sites.values()] == [set(NAMES)] * 3
    figures = town.sites["east"].coordinator.status.figures()
    assert (figures["joined"], figures["left"], figures["refused"]) == (3, 2, 0)
    assert 0.0 < figures["agreed_s"] < 2.5


def test_what_all_smell_adds_up_in_each_population() -> None:
    town = Town()
    town.smells = {"east": 0, "north": 1, "west": 1}
    town.after(20.0)
    expected = np.full(3, 1 / 3)
    for _ in range(40):
        expected = (B @ expected) * A[0] * A[1] * A[1]
        expected /= expected.sum()
    for site in town.sites.values():
        assert divergence(expected, site.fused()) < 1e-3
        # A step is made before the others' evidence of its tick is there: one tick behind on that.
        belief = site.population.beliefs(0)[0]
        assert int(belief.argmax()) == 1
        assert site.coordinator.status.figures()["lost"] == 0
    assert divergence(expected, alone(0)) > 1.0


def alone(smell: int) -> np.ndarray:
    belief = np.full(3, 1 / 3)
    for _ in range(40):
        belief = (B @ belief) * A[smell]
        belief /= belief.sum()
    return belief


def test_after_a_restart_a_device_goes_on_from_what_it_believed() -> None:
    town = Town(names=("east",))
    town.smells = {"east": 2}
    town.after(10.0)
    kept = town.sites["east"].population.checkpoint()
    town.kill("east")
    town.smells = {}
    again = Site(town, "east", town.peers, town.objectives, beliefs=kept)
    town.sites["east"] = again
    town.after(1.0)
    assert again.population.beliefs(0)[0].argmax() == 2
    assert again.population.beliefs(0)[0].max() > 0.5


def test_ticks_that_passed_are_not_applied_to_what_all_believe() -> None:
    """The fused belief is that of the present tick, also after a pause."""
    town = Town(names=("east", "north"))
    town.smells = {"east": 2}
    town.after(8.0)
    north = town.sites["north"]
    north.populations.suspend("rooms", SuspendReason.GOVERNOR)
    town.after(6.0)
    north.populations.resume("rooms", SuspendReason.GOVERNOR)
    town.after(1.0)
    assert north.group.passed >= 5
    recorded = list(frames(north.recording.data))
    taken = [entry for entry in recorded if entry["kind"] == "believe"][-1]
    fused = np.frombuffer(taken["beliefs"], "<f4").reshape(1, -1)
    assert fused.max() > 0.7
    np.testing.assert_allclose(north.population.beliefs(0), fused, atol=5e-3)  # north smells nothing itself
    assert replay(recorded, lambda _path, _digest: town.model).difference is None


def test_a_role_changes_what_its_holder_does_and_only_while_it_is_held() -> None:
    town = Town(names=("east", "north"))
    town.after(5.0)
    holder = next(
        s for s in town.sites.values() if s.coordinator.status.status()["coalition"]["role"] == "nose 0"
    )
    other = next(s for s in town.sites.values() if s is not holder)
    fans = [int(site.group.history.select(0, 1)["action"][-1, 1]) for site in (holder, other)]
    assert fans == [1, 0]  # by itself a population likes it quiet; the role asks for the fan
    town.kill(other.name)
    town.after(3.0)
    assert holder.coalition == set()
    assert int(holder.group.history.select(0, 1)["action"][-1, 1]) == 0
    assert dict(holder.group.preferred) == {}


def test_a_recording_among_peers_is_replayed_exactly() -> None:
    town = Town()
    town.smells = {"east": 0, "north": 1, "west": 1}
    town.after(8.0)
    town.kill("west")
    town.after(5.0)
    for site in town.sites.values():
        found = replay(frames(site.recording.data), lambda _path, _digest: town.model)
        assert found.difference is None
        assert found.steps == site.group.counters.ticks > 10
        kinds = {entry["kind"] for entry in frames(site.recording.data)}
        assert kinds >= {"begin", "step", "believe"}
    assert any(
        entry["kind"] == "prefer" for site in town.sites.values() for entry in frames(site.recording.data)
    )


def test_birth_and_will_carry_the_incarnation_and_the_goodbye_ends_it() -> None:
    town = Town(names=("east", "north"))
    town.after(3.0)
    topics = DeviceTopics("house", "east")
    births = [decode(p.payload).body for p in town.broker.log if p.topic == topics.birth]
    assert births[0]["online"] is True
    life = births[0]["incarnation"]
    assert life == town.sites["north"].coordinator.peer.members.presence("east").incarnation
    town.sites["east"].daemon.stop()
    town.broker.run()
    goodbye = [decode(p.payload).body for p in town.broker.log if p.topic == topics.birth][-1]
    assert (goodbye["online"], goodbye["incarnation"]) == (False, life)
    town.sites.pop("east")
    town.after(0.5)
    north = town.sites["north"].coordinator
    assert "east" not in north.peer.members
    assert north.peer.ledger.accounts == ()  # a goodbye breaks no promise


def test_charge_is_told_in_steps() -> None:
    town = Town(names=("east", "north"))
    town.sites["east"].readings = BoardReadings(battery=0.49)
    town.after(12.0)
    assert town.sites["north"].coordinator.peer.members.presence("east").battery == 45


def garbage(_: Town) -> bytes:
    return b"\xc1"


def lie(town: Town) -> bytes:
    return messages.encode(Message({"device": "north", "incarnation": 9}, seq=1, t=town.clock.time()))


def early(town: Town) -> bytes:
    return messages.encode(Message({"device": "evil", "incarnation": 1}, seq=1, t=town.clock.time() + 500))


@pytest.mark.parametrize(("make", "offence"), [(garbage, "malformed"), (lie, "name"), (early, "clock")])
def test_who_misbehaves_is_ignored_counted_shown_and_less_well_thought_of(
    make: Callable[[Town], bytes], offence: str
) -> None:
    town = Town(heartbeat_s=1.0, skew_s=5.0)
    town.after(3.0)
    for beat in range(12):
        town.broker.publish("edge/v1/house/peer/evil/presence", make(town), qos=0)
        town.after(1.0)
        if beat == 0:
            assert town.sites["east"].coordinator.status.status()["refusals"] == {"evil": {offence: 1}}
    for site in town.sites.values():
        status = site.coordinator.status.status()
        assert status["refusals"] == {"evil": {offence: 12}}
        assert status["here"] == 3
        assert site.coalition == set(NAMES)
        # All three say so in their accounts: the median of the jury falls.
        assert status["roster"]["evil"]["reputation"] < 600
        assert status["roster"]["north"]["reputation"] == 1000


def test_who_replays_is_refused_and_changes_nothing() -> None:
    town = Town(heartbeat_s=1.0, skew_s=5.0)
    town.after(2.0)
    body = {"device": "evil", "incarnation": 1}
    old = messages.encode(Message(body, seq=3, t=town.clock.time()))
    town.broker.publish("edge/v1/house/peer/evil/presence", old, qos=0)
    town.after(0.1)
    assert "evil" in town.sites["east"].coordinator.peer.members
    town.after(10.0)
    town.broker.publish("edge/v1/house/peer/evil/presence", old, qos=0)
    town.after(1.0)
    status = town.sites["east"].coordinator.status.status()
    assert status["refusals"] == {"evil": {"replay": 1}}
    assert status["roster"]["evil"]["here"] is False


def test_a_flood_costs_its_sender_and_evidence_that_is_none_changes_nothing() -> None:
    town = Town()
    town.smells = dict.fromkeys(NAMES, 1)
    town.after(5.0)
    before = town.sites["east"].fused()
    bad = messages.encode(Message({"r": [[1, 0, 100, b"\x09\x09\x09"]]}, t=town.clock.time()))
    for _ in range(200):
        town.broker.publish("edge/v1/house/peer/evil/evidence", bad, qos=0)
    town.after(0.2)
    refusals = town.sites["east"].coordinator.status.status()["refusals"]["evil"]
    assert refusals["malformed"] == 80  # what the bucket holds
    assert refusals["flood"] >= 110
    np.testing.assert_allclose(town.sites["east"].fused(), before, atol=1e-3)
    assert town.sites["east"].coalition == set(NAMES)


def test_telemetry_says_what_changed() -> None:
    town = Town(names=("east",))
    figures = town.sites["east"].coordinator.status.figures()
    assert figures["here"] == 1
    assert set(figures) >= {"members", "joined", "left", "refused", "lost", "duplicates", "reputation"}
    assert all(isinstance(value, (int, float)) for value in figures.values())


def broken(**changes: Any) -> tuple[Config, Any]:
    town = Town(names=())
    share = ShareConfig(**({"factor": "gas"} | changes))
    population = PopulationConfig(
        name="rooms", bundle="gas.eab", rate_hz=1.0, agents=("hall",), share=(share,)
    )
    config = Config(
        device=DeviceConfig(name="a"),
        peers=town.peers,
        objective=tuple(town.objectives),
        population=(population,),
    )
    return config, prepare(population, BOARD, "test", lambda _path: (town.model, DIGEST))


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        ("gold", "share[0].factor: found 'gold', expected one of gas, fan"),
        ("fan", "share[0].controller: missing, expected the device whose actions move the factor"),
    ],
)
def test_a_factor_that_cannot_be_shared_is_named(factor: str, expected: str) -> None:
    config, prepared = broken(factor=factor)
    with pytest.raises(ConfigError) as refused:
        check_shares(config, [prepared], "device.toml")
    assert str(refused.value).endswith(expected)
    assert str(refused.value).startswith("device.toml: population[0].")


def two_factors(A_deps: list[list[int]], B_deps: list[list[int]]) -> Model:
    """Return a model of two factors of 2 states that says nothing, with these dependencies."""
    A = [np.full((2,) * (1 + len(deps)), 0.5) for deps in A_deps]
    B = [np.full((2,) * (1 + len(deps)) + (1,), 0.5) for deps in B_deps]
    return Model.from_arrays(A, B, A_deps=A_deps, B_deps=B_deps)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (two_factors([[0, 1]], [[0], [1]]), "found '0', expected one that some modality depends on alone"),
        (two_factors([[0]], [[0, 1], [1]]), "found '0', expected one whose transitions depend on no other"),
        (two_factors([[0]], [[0], [1]]), "found '0' of 2 states, expected at most 1"),
    ],
    ids=["seen with another", "moved by another", "large"],
)
def test_a_factor_that_evidence_cannot_carry_is_refused(
    monkeypatch: pytest.MonkeyPatch, model: Model, expected: str
) -> None:
    monkeypatch.setattr(shared_factors, "MAX_STATES", 1)
    with pytest.raises(ConfigError) as refused:
        shared_factors.shared_factor(ShareConfig(factor="0"), model, "share[0]")
    assert str(refused.value) == f"share[0].factor: {expected}"


def test_preferences_of_another_length_are_named() -> None:
    config, prepared = broken()
    role = RoleConfig(name="r", capability="nose", preferences={"hum": (1.0, 2.0, 3.0)})
    config = replace(config, objective=(ObjectiveConfig(name="o", role=(role,)),))
    with pytest.raises(ConfigError, match=r"device.toml: objective\[0\]: role 'r': preferences for 'hum'"):
        check_shares(config, [prepared], "device.toml")


def test_the_example_configuration_is_right() -> None:
    from edge_agent.config.checks import compile_files

    root = Path(__file__).parents[3]
    checked = compile_files(root / "examples" / "peers" / "device.toml", None)
    assert checked["config"]["peers"]["capabilities"]


def test_a_bundle_that_is_tried_begins_from_what_all_saw_and_shares_on() -> None:
    town = Town()
    town.smells = {"east": 0, "north": 1, "west": 1}
    town.after(8.0)
    east = town.sites["east"]
    newer = prepare(east.group.config, BOARD, "test", lambda _path: (town.model, "cd" * 32))
    east.populations.stage(newer)
    town.after(4.0)
    assert east.group.shadow is not None
    shadow = east.group.shadow.model_port
    np.testing.assert_array_equal(shadow.beliefs(0), east.population.beliefs(0))
    east.populations.exchange("rooms")
    assert east.group.model_port is shadow
    town.after(12.0)
    assert divergence(town.sites["north"].fused(), east.fused()) < 1e-3
    assert east.group.digest == "cd" * 32
