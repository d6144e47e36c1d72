"""Observes the coalition of the devices: its members, and the time until they agree.

Theory of operation. Coalitions are a function of the roster, so every client that receives presence and
births computes the same ones as the members: here a `Peer` that never publishes. A coalition is in force
once every member has published its digest, as for the members themselves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.protocol.peers.formation import digest
from edge_agent.protocol.peers.objectives import Objective
from edge_agent.protocol.peers.peer import Peer, PeerSettings
from edge_agent.wire.messages import decode
from edge_agent.wire.topics import DeviceTopics, parse

TURN_S = 0.02


class Agreement(NamedTuple):
    """From ``at`` (monotonic seconds) on, ``members`` agree that they are a coalition; none: nobody does."""

    at: float
    members: tuple[str, ...]


class Observer:
    """Listens at the broker in a thread of its own.

    Parameters
    ----------
    fleet : str
        Name of the fleet.
    objective : Objective
        Whose coalition is watched.
    heartbeat_s : float
        The fleet's.
    address : (str, int)
        Broker.
    """

    def __init__(
        self, fleet: str, objective: Objective, heartbeat_s: float, address: tuple[str, int]
    ) -> None:
        self.agreements: list[Agreement] = []
        self.first_heard: dict[str, float] = {}
        self._objective = objective.name
        self._peer = Peer(DeviceTopics(fleet, "_observer"), PeerSettings(heartbeat_s, pause=0.1), 1)
        self._peer.set_objectives([objective], time.monotonic(), time.time())
        self._ending = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="office-observer")
        self._client.on_message = self._heard
        self._client.connect(*address)
        topics = (f"edge/v1/{fleet}/peer/+/presence", f"edge/v1/{fleet}/+/up/birth")
        self._client.subscribe([(topic, 0) for topic in topics])
        self._thread = threading.Thread(target=self._listen, name="observer")
        self._thread.start()

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._client.disconnect()

    def await_agreement(self, members: Sequence[str], patience_s: float) -> float:
        """Return the time at which ``members`` last agreed that they are the coalition; -1.0: not in time."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            if self.agreements and set(self.agreements[-1].members) == set(members):
                return self.agreements[-1].at
            time.sleep(TURN_S)
        return -1.0

    def course(self, at: float) -> tuple[Agreement, Agreement, Agreement]:
        """Return the last agreement before ``at`` (monotonic seconds), the first after it, and the last."""
        nobody = Agreement(at, ())
        before = [a for a in self.agreements if a.members and a.at < at]
        after = [a for a in self.agreements if a.members and a.at >= at]
        return before[-1] if before else nobody, after[0] if after else nobody, after[-1] if after else nobody

    def forget(self, device: str) -> None:
        """Note anew when ``device`` is first heard."""
        self.first_heard.pop(device, None)

    def _listen(self) -> None:
        while not self._ending.is_set():
            self._client.loop(TURN_S)
            self._peer.tick(time.monotonic(), time.time())
            members = self._agreed()
            if not self.agreements or self.agreements[-1].members != members:
                self.agreements.append(Agreement(time.monotonic(), members))

    def _heard(self, _: Client, __: Any, message: MQTTMessage) -> None:
        now, device = time.monotonic(), parse(message.topic).device
        if parse(message.topic).peer:
            self.first_heard.setdefault(device, now)
            self._peer.presence(device, message.payload, message.retain, now, time.time())
            return
        body = decode(message.payload).body
        if body["online"] is False and "incarnation" in body:
            self._peer.gone(device, body["incarnation"], now, time.time())

    def _agreed(self) -> tuple[str, ...]:
        coalition = self._peer.formation.coalitions.get(self._objective)
        if coalition is None:
            return ()
        names = tuple(name for _, name in coalition.members)
        words = [self._peer.members.presence(name) for name in names]
        agreed = all(word is not None and digest(coalition) in word.holds for word in words)
        return names if agreed else ()
