"""Many populations on one device: the work at start is linear in their number."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.config.profile import Profile, ThermalProfile
from edge_agent.config.records import ActConfig, Config, DeviceConfig, ObserveConfig, PopulationConfig
from edge_agent.memory.arena import Arena
from edge_agent.protocol.ports import Publication
from edge_agent.runtime import assembly
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.reporting.birth import MAX_WILL_BYTES
from edge_agent.testing.broker import MemoryBroker
from edge_agent.testing.clock import ManualClock
from edge_agent.wire.messages import decode
from tests.support import fan

FEW, MANY = 100, 400
PROFILE = Profile(
    board="board",
    memory_mb=64,
    cores=2,
    threads=1,
    max_rate_hz=100.0,
    thermal=ThermalProfile(warm_c=70.0, hot_c=78.0, limit_c=85.0),
    sources=("assumed",),
)


def configuration(bundle: Path, count: int) -> Config:
    populations = tuple(
        PopulationConfig(
            name=f"p{number}",
            bundle=str(bundle),
            size=1,
            step="arrival",
            rate_hz=1.0,
            tick="arrival",
            history_kb=1,
            observe=(ObserveConfig(modality="co2", topic=f"z/p{number}"),),
            act=(ActConfig(control="fan", topic=f"z/p{number}/set"),),
        )
        for number in range(count)
    )
    return Config(device=DeviceConfig(name="dev"), population=populations)


class Town:
    """A daemon with many populations at a broker in memory."""

    def __init__(self, bundle: Path, count: int) -> None:
        self.clock = ManualClock(start=100.0)
        self.broker = MemoryBroker(self.clock)
        config = configuration(bundle, count)
        prepared = assembly.prepare_all(config, PROFILE, Path("device.toml"))
        plan = assembly.make_plan(config, PROFILE, prepared, 0)
        self.models = {id(item.model) for item in prepared}
        self.populations = Populations(config, plan, Arena(plan.arena))
        builder = DaemonBuilder(
            self.populations,
            self.clock,
            lambda: 0,
            client=self.broker.client("dev"),
            jitter=random.Random(0),
        )
        self.daemon = builder.build(prepared)
        assert builder.subscriptions is not None
        self.subscriptions, self.birth = builder.subscriptions, builder.birth.message
        self.daemon.start()
        for _ in range(3):
            self.daemon.run_once()


def calls(action: Callable[[], Any]) -> int:
    """Return how many functions were called, those of the interpreter's C code included."""
    count = 0

    def note(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(before)
    return count


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "fan.eab"
    fan.write(path, fan.model())
    return path


def test_four_times_the_populations_take_four_times_the_work(bundle: Path) -> None:
    Town(bundle, 2)  # imports and caches
    few, many = (calls(lambda count=count: Town(bundle, count)) for count in (FEW, MANY))
    assert many / few <= MANY / FEW * 1.05


def test_populations_of_one_bundle_share_its_model(bundle: Path) -> None:
    assert len(Town(bundle, FEW).models) == 1


def test_a_message_is_looked_up_once_however_many_populations_there_are(bundle: Path) -> None:
    counts = []
    for count in (FEW, MANY):
        town = Town(bundle, count)
        take = town.subscriptions.deliver
        counts.append(calls(lambda take=take: take([("z/p7", b"700"), ("nobody/s", b"1")], 0.0, 0.0)))
        assert town.populations.groups["p7"].counters.observations == 1
        assert town.subscriptions.unknown == 1
    assert counts[0] == counts[1]


def test_a_will_that_would_be_too_long_is_without_populations(bundle: Path) -> None:
    """A will has 65,535 bytes at most (MQTT 5.0 section 3.1.3.4)."""
    few, many = Town(bundle, FEW), Town(bundle, 1000)
    assert len(many.birth(True).payload) > MAX_WILL_BYTES
    assert len(many.birth(False).payload) <= MAX_WILL_BYTES
    will = decode(many.birth(False).payload).body
    assert (will["online"], will["device"]) == (False, "dev")
    assert set(decode(few.birth(False).payload).body["populations"]) == set(few.populations.groups)
    assert isinstance(many.birth(False), Publication)


def test_a_population_that_went_hears_nothing_and_gives_its_topic_back(bundle: Path) -> None:
    town = Town(bundle, 3)
    town.populations.change([], ["p1"])
    town.subscriptions.deliver([("z/p1", b"700"), ("z/p2", b"700")], 0.0, 0.0)
    assert (town.subscriptions.unknown, town.populations.groups["p2"].counters.observations) == (1, 1)
