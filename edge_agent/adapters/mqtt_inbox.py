"""The events that paho's thread hands to ours: a queue with a limit on the bytes of messages.

Theory of operation. When it contains ``limit`` bytes, paho's thread waits for the loop, and so the broker
waits; a QoS 0 message that still finds no room is dropped and counted. Any other goes in then all the same,
since the broker keeps back what exceeds our Receive Maximum.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.protocol.ports import Event, Received

EVENT_BYTES = 256
"""Measured: what a message takes beside its payload and topic."""
ROOM_S = 0.05
"""How long a QoS 0 message waits for room."""
PATIENCE_S = 1.0
"""How long any other does."""


@dataclass(slots=True)
class InboxCounters:
    """What did not get in.

    QoS 0 messages that found the inbox full, messages that are too long, and connections that were closed
    because of a packet too long to be read.
    """

    overflow: int = 0
    too_long: int = 0
    oversize_disconnects: int = 0


class Inbox:
    """Events between paho's thread and ours, with a limit on the bytes of messages.

    ``room_s`` is how long a QoS 0 message waits for room, ``patience_s`` how long any other.
    """

    def __init__(
        self, limit: int, wake: Callable[[], None], room_s: float = ROOM_S, patience_s: float = PATIENCE_S
    ) -> None:
        self._limit = limit
        self._wake = wake
        self._room_s = room_s
        self._patience_s = patience_s
        self._taken = threading.Condition()
        self._events: deque[tuple[int, Event | int]] = deque()
        self._bytes = 0
        self.counters = InboxCounters()

    def put(self, attempt: int, event: Event | int) -> None:
        """Add an event. A message that finds no room makes paho's thread, and so the broker, wait."""
        with self._taken:
            if isinstance(event, Received):
                size = EVENT_BYTES + len(event.topic) + len(event.payload)
                patience = self._patience_s if event.qos else self._room_s
                room = self._taken.wait_for(
                    lambda: not self._bytes or self._bytes + size <= self._limit, patience
                )
                if not room and event.qos == 0:
                    self.counters.overflow += 1
                    return
                self._bytes += size
            self._events.append((attempt, event))
        self._wake()

    def drain(self) -> deque[tuple[int, Event | int]]:
        """Return what is there."""
        with self._taken:
            events, self._events = self._events, deque()
            self._bytes = 0
            self._taken.notify()
        return events
