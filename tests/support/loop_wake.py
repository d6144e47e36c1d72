"""Both MQTT clients for `SessionLoop`: paho's thread and an event to wait on, or a real loop instead."""

from __future__ import annotations

import threading
import time

from edge_agent.adapters.loop import Loop
from edge_agent.adapters.mqtt import MqttSettings, PahoClient
from edge_agent.adapters.mqtt_loop import LoopMqttClient


class LoopWake(threading.Event):
    """Waits on a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.client: LoopMqttClient | None = None

    def connect(self, settings: MqttSettings) -> LoopMqttClient:
        """Return a client on the loop."""
        self.client = LoopMqttClient(settings, self.loop)
        return self.client

    def wait(self, timeout: float | None = None) -> bool:
        """Wait as the daemon does."""
        assert self.client is not None
        assert timeout is not None
        self.loop.wait(min(time.monotonic() + timeout, self.client.deadline))
        return True


on_loop = False
"""Which client `connect` returns; the fixture ``each_client`` sets it."""


def connect(settings: MqttSettings) -> tuple[PahoClient, threading.Event]:
    """Return a client, and what its `SessionLoop` waits on."""
    if on_loop:
        waits = LoopWake()
        return waits.connect(settings), waits
    wake = threading.Event()
    return PahoClient(settings, wake.set), wake
