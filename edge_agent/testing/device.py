"""A device made of the real protocol code and no engine: for tests of a fleet, benchmarks, and as a
pattern for a main loop.

Theory of operation. Session, outbox, telemetry and hub client are the ones of ``protocol``; client, disk and
clock are handed in. What the daemon's engine would find out about a bundle is asked of two functions:
``verify`` (a reason against it, "" if it is sound) and ``health`` (how it does while it shadows or acts).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from edge_agent.errors import BundleError
from edge_agent.protocol.command_guard import Begin, Command
from edge_agent.protocol.hub_client import HubClient
from edge_agent.protocol.hub_effects import Download, HubEffect, Parameters, Publish, Save
from edge_agent.protocol.outbox import Outbox
from edge_agent.protocol.ports import Clock, MqttClient, Publication, Subscription
from edge_agent.protocol.rollout import Commit, Health, RollBack, StartShadow, Trial, Verify
from edge_agent.protocol.session import (
    Deliver,
    Delivered,
    Effect,
    Online,
    Session,
    SessionSettings,
    carry_out,
)
from edge_agent.protocol.telemetry import Telemetry
from edge_agent.protocol.transfer import Write
from edge_agent.wire import bodies, messages
from edge_agent.wire.blocks import Cut
from edge_agent.wire.documents import Trust
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics


class Blocks(Protocol):
    """Where bundles are: ``adapters.bundle_folder.BundleFolder`` or a stand-in."""

    def had(self, cut: Cut) -> Collection[int]:
        """Return the blocks that are there."""

    def write(self, cut: Cut, index: int, data: bytes) -> None:
        """Write a block."""


class MemoryDeviceStore(Protocol):
    """Where the hub client's state is: ``adapters.state_file.StateFile`` or a stand-in."""

    def read(self) -> dict[str, Any] | None:
        """Return what was written last."""

    def write(self, state: Mapping[str, Any]) -> None:
        """Make it durable."""


