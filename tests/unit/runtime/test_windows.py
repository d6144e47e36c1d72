"""A population that infers over a window of ticks in the daemon: ticks, restart, recording, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.config.peer_records import ShareConfig
from edge_agent.config.records import ObserveConfig, PopulationConfig
from edge_agent.engine import Population
from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.engine.inference_window import InferenceWindow
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Arena, total
from edge_agent.runtime import assembly
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.recording.recorder import begin_frame, frames, step_frame
from edge_agent.runtime.recording.replay import replay
from tests.unit.runtime.town import BOARD

META = {
    "modalities": [{"name": "co2", "unit": "ppm", "edges": [600, 800, 1000]}],
    "controls": [{"name": "fan", "values": ["off", "on"]}],
}
AGENTS, HORIZON = 4, 5


@pytest.fixture
def model() -> Model:
    rng = np.random.default_rng(3)
    A = rng.dirichlet(np.ones(4), size=3).T
    B = rng.dirichlet(np.ones(3), size=(3, 2)).transpose(2, 0, 1)
    options = AgentOptions(inference_algo="mmp", inference_horizon=HORIZON)
    return Model.from_arrays([A], [B], [rng.normal(size=4)], options=options, meta=META)


def prepared(model: Model, observe: dict[str, Any] | None = None, **more: Any) -> assembly.Prepared:
    entry = ObserveConfig(modality="co2", topic="z/{agent}", pointer="/co2", **(observe or {}))
    stated = {"name": "rooms", "bundle": "rooms.eab", "size": AGENTS, "agents": "r{index}", "rate_hz": 1.0}
    config = PopulationConfig(**stated | {"observe": (entry,)} | more)
    return assembly.prepare(config, BOARD, "device.toml: population[0]", lambda path: (model, "d"))


def group(model: Model) -> Group:
    item = prepared(model)
    columns = [column for _, region in item.regions("rooms") for column in region]
    return assembly.build(item, Arena(total(columns) + 65536), "rooms")


def pass_ticks(rooms: Group, first: int, last: int) -> tuple[bytes, list[Any]]:
    """Let ticks pass in which each agent reads two numbers, of which the later one counts; return the
    recording's frames, and the steps.
    """
    readings = np.random.default_rng(0).uniform(400, 1200, (last, AGENTS))
    out, steps = b"", []
    for tick in range(first, last):
        for n, value in enumerate(readings[tick].tolist()):
            for offset, reading in ((0.2, 1600.0 - value), (0.5, value)):
                payload = json.dumps({"co2": reading}).encode()
                rooms.inputs.message(f"z/r{n}", payload, tick + offset, tick + offset)
        step = rooms.step(tick + 1.0, tick * 1000)
        assert step is not None
        out += step_frame("rooms", tick, step, AGENTS)
        steps.append(step)
    return out, steps


def test_a_window_advances_by_one_at_the_end_of_a_tick(model: Model) -> None:
    rooms = group(model)
    port = rooms.model_port
    assert isinstance(port, Population)
    exact = model.arrays()
    windows = [InferenceWindow(exact) for _ in range(AGENTS)]
    for tick in range(2 * HORIZON):
        _, (step,) = pass_ticks(rooms, tick, tick + 1)
        for n, window in enumerate(windows):
            (q,), _ = window.infer(step.observed[n].tolist())
            window.act(step.chosen[n].tolist())
            np.testing.assert_allclose(port.beliefs(0, [n])[0], q, atol=0.02)


def test_a_daemon_that_starts_again_has_its_window(model: Model) -> None:
    once, before, after = group(model), group(model), group(model)
    pass_ticks(once, 0, 12)
    pass_ticks(before, 0, 7)
    assert isinstance(before.model_port, Population)
    assert isinstance(after.model_port, Population)
    after.model_port.restore(before.model_port.checkpoint())
    pass_ticks(after, 7, 12)
    assert after.model_port.checkpoint() == once.model_port.checkpoint()


def test_a_recording_that_begins_in_the_middle_is_decided_again(model: Model, tmp_path: Path) -> None:
    rooms = group(model)
    pass_ticks(rooms, 0, 6)
    data = begin_frame("rooms", rooms)
    more, _ = pass_ticks(rooms, 6, 14)
    found = replay(list(frames(data + more)), lambda path, digest: model)
    assert found.difference is None
    assert found.steps == 8


@pytest.mark.parametrize(
    ("observe", "more", "key"),
    [
        ({"uncertainty": 20.0}, {}, r"observe\[0\]: found probabilities or an uncertainty"),
        ({"probabilities": True}, {}, r"observe\[0\]: found probabilities or an uncertainty"),
        ({}, {"share": (ShareConfig(factor="0"),)}, "share: found a shared factor"),
    ],
)
def test_what_a_window_does_not_keep_is_refused_by_name(
    model: Model, observe: dict[str, Any], more: dict[str, Any], key: str
) -> None:
    line = rf"population\[0\]\.{key}, expected none: rooms\.eab infers over a window of ticks \(mmp\)"
    with pytest.raises(ConfigError, match=line):
        prepared(model, observe, **more)


def test_agents_with_a_window_do_not_learn(model: Model) -> None:
    arrays = model.arrays()
    pA = [np.asarray(a) + 0.1 for a in arrays.A]
    learns = replace(model, learning=Concentrations.of(model, pA=pA).stored())
    assert prepared(learns).model is learns
    with pytest.raises(
        ConfigError, match=r"population\[0\]\.learn: found 'population', expected none: rooms"
    ):
        prepared(learns, learn="population", learn_every=5)
