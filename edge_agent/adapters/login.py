"""Tests the login at the broker with this device's name, password and certificate."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from edge_agent.adapters.mqtt import MqttSettings, PahoClient
from edge_agent.protocol.ports import MQTT_5, MQTT_311, Connected, Disconnected

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Login:
    """``reason`` is why it failed, "" if it did not; ``limited`` whether packet lengths were checked."""

    reason: str
    version: int = MQTT_5
    limited: bool = True


def log_in(settings: MqttSettings, seconds: float = TIMEOUT_S) -> Login:
    """Try MQTT 5, then 3.1.1, each for ``seconds``; the broker keeps nothing of it.

    The client identifier must not be the daemon's: a broker ends the older connection of two.
    """
    woken = threading.Event()
    client = PahoClient(replace(settings, keep_session=False), woken.set)
    reason = ""
    for version in (MQTT_5, MQTT_311):
        client.connect(None, version)
        found = _answer(client, woken, seconds)
        if isinstance(found, Connected):
            limited = client.limited
            client.close(seconds)
            return Login("", version, limited)
        reason = reason or f"{settings.host}:{settings.port}: no answer to the login in {seconds:g} s"
        if found is not None:
            reason = found.reason
            if not found.unsupported:
                break
    client.disconnect()
    return Login(reason)


def _answer(client: PahoClient, woken: threading.Event, seconds: float) -> Connected | Disconnected | None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        woken.wait(left)
        woken.clear()
        for event in client.events():
            if isinstance(event, Connected | Disconnected):
                return event
    return None
