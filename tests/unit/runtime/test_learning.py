"""A population that learns in the daemon: its plan, checkpoint, recording, figures, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.config.peer_records import ShareConfig
from edge_agent.config.records import Config, DeviceConfig, ObserveConfig, PopulationConfig
from edge_agent.engine import Population, reference
from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.engine.counts.learner import Learner
from edge_agent.engine.counts.own_models import OBJECT_BYTES
from edge_agent.engine.model import Model
from edge_agent.errors import BudgetError, ConfigError
from edge_agent.memory.arena import Arena, total
from edge_agent.runtime import assembly
from edge_agent.runtime.population import checkpoint, models
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.population.population_port import PopulationPort
from edge_agent.runtime.recording.explain import Explanation, explain
from edge_agent.runtime.recording.recorder import begin_frame, frames, step_frame
from edge_agent.runtime.recording.replay import Moment, replay
from edge_agent.testing.clock import ManualClock
from tests.unit.runtime.town import BOARD

META = {
    "modalities": [{"name": "co2", "unit": "ppm", "edges": [600, 800, 1000]}],
    "controls": [{"name": "fan", "values": ["off", "on"]}],
}
EVERY, AGENTS = 5, 4


@pytest.fixture
def model() -> Model:
    rng = np.random.default_rng(3)
    A = rng.dirichlet(np.ones(4), size=3).T
    B = rng.dirichlet(np.ones(3), size=(3, 2)).transpose(2, 0, 1)
    made = Model.from_arrays([A], [B], [rng.normal(size=4)], meta=META)
    given = Concentrations.of(made, [A + 0.1], [B + 0.1], lr_pA=20.0, lr_pB=20.0)
    return replace(made, learning=given.stored())


def prepared(model: Model, **more: Any) -> assembly.Prepared:
    config = PopulationConfig(
        **{
            "name": "rooms",
            "bundle": "rooms.eab",
            "size": AGENTS,
            "agents": "r{index}",
            "observe": (ObserveConfig(modality="co2", topic="z/{agent}", pointer="/co2"),),
            "rate_hz": 1.0,
            "learn": "population",
            "learn_every": EVERY,
        }
        | more
    )
    return assembly.prepare(config, BOARD, "device.toml: population[0]", lambda _: (model, "digest"))


def group(model: Model, **more: Any) -> Group:
    item = prepared(model, **more)
    columns = [column for _, region in item.regions("rooms") for column in region]
    return assembly.build(item, Arena(total(columns) + 65536), "rooms")


def pass_ticks(rooms: Group, first: int, last: int) -> bytes:
    """Let ticks pass in which each agent reads a number; return the frames of their recording."""
    rng = np.random.default_rng(0)
    readings = rng.uniform(400, 1200, (last, AGENTS))
    out = b""
    for tick in range(first, last):
        for agent, value in enumerate(readings[tick].tolist()):
            rooms.inputs.message(f"z/r{agent}", json.dumps({"co2": value}).encode(), tick + 0.5, tick + 0.5)
        step = rooms.step(tick + 1.0, tick * 1000)
        assert step is not None
        out += step_frame("rooms", tick, step, AGENTS)
    return out


def figures(port: PopulationPort) -> dict[str, int | float]:
    found = models.learned(port)
    assert found is not None
    return found


def test_ticks_are_counted_and_learned_tables_adopted(model: Model) -> None:
    rooms = group(model)
    pass_ticks(rooms, 0, 12)
    assert figures(rooms.model_port) == {"updates": 48, "swaps": 2, "falls": 0, "fallen": 0, "full": 0}
    off = group(model, learn="off")
    pass_ticks(off, 0, 12)
    assert models.learned(off.model_port) is None


@pytest.mark.parametrize("ticks", [3, 5, 8, 13])
def test_a_checkpoint_goes_on_with_the_same_decisions(model: Model, ticks: int) -> None:
    whole, again = group(model), group(model)
    pass_ticks(whole, 0, ticks)
    data = checkpoint.encode({"rooms": whole}, ManualClock())
    resumed, faults = checkpoint.resume(checkpoint.decode(data), {"rooms": again}, ManualClock())
    assert (resumed, faults) == (["rooms"], [])
    assert figures(again.model_port) == figures(whole.model_port)
    assert pass_ticks(again, ticks, ticks + 20) == pass_ticks(whole, ticks, ticks + 20)
    assert again.model_port.checkpoint() == whole.model_port.checkpoint()


def test_learning_that_is_switched_begins_anew_and_is_noted(model: Model) -> None:
    for before, after in (("population", "off"), ("off", "population")):
        whole, again = group(model, learn=before), group(model, learn=after)
        pass_ticks(whole, 0, 7)
        data = checkpoint.encode({"rooms": whole}, ManualClock())
        resumed, faults = checkpoint.resume(checkpoint.decode(data), {"rooms": again}, ManualClock())
        assert resumed == []
        assert "population 'rooms' cannot be restored: checkpoint: " in str(faults[0])
        pass_ticks(again, 0, 3)


@pytest.mark.parametrize("begun", [0, 8])
def test_a_recording_is_decided_again_with_learning(model: Model, begun: int) -> None:
    rooms = group(model)
    pass_ticks(rooms, 0, begun)
    data = begin_frame("rooms", rooms) + pass_ticks(rooms, begun, begun + 40)
    found = replay(frames(data), lambda path, digest: model)
    assert (found.difference, found.steps) == (None, 40)
    if begun:  # what was learned before would last for these ticks
        return
    frozen = [
        {**entry, "learn_every": 10**6} if entry["kind"] == "begin" else entry for entry in frames(data)
    ]
    assert replay(frozen, lambda path, digest: model).difference is not None


def test_frozen_agents_count_and_decide_as_delivered(model: Model) -> None:
    frozen, off = group(model, learn="frozen", learn_send_s=3600.0), group(model, learn="off")
    data = begin_frame("rooms", frozen) + pass_ticks(frozen, 0, 30)
    assert [f for f in frames(data) if f["kind"] != "begin"] == list(frames(pass_ticks(off, 0, 30)))
    found = figures(frozen.model_port)
    assert (found["updates"], found["swaps"]) == (30 * AGENTS, 0)
    epoch = models.take_epoch(frozen.model_port)
    assert epoch is not None
    assert epoch.updates == 30 * AGENTS
    again = replay(frames(data), lambda path, digest: model)
    assert (again.difference, again.steps) == (None, 30)


@pytest.mark.parametrize("learn", ["population", "agent", "frozen"])
def test_what_was_learned_is_forgotten_when_asked(model: Model, learn: str) -> None:
    rooms, fresh = group(model, learn=learn), group(model, learn=learn)
    pass_ticks(rooms, 0, 2 * EVERY)
    assert models.forget_learned(rooms.model_port) == 2 * EVERY * AGENTS
    assert figures(rooms.model_port) == figures(fresh.model_port)
    for one in (rooms, fresh):
        one.model_port.reset()
    assert pass_ticks(rooms, 0, EVERY - 1) == pass_ticks(fresh, 0, EVERY - 1)  # with the delivered model
    data = begin_frame("rooms", rooms) + pass_ticks(rooms, EVERY, 4 * EVERY)
    assert replay(frames(data), lambda path, digest: model).difference is None


def test_an_explanation_has_the_same_decision_under_the_delivered_tables(model: Model) -> None:
    """In the ticks before, with and after new tables; the oracle of the delivered ones is the reference."""
    rooms = group(model)
    data = begin_frame("rooms", rooms) + pass_ticks(rooms, 0, 3 * EVERY)
    before: list[Any] = []
    other = []

    def watch(name: str, tick: int, moment: Moment) -> bool:
        population = moment.population
        assert isinstance(population, Population)
        found = explain(moment, 2, states=3)
        delivered = found.delivered
        assert delivered is not None
        assert found.learned == {"updates": (tick + 1) * AGENTS, "swaps": tick // EVERY}
        believed = population.beliefs(0)[2]
        assert dict(found.beliefs["0"]) == {str(s): float(p) for s, p in enumerate(believed)}
        assert found.free_energy == population.free_energy[2]
        assert found.options[0].actions == found.chosen
        arrays = model.arrays()
        prior = reference.predict(arrays, *before) if before else [model.D[0].astype(float)]
        wanted = reference.step(arrays, [p / p.sum() for p in prior], list(moment.observed[2]))
        assert [dict(delivered.beliefs["0"])[str(s)] for s in range(3)] == pytest.approx(
            wanted.qs[0], abs=5e-3
        )
        by_policy = sorted(delivered.options, key=lambda option: option.policy)
        assert [o.posterior for o in by_policy] == pytest.approx(wanted.q_pi, abs=5e-3)
        other.append(delivered.options != found.options)
        before[:] = [believed.astype(float)], moment.actions[2]
        return False

    assert replay(frames(data), lambda path, digest: model, watch).difference is None
    assert other == [False] * EVERY + [True] * 2 * EVERY


def test_learning_takes_what_was_planned_and_nothing_when_off(model: Model) -> None:
    learns, off = prepared(model), prepared(model, learn="off")
    plain = prepared(replace(model, learning=None), learn="off")
    assert [total(c) for _, c in off.regions("rooms")] == [total(c) for _, c in plain.regions("rooms")]
    given = Concentrations.carried(model)
    beside = total(Learner.columns(model, AGENTS, given, every=EVERY))
    more = total(learns.regions("rooms")[0][1]) - total(off.regions("rooms")[0][1])
    assert more >= beside > 0


def test_what_does_not_fit_is_refused_with_the_bytes(model: Model) -> None:
    rng = np.random.default_rng(0)
    states = 1200
    B = np.zeros((states, states, 1))
    B[(np.arange(states) + 1) % states, np.arange(states), 0] = 1.0
    meta = {"modalities": META["modalities"]}
    large = Model.from_arrays([rng.dirichlet(np.ones(4), states).T], [B], meta=meta)
    large = replace(large, learning=Concentrations.of(large, pB=[B + 0.01]).stored())
    config = Config(device=DeviceConfig(name="d", fleet="f", memory_mb=24), population=())
    for learn, fits in (("off", True), ("population", False)):
        item = prepared(large, learn=learn)
        found = assembly.make_plan(config, BOARD, [item], base=8 << 20)
        if fits:
            found.check("device.toml")
            continue
        counts = states * states * 8
        assert found.missing > 0
        assert any(line.nbytes == counts for line in found.lines)
        with pytest.raises(BudgetError, match=rf"{found.missing} bytes are missing"):
            found.check("device.toml")


def test_a_model_that_cannot_learn_is_refused_by_name(model: Model) -> None:
    line = r"device\.toml: population\[0\]\.learn: found 'population', expected 'off': rooms\.eab has no conc"
    with pytest.raises(ConfigError, match=line):
        prepared(replace(model, learning=None))
    with pytest.raises(ConfigError, match=r"learn: found 'population' with shared factors, expected 'off'"):
        prepared(model, share=(ShareConfig(factor="0"),))


def test_a_bundle_of_a_model_that_learns_is_read_again(model: Model, tmp_path: Path) -> None:
    from edge_agent.engine import payload

    again = Model(name="again", meta=model.meta, **payload.fields(payload.entries(model)))
    rooms = group(again)
    pass_ticks(rooms, 0, 6)
    assert figures(rooms.model_port)["swaps"] == 1


def test_agents_that_learn_by_themselves_in_the_daemon(model: Model) -> None:
    """Decisions differ from those of agents that share what they learn; checkpoint and recording have all."""
    rooms, again = group(model, learn="agent"), group(model, learn="agent")
    data = begin_frame("rooms", rooms)
    early = pass_ticks(rooms, 0, 12)
    assert figures(rooms.model_port) == {"updates": 48, "swaps": 8, "falls": 0, "fallen": 0, "full": 0}
    saved = checkpoint.encode({"rooms": rooms}, ManualClock())
    resumed, faults = checkpoint.resume(checkpoint.decode(saved), {"rooms": again}, ManualClock())
    assert (resumed, faults) == (["rooms"], [])
    later = pass_ticks(rooms, 12, 40)
    assert pass_ticks(again, 12, 40) == later
    found: list[Explanation] = []

    def watch(name: str, tick: int, moment: Moment) -> bool:
        found.append(explain(moment, 3))
        return False

    decided = replay(frames(data + early + later), lambda path, digest: model, watch)
    assert (decided.difference, decided.steps) == (None, 40)
    assert found[-1].agent == "r3"
    assert found[-1].learned == {"updates": 40, "swaps": 7}
    assert found[-1].delivered is not None
    shared = [entry | {"learn_own": False} for entry in frames(data + early + later)]
    with pytest.raises(ConfigError, match="checkpoint: "):
        replay(shared, lambda path, digest: model)


def test_models_of_their_own_are_planned_with_their_objects_and_refused_with_the_bytes(model: Model) -> None:
    item = prepared(model, learn="agent", size=40, agents="r{index}")
    config = Config(device=DeviceConfig(name="d", fleet="f", memory_mb=24), population=())
    found = assembly.make_plan(config, BOARD, [item], base=8 << 20)
    found.check("device.toml")
    lines = {line.what: line.nbytes for line in found.lines}
    assert lines["models of their own"] == 40 * OBJECT_BYTES
    large = assembly.make_plan(
        config, BOARD, [prepared(model, learn="agent", size=2000, agents="r{index}")], base=8 << 20
    )
    with pytest.raises(BudgetError, match=rf"{large.missing} bytes are missing"):
        large.check("device.toml")
