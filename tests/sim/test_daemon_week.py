"""A simulated week: memory does not grow with time, traffic or outages."""

from __future__ import annotations

import gc
import logging
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent import Model
from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.config.profile import Profile, ThermalProfile
from edge_agent.config.records import ActConfig, Config, DeviceConfig, ObserveConfig, PopulationConfig
from edge_agent.engine import golden
from edge_agent.memory.arena import Arena
from edge_agent.runtime import assembly
from edge_agent.runtime.governor.governor import BoardReadings, Governor
from edge_agent.runtime.population.checkpoint import Checkpoints
from edge_agent.runtime.populations import Populations
from edge_agent.testing.broker import MemoryBroker
from edge_agent.testing.clock import ManualClock
from edge_agent.wire import bundle

DAY = 86400.0
THERMAL = ThermalProfile(warm_c=70.0, hot_c=78.0, limit_c=85.0)
PROFILE = Profile(
    board="a test", memory_mb=64, cores=2, threads=1, max_rate_hz=100.0, thermal=THERMAL, sources=("a test",)
)


class Shelf:
    """Files in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def save(self, name: str, data: bytes) -> None:
        self.files[name] = data

    def load(self, name: str) -> bytes | None:
        return self.files.get(name)


def make_config(folder: Path) -> Config:
    rng = np.random.default_rng(1)
    likelihood = rng.dirichlet(np.full(3, 0.3), size=4).T
    transition = rng.dirichlet(np.ones(4), size=(4, 2)).transpose(2, 0, 1)
    meta = {
        "modalities": [{"name": "co2", "edges": [600, 1000]}],
        "controls": [{"name": "fan", "values": [0, 1]}],
    }
    model = Model.from_arrays([likelihood], [transition], [np.array([1.0, 0.0, -1.0])], meta=meta)
    manifest: dict[str, Any] = {"name": "m", "version": "1", "kind": "pomdp", "created": 0}
    manifest |= {"source_sha256": "0" * 64, "io": meta, "memory": {}, "evaluation": {}, "requires": {}}
    path = folder / "m.eab"
    bundle.write(path, manifest, model.entries() | {"golden.npz": golden.make(model)})
    sensed = ObserveConfig(modality="co2", topic="z/{agent}", pointer="/co2", stale_s=7200.0)
    acted = ActConfig(control="fan", topic="z/{agent}/set", safe="0")
    shared: dict[str, Any] = {"bundle": str(path), "observe": (sensed,), "act": (acted,), "history_kb": 32}
    return Config(
        device=DeviceConfig(name="dev", telemetry_s=600.0, checkpoint_s=3600.0),
        population=(
            PopulationConfig(name="a", size=20, step="arrival", rate_hz=1 / 180, **shared),
            PopulationConfig(name="b", size=50, step="rate", rate_hz=1 / 300, priority=2, **shared),
        ),
    )


def test_a_week_of_readings_outages_and_heat_leaves_the_memory_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "edge_agent")  # kept records would count
    config, clock, rng = make_config(tmp_path), ManualClock(start=1.0), random.Random(7)
    prepared = assembly.prepare_all(config, PROFILE, tmp_path / "device.toml")
    plan = assembly.make_plan(config, PROFILE, prepared, 0)
    populations = Populations(config, plan, Arena(plan.arena))
    heat = [40.0]
    broker = MemoryBroker(clock)
    builder = DaemonBuilder(
        populations, clock, lambda: 1, client=broker.client("dev"), jitter=random.Random(3)
    )
    builder.govern(Governor(THERMAL, [5, 2]), lambda: BoardReadings(temperature_c=heat[0]))
    daemon = builder.build(prepared, checkpoints=Checkpoints(Shelf(), 3600.0, 200.0))
    daemon.start()
    regions, blocks = dict(populations.arena.regions), []
    for hour in range(7 * 24):
        if hour % 31 == 5:
            broker.stop()
        elif hour % 31 == 9:
            broker.start()
        heat[0] = 81.0 if hour % 40 in (20, 21) else 40.0
        for minute in range(0, 60, 6):
            for agent in rng.sample(range(20), 5):
                broker.publish(f"z/a-{agent}", b'{"co2": %d}' % rng.randint(300, 1500), qos=0)
            broker.publish("z/a-0", b'{"co2": "much"}', qos=0)
            if minute == 0:
                for agent in range(50):
                    broker.publish(f"z/b-{agent}", b'{"co2": %d}' % rng.randint(300, 1500), qos=0)
            for _ in range(2):
                broker.run()
                daemon.run_once()
                clock.advance(180.0)
        broker.log.clear()
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    status = builder.status.status()
    assert populations.arena.regions == regions
    # The interpreter's free lists go on filling for a while; a leak of one object a message would be 20,000.
    assert max(blocks[72:]) - max(blocks[:72]) < 300
    assert clock.monotonic() > 6.9 * DAY
    assert status["governor"]["moves"] == 4 * 6
    assert status["broker"]["connects"] >= 4
    assert status["populations"]["a"]["steps"] > 1000
    assert status["populations"]["a"]["faults"]["not_a_number"] > 700