class SimulatedDevice:
    """One device; see the module's head.

    Parameters
    ----------
    topics : DeviceTopics
        Who it is.
    client, clock, blocks, state_store
        Its outside.
    trust : Trust
        The keys that it trusts.
    populations : mapping of str to (str, int)
        Name to (bundle digest, agents).
    verify : callable (digest) -> str
        A reason against a fetched bundle, or "".
    health : callable (digest, stage seconds) -> Health
        How a bundle does.
    outbox : Outbox, optional
        Without one, telemetry is not sent.
    seed : int
        Of the backoff and of repeated requests.
    settings : SessionSettings
        Times and limits.
    health_seconds : float
        Seconds between two reports of how a bundle does.
    """

    def __init__(
        self,
        topics: DeviceTopics,
        client: MqttClient,
        clock: Clock,
        blocks: Blocks,
        state_store: MemoryDeviceStore,
        trust: Trust,
        populations: Mapping[str, tuple[str, int]],
        verify: Callable[[str], str],
        health: Callable[[str, float], Health],
        outbox: Outbox | None = None,
        seed: int = 0,
        settings: SessionSettings | None = None,
        health_seconds: float = 0.25,
    ) -> None:
        self.topics = topics
        self.outbox = outbox
        self.telemetry = Telemetry(seconds=1.0)
        self.commands: list[Command] = []
        self._client, self._clock, self._blocks, self._state_store = client, clock, blocks, state_store
        self._populations = dict(populations)
        self._verify, self._health, self._health_seconds = verify, health, health_seconds
        rng = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self.hub_client = HubClient(topics, trust, populations, blocks.had, rng, state_store.read())
        self.acting = {name: self.hub_client.running(name) for name in populations}
        self._watched: dict[str, tuple[str, float]] = {}
        self._judge_at = -math.inf
        self._ticks = 0
        subscriptions = [*self.hub_client.subscriptions, Subscription(topics.confirm)]
        self.session = Session(settings or SessionSettings(), self._birth, subscriptions, rng)

    @property
    def deadline(self) -> float:
        """When `run_once` has something to do, monotonic seconds."""
        times = [self.session.deadline, self.hub_client.deadline, self.telemetry.deadline]
        times += [self.outbox.deadline] if self.outbox else []
        times += [self._judge_at] if self._watched else []
        return min(t for t in times if t is not None)

    def start(self) -> None:
        """Begin."""
        now = self._clock.monotonic()
        self._follow(self.hub_client.start(now, self._clock.time()))
        self.perform(self.session.start(now))

    def stop(self) -> None:
        """Say goodbye."""
        self.perform(self.session.stop(self._clock.monotonic()))

    def run_once(self) -> None:
        """Run one round of the main loop."""
        now, t = self._clock.monotonic(), self._clock.time()
        for event in self._client.events():
            self.perform(self.session.handle(event, now))
        self.perform(self.session.tick(now))
        if now >= self._judge_at:
            self._judge_at = now + self._health_seconds
            for population, (bundle, since) in list(self._watched.items()):
                health = self._health(bundle, now - since)
                self._follow(self.hub_client.health(population, health, now, t))
        deadline = self.hub_client.deadline
        if deadline is not None and now >= deadline:
            self._follow(self.hub_client.tick(now, t))
        if self.outbox is not None:
            self._ticks += 1
            counters = {name: {"tick": self._ticks} for name in self._populations}
            body = self.telemetry.due(counters, 0, now)
            if body is not None:
                self.outbox.append(body, t, now)
            self.perform(self.outbox.advance(self.session, now, t))

    def _birth(self, online: bool) -> Publication:
        populations = {n: (self.acting[n], size) for n, (_, size) in self._populations.items()}
        body = bodies.birth(online, self.topics.device, "simulated", "", "simulated", populations)
        payload = messages.encode(Message(body, t=self._clock.time()))
        return Publication(self.topics.birth, payload, retain=True)

    def perform(self, effects: list[Effect]) -> None:
        """Carry out the session's effects."""
        for effect in carry_out(effects, self._client):
            now, t = self._clock.monotonic(), self._clock.time()
            match effect:
                case Deliver(message) if message.topic == self.topics.confirm:
                    if self.outbox is not None:
                        self.outbox.confirmed(message.payload)
                case Deliver(message):
                    self._follow(self.hub_client.handle(message, now, t))
                case Delivered(token) if self.outbox is not None:
                    self.outbox.delivered(token)
                case Online():
                    self.telemetry.online()
                    if self.outbox is not None:
                        self.outbox.online()
                    self._follow(self.hub_client.online(now, t))

    def _follow(self, effects: list[HubEffect]) -> None:
        for effect in effects:
            now, t = self._clock.monotonic(), self._clock.time()
            match effect:
                case Save(state):
                    self._state_store.write(state)
                case Publish(publication):
                    self.perform(self.session.publish(publication, now)[1])
                case Write(cut, index, data):
                    self._blocks.write(cut, index, data)
                case Download(cut):
                    self._follow(self.hub_client.unavailable(cut.digest, now, t))
                case Verify(population, bundle):
                    self._follow(self._checked(population, bundle, now, t))
                case StartShadow(population, bundle):
                    self._watched[population] = (bundle, now)
                case Trial(population, bundle):
                    self._watched[population] = (bundle, now)
                    self.acting[population] = bundle
                case Commit(population, _):
                    del self._watched[population]
                case RollBack(population, bundle, _):
                    self._watched.pop(population, None)
                    self.acting[population] = bundle
                case Begin(command):
                    self.commands.append(command)
                    result = {"ticks": self._ticks}
                    self._follow(self.hub_client.finished(command.id, True, now, t, result))
                case Parameters(values):
                    self.telemetry.seconds = float(values.get("telemetry_seconds", self.telemetry.seconds))

    def _checked(self, population: str, bundle: str, now: float, t: float) -> list[HubEffect]:
        try:
            reason = self._verify(bundle)
        except BundleError as error:
            reason = str(error)
        if reason:
            return self.hub_client.failed(population, bundle, reason, now, t)
        return self.hub_client.verified(population, bundle, now, t)
