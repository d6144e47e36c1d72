"""The smallest main loop around a session, recording what it hands to the application.

Theory of operation. `SessionLoop.run_once` is one round: the client's events go in, the effects are carried
out, the application's part lands in lists. With a `MemoryBroker` a test turns the crank by hand; over a real
network `SessionLoop.until` waits on the wake-up that the client was given, for as long as the session's
deadline allows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge_agent.protocol.ports import Clock, MqttClient, Publication, Received
from edge_agent.protocol.session import Deliver, Delivered, Effect, Offline, Online, Session, carry_out


class SessionLoop:
    """One session, its client, and a record of what came out.

    Attributes
    ----------
    messages : list of Received
        What arrived, in order.
    delivered : list of int
        Tokens of the publications that the broker has.
    history : list of str
        ``online`` and ``offline: REASON``, in order.
    """

    def __init__(
        self, session: Session, client: MqttClient, clock: Clock, wake: threading.Event | None = None
    ) -> None:
        self.session = session
        self.client = client
        self.clock = clock
        self.messages: list[Received] = []
        self.delivered: list[int] = []
        self.history: list[str] = []
        self._wake = wake or threading.Event()

    def start(self) -> None:
        """Begin the first attempt."""
        self.perform(self.session.start(self.clock.monotonic()))

    def stop(self) -> None:
        """Say goodbye."""
        self.perform(self.session.stop(self.clock.monotonic()))

    def publish(self, publication: Publication) -> int:
        """Publish and return the token."""
        token, effects = self.session.publish(publication, self.clock.monotonic())
        self.perform(effects)
        return token

    def run_once(self) -> None:
        """Run one round of the main loop."""
        for event in self.client.events():
            self.perform(self.session.handle(event, self.clock.monotonic()))
        self.perform(self.session.tick(self.clock.monotonic()))

    def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Turn until ``condition`` holds.

        Raises
        ------
        TimeoutError
            It doesn't after ``seconds``; the message has the session's state.
        """
        end = self.clock.monotonic() + seconds
        while True:
            self._wake.clear()
            self.run_once()
            if condition():
                return
            now = self.clock.monotonic()
            if now >= end:
                state = f"{self.session.state.value}, {self.session.reason or 'no complaint'}"
                raise TimeoutError(f"not within {seconds} s; session: {state}; {self.session.counters}")
            deadline = end if self.session.deadline is None else min(end, self.session.deadline)
            self._wake.wait(max(0.0, deadline - now))

    def perform(self, effects: list[Effect]) -> None:
        """Carry out effects and record the application's part."""
        for effect in carry_out(effects, self.client):
            match effect:
                case Deliver(message):
                    self.messages.append(message)
                case Delivered(token):
                    self.delivered.append(token)
                case Online():
                    self.history.append("online")
                case Offline(reason):
                    self.history.append(f"offline: {reason}")
        self.client.flush()
