"""A fleet of whole devices on a broker in memory: session, roster, coalitions, on a clock told to move.

Theory of operation. A `PeerDevice` is what the daemon's loop does with a `Session` and a `Peer`, and nothing
else. A `PeerFleet` turns all of them, in order of name, until the broker has nothing left that is due; `run`
moves the clock on. `Bridge` joins two fleets' brokers as a real bridge does, and can be taken down.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

from edge_agent.errors import PeerError
from edge_agent.protocol.peers.evidence_exchange import EvidenceExchange, ExchangeSettings
from edge_agent.protocol.peers.objectives import Objective
from edge_agent.protocol.peers.peer import Effect, Joined, Left, Peer, PeerSettings
from edge_agent.protocol.ports import Clock, MqttClient, Publication, Received, Subscription
from edge_agent.protocol.session import (
    Deliver,
    Offline,
    Online,
    Session,
    SessionSettings,
    SessionState,
    carry_out,
)
from edge_agent.protocol.session import Effect as SessionEffect
from edge_agent.testing.broker import MemoryBroker
from edge_agent.testing.clock import ManualClock
from edge_agent.wire import messages
from edge_agent.wire.topics import ROOT, DeviceTopics, parse


class PeerDevice:
    """One device: a session, a peer, and what happened to it (``history``)."""

    def __init__(
        self,
        name: str,
        client: MqttClient,
        clock: Clock,
        settings: PeerSettings,
        about: Mapping[str, object],
        objectives: Sequence[Objective] = (),
        fleet: str = "house",
        sharing: ExchangeSettings | None = None,
    ) -> None:
        self.clock = clock
        self.topics = DeviceTopics(fleet, name)
        self.peer = Peer(self.topics, settings, incarnation=int(self.clock.time()))
        self.sharing = EvidenceExchange(self.topics, sharing or ExchangeSettings(), self.peer.conduct)
        self.history: list[Joined | Left] = []
        self.frozen = False
        subscriptions = [
            Subscription(f"{ROOT}/{fleet}/peer/+/presence"),
            Subscription(f"{ROOT}/{fleet}/+/up/birth"),
            Subscription(f"{ROOT}/{fleet}/peer/+/evidence", qos=0),
        ]
        rng = random.Random(name)
        limits = SessionSettings(backoff_base=0.2, backoff_cap=2.0, connect_timeout=3.0)
        self.session = Session(limits, self._birth, subscriptions, rng)
        self._client = client
        now, unix = self.clock.monotonic(), self.clock.time()
        self.perform(self.peer.describe(about, now, unix))
        self.perform(self.peer.set_objectives(objectives, now, unix))

    def start(self) -> None:
        """Connect."""
        self._carry_out(self.session.start(self.clock.monotonic()))

    def stop(self) -> None:
        """Say goodbye and disconnect."""
        self.perform(self.peer.leave(self.clock.monotonic(), self.clock.time()))
        self._carry_out(self.session.stop(self.clock.monotonic()))

    def run_once(self) -> None:
        """Run one round of the main loop."""
        if self.frozen:
            return
        now = self.clock.monotonic()
        for event in self._client.events():
            self._carry_out(self.session.handle(event, now))
        self._carry_out(self.session.tick(now))
        if now >= self.peer.deadline:
            self.perform(self.peer.tick(now, self.clock.time()))

    def perform(self, effects: Iterable[Effect]) -> None:
        """Carry out what the peer asks for."""
        for effect in effects:
            match effect:
                case Publication():
                    self._carry_out(self.session.publish(effect, self.clock.monotonic())[1])
                case Joined() | Left():
                    self.history.append(effect)

    def _birth(self, online: bool) -> Publication:
        incarnation = self.peer.incarnation if online else self.peer.will()
        body = {"online": online, "incarnation": incarnation}
        return Publication(self.topics.birth, messages.encode(messages.Message(body)), retain=True)

    def _carry_out(self, effects: list[SessionEffect]) -> None:
        for effect in carry_out(effects, self._client):
            now, unix = self.clock.monotonic(), self.clock.time()
            match effect:
                case Deliver(message):
                    self.perform(self._deliver(message, now, unix))
                case Online():
                    self.perform(self.peer.connected(now, unix))
                case Offline():
                    self.peer.disconnected()

    def _deliver(self, message: Received, now: float, unix: float) -> list[Effect]:
        address = parse(message.topic)
        if address.channel == "evidence":
            self.sharing.receive(address.device, message.payload, now, unix)
            return []
        if address.peer:
            return self.peer.presence(address.device, message.payload, message.retain, now, unix)
        try:
            body = messages.decode(message.payload).body
        except PeerError:
            return []
        if body.get("online") is not False:
            return []
        return self.peer.gone(address.device, body["incarnation"], now, unix)


class PeerFleet:
    """Devices on one broker."""

    def __init__(self, clock: ManualClock, broker: MemoryBroker) -> None:
        self.clock = clock
        self.broker = broker
        self.devices: dict[str, PeerDevice] = {}

    def add(self, device: PeerDevice) -> PeerDevice:
        """Start a device."""
        self.devices[device.topics.device] = device
        device.start()
        return device

    @property
    def running(self) -> list[PeerDevice]:
        """The devices that turn and have not said goodbye."""
        return [
            d for d in self.devices.values() if not d.frozen and d.session.state is not SessionState.STOPPED
        ]

    def run(self, seconds: float, step: float = 0.1, bridges: Iterable[Bridge] = ()) -> None:
        """Let time pass in steps."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            self.settle()
            for bridge in bridges:
                bridge.run_once()
                self.settle()

    def settle(self) -> None:
        """Turn everything until nothing more is due now."""
        while True:
            for device in self.devices.values():
                device.run_once()
            if not self.broker.run():
                return

    def plans(self) -> set[bytes]:
        """Return the digests of all coalitions as the running devices compute them: one if they agree."""
        return {device.peer.formation.plan for device in self.running}


class Bridge:
    """Carries what is published at one broker to another, both ways, while it is up."""

    def __init__(self, one: MemoryBroker, other: MemoryBroker) -> None:
        self._ends = (one, other)
        self._read = [0, 0]
        self._carried: set[int] = set()
        self.up = True

    def heal(self) -> None:
        """Come up again: both sides get what the other retains."""
        self.up = True
        retained = [list(end.retained.values()) for end in self._ends]
        self._read = [len(end.log) for end in self._ends]
        for side, publications in enumerate(retained):
            for publication in publications:
                self._carry(publication, 1 - side)

    def run_once(self) -> None:
        """Carry what is new."""
        for side, end in enumerate(self._ends):
            fresh, self._read[side] = end.log[self._read[side] :], len(end.log)
            for publication in fresh:
                if self.up and id(publication) not in self._carried:
                    self._carry(publication, 1 - side)

    def _carry(self, publication: Publication, side: int) -> None:
        end = self._ends[side]
        end.publish(publication.topic, publication.payload, publication.qos, publication.retain)
        self._carried.add(id(end.log[-1]))
