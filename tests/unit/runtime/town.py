"""Daemons with a manual clock and a broker in memory, each with a real population that measures gas."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edge_agent import Model, Population
from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.config.peer_records import ObjectiveConfig, PeersConfig, RoleConfig, ShareConfig
from edge_agent.config.profile import Profile, ThermalProfile
from edge_agent.config.records import (
    ActConfig,
    BrokerConfig,
    Config,
    DeviceConfig,
    ObserveConfig,
    PopulationConfig,
)
from edge_agent.memory.arena import Arena
from edge_agent.memory.budget import Plan
from edge_agent.protocol.session import SessionSettings
from edge_agent.runtime.assembly import prepare
from edge_agent.runtime.governor.governor import BoardReadings, Governor
from edge_agent.runtime.peers.loans import LoanKeys
from edge_agent.runtime.peers.model_checks import check_shares
from edge_agent.runtime.populations import Populations
from edge_agent.testing.broker import MemoryBroker
from edge_agent.testing.clock import ManualClock
from edge_agent.wire.signatures import SecretKey

NAMES = ("east", "north", "west")
BOARD = Profile(
    board="bench",
    memory_mb=64,
    cores=1,
    threads=1,
    max_rate_hz=100.0,
    thermal=ThermalProfile(warm_c=60.0, hot_c=70.0, limit_c=80.0),
    sources=("none",),
)
A = np.array([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]])
B = 0.05 + 0.85 * np.eye(3)


def model() -> Model:
    """Two factors: gas, which nobody steers and all smell, and a fan of two levels that is heard."""
    hum = np.array([[0.9, 0.1], [0.1, 0.9]])
    fan = np.zeros((2, 2, 2))
    fan[0, :, 0] = fan[1, :, 1] = 1.0
    meta = {
        "modalities": [{"name": "smell", "edges": [1, 2]}, {"name": "hum", "edges": [1]}],
        "factors": [{"name": "gas"}, {"name": "fan"}],
        "controls": [{"name": "none", "values": ["none"]}, {"name": "fan", "values": ["off", "on"]}],
    }
    C = [np.zeros(3), np.array([1.0, 0.0])]
    return Model.from_arrays(
        [A, hum], [B[:, :, None], fan], C, A_deps=[[0], [1]], B_deps=[[0], [1]], meta=meta
    )


DIGEST = "ab" * 32


class MemoryRecording:
    """A recording in memory."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def rotate(self) -> None:
        self.data = b""

    def close(self) -> None:
        """Nothing is buffered."""


class Drawer:
    """Files of a device that outlive its process."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def save(self, name: str, data: bytes) -> None:
        self.files[name] = data

    def load(self, name: str) -> bytes | None:
        return self.files.get(name)


class Site:
    """One device: its daemon, and a sensor that smells what it is told to."""

    def __init__(
        self,
        town: Town,
        name: str,
        peers: PeersConfig,
        objectives: Sequence[ObjectiveConfig],
        beliefs: bytes = b"",
    ) -> None:
        self.name, self.town = name, town
        self.readings = BoardReadings()
        self.recording = MemoryRecording()
        smells = ObserveConfig(modality="smell", topic=f"z/{name}")
        population = PopulationConfig(
            name="rooms",
            bundle="gas.eab",
            rate_hz=1.0,
            agents=("hall",),
            observe=(smells,),
            act=(ActConfig(control="fan", topic=f"z/{name}/fan", safe="off"),),
            share=(ShareConfig(factor="gas"),) if town.shares else (),
        )
        config = Config(
            device=DeviceConfig(name=name, fleet="house"),
            broker=BrokerConfig(),
            peers=peers,
            objective=tuple(objectives),
            population=(population,),
        )
        prepared = prepare(population, BOARD, "test", lambda _path: (town.model, DIGEST))
        check_shares(config, [prepared], "test")
        secrets = {each: SecretKey(each.encode().ljust(32), each) for each in NAMES}
        known = {each: secret.public for each, secret in secrets.items() if each in town.trusted}
        keys = LoanKeys(secrets[name], known) if known else None
        self.populations = Populations(config, Plan((), 1 << 20), Arena(1 << 20))
        builder = DaemonBuilder(
            self.populations,
            town.clock,
            lambda: 1,
            client=town.broker.client(name),
            jitter=random.Random(name),
            session=SessionSettings(backoff_base=0.2, backoff_cap=1.0),
            max_recording_bytes=1 << 30,
        )
        self.governor = Governor(BOARD.thermal, [population.priority])
        builder.govern(self.governor, lambda: self.readings)
        builder.join_peers(
            lambda: self.readings.battery, keys, BOARD, town.drawers.setdefault(name, Drawer())
        )
        self.daemon = builder.build([prepared], recording_file=self.recording)
        self.status = builder.status
        assert builder.peers is not None
        self.coordinator = builder.peers
        self.group = self.populations.groups["rooms"]
        if beliefs:
            self.group.model_port.restore(beliefs)
        self.daemon.start()
        self.dead = False

    @property
    def population(self) -> Population:
        model_port = self.group.model_port
        assert isinstance(model_port, Population)
        return model_port

    @property
    def coalition(self) -> set[str]:
        shown = self.coordinator.status.status()["coalition"]
        return set(shown["members"]) if shown is not None and shown["confirmed"] else set()

    def fused(self) -> np.ndarray:
        return np.array(self.coordinator.status.status()["sharing"]["channels"]["hall"]["belief"])


class Town:
    """Devices on one broker."""

    def __init__(
        self,
        names: Sequence[str] = NAMES,
        shares: bool = True,
        trusted: Sequence[str] = (),
        **peers: Any,
    ) -> None:
        self.shares, self.trusted = shares, trusted
        self.clock = ManualClock(start=100.0)
        self.broker = MemoryBroker(self.clock)
        self.model = model()
        self.smells: dict[str, int] = {}
        roles = [RoleConfig(name=f"nose {n}", capability="nose", required=n < 2) for n in range(3)]
        roles[0] = replace(roles[0], preferences={"hum": (0.0, 4.0)})
        self.objectives = [ObjectiveConfig(name="sniff", role=tuple(roles))]
        self.peers = PeersConfig(**({"heartbeat_s": 5.0, "capabilities": ("nose",)} | peers))
        self.sites: dict[str, Site] = {}
        self.drawers: dict[str, Drawer] = {}
        for name in names:
            self.add(name)

    def add(self, name: str) -> Site:
        self.sites[name] = Site(self, name, self.peers, self.objectives)
        return self.sites[name]

    def kill(self, name: str) -> None:
        self.sites.pop(name)
        self.broker.cut(name)

    def after(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            for name, smell in self.smells.items():
                self.broker.publish(f"z/{name}", b"%d" % smell, qos=0)
            while True:
                for site in list(self.sites.values()):
                    site.daemon.run_once()
                if not self.broker.run():
                    break
