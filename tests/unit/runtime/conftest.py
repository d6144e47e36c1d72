"""A daemon on a manual clock at a broker in memory, for the tests of this folder.

`Mirror` stands for a model: it acts with the first modality's bin, so that a test knows each action.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import ActConfig, Config, DeviceConfig, ObserveConfig, PopulationConfig
from edge_agent.engine.binding import Binding
from edge_agent.memory.arena import Arena, Column
from edge_agent.memory.budget import Plan
from edge_agent.memory.history import History
from edge_agent.memory.history import columns as history_columns
from edge_agent.runtime.assembly import Prepared
from edge_agent.runtime.daemon import Speaker
from edge_agent.runtime.population.actuators import Sink
from edge_agent.runtime.population.channels import channels
from edge_agent.runtime.population.checkpoint import Checkpoints
from edge_agent.runtime.population.group import Group, columns
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.recording.recorder import RecordingFile
from edge_agent.testing.broker import MemoryBroker
from edge_agent.testing.clock import ManualClock
from edge_agent.wire.topics import DeviceTopics

META = {
    "modalities": [{"name": "co2", "unit": "ppm", "edges": [600, 1000]}, {"name": "door"}],
    "controls": [{"name": "fan", "values": ["off", "low", "high"]}],
}


class Mirror:
    """Acts with what it observes first; -1 keeps the last action."""

    def __init__(self, size: int) -> None:
        self.free_energy: NDArray[np.float32] = np.zeros(size, np.float32)
        self.actions: NDArray[np.int16] = np.zeros((size, 1), np.int16)
        self.stepped: list[int] = []
        self.passed: list[list[list[int]]] = []
        self.decided: list[tuple[list[int], list[list[int]]]] = []
        self.executed: dict[int, list[int]] = {}
        self.contradictions = 0
        self.horizon: int | None = None
        self.nbytes = 3 * size

    def step(self, observations: NDArray[Any], agents: NDArray[np.intp] | None = None) -> NDArray[Any]:
        chosen = np.arange(len(self.actions)) if agents is None else agents
        known = observations[:, 0] >= 0
        self.actions[chosen[known], 0] = observations[known, 0]
        self.stepped.append(len(chosen))
        return self.actions[chosen]

    def infer(self, observations: NDArray[Any]) -> None:
        self.passed.append(observations.tolist())

    def decide(self, observations: NDArray[Any], agents: NDArray[np.intp]) -> NDArray[Any]:
        self.decided.append((agents.tolist(), observations.tolist()))
        known = np.maximum(observations[:, :1], 0)
        return np.where(observations[:, :1] < 0, self.actions[agents], known)

    def act(self, actions: NDArray[Any], agents: NDArray[np.intp] | None = None) -> None:
        assert agents is not None
        self.executed |= dict(zip(agents.tolist(), actions.tolist(), strict=True))

    def plan(self, *, horizon: int | None = None) -> None:
        self.horizon = horizon

    def reset(self) -> None:
        self.actions[:] = 0

    def checkpoint(self) -> bytes:
        return self.actions.tobytes()

    def restore(self, data: bytes) -> None:
        self.actions[:, 0] = np.frombuffer(data, np.int16)


def prepare(config: PopulationConfig, digest: str = "digest") -> Prepared:
    """Return a population of mirrors as the assembly would."""
    binding = Binding(META, (3, 2), (3,), config.bundle)
    names = AgentNames.of(config)
    observe = [(f"observe[{n}]", entry) for n, entry in enumerate(config.observe)]
    found = tuple(channels(observe, binding, names, config.name, config.act))
    return Prepared(config, SimpleNamespace(), binding, names, found, 1, digest)


def build_mirror(item: Prepared, arena: Arena, owner: str) -> Mirror:
    """Stand for a model that needs 3 bytes an agent."""
    arena.allocate(owner, (Column("state", (len(item.names), 3), np.uint8),))
    return Mirror(len(item.names))


def build(item: Prepared, arena: Arena, owner: str) -> Group:
    """Build a group of mirrors."""
    size = len(item.names)
    model_port = build_mirror(item, arena, f"{owner}/agents")
    past = arena.allocate(f"{owner}/history", history_columns(item.config.history_kb * 1024, 2, 1))
    arrays = arena.allocate(f"{owner}/io", columns(item.config, size, item.binding))
    owners = (f"{owner}/agents", f"{owner}/io", f"{owner}/history")
    history = History(past, 2, 1)
    return Group(
        item.config,
        model_port,
        item.binding,
        item.names,
        item.channels,
        history,
        arrays,
        item.digest,
        owners,
    )


def observed(modality: str) -> ObserveConfig:
    """Return an entry of a sensor that reports on change, whose every reading is an arrival, though the fan
    has the same topic.
    """
    return ObserveConfig(
        modality=modality,
        topic="z/{agent}",
        pointer=f"/{modality}",
        stale_s=60.0,
        wakes=True,
        silence="unchanged",
    )


class House:
    """Clock, broker, daemon and one population of ``size`` rooms."""

    topics = DeviceTopics("home", "dev")

    def __init__(
        self,
        size: int = 3,
        clock: ManualClock | None = None,
        connect: Callable[[Group], None] | None = None,
        extend: Callable[[DaemonBuilder], None] | None = None,
        speakers: Sequence[Speaker] = (),
        checkpoints: Checkpoints | None = None,
        recording_file: RecordingFile | None = None,
        max_recording_bytes: int = 0,
        sinks: Mapping[str, Sink] | None = None,
        **population: Any,
    ) -> None:
        self.clock = clock or ManualClock(start=100.0)
        self.broker = MemoryBroker(self.clock)
        self.config = Config(
            device=DeviceConfig(name="dev"),
            population=(
                PopulationConfig(
                    **{
                        "name": "rooms",
                        "bundle": "rooms.eab",
                        "size": size,
                        "agents": "room-{index}",
                        "step": "arrival",
                        "rate_hz": 10.0,
                        "tick": "arrival",
                        "observe": (
                            observed("co2"),
                            observed("door"),
                        ),
                        "act": (
                            ActConfig(
                                control="fan",
                                topic="z/{agent}/set",
                                template='{{"fan": "{value}"}}',
                                safe="low",
                            ),
                        ),
                    }
                    | population
                ),
            ),
        )
        self.populations = Populations(
            self.config, Plan((), 1 << 20), Arena(1 << 20), build, build_mirror, connect
        )
        self.builder = DaemonBuilder(
            self.populations,
            self.clock,
            lambda: 123,
            client=self.broker.client("dev"),
            jitter=random.Random(1),
            max_recording_bytes=max_recording_bytes,
            sinks=sinks,
        )
        if extend is not None:
            extend(self.builder)
        self.daemon = self.builder.build(
            [prepare(self.config.population[0])],
            speakers=speakers,
            checkpoints=checkpoints,
            recording_file=recording_file,
        )
        assert self.builder.dispatch is not None
        self.link = self.builder.dispatch
        self.status = self.builder.status
        self.schedule = self.builder.schedule
        self.group = self.populations.groups["rooms"]
        self.model = self.group.model_port

    def start(self) -> None:
        """Start and let the session come online."""
        self.daemon.start()
        self.settle()

    def settle(self) -> None:
        """Run turns until nothing happens at this moment any more."""
        for _ in range(10):
            self.broker.run()
            self.daemon.run_once()

    def after(self, seconds: float) -> None:
        """Let time pass as the loop would see it: deadline by deadline."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            deadline = min(self.daemon.run_once(), end)
            self.clock.advance(max(deadline - self.clock.monotonic(), 1e-3))
            self.broker.run()
        self.settle()

    def say(self, topic: str, payload: bytes) -> None:
        """Publish as a sensor, and let the daemon react."""
        self.broker.publish(topic, payload, qos=0)
        self.settle()

    def sent(self, topic: str) -> list[bytes]:
        """Return what the daemon published on ``topic`` so far."""
        return [p.payload for p in self.broker.log if p.topic == topic]


@pytest.fixture
def make_house() -> type[House]:
    """Return the class, for tests to build their house with."""
    return House


@pytest.fixture
def prepare_rooms() -> Callable[..., Prepared]:
    """Return `prepare`, for tests that add populations."""
    return prepare
