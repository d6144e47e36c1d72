"""Tests for ``doctor`` whether the broker sends retained messages to subscriptions with wildcards.

Theory of operation. A session publishes a retained message under this device's own prefix, where the device
may write and its peers may read. It then subscribes with a wildcard and with the full topic. The session
treats the message as its birth message, so that the end of the session, orderly or not, replaces it with an
empty one.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from edge_agent.adapters.doctor_checks import Finding
from edge_agent.adapters.mqtt import MqttSettings, PahoClient
from edge_agent.protocol.ports import Publication, Subscription
from edge_agent.protocol.session import Deliver, Delivered, Effect, Session, SessionSettings, carry_out
from edge_agent.wire.topics import ROOT

CONNECT_S = 12.0
"""Seconds to connect, with either version of MQTT."""
ANSWER_S = 3.0
"""Seconds for each answer."""
MARK = b"doctor"
WHAT = "retained messages"
REMEDY = (
    "use a broker that has them (Mosquitto, NATS, amqtt, aedes); without, edge-hub does not see a device "
    "that was there before it, and peers see each other at the next heartbeat"
)


class _Question:
    """One session that publishes ``topic`` and keeps what arrives."""

    def __init__(self, settings: MqttSettings, topic: str) -> None:
        self._wake = threading.Event()
        self._sent = topic, MARK
        self._client = PahoClient(settings, self._wake.set)
        self.session = Session(
            SessionSettings(backoff_base=0.1, backoff_cap=0.5, connect_timeout=CONNECT_S / 4),
            lambda online: Publication(topic, MARK if online else b"", retain=True),
            [],
            random.Random(),  # noqa: S311 - jitter
        )
        self.confirmed: str | None = None
        self.arrived = False
        self.perform(self.session.start(time.monotonic()))

    def perform(self, effects: list[Effect]) -> None:
        """Carry out effects and note what they tell."""
        for effect in carry_out(effects, self._client):
            if isinstance(effect, Delivered):
                self.confirmed = effect.refused
            elif isinstance(effect, Deliver) and (effect.message.topic, effect.message.payload) == self._sent:
                self.arrived = True

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until ``condition`` holds; return whether it does."""
        end = time.monotonic() + seconds
        while True:
            self._wake.clear()
            for event in self._client.events():
                self.perform(self.session.handle(event, time.monotonic()))
            self.perform(self.session.tick(time.monotonic()))
            if condition():
                return True
            now = time.monotonic()
            if now >= end:
                return False
            deadline = end if self.session.deadline is None else min(end, self.session.deadline)
            self._wake.wait(max(0.0, deadline - now))

    def asks(self, topic: str) -> bool:
        """Subscribe; return whether the message came."""
        self.perform(self.session.subscribe(Subscription(topic, 1)))
        return self.until(lambda: self.arrived, ANSWER_S)

    def close(self) -> None:
        """Remove the message and end the session."""
        self.perform(self.session.stop(time.monotonic()))
        self._client.close(ANSWER_S)


def retained_messages(settings: MqttSettings, fleet: str, device: str) -> Finding:
    """Try it, under the peers' prefix of ``device``.

    Parameters
    ----------
    settings : MqttSettings
        Broker and credentials of the device; the client identifier gets an ending, so that a daemon stays
        connected.
    fleet, device : str
        Names of the fleet and the device.
    """
    topic = f"{ROOT}/{fleet}/peer/{device}/doctor"
    own = replace(settings, client_id=f"{settings.client_id}-doctor", session_expiry=0)
    question = _Question(own, topic)
    try:
        if not question.until(lambda: question.confirmed is not None, CONNECT_S):
            reason = question.session.reason or "it does not acknowledge a message"
            remedy = REMEDY if "retain" in reason.lower() else "check username, password, certificates"
            return Finding(WHAT, False, f"not tried: {reason}", remedy)
        if question.confirmed:
            return Finding(
                WHAT, False, f"{topic}: refused: {question.confirmed}", "allow it: tools/mosquitto/acl"
            )
        if question.asks(f"{ROOT}/{fleet}/peer/+/doctor"):
            return Finding(WHAT, True, "the broker keeps them, for wildcards too")
        if question.asks(topic):
            return Finding(WHAT, False, "the broker gives none to wildcard subscriptions", REMEDY)
        return Finding(WHAT, False, "the broker gives none, or does not let the device read them", REMEDY)
    finally:
        question.close()
