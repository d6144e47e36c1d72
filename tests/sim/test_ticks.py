"""A daemon with real agents: beliefs are the reference's, stepped once per tick, and every frame replays."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.device import grid_bundle
from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.config.profile import Profile, ThermalProfile
from edge_agent.config.records import ActConfig, Config, DeviceConfig, ObserveConfig, PopulationConfig
from edge_agent.engine import Model, reference
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.memory.arena import Arena
from edge_agent.memory.budget import region_bytes
from edge_agent.runtime import assembly
from edge_agent.runtime.population.suspension import SuspendReason
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.recording.recorder import frames
from edge_agent.runtime.recording.replay import replay
from edge_agent.testing.broker import MemoryBroker
from edge_agent.testing.clock import ManualClock

THERMAL = ThermalProfile(warm_c=70.0, hot_c=78.0, limit_c=85.0)
PROFILE = Profile(
    board="a test", memory_mb=64, cores=2, threads=1, max_rate_hz=100.0, thermal=THERMAL, sources=("a test",)
)
TICK_S, SIZE, DAY_S = 300.0, 5, 86400.0
META = {
    "modalities": [{"name": "co2", "edges": [600, 800, 1000]}, {"name": "door", "labels": ["shut", "open"]}],
    "controls": [{"name": "fan", "values": ["off", "low", "high"]}, {"name": "-", "values": [0]}],
    "tick_seconds": TICK_S,
}


class Tape:
    """A recording in memory; all of its segments."""

    def __init__(self) -> None:
        self.segments = [b""]

    def write(self, data: bytes) -> None:
        self.segments[-1] += data

    def rotate(self) -> None:
        self.segments.append(b"")

    def close(self) -> None:
        pass


def arrays() -> ModelArrays:
    rng = np.random.default_rng(11)
    A = [
        np.moveaxis(rng.dirichlet(np.full(4, 0.6), size=6), -1, 0),
        np.moveaxis(rng.dirichlet(np.full(2, 0.6), size=(6, 2)), -1, 0),
    ]
    B = [
        np.moveaxis(rng.dirichlet(np.full(6, 0.4), size=(6, 3)), -1, 0),
        np.moveaxis(rng.dirichlet(np.full(2, 0.6), size=(2, 1)), -1, 0),
    ]
    C = [np.array([1.0, 0.5, -0.5, -1.0]), np.zeros(2)]
    return model_arrays(A, B, C, A_deps=[(0,), (0, 1)], policy_len=1)


def oracle(model: ModelArrays, recorded: list[dict[str, Any]]) -> list[Any]:
    """Return the float64 beliefs of each agent after ``recorded``: one step per tick."""
    D = [np.full(6, 1 / 6), np.full(2, 1 / 2)]
    priors: list[Any] = [list(D) for _ in range(SIZE)]
    beliefs: list[Any] = [None] * SIZE
    executed = np.full((SIZE, 2), -1)

    def next_prior(agent: int) -> Any:
        action = executed[agent]
        moved = reference.predict(model, beliefs[agent], np.maximum(action, 0))
        return [m if u >= 0 else b for m, b, u in zip(moved, beliefs[agent], action, strict=True)]

    for entry in recorded:
        if entry["kind"] in ("step", "pass"):
            observed = np.frombuffer(entry["observed"], "<i2").reshape(SIZE, 2)
            for agent in range(SIZE):
                prior = priors[agent] if beliefs[agent] is None else next_prior(agent)
                beliefs[agent], _ = reference.infer(model, prior, observed[agent])
        if entry["kind"] == "step":
            executed = np.frombuffer(entry["actions"], "<i2").reshape(SIZE, 2).copy()
        if "held" in entry:
            held = np.frombuffer(entry["held"], "<i4")
            executed[held] = np.frombuffer(entry["executed"], "<i2").reshape(-1, 2)
    return beliefs


@pytest.mark.parametrize("step", ["rate", "arrival", "change"])
def test_beliefs_are_the_reference_s_stepped_once_per_tick(step: Any) -> None:
    model = Model.quantized(arrays(), meta=META)
    observe = (
        ObserveConfig(modality="co2", topic="z/{agent}", pointer="/co2", stale_s=3 * TICK_S),
        ObserveConfig(
            modality="door", topic="z/{agent}", pointer="/door", stale_s=2000.0, silence="unchanged"
        ),
    )
    act = ActConfig(control="fan", topic="z/{agent}-fan/set", safe="low", dwell_s=60.0)
    entry = PopulationConfig(
        name="rooms", bundle="m.eab", agents="room-{index}", size=SIZE, step=step, observe=observe, act=(act,)
    )
    config = Config(device=DeviceConfig(name="dev"), population=(entry,))
    prepared = [assembly.prepare(entry, PROFILE, "test", lambda _path: (model, "0" * 64))]
    plan = assembly.make_plan(config, PROFILE, prepared, 0)
    populations, clock, tape = Populations(config, plan, Arena(plan.arena)), ManualClock(start=5000.0), Tape()
    broker = MemoryBroker(clock)
    builder = DaemonBuilder(
        populations,
        clock,
        lambda: 1,
        client=broker.client("dev"),
        jitter=random.Random(3),
        max_recording_bytes=8_000,
    )
    daemon = builder.build(prepared, recording_file=tape)
    daemon.start()
    rng, group = random.Random(9), populations.groups["rooms"]
    end = clock.monotonic() + DAY_S / 3
    while clock.monotonic() < end:
        hour = int(clock.monotonic() / 3600) % 8
        for agent in range(SIZE):
            if rng.random() < 0.02 and hour != agent:  # each is silent for an hour
                reading = b'{"co2": %d, "door": "%s"}'
                said = reading % (rng.randint(400, 1300), rng.choice([b"shut", b"open"]))
                broker.publish(f"z/room-{agent}", said, qos=0)
        if rng.random() < 0.002:
            populations.suspend("rooms", SuspendReason.GOVERNOR)
        elif rng.random() < 0.01:
            populations.resume("rooms", SuspendReason.GOVERNOR)
        for _ in range(2):
            broker.run()
            daemon.run_once()
        clock.advance(rng.choice([1.0, 5.0, 20.0]))
    populations.resume("rooms", SuspendReason.GOVERNOR)
    clock.advance(2 * TICK_S)
    daemon.run_once()
    recorded = [entry for segment in tape.segments for entry in frames(segment)]
    kinds = [entry["kind"] for entry in recorded]
    assert len(tape.segments) > 2
    assert kinds.count("step") + kinds.count("pass") == group.counters.ticks == int(DAY_S / 3 / TICK_S) + 2
    assert kinds.count("pass") > 3
    assert (kinds.count("decide") > 100) == (step != "rate")
    expected = oracle(arrays(), [entry for entry in recorded if entry["kind"] != "begin"])
    for f in range(2):
        found = group.model_port.beliefs(f)  # type: ignore[attr-defined]
        np.testing.assert_allclose(found, [beliefs[f] for beliefs in expected], atol=0.02)
    for segment in tape.segments:  # each by itself, wherever in a tick it begins
        played = replay(frames(segment), lambda _path, _digest: model)
        assert played.difference is None
    assert broker.log


def test_an_agent_of_a_hundred_states_takes_450_bytes_with_64_ticks_of_history(tmp_path: Path) -> None:
    """All of the arena that a population takes, planned and used, with decisions within ticks."""
    grid_bundle(tmp_path / "grid.eab")
    size = 10_000
    entry = PopulationConfig(
        name="grid",
        bundle=str(tmp_path / "grid.eab"),
        size=size,
        step="arrival",
        rate_hz=1.0,
        bulk=True,
        history_kb=1920,
    )
    prepared = assembly.prepare(entry, PROFILE, "test")
    regions = prepared.regions("grid")
    assert region_bytes(regions) / size <= 450
    arena = Arena(region_bytes(regions))
    group = assembly.build(prepared, arena, "grid")
    rng = np.random.default_rng(1)
    for tick in range(70):
        group.observations.set_all(rng.integers(0, 100, (size, 1)).astype(np.int16), float(tick))
        group.decide(float(tick))
        group.step(float(tick), 1_700_000_000_000 + 1000 * tick, float(tick))
    assert group.history.held / size >= 64
