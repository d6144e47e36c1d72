"""A real loop in the place of the event that `SessionLoop` waits on, for the client that needs one."""

from __future__ import annotations

import threading
import time

from edge_agent.adapters.loop import Loop
from edge_agent.adapters.mqtt import MqttSettings
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
